//! A connection to a card.

use std::ffi::{CStr, CString};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use crate::backend::{AttributeValue, Pci};
use crate::context::{deadline, Context};
use crate::error::{Error, Failure};
use crate::ffi::DWORD;
use crate::values::{number, Attribute, Disposition, Protocol, Protocols, ShareMode};

/// A connection to a card in a reader, or to a reader.
///
/// Dropping it disconnects, and resets the card, so that no session of the card is left open for others
/// ([`Disposition::ResetCard`]); [`Card::set_drop_disposition`] chooses otherwise.
#[derive(Debug)]
pub struct Card {
    context: Context,
    /// Its number with the resource manager.
    pub(crate) number: i32,
    /// The name of its reader.
    pub(crate) reader: CString,
    active_protocol: Option<Protocol>,
    /// `None` once disconnected.
    on_drop: Option<Disposition>,
}

// As for the context: a panic leaves nothing half changed.
impl UnwindSafe for Card {}
impl RefUnwindSafe for Card {}

impl Context {
    /// Connects to the card in a reader. Blocks for as long as another connection has a transaction.
    ///
    /// # Errors
    /// Among others [`Error::UnknownReader`], [`Error::NoSmartcard`], [`Error::SharingViolation`],
    /// [`Error::ProtoMismatch`], [`Error::UnresponsiveCard`].
    pub fn connect(
        &self,
        reader: &CStr,
        share_mode: ShareMode,
        preferred_protocols: Protocols,
    ) -> Result<Card, Error> {
        Ok(self.try_connect(reader, share_mode, preferred_protocols)?)
    }

    /// [`Context::connect`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Context::connect`].
    pub fn try_connect(
        &self,
        reader: &CStr,
        share_mode: ShareMode,
        preferred_protocols: Protocols,
    ) -> Result<Card, Failure> {
        self.connect_until(reader, share_mode, preferred_protocols, None)
    }

    /// Connects to the card in a reader within `timeout`.
    ///
    /// # Errors
    /// As [`Context::connect`]; [`Error::Timeout`] when the time is over. The protocol of the daemon
    /// cannot cancel the request, so the context is lost: establish a new one.
    pub fn connect_timeout(
        &self,
        reader: &CStr,
        share_mode: ShareMode,
        preferred_protocols: Protocols,
        timeout: Duration,
    ) -> Result<Card, Failure> {
        self.connect_until(reader, share_mode, preferred_protocols, deadline(timeout))
    }

    fn connect_until(
        &self,
        reader: &CStr,
        share_mode: ShareMode,
        protocols: Protocols,
        deadline: Option<Instant>,
    ) -> Result<Card, Failure> {
        let protocols = number(protocols.bits());
        let connected = self
            .session()
            .connect(reader.to_bytes(), share_mode as u32, protocols, deadline)?;
        Ok(Card {
            context: self.clone(),
            number: connected.card,
            reader: reader.to_owned(),
            active_protocol: Protocol::from_raw(connected.protocol),
            on_drop: Some(Disposition::ResetCard),
        })
    }
}

impl Card {
    /// What dropping this connection does to the card.
    pub fn drop_disposition(&self) -> Disposition {
        self.on_drop.unwrap_or(Disposition::LeaveCard)
    }

    /// Chooses what dropping this connection does to the card; [`Disposition::ResetCard`] by default. A
    /// reset disturbs other connections to the same card; leaving the card leaves its session to them.
    pub fn set_drop_disposition(&mut self, disposition: Disposition) {
        self.on_drop = Some(disposition);
    }

    /// The context of the connection.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The protocol in use; `None` for a direct connection.
    pub fn active_protocol(&self) -> Option<Protocol> {
        self.active_protocol
    }

    /// Changes the share mode and the protocol of the connection, and first does `initialization` to the
    /// card. Needed after [`Error::ResetCard`].
    ///
    /// # Errors
    /// As [`Context::connect`].
    pub fn reconnect(
        &mut self,
        share_mode: ShareMode,
        preferred_protocols: Protocols,
        initialization: Disposition,
    ) -> Result<(), Error> {
        Ok(self.try_reconnect(share_mode, preferred_protocols, initialization)?)
    }

