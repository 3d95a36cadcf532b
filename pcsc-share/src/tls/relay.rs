//! A TLS stream, and what relays between it and a local socket.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pcsc_process::socket::SEND_FLAGS;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{recv, send, RecvFlags, SendFlags};
use rustls::{CertificateError, Connection};
use zeroize::Zeroize;

use super::tcp;
use crate::wait::wait;

/// How long the peer may take to receive the rest when a connection ends.
const LINGER: Duration = Duration::from_secs(2);

/// The longest piece that is encrypted at a time: that of a TLS record.
const PIECE: usize = 16 * 1024;

/// Why a connection has ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// By this side.
    Here,
    /// By the peer.
    There,
    /// By the peer or the network, without TLS's message for it.
    Cut,
    /// The handshake took too long.
    Late,
    System(io::Error),
    Tls(rustls::Error),
}

impl fmt::Display for RelayEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RelayEnd::Here => f.write_str("it is ended from this side"),
            RelayEnd::There => f.write_str("the peer has closed the connection"),
            RelayEnd::Cut => f.write_str("the connection was cut"),
            RelayEnd::Late => f.write_str("the TLS handshake took too long"),
            RelayEnd::System(error) => write!(f, "{error}"),
            RelayEnd::Tls(rustls::Error::AlertReceived(alert)) => {
                write!(f, "the peer refuses the connection (TLS alert {alert:?})")
            }
            RelayEnd::Tls(rustls::Error::InvalidMessage(error)) => {
                write!(f, "the peer does not speak TLS ({error:?})")
            }
            RelayEnd::Tls(rustls::Error::NoCertificatesPresented) => f.write_str("it has no certificate"),
            RelayEnd::Tls(rustls::Error::InvalidCertificate(error)) => f.write_str(&certificate(error)),
            RelayEnd::Tls(error) => write!(f, "{error}"),
        }
    }
}

/// What is wrong with the peer's certificate.
fn certificate(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        // `BadSignature`: a trusted authority has the same name, and another key.
        E::UnknownIssuer | E::BadSignature => "its certificate is of an authority that is not trusted".into(),
        E::Expired | E::ExpiredContext { .. } => "its certificate has expired".into(),
        E::ApplicationVerificationFailure => "its certificate has no name that is allowed".into(),
        error => format!("its certificate is refused: {error}"),
    }
}

impl From<io::Error> for RelayEnd {
    fn from(error: io::Error) -> RelayEnd {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                RelayEnd::Cut
            }
            _ => RelayEnd::System(error),
        }
    }
}

impl From<Errno> for RelayEnd {
    fn from(errno: Errno) -> RelayEnd {
        io::Error::from(errno).into()
    }
}

impl From<rustls::Error> for RelayEnd {
    fn from(error: rustls::Error) -> RelayEnd {
        RelayEnd::Tls(error)
    }
}

/// A TLS stream.
pub struct Stream {
    tls: Connection,
    tcp: TcpStream,
}

impl Stream {
    /// A stream on a socket that is connected. No byte has been sent.
    pub fn new(tls: impl Into<Connection>, tcp: TcpStream) -> io::Result<Stream> {
        tcp::prepare(&tcp)?;
        Ok(Stream { tls: tls.into(), tcp })
    }

    /// Completes the handshake, until a deadline and no longer than `other`'s peer lives.
    pub fn handshake(&mut self, other: impl AsFd, deadline: Instant) -> Result<(), RelayEnd> {
        loop {
            self.flush()?;
            let is_sent = !self.tls.wants_write();
            if is_sent && !self.tls.is_handshaking() {
                return Ok(());
            }
            let flags = if is_sent { PollFlags::IN } else { PollFlags::OUT };
            let mut polled = [
                PollFd::new(&self.tcp, flags),
                PollFd::new(&other, PollFlags::empty()),
            ];
            if !wait(&mut polled, Some(deadline))? {
                return Err(RelayEnd::Late);
            }
            if !polled[1].revents().is_empty() {
                return Err(RelayEnd::Here);
            }
            if is_sent {
                self.receive()?;
            }
        }
    }

    /// Relays until one side ends.
    pub fn relay(&mut self, local: &UnixStream) -> RelayEnd {
        loop {
            match self.turn(local) {
                Ok(()) => (),
                // What came before the end.
                Err(end @ (RelayEnd::There | RelayEnd::Cut)) => {
                    // Errors mean that the local side is gone.
                    let _ = self.deliver_until(local, Instant::now() + LINGER);
                    return end;
                }
                Err(end) => return end,
            }
        }
    }

