//! What a client sends: messages out of a stream of bytes.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags};
use zeroize::Zeroize;

use crate::wait::wait;

/// The size of the buffer, unless a message is longer. Most requests fit.
const USUAL: usize = 1024;

/// The receiving side of a client's socket.
pub struct Incoming {
    stream: Arc<UnixStream>,
    patience: Duration,
    buffer: Vec<u8>,
    /// The bytes received and not taken.
    start: usize,
    end: usize,
    /// When the message that has begun has to be complete.
    deadline: Option<Instant>,
}

impl Incoming {
    pub fn new(stream: Arc<UnixStream>, patience: Duration) -> Incoming {
        Incoming {
            stream,
            patience,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            deadline: None,
        }
    }

    /// Begins a message, for which the client may take its time.
    pub fn begin(&mut self) {
        self.deadline = None;
    }

    /// Lets the client take no more time than for a message that has begun.
    pub fn hurry(&mut self) {
        self.deadline = Some(Instant::now() + self.patience);
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The client is gone, or has not sent the rest of a message in time.
    pub fn take(&mut self, count: usize) -> Result<&[u8], Errno> {
        while self.end - self.start < count {
            self.receive(count)?;
        }
        let taken = self.start..self.start + count;
        self.start += count;
        Ok(&self.buffer[taken])
    }

    /// Wipes what was taken, among which there may be a PIN.
    pub fn wipe(&mut self) {
        self.buffer[..self.start].zeroize();
        // Bytes that were moved to the front have left a copy behind.
        self.buffer[self.end..].zeroize();
    }

    /// Receives some bytes, with room for `count` in all.
    fn receive(&mut self, count: usize) -> Result<(), Errno> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let size = count.max(USUAL);
        if self.buffer.len() < size || (self.end == 0 && self.buffer.len() > size) {
            // A long message does not cost its memory for ever.
            let mut buffer = vec![0; size.max(self.end)];
            buffer[..self.end].copy_from_slice(&self.buffer[..self.end]);
            // A PIN does not stay in memory that is freed.
            self.buffer.zeroize();
            self.buffer = buffer;
        }
        let has_begun = self.end > 0 || self.deadline.is_some();
        let mut flags = if has_begun {
            RecvFlags::DONTWAIT
        } else {
            RecvFlags::empty()
        };
        let received = loop {
            match net::recv(&*self.stream, &mut self.buffer[self.end..], flags) {
                Ok((0, _)) => return Err(Errno::PIPE),
                Ok((received, _)) => break received,
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => {
                    let deadline = *self
                        .deadline
                        .get_or_insert_with(|| Instant::now() + self.patience);
                    let mut polled = [PollFd::new(&self.stream, PollFlags::IN)];
                    if !wait(&mut polled, Some(deadline))? {
                        return Err(Errno::TIMEDOUT);
                    }
                    flags = RecvFlags::DONTWAIT;
                }
                Err(error) => return Err(error),
            }
        };
        self.end += received;
        self.deadline
            .get_or_insert_with(|| Instant::now() + self.patience);
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn messages_are_taken_in_pieces_and_wiped() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut incoming = Incoming::new(Arc::new(server), Duration::from_secs(60));
        client.write_all(b"head").unwrap();
        assert_eq!(incoming.take(2), Ok(&b"he"[..]));
        let long = [b'P'; 2 * USUAL];
        client.write_all(&long).unwrap();
        client.write_all(b"next").unwrap();
        assert_eq!(incoming.take(2), Ok(&b"ad"[..]));
        assert_eq!(incoming.take(long.len()), Ok(&long[..]));
        incoming.wipe();
        assert!(!incoming.buffer.contains(&b'P'));
        assert_eq!(incoming.take(4), Ok(&b"next"[..]));
        incoming.begin();
        client.write_all(b"x").unwrap();
        assert_eq!(incoming.take(1), Ok(&b"x"[..]));
        assert_eq!(incoming.buffer.len(), USUAL, "a long message has left its room");
        drop(client);
        assert_eq!(incoming.take(1), Err(Errno::PIPE));
    }

    #[test]
    fn the_rest_of_a_message_has_to_come_in_time() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut incoming = Incoming::new(Arc::new(server), Duration::from_millis(1));
        client.write_all(b"he").unwrap();
        incoming.begin();
        assert_eq!(incoming.take(4), Err(Errno::TIMEDOUT));
    }
}
