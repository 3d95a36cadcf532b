//! The server's side of slots and of their watches.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pcsc_ccid::internals::lock;
use rustix::event::{poll, PollFd, PollFlags, Timespec};

use super::client::ListedReader;
use super::message::{encode_answer, RequestError, SlotChange, SlotRequest, REQUEST_HEADER};
use super::send::send_all;

#[cfg(test)]
mod tests;

/// A reader that other programs use over the socket.
pub trait ServedReader: Send + Sync {
    /// Its name as pcscd would call it, without the numbers of reader and slot.
    fn name(&self) -> String;
    /// How many slots it has.
    fn slots(&self) -> u8;
    /// Whether it is plugged in. A reader that says no is not listed.
    fn is_present(&self) -> bool {
        true
    }
    /// Executes a request to a slot.
    ///
    /// # Errors
    /// Why it could not.
    fn execute(&self, slot: u8, request: &SlotRequest<'_>) -> Result<Vec<u8>, RequestError>;
    /// Blocks until a card may have come or gone. All programs that watch the slot are waiting then.
    fn wait(&self, slot: u8) -> SlotChange;
    /// A program begins to use a slot. `false` if it cannot: its requests are executed anyway, to fail.
    fn open(&self, _slot: u8) -> bool {
        true
    }
    /// It ends.
    fn close(&self, _slot: u8) {}
    /// Whether several programs may use a slot at once, which no hardware lets them. It is for tests.
    fn is_shared(&self) -> bool {
        false
    }
}

/// A served reader with its users.
pub(super) struct Served {
    number: u8,
    pub reader: Arc<dyn ServedReader>,
    slots: Vec<ServedSlot>,
    /// How often the reader was plugged in or unplugged. A connection is to the reader of one plug.
    plugs: AtomicUsize,
}

#[derive(Default)]
struct ServedSlot {
    /// The connection that has opened it.
    user: Mutex<Option<User>>,
    /// Notified when the user has closed it.
    freed: Condvar,
    /// The connections that watch it, each with its stream while it waits for an answer.
    watchers: Mutex<HashMap<usize, Option<UnixStream>>>,
    changed: Condvar,
}

/// The connection that has opened a slot.
struct User {
    connection: usize,
    stream: UnixStream,
}

impl User {
    /// Whether its program has closed the connection. Its thread closes the slot a moment later.
    fn has_ended(&self) -> bool {
        // POLLHUP is reported unasked.
        let mut polled = [PollFd::new(&self.stream, PollFlags::empty())];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// How long another program waits for the slot.
    fn patience(&self) -> Duration {
        match self.has_ended() {
            true => ENDED_PATIENCE,
            false => CLAIM_PATIENCE,
        }
    }
}

/// How long a program waits for a slot that another one uses.
const CLAIM_PATIENCE: Duration = Duration::from_millis(500);

/// The same where the other program has ended: its last request may still be executed, and on a busy machine
/// its thread may have to wait for a processor. Less than a client waits for an answer.
const ENDED_PATIENCE: Duration = Duration::from_secs(20);

/// Numbers of connections.
static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

pub(super) fn connection() -> usize {
    CONNECTIONS.fetch_add(1, Ordering::Relaxed)
}

impl Served {
    /// The reader. A thread waits for each of its slots.
    pub fn start(number: u8, reader: Arc<dyn ServedReader>) -> io::Result<Arc<Served>> {
        let slots = reader.slots();
        let served = Arc::new(Served {
            number,
            reader,
            slots: (0..slots).map(|_| ServedSlot::default()).collect(),
            plugs: AtomicUsize::new(0),
        });
        for slot in 0..slots {
            let served = served.clone();
            let builder = thread::Builder::new().name("pcsc-sim watch".into());
            builder.spawn(move || served.watch(slot))?;
        }
        Ok(served)
    }

    pub fn listed(&self) -> ListedReader {
        ListedReader {
            number: self.number,
            slots: self.reader.slots(),
            name: self.reader.name(),
        }
    }

    fn slot(&self, slot: u8) -> io::Result<&ServedSlot> {
        Ok(self.slots.get(usize::from(slot)).ok_or(io::ErrorKind::NotFound)?)
    }

    /// Whether anybody watches a slot, or has opened it: a watch that began before that may still come in.
    pub fn is_in_use(&self, slot: u8) -> bool {
        self.slot(slot)
            .is_ok_and(|slot| !lock(&slot.watchers).is_empty() || lock(&slot.user).is_some())
    }

