//! `SCardControl`: functions of the reader itself (PC/SC part 10).

use core::time::Duration;

use super::session::Protocol;
use super::{exchange, Reader, ReaderError};
use crate::message::CommandMessage;
use crate::part10::gemalto::{self, FirmwareFeatures};
use crate::part10::properties::{self, Facts};
use crate::part10::tpdu::NadRequest;
use crate::part10::{self, escape, ControlFunction};
use crate::transport::Transport;

impl<T: Transport> Reader<T> {
    /// Executes a function of the reader by its control code; returns the answer's length.
    ///
    /// # Errors
    /// [`ReaderError::Unsupported`] for a code or a function that the reader does not have, or that the user
    /// has not allowed; [`ReaderError::InvalidParameter`] for a structure with a wrong field;
    /// [`ReaderError::BufferTooSmall`].
    pub fn control(
        &mut self,
        slot: u8,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
    ) -> Result<usize, ReaderError> {
        self.slot(slot)?;
        let pin_support = self.descriptor.pin_support;
        match ControlFunction::decode(code).ok_or(ReaderError::Unsupported)? {
            ControlFunction::Features => {
                // As in libccid: room for all features, whatever the reader has.
                if answer.len() < part10::FEATURES_ROOM {
                    return Err(ReaderError::BufferTooSmall);
                }
                let direct = self.quirks.reader_direct;
                let features = part10::features(pin_support, direct, self.options.allow_escape);
                exchange::copy(&part10::features_reply(features), answer)
            }
            // bPINSupport of the descriptor after the quirks: pads that advertise falsely are off.
            ControlFunction::VerifyPin if pin_support & 1 != 0 => self.verify_pin(slot, data, answer),
            ControlFunction::ModifyPin if pin_support & 2 != 0 => self.modify_pin(slot, data, answer),
            ControlFunction::VerifyPin | ControlFunction::ModifyPin => Err(ReaderError::Unsupported),
            ControlFunction::PinProperties => {
                exchange::copy(&properties::pin_properties(&self.facts()), answer)
            }
            ControlFunction::TlvProperties => {
                exchange::copy(&properties::tlv_properties(&self.facts()), answer)
            }
            ControlFunction::ReaderDirect
                if self.quirks.reader_direct && escape::is_secoder_command(data) =>
            {
                self.call_escape(slot, data, answer, escape::LIMIT)
            }
            ControlFunction::ReaderDirect => Err(ReaderError::Unsupported),
            // libccid's rule: a few harmless commands, and all of them if the administrator says so
            // (`ifdDriverOptions`).
            ControlFunction::Escape => {
                if !escape::is_allowed(data, &self.quirks, self.options.allow_escape) {
                    return Err(ReaderError::Unsupported);
                }
                self.call_escape(slot, data, answer, escape::LIMIT)
            }
            ControlFunction::Nad => self.control_nad(slot, data, answer),
            ControlFunction::UsbPath if self.device.path.is_empty() => Err(ReaderError::Unsupported),
            ControlFunction::UsbPath => {
                let room = answer
                    .get_mut(..=self.device.path.len())
                    .ok_or(ReaderError::BufferTooSmall)?;
                if let Some((nul, path)) = room.split_last_mut() {
                    path.copy_from_slice(self.device.path.as_bytes());
                    *nul = 0;
                }
                Ok(self.device.path.len() + 1)
            }
        }
    }

    /// Sends an Escape (CCID 1.1, clause 6.1.8) without asking whether it is allowed; returns the answer's
    /// length.
    ///
    /// # Errors
    /// [`ReaderError::BufferTooSmall`], or what the reader says.
    pub fn escape(&mut self, slot: u8, command: &[u8], answer: &mut [u8]) -> Result<usize, ReaderError> {
        self.call_escape(slot, command, answer, self.quirks.command_limit())
    }

    fn call_escape(
        &mut self,
        slot: u8,
        command: &[u8],
        answer: &mut [u8],
        limit: Duration,
    ) -> Result<usize, ReaderError> {
        let reply = self.port.call(slot, &CommandMessage::Escape(command), limit)?;
        exchange::copy(self.port.data(&reply), answer)
    }

    /// Uses the slot's mechanics (clause 6.1.12): 1 accept, 2 eject, 3 capture, 4 lock, 5 unlock.
    ///
    /// # Errors
    /// [`ReaderError::Unsupported`] where `dwMechanical` has no such function.
    pub fn mechanical(&mut self, slot: u8, function: u8) -> Result<(), ReaderError> {
        let bit = match function {
            1 | 2 => function,
            3 => 4,
            4 | 5 => 8,
            _ => return Err(ReaderError::InvalidParameter),
        };
        if self.descriptor.mechanical & u32::from(bit) == 0 {
            return Err(ReaderError::Unsupported);
        }
        self.slot(slot)?;
        let result = self.call(slot, &CommandMessage::Mechanical(function));
        self.heed(slot, result.map(|_| ()))
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            vendor: self.device.vendor,
            product: self.device.product,
            features: self.descriptor.features,
            lcd_layout: self.descriptor.lcd_layout,
            quirks: &self.quirks.pin,
            escapes: self.options.allow_escape,
            firmware_id: (!self.firmware_id.is_empty()).then_some(&self.firmware_id),
            firmware: self.firmware.as_ref(),
        }
    }

    /// At opening: reads the firmware's features of Gemalto's readers, and loads the messages of displays.
    pub(super) fn ask_firmware(&mut self) -> Result<(), ReaderError> {
        let mut answer = [0; 256];
        if self.quirks.gemalto_escapes {
            let length = optional(self.escape(0, &gemalto::FIRMWARE_FEATURES, &mut answer))?;
            self.firmware = answer.get(..length).and_then(FirmwareFeatures::decode);
            let length = optional(self.escape(0, &gemalto::FIRMWARE_ID, &mut answer))?;
            self.firmware_id
                .extend_from_slice(answer.get(..length).unwrap_or(&[]));
        }
        if self.quirks.load_messages {
            let language = self.options.language;
            let messages = gemalto::load_messages(core::str::from_utf8(&language).unwrap_or("en"));
            optional(self.escape(0, &messages, &mut answer))?;
            optional(self.escape(0, &gemalto::NO_RETRY_COUNTER, &mut answer))?;
        }
        Ok(())
    }

    /// Sets or gets the NAD of T=1, which holds until the card's reset. A reader that speaks T=1 itself has
    /// no command for it.
    fn control_nad(&mut self, slot: u8, data: &[u8], answer: &mut [u8]) -> Result<usize, ReaderError> {
        // The reader makes the blocks, with a NAD of its own.
        if self.exchange_level().is_apdu() {
            return Err(ReaderError::Unsupported);
        }
        let request = NadRequest::decode(data).ok_or(ReaderError::InvalidParameter)?;
        let engine = self
            .slot(slot)?
            .chosen
            .as_deref_mut()
            .filter(|chosen| chosen.protocol == Protocol::T1)
            .and_then(|chosen| chosen.engine.as_mut());
        let nad = engine.and_then(|engine| {
            if let NadRequest::Set(nad) = request {
                return engine.set_nad(nad).then_some(nad);
            }
            Some(engine.config().nad)
        });
        let (reply, length) = request.reply(nad);
        exchange::copy(reply.get(..length).unwrap_or(&reply), answer)
    }
}

/// The answer's length; 0 if the reader does not support the command. Fails only if the reader is gone.
fn optional(result: Result<usize, ReaderError>) -> Result<usize, ReaderError> {
    match result {
        Err(error) if error.is_gone() => Err(error),
        result => Ok(result.unwrap_or(0)),
    }
}