    /// [`Card::reconnect`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Card::reconnect`].
    pub fn try_reconnect(
        &mut self,
        share_mode: ShareMode,
        preferred_protocols: Protocols,
        initialization: Disposition,
    ) -> Result<(), Failure> {
        let protocol = self.context.session().reconnect(
            self.number,
            share_mode as u32,
            number(preferred_protocols.bits()),
            initialization as u32,
            None,
        )?;
        self.active_protocol = Protocol::from_raw(protocol);
        Ok(())
    }

    /// Ends the connection.
    ///
    /// # Errors
    /// Gives the card back with the error.
    pub fn disconnect(self, disposition: Disposition) -> Result<(), (Card, Error)> {
        self.try_disconnect(disposition)
            .map_err(|(card, failure)| (card, failure.into()))
    }

    /// [`Card::disconnect`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Card::disconnect`].
    pub fn try_disconnect(mut self, disposition: Disposition) -> Result<(), (Card, Failure)> {
        match self.context.session().disconnect(self.number, disposition as u32) {
            Ok(()) => {
                self.on_drop = None;
                Ok(())
            }
            Err(failure) => Err((self, failure)),
        }
    }

    /// An attribute's value, in `buffer`.
    ///
    /// # Errors
    /// [`Error::InsufficientBuffer`]; [`Error::UnsupportedFeature`] where the reader has no such attribute.
    pub fn get_attribute<'buf>(
        &self,
        attribute: Attribute,
        buffer: &'buf mut [u8],
    ) -> Result<&'buf [u8], Error> {
        let value = self.ask_for_attribute(attribute, false)?;
        let room = buffer.get_mut(..value.len()).ok_or(Error::InsufficientBuffer)?;
        room.copy_from_slice(&value);
        Ok(room)
    }

    /// The length in bytes of an attribute's value. If the next call of the context gets the value of the
    /// same attribute and comes within 100 ms, it returns the value of this call, except for an attribute
    /// that describes the card.
    ///
    /// # Errors
    /// As [`Card::get_attribute`].
    pub fn get_attribute_len(&self, attribute: Attribute) -> Result<usize, Error> {
        Ok(self.ask_for_attribute(attribute, true)?.len())
    }

    /// An attribute's value.
    ///
    /// # Errors
    /// As [`Card::get_attribute`].
    pub fn get_attribute_owned(&self, attribute: Attribute) -> Result<Vec<u8>, Error> {
        Ok(self.try_get_attribute(attribute)?)
    }

    /// [`Card::get_attribute_owned`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Card::get_attribute`].
    pub fn try_get_attribute(&self, attribute: Attribute) -> Result<Vec<u8>, Failure> {
        Ok(self.ask_for_attribute(attribute, false)?.to_vec())
    }

    /// Reads an attribute's value of one or four bytes as a number. Drivers write numbers in the byte order
    /// of their machine, and a daemon passes them on unchanged: behind a forwarded socket, that may be
    /// another byte order than this machine's. Returns `None` for a value of another length.
    pub fn attribute_number(&self, value: &[u8]) -> Option<u32> {
        match value {
            [byte] => Some(u32::from(*byte)),
            [_, _, _, _] => Some(self.context.session().endian().read_u32(value)),
            _ => None,
        }
    }

    fn ask_for_attribute(
        &self,
        attribute: Attribute,
        is_size_query: bool,
    ) -> Result<AttributeValue, Failure> {
        let session = self.context.session();
        session.get_attribute(self.number, attribute as u32, is_size_query)
    }

    /// Sets an attribute, to at most 264 bytes.
    ///
    /// # Errors
    /// [`Error::InsufficientBuffer`] for more; [`Error::UnsupportedFeature`] and other errors of the reader.
    pub fn set_attribute(&self, attribute: Attribute, attribute_data: &[u8]) -> Result<(), Error> {
        Ok(self.try_set_attribute(attribute, attribute_data)?)
    }

    /// [`Card::set_attribute`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Card::set_attribute`].
    pub fn try_set_attribute(&self, attribute: Attribute, attribute_data: &[u8]) -> Result<(), Failure> {
        if attribute_data.is_empty() {
            return Err(Error::InvalidParameter.into());
        }
        let session = self.context.session();
        session.set_attribute(self.number, attribute as u32, attribute_data)
    }

    /// Sends a command APDU. Returns the response APDU, in `receive_buffer`.
    ///
    /// # Errors
    /// [`Error::InsufficientBuffer`]; [`Error::ResetCard`] and [`Error::RemovedCard`];
    /// [`Error::NotTransacted`] where the exchange failed; [`Error::ProtoMismatch`] for a direct connection.
    pub fn transmit<'buf>(
        &self,
        send_buffer: &[u8],
        receive_buffer: &'buf mut [u8],
    ) -> Result<&'buf [u8], Error> {
        Ok(self.try_transmit(send_buffer, receive_buffer)?)
    }

    /// [`Card::transmit`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Card::transmit`]. [`Failure::detail`] is the length that the response has.
    pub fn try_transmit<'buf>(
        &self,
        send_buffer: &[u8],
        receive_buffer: &'buf mut [u8],
    ) -> Result<&'buf [u8], Failure> {
        self.transmit_until(send_buffer, receive_buffer, None)
    }

    /// [`Card::transmit`], with the length of the response if the buffer is too small.
    ///
    /// # Errors
    /// As [`Card::transmit`], with the length in bytes that the daemon gave.
    pub fn transmit2<'buf>(
        &self,
        send_buffer: &[u8],
        receive_buffer: &'buf mut [u8],
    ) -> Result<&'buf [u8], (Error, usize)> {
        let room = receive_buffer.len();
        let length = |failure: &Failure| match failure.detail() {
            Some(length) => length as usize,
            // No command was sent.
            None if self.active_protocol.is_none() => 0,
            None => room,
        };
        self.transmit_until(send_buffer, receive_buffer, None)
            .map_err(|failure| (failure.error(), length(&failure)))
    }

    /// [`Card::transmit`] within `timeout`.
    ///
    /// # Errors
    /// As [`Card::transmit`]; [`Error::Timeout`] when the time is over. What the card did by then is not
    /// known. With a daemon the context is lost: establish a new one. Without one the card is reset, and the
    /// next call of each connection to it returns [`Error::ResetCard`].
    pub fn transmit_timeout<'buf>(
        &self,
        send_buffer: &[u8],
        receive_buffer: &'buf mut [u8],
        timeout: Duration,
    ) -> Result<&'buf [u8], Failure> {
        self.transmit_until(send_buffer, receive_buffer, deadline(timeout))
    }

    fn transmit_until<'buf>(
        &self,
        command: &[u8],
        response: &'buf mut [u8],
        deadline: Option<Instant>,
    ) -> Result<&'buf [u8], Failure> {
        /// Two words as wide as C's `DWORD`.
        const PCI_SIZE: u32 = 2 * std::mem::size_of::<DWORD>() as u32;
        let protocol = self.active_protocol.ok_or(Error::ProtoMismatch)?;
        let pci = |protocol| Pci {
            protocol,
            length: PCI_SIZE,
        };
        let (send, receive) = (pci(protocol as u32), pci(number(Protocols::ANY.bits())));
        let session = self.context.session();
        let transmitted = session.transmit(self.number, send, receive, command, response, deadline)?;
        Ok(&response[..transmitted.length])
    }

    /// Calls a function of the reader itself (PC/SC part 10, and [`ctl_code`](crate::ctl_code)). Returns its
    /// answer, in `receive_buffer`.
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`], [`Error::NotTransacted`] and other errors of the reader.
    pub fn control<'buf>(
        &self,
        control_code: DWORD,
        send_buffer: &[u8],
        receive_buffer: &'buf mut [u8],
    ) -> Result<&'buf [u8], Error> {
        Ok(self.try_control(control_code, send_buffer, receive_buffer)?)
    }

    /// [`Card::control`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Card::control`].
    pub fn try_control<'buf>(
        &self,
        control_code: DWORD,
        send_buffer: &[u8],
        receive_buffer: &'buf mut [u8],
    ) -> Result<&'buf [u8], Failure> {
        let session = self.context.session();
        let length = session.control(
            self.number,
            number(control_code),
            send_buffer,
            receive_buffer,
            None,
        )?;
        Ok(&receive_buffer[..length])
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if let Some(disposition) = self.on_drop {
            // The error has no receiver. A lost connection has disconnected the card.
            let _ = self.context.session().disconnect(self.number, disposition as u32);
        }
    }
}
