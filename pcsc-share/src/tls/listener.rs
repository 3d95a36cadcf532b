//! Accepts clients over TLS, and hands them to a server.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pcsc_process::socket;
use rustix::event::{PollFd, PollFlags};

use super::acceptor::Acceptor;
use super::relay::{RelayEnd, Stream};
use crate::accept::{is_passing, is_shortage, RETRY};
use crate::entrance::Entrance;
use crate::places::{share_of, Place, Places};
use crate::threads;
use crate::wait::wait;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How many handshakes are in progress at a time, of all hosts and of one.
// Each costs a thread and some signatures before the client is authenticated, so that its share of the places
// cannot be limited yet.
const HANDSHAKES: usize = 256;
const HANDSHAKES_OF_ONE: usize = 64;

/// How long dropping the listener waits for its connections to close.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);

/// Listens for clients on other hosts. Their connections end with the server. Dropping it ends the
/// handshakes, and waits up to three seconds for the connections.
pub struct Listener {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    /// Dropping it ends what the threads wait for.
    ender: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    acceptor: Acceptor,
    entrance: Entrance,
    /// Those without an identity yet, by their host.
    handshakes: Arc<Places<IpAddr>>,
    /// The others, by the name in their certificate.
    clients: Arc<Places<String>>,
    /// Hangs up when the listener ends.
    end: UnixStream,
}

impl Listener {
    /// Listens at addresses, `HOST:PORT`, and hands the clients that the acceptor accepts to a server.
    ///
    /// # Errors
    /// The system's, where an address cannot be listened at.
    pub fn start(addresses: &[String], acceptor: Acceptor, entrance: Entrance) -> io::Result<Listener> {
        let mut listeners = Vec::new();
        for address in addresses {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
            // A host may have several addresses.
            for address in address.to_socket_addrs().map_err(named)? {
                let listener = TcpListener::bind(address).map_err(named)?;
                listener.set_nonblocking(true)?;
                listeners.push(listener);
            }
        }
        let bound = listeners.iter().map(TcpListener::local_addr);
        let addresses: Vec<SocketAddr> = bound.collect::<Result<_, _>>()?;
        let (ender, end) = socket::pair()?;
        let shared = Arc::new(Shared {
            acceptor,
            entrance,
            handshakes: Places::new()?,
            clients: Places::new()?,
            end: end.into(),
        });
        let accepting = shared.clone();
        let thread = threads::builder("pcsc-tls").spawn(move || accept(&listeners, &accepting))?;
        Ok(Listener {
            addresses,
            shared,
            ender: Some(ender.into()),
            thread: Some(thread),
        })
    }

    /// Where it listens: with the port that the system has chosen, where that was 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ender = None;
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has nothing left to end.
            let _ = thread.join();
        }
        let deadline = Instant::now() + SHUTDOWN_LIMIT;
        // In this order: a connection takes the place of its client before it gives up that of its handshake.
        self.shared.handshakes.wait_until_empty(deadline);
        self.shared.clients.wait_until_empty(deadline);
    }
}

/// Accepts connections until the listener ends. Nothing that a client does delays it.
fn accept(listeners: &[TcpListener], shared: &Arc<Shared>) {
    loop {
        let end = PollFd::new(&shared.end, PollFlags::empty());
        let others = listeners
            .iter()
            .map(|listener| PollFd::new(listener, PollFlags::IN));
        let mut polled: Vec<PollFd<'_>> = [end].into_iter().chain(others).collect();
        if let Err(error) = wait(&mut polled, None) {
            log::error!("no more clients are accepted over TLS: {error}");
            return;
        }
        if !polled[0].revents().is_empty() {
            return;
        }
        let ready = polled[1..].iter().map(|polled| !polled.revents().is_empty());
        for (listener, _) in listeners.iter().zip(ready).filter(|(_, ready)| *ready) {
            match listener.accept() {
                Ok((tcp, address)) => begin(tcp, address, shared),
                Err(error) if is_passing(&error) => (),
                Err(error) => {
                    if is_shortage(&error) {
                        log::error!("a client has to wait: {error}");
                    } else {
                        log::error!("a client cannot be accepted over TLS: {error}");
                    }
                    // The listener stays readable. Meanwhile a client may end.
                    let end = PollFd::new(&shared.end, PollFlags::empty());
                    let _ = wait(&mut [end], Some(Instant::now() + RETRY));
                }
            }
        }
    }
}

/// What counts as one host: its IPv4 address, or the IPv6 network that it chooses its addresses from.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(network).into()
        }
        address => address,
    }
}

/// Logs why a connection is not served.
fn refuse(address: SocketAddr, why: &dyn fmt::Display) {
    log::warn!("{address} is refused: {why}");
}

/// Starts the thread of a connection.
fn begin(tcp: TcpStream, address: SocketAddr, shared: &Arc<Shared>) {
    let handshakes = &shared.handshakes;
    let Some(handshake) = handshakes.take(&host(address.ip()), HANDSHAKES, HANDSHAKES_OF_ONE) else {
        refuse(
            address,
            &format_args!("{HANDSHAKES} handshakes are in progress, or {HANDSHAKES_OF_ONE} with its host"),
        );
        return;
    };
    let served = shared.clone();
    let work = move || serve(tcp, address, &served, handshake);
    // The handshake is made there: a client that is slow at it must not keep others from being accepted.
    if let Err(error) = threads::builder("pcsc-tls").spawn(work) {
        refuse(address, &error);
    }
}

/// Serves a connection until it ends.
fn serve(tcp: TcpStream, address: SocketAddr, shared: &Shared, handshake: Place<IpAddr>) {
    let (tls, names) = match shared.acceptor.connection() {
        Ok(made) => made,
        Err(error) => return refuse(address, &error),
    };
    let mut stream = match Stream::new(tls, tcp) {
        Ok(stream) => stream,
        Err(error) => return refuse(address, &error),
    };
    let shaken = stream.handshake(&shared.end, Instant::now() + HANDSHAKE);
    let text = match names.get().map(Vec::as_slice) {
        Some([]) => " (names in its certificate: none)".to_owned(),
        Some(names) => format!(" (names in its certificate: {})", names.join(", ")),
        // It has no certificate, or none of an authority.
        None => String::new(),
    };
    if let Err(end) = shaken {
        refuse(address, &format_args!("{end}{text}"));
        return stream.close();
    }
    let name = names
        .get()
        .and_then(|names| names.first())
        .cloned()
        .unwrap_or_default();
    let limit = shared.entrance.places();
    let share = share_of(limit);
    // It lasts until the connection is closed, which the peer may delay.
    let Some(_place) = shared.clients.take(&name, limit, share) else {
        refuse(
            address,
            &format_args!("there are {limit} clients already, or {share} of the certificate for {name:?}"),
        );
        return stream.close();
    };
    drop(handshake);
    let (local, theirs) = match socket::pair() {
        Ok((local, theirs)) => (UnixStream::from(local), UnixStream::from(theirs)),
        Err(error) => return refuse(address, &error),
    };
    let who = format!("{address}{text}");
    shared.entrance.enter(theirs, name, who.clone());
    let end = stream.relay(&local);
    let level = match end {
        RelayEnd::Here | RelayEnd::There => log::Level::Info,
        RelayEnd::Cut | RelayEnd::Late | RelayEnd::System(_) | RelayEnd::Tls(_) => log::Level::Warn,
    };
    log::log!(level, "the connection of {who} has ended: {end}");
    // The server ends what the client has before the peer is done.
    drop(local);
    stream.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_host() {
        let of = |text: &str| host(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
