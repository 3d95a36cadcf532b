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
    /// Behind this all bytes are zero.
    used: usize,
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
            used: 0,
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

    /// What has come of the messages behind those that were taken.
    pub fn received(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Wipes what was taken, among which there may be a PIN.
    pub fn wipe(&mut self) {
        self.buffer[..self.start].zeroize();
        // Bytes that were moved to the front have left a copy behind.
        self.buffer[self.end..self.used].zeroize();
        self.used = self.end;
    }

    /// Whether nothing is left of what was taken.
    #[cfg(test)]
    pub fn is_wiped(&self) -> bool {
        self.buffer.iter().all(|byte| *byte == 0)
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
            self.used = self.end;
        }
        let has_begun = self.end > 0 || self.deadline.is_some();
        let patience = || Instant::now() + self.patience;
        let deadline = has_begun.then(|| *self.deadline.get_or_insert_with(patience));
        let received = loop {
            // Not in `recv`: Linux also wakes a thread that sleeps there when the client reads the last
            // answer. A thread that sleeps in `poll` is only woken by what it polls for.
            if !wait(&mut [PollFd::new(&self.stream, PollFlags::IN)], deadline)? {
                return Err(Errno::TIMEDOUT);
            }
            let room = &mut self.buffer[self.end..];
            match net::recv(&*self.stream, room, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Errno::PIPE),
                Ok((received, _)) => break received,
                Err(Errno::INTR | Errno::AGAIN) => (),
                Err(error) => return Err(error),
            }
        };
        self.end += received;
        self.used = self.used.max(self.end);
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
    use std::io::{Read, Write};

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

    /// Waits until a thread of this process sleeps, and returns how often it has done so.
    #[cfg(target_os = "linux")]
    fn sleeps(thread: &str) -> u64 {
        loop {
            let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.expect("a field of a thread's status").trim()
            };
            if field("State:").starts_with('S') {
                return field("voluntary_ctxt_switches:").parse().unwrap();
            }
            std::thread::yield_now();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_client_that_reads_an_answer_wakes_no_thread() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let server = Arc::new(server);
        let (sender, receiver) = std::sync::mpsc::channel();
        let slept_on = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut incoming = Incoming::new(server.clone(), Duration::from_secs(60));
                assert_eq!(incoming.take(1), Ok(&b"1"[..]));
                sender
                    .send(std::fs::read_link("/proc/thread-self").unwrap())
                    .unwrap();
                assert_eq!(incoming.take(1), Ok(&b"2"[..]));
            });
            client.write_all(b"1").unwrap();
            // From here on it sleeps for the next request alone.
            let thread = receiver.recv().unwrap().display().to_string();
            // A thread that is about to sleep is shown as asleep before that sleep is counted.
            let slept_on = (0..10).any(|_| {
                let before = sleeps(&thread);
                for _ in 0..10 {
                    (&*server).write_all(b"answer").unwrap();
                    client.read_exact(&mut [0; 6]).unwrap();
                }
                sleeps(&thread) == before
            });
            client.write_all(b"2").unwrap();
            slept_on
        });
        assert!(slept_on, "each of ten rounds has woken the thread");
    }

    #[test]
    fn the_rest_of_a_message_has_to_come_in_time() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut incoming = Incoming::new(Arc::new(server), Duration::from_millis(1));
        client.write_all(b"he").unwrap();
        incoming.begin();
        assert_eq!(incoming.take(4), Err(Errno::TIMEDOUT));
    }

    #[test]
    fn a_byte_does_not_renew_the_time_of_its_message() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Each byte in time, for some seconds. Then the other end would find the stream closed.
                let mut bytes = 0..50;
                // A read that times out is the pause before the next byte.
                bytes.find(|_| client.write_all(b"x").is_err() || matches!(client.read(&mut [0]), Ok(0)));
            });
            let mut incoming = Incoming::new(Arc::new(server), Duration::from_millis(300));
            assert_eq!(incoming.take(1000), Err(Errno::TIMEDOUT));
        });
    }
}
