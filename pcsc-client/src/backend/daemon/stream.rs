//! The byte stream to the daemon: one gathered write, one poll and one scattered read for each call.
//!
//! The stream does not interpret the bytes. It handles signals and a full socket buffer.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    self, sockopt, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix,
};

use pcsc_process::{socket, Descriptor, Waker, Yields};

/// Why an exchange of bytes failed.
#[derive(Debug)]
pub enum StreamError {
    /// The other side closed the stream.
    Closed,
    /// The deadline passed.
    TimedOut,
    /// The bytes are not those that were announced.
    OutOfStep,
    /// The system reported an error.
    System(io::Error),
}

impl From<Errno> for StreamError {
    fn from(errno: Errno) -> StreamError {
        match errno {
            Errno::PIPE | Errno::CONNRESET => StreamError::Closed,
            other => StreamError::System(other.into()),
        }
    }
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// There are bytes to read, or the stream ended.
    Readable,
    /// The waker was used.
    Woken,
    /// The deadline passed.
    TimedOut,
}

/// A connected stream, with the bytes that were received and not yet used.
#[derive(Debug)]
pub struct Stream {
    socket: Descriptor,
    /// Grows as needed and never shrinks, so that its bytes are zeroed once.
    buffer: Vec<u8>,
    /// The part of the buffer that is received and not yet used.
    unread: Range<usize>,
    /// The number of bytes to skip before the next answer: the answers that no caller has waited for.
    to_skip: usize,
    /// An answer to be skipped whose length is not known.
    uncertain: Option<Uncertain>,
    yields: Yields,
}

/// An answer of `size` bytes that comes once or twice, and the bytes that follow it.
#[derive(Debug)]
struct Uncertain {
    size: usize,
    mark: [u8; MARK_SIZE],
}

/// The length in bytes of the mark behind such an answer.
pub const MARK_SIZE: usize = 12;

impl Stream {
    /// Room for the states of 16 readers and what comes with them. It is there from the beginning.
    const ROOM: usize = 4096;

