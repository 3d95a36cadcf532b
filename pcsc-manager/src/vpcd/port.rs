//! A port on which virtual cards connect, and the protocol that they speak.
//!
//! A message is a length (two bytes, big-endian) and that number of bytes. One byte is a request about the
//! card's power, more are a command APDU. Only a request for the ATR and a command are answered.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pcsc_process::{socket::SEND_FLAGS, Waker};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{sendmsg, SendAncillaryBuffer};

use crate::slot::{SlotError, Watch, WatchEvent};
use crate::sync::lock;

#[cfg(test)]
mod tests;

/// Where vsmartcard's driver waits for its first card.
pub const DEFAULT_PORT: u16 = 35963;

/// How long a new port waits for its first card. Cards connect by themselves, and keep trying until there is
/// a port: a program that looks for its card once finds it.
const FIRST_CARD: Duration = Duration::from_secs(1);
/// How long a card may take for the rest of a message, and to take one.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);
/// When to look again at a socket that is ready, but cannot be used now.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// The longest message.
const LONGEST: usize = HEADER + 0xFFFF;
/// The length's length.
const HEADER: usize = 2;

/// The event by which the end of a connection is noticed.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "illumos"
))]
const HANG_UP: PollFlags = PollFlags::RDHUP;
/// The event by which the end of a connection is noticed. It reports data as well.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "illumos"
)))]
const HANG_UP: PollFlags = PollFlags::IN;

/// A request of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Control {
    PowerOff = 0,
    PowerOn = 1,
    Reset = 2,
    Atr = 4,
}

/// A port for one card at a time. Other cards that connect meanwhile wait, as with vsmartcard's driver.
pub struct Port {
    /// The address that it was made with.
    pub address: SocketAddr,
    /// How long the first look waits for the first card.
    pub first_card: Duration,
    state: Mutex<PortState>,
    /// Ends a wait.
    waker: rustix::io::Result<Waker>,
}

#[derive(Default)]
struct PortState {
    /// Its own count of references: at a wait there may be no file descriptor left for a clone.
    listener: Option<Arc<TcpListener>>,
    /// Until when the first card is waited for.
    patience: Option<Instant>,
    card: Option<Arc<Connection>>,
    /// How many cards there were so far.
    count: u64,
    is_stopped: bool,
}

/// A card's connection.
pub struct Connection {
    stream: TcpStream,
    exchange: Mutex<Exchange>,
    /// No request is begun any more.
    is_stopped: AtomicBool,
}

struct Exchange {
    /// [`LONGEST`] bytes for what is received.
    buffer: Vec<u8>,
    /// How many bytes of it were received.
    filled: usize,
    /// How many answers are still to come to requests whose callers have given up.
    owed: usize,
}

impl Port {
    /// A port that is not open yet. Port number 0 stands for one that the system chooses.
    pub fn new(address: SocketAddr) -> Port {
        Port {
            address,
            first_card: FIRST_CARD,
            state: Mutex::default(),
            waker: Waker::new(),
        }
    }

