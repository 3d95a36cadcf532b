//! Commands to a reader, over bulk pipes or over the control pipe.

use core::time::Duration;

use super::iccd::Pipe;
use super::link::Link;
use super::reply::Reply;
use super::ReaderError;
use crate::descriptor::{ClassDescriptor, Flavour};
use crate::message::CommandMessage;
use crate::transport::{Transport, TransportError};

/// After this long an exchange sends no further command, whatever the card and the reader ask for.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(600);

/// The pipes of a reader, and until when the caller waits for them.
pub struct Port<T> {
    pipes: Pipes<T>,
    /// Cancels commands at this time on the transport's clock; see [`super::Reader::with_deadline`].
    pub call_deadline: Option<Duration>,
}

enum Pipes<T> {
    Bulk(Link<T>),
    Control(Pipe<T>),
}

impl<T: Transport> Port<T> {
    /// For a reader with this class descriptor; `loses_whole_packets` as in [`crate::quirks::Quirks`].
    pub fn new(
        transport: T,
        flavour: Flavour,
        descriptor: &ClassDescriptor,
        loses_whole_packets: bool,
    ) -> Port<T> {
        let max_message = descriptor.max_message_length;
        let pipes = match flavour {
            Flavour::Ccid => Pipes::Bulk(Link::new(
                transport,
                max_message,
                loses_whole_packets,
                descriptor.slots() == 1,
            )),
            Flavour::IccdA | Flavour::IccdB => Pipes::Control(Pipe::new(transport, flavour, max_message)),
        };
        Port {
            pipes,
            call_deadline: None,
        }
    }

    pub fn transport(&mut self) -> &mut T {
        match &mut self.pipes {
            Pipes::Bulk(link) => &mut link.transport,
            Pipes::Control(pipe) => &mut pipe.transport,
        }
    }

    #[cfg(feature = "std")]
    pub fn into_transport(self) -> T {
        match self.pipes {
            Pipes::Bulk(link) => link.transport,
            Pipes::Control(pipe) => pipe.transport,
        }
    }

    /// How many bytes of data one command can carry.
    pub fn max_data(&self) -> usize {
        match &self.pipes {
            Pipes::Bulk(link) => link.max_data(),
            Pipes::Control(pipe) => pipe.max_data,
        }
    }

    /// How many of the characters that a card is about to send can be asked for at once.
    pub fn part(&self, expected: usize) -> u16 {
        let part = match &self.pipes {
            Pipes::Bulk(link) => link.part(expected),
            Pipes::Control(_) => expected,
        };
        u16::try_from(part).unwrap_or(u16::MAX)
    }

    /// The deadline of an exchange that begins now; see [`Port::check`].
    pub fn deadline(&mut self) -> Duration {
        self.transport().now().saturating_add(LONGEST_EXCHANGE)
    }

    /// Fails if the deadline has passed. Each command has a timeout, but a card or a reader can cause as many
    /// commands as it likes, so an exchange needs a bound of its own.
    pub fn check(&mut self, deadline: Duration) -> Result<(), ReaderError> {
        if deadline.saturating_sub(self.transport().now()).is_zero() {
            return Err(ReaderError::TooSlow);
        }
        Ok(())
    }

    /// Sends a command and gets its answer, which may take `timeout`, or longer where the reader asks for it.
    ///
    /// # Errors
    /// [`TransportError::Cancelled`] at the caller's deadline, too.
    pub fn call(
        &mut self,
        slot: u8,
        command: &CommandMessage<'_>,
        timeout: Duration,
    ) -> Result<Reply, ReaderError> {
        let deadline = self.call_deadline;
        let result = match &mut self.pipes {
            Pipes::Bulk(link) => link.call(slot, command, timeout, deadline),
            Pipes::Control(pipe) => pipe.call(command, timeout, deadline),
        };
        if matches!(result, Err(ReaderError::Transport(TransportError::Cancelled))) {
            // Commands that clean up after this one have a time of their own.
            self.call_deadline = None;
        }
        result
    }

    /// The data of the last reply.
    pub fn data(&self, reply: &Reply) -> &[u8] {
        let buffer = match &self.pipes {
            Pipes::Bulk(link) => &link.buffer,
            Pipes::Control(pipe) => &pipe.buffer,
        };
        buffer.get(reply.start..reply.end).unwrap_or(&[])
    }
}