    /// Ends the claims on a reader that is plugged in or unplugged, and refuses new ones to the connections
    /// that there are: they would be claims on another reader.
    pub fn forget_users(&self) {
        self.plugs.fetch_add(1, Ordering::SeqCst);
        for slot in &self.slots {
            *lock(&slot.user) = None;
            slot.freed.notify_all();
        }
    }

    /// Serves a slot to a connection.
    pub fn serve_slot(&self, slot: u8, input: impl Read, output: UnixStream) -> io::Result<()> {
        let place = self.slot(slot)?;
        let connection = connection();
        let end = self.serve_requests(slot, input, output, connection);
        // Held until the slot is closed: it would be closed under its next user.
        let mut user = lock(&place.user);
        if user.take_if(|user| user.connection == connection).is_some() {
            self.reader.close(slot);
            place.freed.notify_all();
        }
        end
    }

    fn serve_requests(
        &self,
        slot: u8,
        mut input: impl Read,
        output: UnixStream,
        connection: usize,
    ) -> io::Result<()> {
        let plugs = self.plugs.load(Ordering::SeqCst);
        loop {
            let mut header = [0; REQUEST_HEADER];
            match input.read_exact(&mut header) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                read => read?,
            }
            let length = SlotRequest::data_length(header).ok_or(io::ErrorKind::InvalidData)?;
            let mut data = vec![0; length];
            input.read_exact(&mut data)?;
            let request = SlotRequest::decode(header, &data);
            let answer = self.claim(slot, connection, plugs, &output).and_then(|()| {
                let request = request.ok_or(RequestError::Unsupported)?;
                self.reader.execute(slot, &request)
            });
            send_all(&output, &encode_answer(answer.as_deref().map_err(|error| *error)))?;
        }
    }

    /// Opens the slot for a connection to the reader of this plug, if no other has it.
    fn claim(
        &self,
        slot: u8,
        connection: usize,
        plugs: usize,
        stream: &UnixStream,
    ) -> Result<(), RequestError> {
        let place = self.slot(slot).map_err(|_| RequestError::NoDevice)?;
        let is_shared = self.reader.is_shared();
        let begin = Instant::now();
        let mut user = lock(&place.user);
        while let Some(other) = user
            .as_ref()
            .filter(|user| user.connection != connection && !is_shared)
        {
            // A user that is alive at first may end meanwhile.
            let left = other.patience().saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(RequestError::Busy);
            }
            let waited = place.freed.wait_timeout(user, left);
            (user, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if self.plugs.load(Ordering::SeqCst) != plugs {
            return Err(RequestError::NoDevice);
        }
        if user.is_none() {
            let stream = stream.try_clone().map_err(|_| RequestError::NoDevice)?;
            *user = self.reader.open(slot).then_some(User { connection, stream });
        }
        Ok(())
    }

    /// Serves a watch of a slot to a connection.
    pub fn serve_watch(&self, slot: u8, input: impl BufRead, output: UnixStream) -> io::Result<()> {
        let place = self.slot(slot)?;
        let connection = connection();
        for byte in input.bytes() {
            match byte.and_then(|_| output.try_clone()) {
                Ok(stream) => place.set_watcher(connection, Some(stream)),
                Err(_) => break,
            }
        }
        lock(&place.watchers).remove(&connection);
        place.changed.notify_all();
        Ok(())
    }

    /// Waits for a slot's card on behalf of all that watch it, once they all wait.
    fn watch(&self, slot: u8) {
        let Ok(place) = self.slot(slot) else { return };
        loop {
            let some_do_not_wait = |watchers: &mut HashMap<usize, Option<UnixStream>>| {
                watchers.is_empty() || watchers.values().any(Option::is_none)
            };
            drop(
                place
                    .changed
                    .wait_while(lock(&place.watchers), some_do_not_wait)
                    .unwrap_or_else(PoisonError::into_inner),
            );
            let change = self.reader.wait(slot);
            for stream in lock(&place.watchers).values_mut() {
                if let Some(stream) = stream.take() {
                    // Its own thread removes a watcher that has gone.
                    let _ = match change {
                        SlotChange::Gone => stream.shutdown(std::net::Shutdown::Both),
                        change => send_all(&stream, &[change.code()]),
                    };
                }
            }
        }
    }
}

impl ServedSlot {
    fn set_watcher(&self, connection: usize, stream: Option<UnixStream>) {
        lock(&self.watchers).insert(connection, stream);
        self.changed.notify_all();
    }
}
