//! A server: its clients as they come and go, the threads of its sources, and its end.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pcsc_process::peer::Peer;
use pcsc_process::Yields;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::accept::{is_passing, is_shortage, RETRY};
use crate::buffers::Buffers;
use crate::client::{self, Client};
use crate::contexts::Contexts;
use crate::entrance::{Arrival, Entrance};
use crate::joined::Joined;
use crate::limits::Limits;
use crate::places::{share_of, Place, Places};
use crate::policy::{AccessPolicy, Rights};
use crate::random;
use crate::readers::Readers;
use crate::shared::Shared;
use crate::socket::Socket;
use crate::threads::{self, Threads};
use crate::waiters::Waiters;

/// How long the end of a server waits for calls in progress.
// Longer than a command of most cards. A service manager waits longer still.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// The number of clients to which a refusal is sent at a time. Further ones are closed at once: each takes a
/// thread, and any user may connect.
const STRANGERS: usize = 16;

/// How a server behaves.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ServerOptions {
    /// What clients may use.
    pub limits: Limits,
    /// Who may use which readers.
    pub policy: AccessPolicy,
}

/// A server with its sources. Dropping it ends the sources.
pub struct Server {
    shared: Arc<Shared>,
    clients: Arc<Places<Owner>>,
    /// The places for clients that are refused.
    strangers: Arc<Places<Owner>>,
    threads: Threads,
    entrance: Entrance,
    watchers: Vec<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

/// Who a client belongs to, for its share of the places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Owner {
    User(u32),
    /// By the name in it.
    Certificate(String),
}

impl Server {
    /// Starts a server of these sources, whose readers are watched from now on.
    ///
    /// # Errors
    /// Where a thread or a descriptor cannot be made.
    pub fn start(sources: Vec<Joined>, options: ServerOptions) -> io::Result<Server> {
        let places = options.limits.clients;
        let mut server = Server {
            shared: Arc::new(Shared {
                readers: Readers::new(sources, options.policy),
                waiters: Waiters::default(),
                contexts: Contexts::default(),
                buffers: Buffers::default(),
                limits: options.limits,
                yields: Yields::default(),
                last_card: AtomicU32::new(random::number()),
            }),
            clients: Places::new()?,
            strangers: Places::new()?,
            threads: Threads::default(),
            entrance: Entrance::new(places)?,
            watchers: Vec::new(),
            is_over: Arc::default(),
        };
        for joined in server.shared.readers.sources().to_vec() {
            let (shared, is_over) = (server.shared.clone(), server.is_over.clone());
            // Before any client sees the readers, so that each later change is an event. The count comes
            // first: a change before the fingerprint makes the thread look once more for nothing, and none is
            // missed.
            let known = (
                joined.source.changes().changes(),
                server.shared.readers.fingerprint(&joined),
            );
            let work = move || watch(&joined, known, &shared, &is_over);
            let watcher = threads::builder("pcsc-source").spawn(work)?;
            server.watchers.push(watcher);
        }
        Ok(server)
    }

    /// Hands the server clients that connect by other means than its socket.
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Serves clients until `end` becomes readable, or until there was no client for the time of `idle`. Then
    /// it closes the socket and their connections, and waits for the end of their calls.
    ///
    /// # Errors
    /// The system's, where the socket fails. `TimedOut` if a call does not end: a driver is stuck.
    pub fn run(&self, socket: Socket, end: impl AsFd, idle: Option<Duration>) -> io::Result<()> {
        socket.listener().set_nonblocking(true)?;
        let mut clients: Vec<Arc<Client>> = Vec::new();
        let served = self.accept_until(socket.listener(), end.as_fd(), idle, &mut clients);
        // First, so that a client that tries again finds no server that ends.
        drop(socket);
        self.entrance.close();
        // Both: the socket wakes a thread that reads, the interruption one that waits for another client's
        // transaction.
        for client in &clients {
            client.close();
            client.interrupt();
        }
        if !self.clients.wait_until_empty(Instant::now() + SHUTDOWN_LIMIT) {
            log::error!("{} calls have not ended", self.clients.count());
            return Err(io::ErrorKind::TimedOut.into());
        }
        served
    }