    /// The default address, which is on the loopback interface.
    pub fn default_address(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// Opens the port, unless it is open. Returns its address.
    pub fn open(&self) -> io::Result<SocketAddr> {
        let mut state = lock(&self.state);
        if state.listener.is_none() {
            let listener = TcpListener::bind(self.address)?;
            listener.set_nonblocking(true)?;
            // From the moment at which cards can connect, and not from the first look, which may be much
            // later.
            state.patience = Some(Instant::now() + self.first_card);
            state.listener = Some(Arc::new(listener));
            drop(state);
            // The thread that waits for cards waits at this port from now on.
            self.wake();
            state = lock(&self.state);
        }
        match &state.listener {
            Some(listener) => listener.local_addr(),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// The card that is connected now, and its number, from 1.
    pub fn card(&self) -> Option<(Arc<Connection>, u64)> {
        let mut state = lock(&self.state);
        state.look();
        if let Some(until) = state.patience.take() {
            if let Some(listener) = state.listener.clone() {
                // The lock is not held while this waits: `stop` takes it.
                drop(state);
                wait(&mut [PollFd::new(&listener, PollFlags::IN)], Some(until));
                state = lock(&self.state);
                state.look();
            }
        }
        state.card.clone().map(|card| (card, state.count))
    }

    /// Ends the connection of a card that violates the protocol.
    pub fn throw_out(&self, card: &Arc<Connection>) {
        let mut state = lock(&self.state);
        if state.card.take_if(|there| Arc::ptr_eq(there, card)).is_some() {
            card.close();
        }
    }
}

impl Watch for Port {
    fn wait(&self) -> WatchEvent {
        // For lack of file descriptors there is no waker, so that nothing could end a wait. Such a reader is
        // taken off the list: a connection would wait forever for the first look at it.
        let Ok(waker) = &self.waker else {
            return WatchEvent::Gone;
        };
        let mut is_paused = false;
        loop {
            let (before, listener, card) = {
                let mut state = lock(&self.state);
                if state.is_stopped {
                    return WatchEvent::Stopped;
                }
                if state.look() {
                    return WatchEvent::Card;
                }
                // With a card in, the next one waits: polled for it, this would return at once again and
                // again.
                let listener = state.listener.as_ref().filter(|_| state.card.is_none());
                (state.cards(), listener.cloned(), state.card.clone())
            };
            let mut polled = vec![PollFd::new(waker, PollFlags::IN)];
            match (&card, &listener) {
                _ if is_paused => (),
                (Some(card), _) => polled.push(PollFd::new(&card.stream, HANG_UP)),
                (None, Some(listener)) => polled.push(PollFd::new(listener, PollFlags::IN)),
                (None, None) => (),
            }
            wait(&mut polled, is_paused.then(|| Instant::now() + TRY_AGAIN));
            if !polled[0].revents().is_empty() {
                waker.clear();
                return match lock(&self.state).is_stopped {
                    true => WatchEvent::Stopped,
                    false => WatchEvent::Card,
                };
            }
            let is_ready = polled.get(1).is_some_and(|fd| !fd.revents().is_empty());
            let mut state = lock(&self.state);
            state.look();
            // Another thread may have looked first.
            if state.cards() != before {
                return WatchEvent::Card;
            }
            // The socket stays readable: a connection cannot be accepted for lack of a file descriptor, or
            // the card has sent data although no request is in progress. Without a pause, poll would return
            // at once again and again.
            is_paused = is_ready;
        }
    }

    fn wake(&self) {
        if let Ok(waker) = &self.waker {
            waker.wake();
        }
    }

    fn stop(&self) {
        // The wait for the card's answer ends as well.
        let mut state = lock(&self.state);
        state.is_stopped = true;
        if let Some(card) = &state.card {
            card.stop();
        }
        drop(state);
        self.wake();
    }
}

impl PortState {
    /// Whether there is a card, and how many there were.
    fn cards(&self) -> (bool, u64) {
        (self.card.is_some(), self.count)
    }

    /// Closes the connection of a card that has gone, and accepts that of a new one. Returns whether either
    /// has happened.
    fn look(&mut self) -> bool {
        let before = self.cards();
        if let Some(card) = self.card.take_if(|card| card.has_ended()) {
            card.close();
        }
        while let (None, Some(listener), false) = (&self.card, &self.listener, self.is_stopped) {
            let Ok((stream, _)) = listener.accept() else {
                break;
            };
            let card = Connection::new(stream);
            // TCP_NODELAY: a message is written at once, so Nagle's algorithm would only delay it. A
            // connection that was closed before it was accepted is no card.
            if card.stream.set_nodelay(true).is_ok()
                && card.stream.set_nonblocking(true).is_ok()
                && !card.has_ended()
            {
                self.card = Some(Arc::new(card));
                self.count += 1;
                self.patience = None;
            }
        }
        before != self.cards()
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        let exchange = Exchange {
            buffer: vec![0; LONGEST],
            filled: 0,
            owed: 0,
        };
        Connection {
            stream,
            exchange: Mutex::new(exchange),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Whether the other end has closed the connection.
    fn has_ended(&self) -> bool {
        has_ended(&self.stream, HANG_UP)
    }

    /// Ends the connection. Dropping it is not enough where a child of `fork` has it too.
    fn close(&self) {
        // The other end may have closed it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Ends the request in progress, if there is one, and begins no other. A power-off can still be sent to
    /// the card.
    fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        // A request that locks this later sees the flag. One that has the lock may sleep on the socket, and
        // only the end of the connection wakes it.
        if self.exchange.try_lock().is_err() {
            self.close();
        }
    }

    /// Sends a request that has no answer.
    pub fn tell(&self, control: Control) -> Result<(), SlotError> {
        let _exchange = lock(&self.exchange);
        send(&self.stream, &[control as u8])
    }

    /// Whether the card still works on a request whose caller has given up.
    pub fn is_late(&self) -> bool {
        lock(&self.exchange).owed > 0
    }

    /// Sends a request and waits for its answer. Returns the answer's length. [`SlotError::NoCard`] is for a
    /// card that has ended or does not keep to the protocol.
    pub fn ask(&self, request: &[u8], answer: &mut [u8], deadline: Instant) -> Result<usize, SlotError> {
        let mut exchange = lock(&self.exchange);
        if self.is_stopped.load(Ordering::SeqCst) {
            return Err(SlotError::NoCard);
        }
        // Bytes that nothing has asked for would be taken for the answer.
        if exchange.owed == 0 && exchange.read(&self.stream).is_ok() {
            return Err(SlotError::NoCard);
        }
        send(&self.stream, request)?;
        // Answers have no number: those to earlier requests come first, and are dropped.
        exchange.owed += 1;
        while exchange.owed > 1 {
            let length = exchange.receive(&self.stream, deadline)?;
            exchange.forget(length);
        }
        let length = exchange.receive(&self.stream, deadline)?;
        // An empty answer, or bytes behind the answer.
        if length == HEADER || length != exchange.filled {
            return Err(SlotError::NoCard);
        }
        let received = &exchange.buffer[HEADER..length];
        let room = answer.get_mut(..received.len());
        let result = match room {
            Some(room) => {
                room.copy_from_slice(received);
                Ok(room.len())
            }
            None => Err(SlotError::BufferTooSmall),
        };
        exchange.forget(length);
        result
    }
}

impl Exchange {
    /// Receives until the buffer begins with a whole message. Returns the message's length with its header.
    fn receive(&mut self, stream: &TcpStream, deadline: Instant) -> Result<usize, SlotError> {
        let mut rest = None;
        loop {
            if let Some(length) = self.announced().filter(|length| self.filled >= *length) {
                return Ok(length);
            }
            match self.read(stream) {
                Ok(0) => return Err(SlotError::NoCard),
                Ok(_) => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let until = match self.filled {
                        0 => deadline,
                        // A card that has begun an answer does not work on it any more.
                        _ => deadline.min(*rest.get_or_insert_with(|| Instant::now() + MESSAGE_LIMIT)),
                    };
                    if !wait(&mut [PollFd::new(stream, PollFlags::IN)], Some(until)) {
                        return Err(match until < deadline {
                            true => SlotError::NoCard,
                            false => SlotError::TimedOut,
                        });
                    }
                }
                Err(_) => return Err(SlotError::NoCard),
            }
        }
    }

    /// Reads what is there, without waiting.
    fn read(&mut self, mut stream: &TcpStream) -> io::Result<usize> {
        loop {
            match stream.read(&mut self.buffer[self.filled..]) {
                Ok(length) => {
                    self.filled += length;
                    return Ok(length);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
    }

    /// The length of the message that the buffer begins with, with its header.
    fn announced(&self) -> Option<usize> {
        let length = self.buffer[..self.filled].first_chunk()?;
        Some(HEADER + usize::from(u16::from_be_bytes(*length)))
    }

    /// Drops an answer from the buffer.
    fn forget(&mut self, length: usize) {
        // It may hold a secret.
        self.buffer[..length].fill(0);
        self.buffer.copy_within(length..self.filled, 0);
        self.filled -= length;
        self.owed = self.owed.saturating_sub(1);
    }
}

/// Sends one message. A card that does not take it in time counts as gone.
fn send(stream: &TcpStream, message: &[u8]) -> Result<(), SlotError> {
    let length = u16::try_from(message.len()).map_err(|_| SlotError::Communication)?;
    let header = length.to_be_bytes();
    // The caller's deadline does not count here: a message that is sent in part would leave the card out of
    // step.
    let deadline = Instant::now() + MESSAGE_LIMIT;
    // Not copied: there may be a PIN in it.
    let mut parts = [IoSlice::new(&header), IoSlice::new(message)];
    let mut rest = &mut parts[..];
    while !rest.is_empty() {
        // Not `write_vectored`, which may raise SIGPIPE: the program that the library is in may not ignore
        // it.
        match sendmsg(stream, rest, &mut SendAncillaryBuffer::default(), SEND_FLAGS) {
            Ok(sent) => IoSlice::advance_slices(&mut rest, sent),
            Err(Errno::INTR) => (),
            Err(Errno::AGAIN) => {
                if !wait(&mut [PollFd::new(stream, PollFlags::OUT)], Some(deadline)) {
                    return Err(SlotError::NoCard);
                }
            }
            Err(_) => return Err(SlotError::NoCard),
        }
    }
    Ok(())
}

/// Whether the other end of a connection has closed it, by an event that reports it and perhaps data too.
/// With data before the end, [`PollFlags::IN`] does not say.
fn has_ended(stream: &TcpStream, event: PollFlags) -> bool {
    let mut polled = [PollFd::new(stream, event)];
    // The time of now: looks without waiting.
    wait(&mut polled, Some(Instant::now()));
    if polled[0].revents().is_empty() {
        return false;
    }
    if !event.contains(PollFlags::IN) {
        return true;
    }
    match stream.peek(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}

/// Waits for one of these events; `false` if there is none by the deadline.
fn wait(polled: &mut [PollFd<'_>], deadline: Option<Instant>) -> bool {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(polled, left.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => (),
            Err(_) => return false,
        }
    }
}
