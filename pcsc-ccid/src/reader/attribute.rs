//! Attributes of a reader and its card (PC/SC part 3, clause 3.1).

use alloc::vec::Vec;

use super::{exchange, Reader, ReaderError};
use crate::attributes::{self, number, text, Id};
use crate::message::{IccStatus, HEADER_SIZE};
use crate::transport::Transport;

impl<T: Transport> Reader<T> {
    /// Gets an attribute; gives its length. `name` is what the resource manager calls the slot. An IFD
    /// handler has none: pcscd makes the names.
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
        let bytes = match id {
            attributes::ATR_STRING => self.atr(slot).to_vec(),
            attributes::ICC_INTERFACE_STATUS => Vec::from([u8::from(self.has_card(slot)?)]),
            attributes::ICC_PRESENCE => Vec::from([if self.has_card(slot)? { 2 } else { 0 }]),
            attributes::VENDOR_NAME => text(self.device.manufacturer.as_deref()),
            attributes::VENDOR_IFD_SERIAL_NO => text(self.device.serial.as_deref()),
            // `bcdDevice` in the high half.
            attributes::VENDOR_IFD_VERSION => number(u32::from(self.device.release) << 16),
            // 0020 for USB, bus, address.
            attributes::CHANNEL_ID => {
                number(0x20 << 16 | u32::from(self.device.bus) << 8 | u32::from(self.device.address))
            }
            // How long a command may be.
            attributes::MAXINPUT => number(
                self.descriptor
                    .max_message_length
                    .saturating_sub(HEADER_SIZE as u32),
            ),
            attributes::DEVICE_FRIENDLY_NAME | attributes::DEVICE_SYSTEM_NAME => {
                [name.ok_or(ReaderError::Unsupported)?.as_bytes(), &[0]].concat()
            }
            id => {
                let current = self.current(slot).and_then(|current| current.value(id));
                number(current.ok_or(ReaderError::Unsupported)?)
            }
        };
        exchange::copy(&bytes, value)
    }

    fn has_card(&mut self, slot: u8) -> Result<bool, ReaderError> {
        Ok(self.icc_status(slot)? != IccStatus::Absent)
    }
}
