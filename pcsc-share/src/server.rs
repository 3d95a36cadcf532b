//! A server: its clients as they come and go, the threads of its sources, and its end.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pcsc_process::peer::Peer;
use pcsc_process::wait::ChangeCounter;
use pcsc_process::Waker;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::buffers::Buffers;
use crate::client::Client;
use crate::contexts::Contexts;
use crate::joined::Joined;
use crate::limits::Limits;
use crate::policy::{Policy, Rights};
use crate::random;
use crate::readers::Readers;
use crate::shared::Shared;
use crate::socket::Socket;
use crate::sync::lock;
use crate::waiters::Waiters;

/// The stack of a client's thread. The driver's calls need some ten kilobytes; what is not touched costs
/// nothing.
const STACK: usize = 256 * 1024;

/// How long the end of a server waits for calls in progress.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many clients are told at a time that they are refused. Further ones are closed at once.
const STRANGERS: usize = 16;

/// How a server behaves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What clients may use.
    pub limits: Limits,
    /// Who may use which readers.
    pub policy: Policy,
}

/// A server with its sources. Dropping it ends the sources.
pub struct Server {
    shared: Arc<Shared>,
    clients: Arc<Running>,
    /// The threads of clients that are refused.
    strangers: Arc<Running>,
    watchers: Vec<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

/// The threads of clients.
struct Running {
    count: AtomicUsize,
    /// How many each user has.
    users: Mutex<HashMap<u32, usize>>,
    /// Moves when a thread has ended.
    ended: ChangeCounter,
    /// Ends the poll when the last thread has ended.
    waker: Waker,
}

impl Running {
    fn new() -> io::Result<Arc<Running>> {
        Ok(Arc::new(Running {
            count: AtomicUsize::new(0),
            users: Mutex::default(),
            ended: ChangeCounter::default(),
            waker: Waker::new()?,
        }))
    }
}

impl Running {
    /// Counts another thread of a user, unless there are `limit`, or `share` of this user.
    fn add(self: &Arc<Running>, user: u32, limit: usize, share: usize) -> Option<Guard> {
        let mut users = lock(&self.users);
        let own = users.get(&user).copied().unwrap_or(0);
        if self.count.load(Ordering::SeqCst) >= limit || own >= share {
            return None;
        }
        users.insert(user, own + 1);
        self.count.fetch_add(1, Ordering::SeqCst);
        Some(Guard {
            running: self.clone(),
            user,
        })
    }
}

/// Counts a client's thread while it lives.
struct Guard {
    running: Arc<Running>,
    user: u32,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut users = lock(&self.running.users);
        if let Some(own) = users.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                users.remove(&self.user);
            }
        }
        drop(users);
        if self.running.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.running.waker.wake();
        }
        self.running.ended.post();
    }
}

