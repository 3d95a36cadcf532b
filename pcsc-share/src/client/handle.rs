//! A client, as its own thread and the server's share it: its socket, and its sessions with the sources.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use crate::outgoing::Outgoing;
use crate::policy::Rights;
use crate::shared::Shared;
use crate::source::{Failed, SourceSession};
use crate::sync::lock;

/// A client, as its own thread and the server's share it.
pub struct Client {
    pub(super) number: u64,
    /// For the log: its user or its certificate.
    who: String,
    /// A client without any gets a refusal and nothing else.
    pub(super) rights: Rights,
    pub(super) stream: Arc<UnixStream>,
    pub(super) outgoing: Arc<Outgoing>,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    is_interrupted: bool,
    /// With the numbers of the sources; made when the client first connects to a reader there.
    of_sources: Vec<(usize, Arc<dyn SourceSession>)>,
}

impl Client {
    /// A client that is connected. `who` says for the log whose it is.
    pub fn new(number: u64, who: String, rights: Rights, stream: UnixStream, shared: &Shared) -> Client {
        let stream = Arc::new(stream);
        Client {
            number,
            who,
            rights,
            outgoing: Arc::new(Outgoing::new(stream.clone(), shared.limits.patience)),
            stream,
            sessions: Mutex::default(),
        }
    }

    /// Its socket.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Lets no call of its thread wait for other clients any more. Returns at once.
    pub fn interrupt(&self) {
        let mut sessions = lock(&self.sessions);
        // Under the lock in which a new session is entered: that one finds the flag.
        sessions.is_interrupted = true;
        for (_, session) in &sessions.of_sources {
            session.interrupt();
        }
    }

    /// Ends its connection, upon which its thread serves it no more.
    pub fn close(&self) {
        self.outgoing.close();
    }

    /// Its session with a source, for a new connection.
    pub(super) fn session(&self, shared: &Shared, source: usize) -> Result<Arc<dyn SourceSession>, Failed> {
        let mut sessions = lock(&self.sessions);
        let at = sessions
            .of_sources
            .iter()
            .position(|(number, _)| *number == source);
        let lost = match at {
            Some(at) if sessions.of_sources[at].1.is_alive() => return Ok(sessions.of_sources[at].1.clone()),
            at => at.map(|at| sessions.of_sources.swap_remove(at)),
        };
        drop(sessions);
        // Without the lock, which `interrupt` takes. The client's connections keep a lost session.
        drop(lost);
        // Without the lock: a session can take a round trip. No other thread makes one.
        let session: Arc<dyn SourceSession> = shared.readers.sources()[source].source.session()?.into();
        let mut sessions = lock(&self.sessions);
        if sessions.is_interrupted {
            session.interrupt();
        }
        sessions.of_sources.push((source, session.clone()));
        Ok(session)
    }

    /// Ends all its connections to cards.
    pub(super) fn release(&self) {
        let sessions = std::mem::take(&mut lock(&self.sessions).of_sources);
        for (_, session) in sessions {
            session.release();
        }
    }
}

/// As the log names it.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} of {}", self.number, self.who)
    }
}
