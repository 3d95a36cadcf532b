//! One client: its socket, its sessions, and the thread that serves it.

mod calls;
mod requests;
mod states;

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use crate::outgoing::Outgoing;
use crate::shared::Shared;
use crate::source::{Failed, Session};
use crate::sync::lock;
use requests::Requests;

/// A client, as its own thread and the server's share it.
pub struct Client {
    number: u64,
    /// Whether it is served only as far as to tell it that it is refused.
    is_refused: bool,
    stream: Arc<UnixStream>,
    outgoing: Arc<Outgoing>,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    is_interrupted: bool,
    /// By the numbers of the sources; made when the client first connects to a reader there.
    of_sources: Vec<Option<Arc<dyn Session>>>,
}

impl Client {
    /// A client that is connected.
    pub fn new(number: u64, is_refused: bool, stream: UnixStream, shared: &Shared) -> Client {
        let stream = Arc::new(stream);
        Client {
            number,
            is_refused,
            outgoing: Arc::new(Outgoing::new(stream.clone(), shared.limits.patience)),
            stream,
            sessions: Mutex::default(),
        }
    }

    /// Its socket.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Serves it until its connection ends.
    pub fn serve(&self, shared: &Shared) {
        let _end = Departure(self, shared);
        let end = Requests::new(self, shared).serve();
        log::debug!("client {} has ended: {end}", self.number);
    }

    /// Lets no call of its thread wait for other clients any more. Returns at once.
    pub fn interrupt(&self) {
        let mut sessions = lock(&self.sessions);
        sessions.is_interrupted = true;
        for session in sessions.of_sources.iter().flatten() {
            session.interrupt();
        }
    }

    /// Ends its connection. Its thread ends.
    pub fn close(&self) {
        self.outgoing.close();
    }

    /// Its session with a source.
    fn session(&self, shared: &Shared, source: usize) -> Result<Arc<dyn Session>, Failed> {
        let known = |sessions: &Sessions| sessions.of_sources.get(source).cloned().flatten();
        if let Some(session) = known(&lock(&self.sessions)) {
            return Ok(session);
        }
        // Without the lock: a session can take a round trip. No other thread makes one.
        let session: Arc<dyn Session> = shared.readers.sources()[source].source.session()?.into();
        let mut sessions = lock(&self.sessions);
        if sessions.is_interrupted {
            session.interrupt();
        }
        if sessions.of_sources.len() <= source {
            sessions.of_sources.resize_with(source + 1, || None);
        }
        sessions.of_sources[source] = Some(session.clone());
        Ok(session)
    }

    /// Ends all its connections to cards.
    fn release(&self) {
        let sessions = std::mem::take(&mut lock(&self.sessions).of_sources);
        for session in sessions.into_iter().flatten() {
            session.release();
        }
    }
}

/// Gives up what a client has when it is served no more, also after a panic.
struct Departure<'a>(&'a Client, &'a Shared);

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let Departure(client, shared) = self;
        shared.waiters.remove(client.number);
        client.release();
        client.close();
    }
}