impl Server {
    /// Starts a server of these sources, whose readers are watched from now on.
    ///
    /// # Errors
    /// Where a thread or a descriptor cannot be made.
    pub fn start(sources: Vec<Joined>, options: Options) -> io::Result<Server> {
        let mut server = Server {
            shared: Arc::new(Shared {
                readers: Readers::new(sources, options.policy),
                waiters: Waiters::default(),
                contexts: Contexts::default(),
                buffers: Buffers::default(),
                limits: options.limits,
                last_card: AtomicU32::new(random::number() as u32),
            }),
            clients: Running::new()?,
            strangers: Running::new()?,
            watchers: Vec::new(),
            is_over: Arc::default(),
        };
        for joined in server.shared.readers.sources().to_vec() {
            let (shared, is_over) = (server.shared.clone(), server.is_over.clone());
            // Before any client sees the readers, so that each later change is an event.
            let known = (
                joined.source.changes().changes(),
                server.shared.readers.fingerprint(&joined),
            );
            let builder = thread::Builder::new()
                .name("pcsc-source".into())
                .stack_size(STACK);
            let watcher = builder.spawn(move || watch(&joined, known, &shared, &is_over))?;
            server.watchers.push(watcher);
        }
        Ok(server)
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
        for client in &clients {
            client.close();
            client.interrupt();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.clients.ended.changes();
            let left = self.clients.count.load(Ordering::SeqCst);
            if left == 0 {
                break;
            }
            if !self.clients.ended.wait(seen, Some(deadline)) {
                log::error!("{left} calls have not ended");
                return Err(io::ErrorKind::TimedOut.into());
            }
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
            let is_idle = self.clients.count.load(Ordering::SeqCst) == 0;
            let left = idle
                .filter(|_| is_idle)
                .map(|idle| idle.saturating_sub(idle_since.elapsed()));
            let timeout = left.map(|left| Timespec::try_from(left).unwrap_or_default());
            // Hang-ups are reported without being asked for.
            let others = [
                PollFd::new(&end, PollFlags::IN),
                PollFd::new(&self.clients.waker, PollFlags::IN),
                PollFd::new(listener, PollFlags::IN),
            ];
            let hangups = clients
                .iter()
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
            drop(polled);
            if ready[0] {
                return Ok(());
            }
            if ready[1] {
                self.clients.waker.clear();
                idle_since = Instant::now();
            }
            let mut is_gone = ready[3..].iter();
            clients.retain(|client| {
                let is_gone = is_gone.next().is_some_and(|gone| *gone);
                if is_gone {
                    client.interrupt();
                }
                !is_gone
            });
            if ready[2] {
                match listener.accept() {
                    Ok((stream, _)) => {
                        next += 1;
                        clients.extend(self.admit(next, stream));
                    }
                    Err(error) if is_passing(&error) => (),
                    Err(error) if is_shortage(&error) => {
                        log::error!("a client has to wait: {error}");
                        // The listener stays readable. Meanwhile a client may end.
                        self.clients
                            .ended
                            .wait(self.clients.ended.changes(), Some(Instant::now() + RETRY));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Begins to serve a client. `None` if there is no room for it.
    fn admit(&self, number: u64, stream: UnixStream) -> Option<Arc<Client>> {
        let refuse = |why: &dyn std::fmt::Display| log::error!("a client is refused: {why}");
        let peer = Peer::of(&stream).inspect_err(|error| refuse(error)).ok()?;
        let policy = self.shared.readers.policy();
        let rights = policy.rights(&peer);
        let (user, process) = (peer.user, peer.process.unwrap_or(0));
        let (running, limit) = match rights {
            Rights::Nothing => {
                log::warn!(
                    "user {user} (process {process}) is refused: neither the user nor a group of it is allowed"
                );
                (&self.strangers, STRANGERS)
            }
            Rights::Watch => {
                log::info!("client {number}: user {user} (process {process}) may watch, and connect to none");
                (&self.clients, self.shared.limits.clients)
            }
            Rights::Full => (&self.clients, self.shared.limits.clients),
        };
        // No other user keeps the clients of this one and of root out.
        let share = if policy.is_own(&peer) {
            limit
        } else {
            limit.div_ceil(4)
        };
        let Some(guard) = running.add(peer.user, limit, share) else {
            refuse(&format_args!(
                "there are {limit} already, or {share} of user {}",
                peer.user
            ));
            return None;
        };
        stream
            .set_nonblocking(false)
            .inspect_err(|error| refuse(error))
            .ok()?;
        let client = Arc::new(Client::new(number, rights, stream, &self.shared));
        let (served, shared) = (client.clone(), self.shared.clone());
        let work = move || {
            // Dropped last, also after a panic: the server may end with it.
            let _guard = guard;
            let (served, shared) = (served, shared);
            served.serve(&shared);
        };
        let builder = thread::Builder::new()
            .name("pcsc-client".into())
            .stack_size(STACK);
        builder.spawn(work).inspect_err(|error| refuse(error)).ok()?;
        Some(client)
    }
}

/// How long to wait for a descriptor or memory.
const RETRY: Duration = Duration::from_millis(100);

/// Whether the client has gone while it was accepted.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

/// Whether the system has no descriptor or no memory left at the moment.
fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}

/// Sends the events of a source's readers to the clients that wait. `known` is the count of changes, and the
/// fingerprint at that time.
fn watch(joined: &Joined, known: (u32, u64), shared: &Shared, is_over: &AtomicBool) {
    let (mut seen, mut before) = known;
    loop {
        joined.source.changes().wait(seen, None);
        seen = joined.source.changes().changes();
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let now = shared.readers.fingerprint(joined);
        if std::mem::replace(&mut before, now) != now {
            shared.waiters.signal();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_a_share_of_the_places() {
        let running = Running::new().unwrap();
        let mut guards: Vec<Guard> = (0..2).filter_map(|_| running.add(7, 4, 2)).collect();
        assert!(running.add(7, 4, 2).is_none());
        guards.extend(running.add(0, 4, 4));
        guards.extend(running.add(8, 4, 2));
        assert_eq!(guards.len(), 4);
        assert!(running.add(0, 4, 4).is_none(), "all places are taken");
        guards.remove(0);
        assert!(running.add(7, 4, 2).is_some());
        drop(guards);
        assert_eq!(running.count.load(Ordering::SeqCst), 0);
        assert!(lock(&running.users).is_empty());
    }
}