    fn accept_until(
        &self,
        listener: &UnixListener,
        end: impl AsFd,
        idle: Option<Duration>,
        clients: &mut Vec<Arc<Client>>,
    ) -> io::Result<()> {
        let mut next = 0;
        let mut idle_since = Instant::now();
        loop {
            let is_idle = self.clients.count() == 0;
            let left = idle
                .filter(|_| is_idle)
                .map(|idle| idle.saturating_sub(idle_since.elapsed()));
            let timeout = left.map(|left| Timespec::try_from(left).unwrap_or_default());
            // Hang-ups are reported without being asked for.
            let others = [
                PollFd::new(&end, PollFlags::IN),
                // The end of the last client begins the idle time, and so it must end this poll.
                PollFd::new(&self.clients.waker, PollFlags::IN),
                PollFd::new(self.entrance.waker(), PollFlags::IN),
                PollFd::new(listener, PollFlags::IN),
            ];
            let hangups = clients
                .iter()
                // Requests are for the client's own thread. A hang-up has to be noticed here too: that thread
                // may sleep in a call.
                .map(|client| PollFd::new(client.stream(), PollFlags::empty()));
            let mut polled: Vec<PollFd<'_>> = others.into_iter().chain(hangups).collect();
            match poll(&mut polled, timeout.as_ref()) {
                Ok(0) => {
                    log::info!("there was no client for {:?}", idle.unwrap_or_default());
                    return Ok(());
                }
                Ok(_) => (),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            // It borrows the list that is changed below.
            drop(polled);
            if ready[0] {
                return Ok(());
            }
            if ready[1] {
                self.clients.waker.clear();
                idle_since = Instant::now();
            }
            let mut is_gone = ready[4..].iter();
            clients.retain(|client| {
                let is_gone = is_gone.next().is_some_and(|gone| *gone);
                if is_gone {
                    client.interrupt();
                }
                !is_gone
            });
            if ready[2] {
                for arrival in self.entrance.take() {
                    next += 1;
                    clients.extend(self.admit_arrival(next, arrival));
                }
            }
            if ready[3] {
                match listener.accept() {
                    Ok((stream, _)) => {
                        next += 1;
                        clients.extend(self.admit(next, stream));
                    }
                    // The client has given up, which concerns it alone.
                    Err(error) if is_passing(&error) => (),
                    Err(error) if is_shortage(&error) => {
                        log::error!("a client has to wait: {error}");
                        // The listener stays readable. Meanwhile a client may end.
                        let ended = &self.clients.ended;
                        ended.wait(ended.changes(), Some(Instant::now() + RETRY));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Begins to serve a client of the socket. `None` if there is no room for it.
    fn admit(&self, number: u64, stream: UnixStream) -> Option<Arc<Client>> {
        // From the kernel, at the time of the connect: what a client says of itself is not asked.
        let peer = Peer::of(&stream).inspect_err(|error| refuse(error)).ok()?;
        let rights = self.shared.readers.policy().rights(&peer);
        let user = peer.user;
        let who = match peer.process {
            Some(process) => format!("user {user} (process {process})"),
            // Not all systems name it.
            None => format!("user {user}"),
        };
        let (places, limit) = match rights {
            Rights::Nothing => {
                log::warn!("{who} is refused: neither the user nor a group of it is allowed");
                (&self.strangers, STRANGERS)
            }
            Rights::Watch => {
                log::info!("client {number} of {who} may watch, and connect to none");
                (&self.clients, self.shared.limits.clients)
            }
            Rights::Full => (&self.clients, self.shared.limits.clients),
        };
        // No other user keeps the clients of this one and of root out.
        let share = if AccessPolicy::is_own(&peer) {
            limit
        } else {
            share_of(limit)
        };
        let Some(place) = places.take(&Owner::User(user), limit, share) else {
            refuse(&format_args!(
                "{who}: there are {limit} clients already, or {share} of user {user}"
            ));
            return None;
        };
        self.serve(Client::new(number, who, rights, stream, &self.shared), place)
    }

    /// The same for a client that has a certificate.
    fn admit_arrival(&self, number: u64, arrival: Arrival) -> Option<Arc<Client>> {
        let Arrival { stream, name, who } = arrival;
        let limit = self.shared.limits.clients;
        let share = share_of(limit);
        let owner = Owner::Certificate(name.clone());
        let Some(place) = self.clients.take(&owner, limit, share) else {
            refuse(&format_args!(
                "{who}: there are {limit} clients already, or {share} of the certificate for {name:?}"
            ));
            return None;
        };
        log::info!("client {number} is of {who}");
        self.serve(
            Client::new(number, who, Rights::Full, stream, &self.shared),
            place,
        )
    }

    /// Gives a client a thread.
    fn serve(&self, client: Client, place: Place<Owner>) -> Option<Arc<Client>> {
        // On some systems an accepted socket inherits the flag from the listener.
        let set = client.stream().set_nonblocking(false);
        set.inspect_err(|error| refuse(error)).ok()?;
        let client = Arc::new(client);
        let (served, shared) = (client.clone(), self.shared.clone());
        let work = move || {
            // Dropped last, also after a panic: the server may end with it.
            let _place = place;
            let (served, shared) = (served, shared);
            client::serve(&served, &shared);
        };
        self.threads.run(work).inspect_err(|error| refuse(error)).ok()?;
        Some(client)
    }
}

/// Logs why a client is not served.
fn refuse(why: &dyn std::fmt::Display) {
    log::error!("a client is refused: {why}");
}

/// Sends the events of a source's readers to the clients that wait. `known` is the count of changes, and the
/// fingerprint at that time.
fn watch(joined: &Joined, known: (u32, u64), shared: &Shared, is_over: &AtomicBool) {
    let (mut seen, mut before) = known;
    loop {
        joined.source.changes().wait(seen, None);
        // Before the fingerprint, so that a change during the look at the readers causes another one.
        seen = joined.source.changes().changes();
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let now = shared.readers.fingerprint(joined);
        // The counter also moves for changes that clients do not see, for instance of readers that are hidden
        // from them.
        if std::mem::replace(&mut before, now) != now {
            shared.waiters.signal();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The flag before the wake-ups: a watcher that wakes looks at the flag.
        self.is_over.store(true, Ordering::SeqCst);
        for joined in self.shared.readers.sources() {
            joined.source.changes().post();
        }
        for watcher in self.watchers.drain(..) {
            // A watcher that has panicked has nothing left to end.
            let _ = watcher.join();
        }
    }
}
