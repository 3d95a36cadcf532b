//! What goes to the reader itself rather than to the card.

use super::{exchange, Error, Reader};
use crate::message::Command;
use crate::transport::Transport;

impl<T: Transport> Reader<T> {
    /// Sends a command of the reader's own (CCID 1.1, clause 6.1.8), whoever asks; gives the answer's length.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`], or what the reader says.
    pub fn escape(&mut self, slot: u8, command: &[u8], answer: &mut [u8]) -> Result<usize, Error> {
        let limit = self.quirks.command_limit;
        let reply = self.port.call(slot, &Command::Escape(command), limit)?;
        exchange::copy(self.port.data(&reply), answer)
    }
}
