//! What a client sends: messages out of a stream of bytes.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags};

use crate::outgoing::wait;

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

    /// Receives some bytes, with room for `count` in all.
    fn receive(&mut self, count: usize) -> Result<(), Errno> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let size = count.max(USUAL);
        if self.buffer.len() < size || (self.end == 0 && self.buffer.len() > size) {
            // A long message does not cost its memory for ever.
            self.buffer.resize(size.max(self.end), 0);
            self.buffer.shrink_to_fit();
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
                    wait(&self.stream, PollFlags::IN, deadline)?;
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