    /// Connects to the Unix socket at `path`, waiting for a busy listener until `limit` has passed.
    pub fn connect(path: &Path, limit: Duration) -> Result<Stream, Errno> {
        let address = SocketAddrUnix::new(path)?;
        let socket = socket::stream()?;
        // A sandbox may refuse it. Then a connect to a daemon that accepts no connection waits forever, as in
        // PC/SC Lite.
        if let Err(error) = sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(limit)) {
            log::debug!("the time of a connect is not limited: {error}");
        }
        loop {
            match net::connect(&socket, &address) {
                Ok(()) | Err(Errno::ISCONN) => break,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            }
        }
        Stream::of(socket)
    }

    /// A stream socket that is connected.
    pub fn of(socket: OwnedFd) -> Result<Stream, Errno> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(Stream::ROOM).map_err(|_| Errno::NOMEM)?;
        Ok(Stream {
            socket: Descriptor::new(socket),
            buffer,
            unread: 0..0,
            to_skip: 0,
            uncertain: None,
            yields: Yields::default(),
        })
    }

    /// Whether `path` fits a socket address.
    pub fn fits(path: &Path) -> bool {
        SocketAddrUnix::new(path).is_ok()
    }

    /// Sends all parts, in one system call if the socket's buffer has room. `deadline` is called only if it
    /// has none, so that the usual case does not read the clock.
    pub fn send(
        &mut self,
        mut parts: &mut [IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> Result<(), StreamError> {
        let mut until = None;
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        while left > 0 {
            // For this call alone: O_NONBLOCK is a flag of the open file, which a forked child shares.
            let flags = socket::SEND_FLAGS | SendFlags::DONTWAIT;
            let sent = match &*parts {
                // Cheaper for the kernel.
                [part] => net::send(&self.socket, part, flags),
                parts => net::sendmsg(&self.socket, parts, &mut SendAncillaryBuffer::default(), flags),
            };
            match sent {
                Ok(sent) => {
                    left -= sent;
                    if left > 0 {
                        IoSlice::advance_slices(&mut parts, sent);
                    }
                }
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => self.poll(PollFlags::OUT, *until.get_or_insert_with(&deadline))?,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Skips the next `count` bytes that arrive, an answer that no caller waits for.
    pub fn skip_next(&mut self, count: usize) {
        self.to_skip += count;
        // They may have arrived already, so that pending bytes are skipped first.
        self.skip_pending();
    }

    /// Skips, before the next answer is read, `size` bytes that come once or twice, and `mark` behind them.
    pub fn skip_up_to(&mut self, size: usize, mark: [u8; MARK_SIZE]) {
        self.uncertain = Some(Uncertain { size, mark });
    }

    /// Skips what [`Stream::skip_up_to`] has announced, so that [`Stream::pending`] begins with the next
    /// answer.
    pub fn skip_uncertain(&mut self, deadline: Option<Instant>) -> Result<(), StreamError> {
        match self.uncertain.take() {
            Some(uncertain) => self.skip_marked(uncertain, deadline),
            None => Ok(()),
        }
    }

    fn skip_marked(
        &mut self,
        Uncertain { size, mark }: Uncertain,
        deadline: Option<Instant>,
    ) -> Result<(), StreamError> {
        for before in [size, 2 * size] {
            self.fill(before + MARK_SIZE, deadline)?;
            if self.pending()[before..].starts_with(&mark) {
                self.consume(before + MARK_SIZE);
                return Ok(());
            }
        }
        Err(StreamError::OutOfStep)
    }

    /// Fills `head`, and `tail` with what arrives together with it. Returns the length of that.
    pub fn receive(
        &mut self,
        head: &mut [u8],
        tail: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, StreamError> {
        self.skip_uncertain(deadline)?;
        let (mut got, mut in_tail) = (0, 0);
        if !self.unread.is_empty() {
            got = self.take_pending(head);
            if got == head.len() {
                in_tail = self.take_pending(tail);
            }
        }
        while got < head.len() {
            // Before the read, which blocks: it has no deadline of its own.
            self.poll(PollFlags::IN, deadline)?;
            let room = [&mut head[got..], &mut tail[in_tail..]];
            let received = match self.to_skip {
                0 => receive_some(&self.socket, &mut room.map(IoSliceMut::new))?,
                _ => self.receive_behind_skipped(room)?,
            };
            // None if the system call was interrupted.
            let received = received.unwrap_or(0);
            let of_head = received.min(head.len() - got);
            got += of_head;
            in_tail += received - of_head;
        }
        Ok(in_tail)
    }

    /// Lets the daemon send the rest of an answer that has come in part.
    pub fn yield_to_sender(&self) {
        self.yields.yield_now();
    }

    /// Reads once, bytes to skip and what arrives together with the last of them. Returns the length of that.
    #[cold]
    fn receive_behind_skipped(&mut self, room: [&mut [u8]; 2]) -> Result<Option<usize>, StreamError> {
        let mut skipped = [0; 64];
        let skip = self.to_skip.min(skipped.len());
        // Nothing may go to the caller's buffers before all bytes to skip have been read.
        let [head, tail] = match self.to_skip > skip {
            true => [&mut [][..], &mut [][..]],
            false => room,
        };
        let mut parts = [&mut skipped[..skip], head, tail].map(IoSliceMut::new);
        let Some(received) = receive_some(&self.socket, &mut parts)? else {
            return Ok(None);
        };
        let of_skipped = received.min(skip);
        self.to_skip -= of_skipped;
        Ok(Some(received - of_skipped))
    }

    /// Reads until at least `count` bytes are pending. Reads more if more is there.
    pub fn fill(&mut self, count: usize, deadline: Option<Instant>) -> Result<(), StreamError> {
        self.skip_uncertain(deadline)?;
        self.skip_pending();
        while self.to_skip > 0 || self.unread.len() < count {
            self.poll(PollFlags::IN, deadline)?;
            self.make_room((count + self.to_skip).saturating_sub(self.unread.len()))?;
            let room = &mut self.buffer[self.unread.end..];
            if let Some(received) = receive_some(&self.socket, &mut [IoSliceMut::new(room)])? {
                self.unread.end += received;
            }
            self.skip_pending();
        }
        Ok(())
    }

    /// Makes room for at least `count` bytes behind the unread ones.
    fn make_room(&mut self, count: usize) -> Result<(), StreamError> {
        if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        // More than is needed, since one read then takes what comes next as well.
        let size = (self.unread.end + count.max(1)).max(Stream::ROOM);
        if self.buffer.len() < size {
            let more = size - self.buffer.len();
            self.buffer.try_reserve_exact(more).map_err(|_| Errno::NOMEM)?;
            self.buffer.resize(size, 0);
        }
        Ok(())
    }

    /// The bytes received and not yet consumed.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// Uses up the first `count` pending bytes.
    pub fn consume(&mut self, count: usize) {
        self.unread.start = (self.unread.start + count).min(self.unread.end);
    }

    /// Waits until there is something to read, the waker is used, or the deadline passes. A cancelled thread
    /// returns as if the deadline had passed. Without a waker, the caller looks for a cancel at the deadline.
    pub fn wait(&self, waker: Option<&Waker>, deadline: Option<Instant>) -> Result<Wake, StreamError> {
        // Bytes that are here already do not make the socket readable.
        if !self.unread.is_empty() && self.to_skip == 0 && self.uncertain.is_none() {
            return Ok(Wake::Readable);
        }
        let second = waker.map_or(self.socket.as_fd(), AsFd::as_fd);
        let mut fds = [self.socket.as_fd(), second].map(|fd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        let fds = &mut fds[..1 + usize::from(waker.is_some())];
        loop {
            match pcsc_process::wait::poll(fds, deadline) {
                Ok(0) => return Ok(Wake::TimedOut),
                Ok(_) if fds.get(1).is_some_and(|fd| fd.revents != 0) => return Ok(Wake::Woken),
                Ok(_) => return Ok(Wake::Readable),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(StreamError::System(error)),
            }
        }
    }

    /// Whether the stream is open, as far as the kernel has been notified.
    pub fn is_open(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = net::recv(&self.socket, &mut [0; 1], flags);
        !matches!(peeked, Ok((_, 0)) | Err(Errno::CONNRESET))
    }

    /// Whether the descriptor is still the socket's: the program may have closed it.
    pub fn is_ours(&self) -> bool {
        self.socket.is_ours()
    }

    /// Shuts the stream down, also for a forked child that holds it, and closes it.
    pub fn shutdown(self) {
        // Not a file of the program's that has got the number.
        if let Some(socket) = self.socket.into_ours() {
            let _ = net::shutdown(socket, Shutdown::Both);
        }
    }

    fn take_pending(&mut self, out: &mut [u8]) -> usize {
        self.skip_pending();
        if self.to_skip > 0 {
            return 0;
        }
        let count = out.len().min(self.unread.len());
        out[..count].copy_from_slice(&self.pending()[..count]);
        self.consume(count);
        count
    }

    fn skip_pending(&mut self) {
        let skip = self.to_skip.min(self.unread.len());
        self.consume(skip);
        self.to_skip -= skip;
    }

    fn poll(&self, flags: PollFlags, deadline: Option<Instant>) -> Result<(), StreamError> {
        let mut fds = [PollFd::new(&self.socket, flags)];
        loop {
            match poll(&mut fds, time_left(deadline).as_ref()) {
                Ok(0) => return Err(StreamError::TimedOut),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => (),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Reads once from a socket that a poll has reported as readable; `None` if that was interrupted. There is no
/// other reader, so this does not block. A file that is not a socket refuses the call, unlike `readv`: the
/// program may have closed the socket, and its number may name another file of the program.
fn receive_some(socket: &Descriptor, parts: &mut [IoSliceMut<'_>]) -> Result<Option<usize>, StreamError> {
    let used = match parts {
        [used @ .., last] if last.is_empty() => used,
        all => all,
    };
    let received = match used {
        // Cheaper for the kernel.
        [part] => net::recv(socket, &mut **part, RecvFlags::empty()).map(|(_, received)| received),
        parts => {
            // Without room it holds nothing to drop, which would take longer than the rest here.
            let mut nothing = ManuallyDrop::new(RecvAncillaryBuffer::default());
            net::recvmsg(socket, parts, &mut nothing, RecvFlags::empty()).map(|message| message.bytes)
        }
    };
    match received {
        Ok(0) => Err(StreamError::Closed),
        Ok(received) => Ok(Some(received)),
        Err(Errno::INTR | Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn time_left(deadline: Option<Instant>) -> Option<Timespec> {
    let left = deadline?.saturating_duration_since(Instant::now());
    // A time that does not fit, of billions of years, is treated as none.
    left.try_into().ok()
}

#[cfg(test)]
mod tests;