    /// Relays what is there, or waits until there is something.
    fn turn(&mut self, local: &UnixStream) -> Result<(), RelayEnd> {
        self.flush()?;
        let is_delivered = self.deliver(local)?;
        // One side that does not read keeps the other one from sending. Otherwise this would buffer without
        // bound.
        let is_sent = !self.tls.wants_write();
        let when = |flags, condition| if condition { flags } else { PollFlags::empty() };
        let of_tcp = when(PollFlags::IN, is_delivered) | when(PollFlags::OUT, !is_sent);
        let of_local = when(PollFlags::IN, is_sent) | when(PollFlags::OUT, !is_delivered);
        let mut polled = [PollFd::new(&self.tcp, of_tcp), PollFd::new(local, of_local)];
        wait(&mut polled, None)?;
        let [of_tcp, of_local] = [polled[0].revents(), polled[1].revents()];
        let gone = PollFlags::HUP | PollFlags::ERR;
        if !of_local.is_empty() && is_sent {
            self.forward(local)?;
        } else if of_local.intersects(gone) {
            self.send_the_rest(local)?;
        }
        if !of_tcp.is_empty() && is_delivered {
            self.receive()?;
        } else if of_tcp.intersects(gone) {
            return Err(RelayEnd::Cut);
        }
        Ok(())
    }

    /// Receives what the peer has sent.
    fn receive(&mut self) -> Result<(), RelayEnd> {
        match self.tls.read_tls(&mut &self.tcp) {
            Ok(0) => return Err(RelayEnd::Cut),
            Ok(_) => (),
            Err(error) if is_not_ready(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if self.tls.process_new_packets()?.peer_has_closed() {
            return Err(RelayEnd::There);
        }
        Ok(())
    }

    /// Hands what was received to the local socket. False if it has no room for the rest.
    fn deliver(&mut self, local: &UnixStream) -> Result<bool, RelayEnd> {
        let mut reader = self.tls.reader();
        loop {
            let piece = match reader.fill_buf() {
                // The peer may have closed, which the caller checks.
                Ok([]) | Err(_) => return Ok(true),
                Ok(piece) => piece,
            };
            match send(local, piece, SEND_FLAGS | SendFlags::DONTWAIT) {
                Ok(sent) => reader.consume(sent),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => (),
                Err(_) => return Err(RelayEnd::Here),
            }
        }
    }

    fn deliver_until(&mut self, local: &UnixStream, deadline: Instant) -> Result<(), RelayEnd> {
        while !self.deliver(local)? {
            if !wait(&mut [PollFd::new(local, PollFlags::OUT)], Some(deadline))? {
                return Err(RelayEnd::Here);
            }
        }
        Ok(())
    }

    /// Encrypts what the local socket has.
    fn forward(&mut self, local: &UnixStream) -> Result<(), RelayEnd> {
        let mut piece = [0; PIECE];
        let received = match recv(local, &mut piece[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(RelayEnd::Here),
            Ok((received, _)) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(RelayEnd::Here),
        };
        let written = self.tls.writer().write_all(&piece[..received]);
        // There may be a PIN in it.
        piece[..received].zeroize();
        Ok(written?)
    }

    /// Sends what is encrypted, as far as there is room.
    fn flush(&mut self) -> Result<(), RelayEnd> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut &self.tcp) {
                Ok(_) => (),
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) if is_not_ready(&error) => break,
                Err(error) => {
                    // The peer may have said why.
                    self.receive()?;
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Sends what is left in the local socket, whose other end is closed, while the peer is slow.
    fn send_the_rest(&mut self, local: &UnixStream) -> Result<(), RelayEnd> {
        let deadline = Instant::now() + LINGER;
        loop {
            self.flush_until(deadline)?;
            self.forward(local)?;
        }
    }

    fn flush_until(&mut self, deadline: Instant) -> Result<(), RelayEnd> {
        loop {
            self.flush()?;
            if !self.tls.wants_write() {
                return Ok(());
            }
            if !wait(&mut [PollFd::new(&self.tcp, PollFlags::OUT)], Some(deadline))? {
                return Err(RelayEnd::Here);
            }
        }
    }

    /// Ends the stream. What was sent arrives, a TLS alert too: a socket that is closed with unread bytes
    /// would discard it on the peer's side.
    pub fn close(mut self) {
        let deadline = Instant::now() + LINGER;
        self.tls.send_close_notify();
        // Errors mean that the peer is gone.
        let _ = self.flush_until(deadline);
        let _ = self.tcp.shutdown(Shutdown::Write);
        let mut rest = [0; 1024];
        loop {
            match (&self.tcp).read(&mut rest) {
                Ok(1..) => (),
                Err(error) if is_not_ready(&error) => (),
                _ => return,
            }
            let waited = wait(&mut [PollFd::new(&self.tcp, PollFlags::IN)], Some(deadline));
            if !waited.unwrap_or(false) {
                return;
            }
        }
    }
}

fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
