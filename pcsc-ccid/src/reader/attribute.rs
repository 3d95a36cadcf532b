//! Attributes of a reader and its card (PC/SC part 3, clause 3.1); the values are those of
//! [`crate::attributes`].

use super::{exchange, Reader, ReaderError};
use crate::attributes::{self, AttributeFacts, Id};
use crate::message::IccStatus;
use crate::transport::Transport;

impl<T: Transport> Reader<T> {
    /// Gets an attribute; gives its length. `name` is what the resource manager calls the slot.
    ///
    /// # Errors
    /// [`ReaderError::Unsupported`], [`ReaderError::BufferTooSmall`], or what the reader says when it is
    /// asked for a card.
    pub fn attribute(
        &mut self,
        slot: u8,
        id: Id,
        name: Option<&str>,
        value: &mut [u8],
    ) -> Result<usize, ReaderError> {
        let asks_for_card = matches!(id, attributes::ICC_PRESENCE | attributes::ICC_INTERFACE_STATUS);
        let is_present = asks_for_card && self.icc_status(slot)? != IccStatus::Absent;
        let facts = AttributeFacts {
            atr: self.atr(slot),
            is_present,
            manufacturer: self.device.manufacturer.as_deref(),
            serial: self.device.serial.as_deref(),
            firmware: self.device.release,
            bus: self.device.bus,
            address: self.device.address,
            max_message_length: self.descriptor.max_message_length,
            current: self.current(slot),
            name,
        };
        let bytes = attributes::value(id, &facts).ok_or(ReaderError::Unsupported)?;
        exchange::copy(&bytes, value)
    }
}
