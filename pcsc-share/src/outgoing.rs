//! What is sent to a client: answers by its own thread, events by any thread.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pcsc_process::socket;
use pcsc_wire::{Body, Endian, EventBody, MAX_PAYLOAD};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{self, SendFlags, Shutdown};

use crate::sync::lock;
use crate::wait::wait;

/// From how many bytes on answers are not held back.
const HELD: usize = MAX_PAYLOAD;

/// The sending side of a client's socket. An event is never sent within an answer, and the thread that sends
/// one does not wait for the client.
pub struct Outgoing {
    stream: Arc<UnixStream>,
    patience: Duration,
    state: Mutex<OutgoingState>,
}

struct OutgoingState {
    endian: Endian,
    /// The client's thread makes or sends an answer, or one is held.
    is_answering: bool,
    /// The answer being made is sent with the next one.
    is_followed: bool,
    /// Answers to be sent with the next one.
    held: Vec<u8>,
    /// The event that came meanwhile, by its return code.
    due: Option<u32>,
}

impl Outgoing {
    pub fn new(stream: Arc<UnixStream>, patience: Duration) -> Outgoing {
        Outgoing {
            stream,
            patience,
            state: Mutex::new(OutgoingState {
                endian: Endian::NATIVE,
                is_answering: false,
                is_followed: false,
                held: Vec::new(),
                due: None,
            }),
        }
    }

    /// Sets the byte order of events.
    pub fn set_endian(&self, endian: Endian) {
        lock(&self.state).endian = endian;
    }

    /// Sets whether the answers from now on wait for the next one, to be sent with it: the client has sent
    /// both requests, and wakes up once.
    pub fn set_followed(&self, is_followed: bool) {
        lock(&self.state).is_followed = is_followed;
    }

    /// Sends what `make` returns, or holds it for the next answer. An event that comes from the call of
    /// `make` on is sent behind both.
    ///
    /// # Errors
    /// The client is gone, or does not read its answers.
    pub fn answer<T: AsRef<[u8]>>(&self, make: impl FnOnce() -> T) -> Result<(), Errno> {
        let (is_held, mut held) = {
            let mut state = lock(&self.state);
            state.is_answering = true;
            // A client that asks without an end gets what there is.
            match state.is_followed && state.held.len() < HELD {
                true => (true, Vec::new()),
                false => (false, std::mem::take(&mut state.held)),
            }
        };
        let answer = make();
        let answer = answer.as_ref();
        if is_held {
            lock(&self.state).held.extend_from_slice(answer);
            return Ok(());
        }
        let sent = if held.is_empty() {
            self.send(answer)
        } else {
            held.extend_from_slice(answer);
            self.send(&held)
        };
        let mut state = lock(&self.state);
        state.is_answering = false;
        // Under the lock in which the answer is marked as sent: no other event can come before this one.
        if let Some(rv) = state.due.take() {
            self.send_event(state.endian, rv);
        }
        sent
    }

    /// Sends an event, or has it sent behind the answer that is being sent.
    pub fn event(&self, rv: u32) {
        let mut state = lock(&self.state);
        // The client reads a whole answer before anything else. An event within it would be taken for a part.
        if state.is_answering {
            state.due = Some(rv);
        } else {
            self.send_event(state.endian, rv);
        }
    }

    fn send_event(&self, endian: Endian, rv: u32) {
        let mut bytes = [0; EventBody::SIZE];
        EventBody { timeout: 0, rv }.emit(endian, &mut bytes);
        // A client that waits has read all its answers, so there is room. A part of an event would put the
        // client out of step.
        if self.send_now(&bytes) != Ok(bytes.len()) {
            self.close();
        }
    }

    fn send_now(&self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            match net::send(&*self.stream, bytes, socket::SEND_FLAGS | SendFlags::DONTWAIT) {
                Err(Errno::INTR) => (),
                sent => return sent,
            }
        }
    }

    /// Sends all bytes. Once there is no room for them, the client has to make room for the rest in time.
    fn send(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        let mut deadline = None;
        while !bytes.is_empty() {
            match self.send_now(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::AGAIN) => {
                    // Once for the whole answer: a client that reads a byte now and then must not hold its
                    // thread for ever.
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.patience);
                    let mut polled = [PollFd::new(&self.stream, PollFlags::OUT)];
                    if !wait(&mut polled, Some(deadline))? {
                        return Err(Errno::TIMEDOUT);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the connection in both directions, upon which the client is served no more.
    pub fn close(&self) {
        // It fails where the connection has ended.
        let _ = net::shutdown(&*self.stream, Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{poll, Timespec};
    use std::io::Read;

    fn pair() -> (UnixStream, Outgoing) {
        let (client, server) = UnixStream::pair().unwrap();
        (client, Outgoing::new(Arc::new(server), Duration::from_millis(1)))
    }

    #[test]
    fn an_event_follows_the_answer_that_is_being_sent() {
        let (mut client, outgoing) = pair();
        outgoing
            .answer(|| {
                outgoing.event(7);
                *b"answer"
            })
            .unwrap();
        outgoing.set_endian(Endian::NATIVE.other());
        outgoing.event(9);
        let mut received = [0; 6 + 2 * EventBody::SIZE];
        client.read_exact(&mut received).unwrap();
        let (answer, events) = received.split_at(6);
        assert_eq!(answer, b"answer");
        let [first, second] = [Endian::NATIVE, Endian::NATIVE.other()].map(|endian| {
            let at = if endian == Endian::NATIVE {
                0
            } else {
                EventBody::SIZE
            };
            EventBody::parse(&events[at..], endian).unwrap()
        });
        assert_eq!((first.rv, second.rv), (7, 9));
    }

    #[test]
    fn answers_to_requests_that_came_together_are_sent_together() {
        let (mut client, outgoing) = pair();
        client.set_nonblocking(true).unwrap();
        let mut received = [0; 16];
        outgoing.set_followed(true);
        outgoing.answer(|| b"one,").unwrap();
        outgoing.event(7);
        let nothing = client.read(&mut received).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        outgoing.set_followed(false);
        outgoing.answer(|| b"two").unwrap();
        assert_eq!(client.read(&mut received).unwrap(), 7 + EventBody::SIZE);
        assert_eq!(&received[..7], b"one,two");
        // What the client asks for is bounded.
        outgoing.set_followed(true);
        outgoing.answer(|| [0; HELD]).unwrap();
        outgoing.answer(|| [0; 1]).unwrap();
        assert!(client.read(&mut received).is_ok());
    }

    #[test]
    fn a_client_that_reads_nothing_is_closed() {
        let (client, outgoing) = pair();
        let full = loop {
            if let Err(error) = outgoing.answer(|| [0; 4096]) {
                break error;
            }
        };
        assert_eq!(full, Errno::TIMEDOUT);
        // Whoever sends an event does not wait for it.
        outgoing.event(0);
        let mut polled = [PollFd::new(&client, PollFlags::empty())];
        assert_eq!(poll(&mut polled, Some(&Timespec::default())), Ok(1));
        assert_eq!(outgoing.answer(|| [0]), Err(Errno::PIPE));
    }
}
