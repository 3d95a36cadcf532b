//! EFI_SMART_CARD_READER_PROTOCOL for programs, whichever driver has installed it.

use core::ptr;

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use pcsc_ccid::atr;
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::proto::usb::io::UsbIo;
use uefi::{CStr16, Handle, Status, StatusExt};

use crate::abi::SmartCardReaderProtocol;

/// The longest response APDU in bytes, with its status word.
const LONGEST_RESPONSE: usize = 65_536 + 2;
/// More bytes than any reader's name has.
const MAX_NAME: usize = 512;

/// A slot of a reader.
#[derive(Debug)]
pub struct SmartCardReader(ScopedProtocol<SmartCardReaderProtocol>);

/// The result of [`SmartCardReader::status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderStatus {
    /// The reader's name.
    pub name: String,
    /// A SCARD_ABSENT, SCARD_INACTIVE, SCARD_ACTIVE or SCARD_UNKNOWN of [`abi`](crate::abi).
    pub state: u32,
    /// A SCARD_PROTOCOL_* bit.
    pub protocol: u32,
    /// The ATR; empty without power.
    pub atr: Vec<u8>,
}

/// Has the firmware's drivers start the readers: a program can run before that has happened, and a driver
/// that was loaded late is not asked of itself.
pub fn connect_controllers() {
    match boot::find_handles::<UsbIo>() {
        Ok(devices) if !devices.is_empty() => connect(&devices, false),
        // A fast boot leaves even the USB unconnected.
        _ => {
            if let Ok(handles) = boot::locate_handle_buffer(boot::SearchType::AllHandles) {
                connect(&handles, true);
            }
        }
    }
}

fn connect(handles: &[Handle], recursive: bool) {
    for handle in handles {
        // Handles that no driver manages are an error, and most are of that kind.
        _ = boot::connect_controller(*handle, &[], None, recursive);
    }
}

/// The slots of all readers.
///
/// # Errors
/// Of the boot services. No reader is an empty list.
pub fn readers() -> uefi::Result<Vec<SmartCardReader>> {
    match boot::find_handles::<SmartCardReaderProtocol>() {
        Ok(handles) => handles.into_iter().map(SmartCardReader::open).collect(),
        Err(error) if error.status() == Status::NOT_FOUND => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl SmartCardReader {
    fn open(handle: Handle) -> uefi::Result<SmartCardReader> {
        let params = OpenProtocolParams {
            handle,
            agent: boot::image_handle(),
            controller: None,
        };
        // Not exclusive: that would keep the firmware from removing a reader that was unplugged.
        // SAFETY: the driver's instances stay valid when the reader goes, and then give errors.
        let protocol = unsafe { boot::open_protocol(params, OpenProtocolAttributes::GetProtocol)? };
        Ok(SmartCardReader(protocol))
    }

    /// The handle that the protocol is installed on.
    pub fn handle(&self) -> Handle {
        self.0.open_params().handle
    }

    /// The protocol itself.
    pub fn raw(&mut self) -> &mut SmartCardReaderProtocol {
        &mut self.0
    }

    /// Name, state, protocol and ATR.
    ///
    /// # Errors
    /// The specification's codes.
    pub fn status(&mut self) -> uefi::Result<ReaderStatus> {
        let mut name = [0; MAX_NAME / 2];
        let mut name_length = MAX_NAME;
        let (mut state, mut protocol) = (0, 0);
        let mut atr = vec![0; atr::MAX_SIZE];
        let mut atr_length = atr.len();
        let this = self.raw();
        // SAFETY: all pointers are to variables of the lengths given.
        unsafe {
            (this.status)(
                ptr::from_mut(this),
                name.as_mut_ptr(),
                &mut name_length,
                &mut state,
                &mut protocol,
                atr.as_mut_ptr(),
                &mut atr_length,
            )
        }
        .to_result()?;
        atr.truncate(atr_length);
        let name = CStr16::from_u16_until_nul(&name).map(|name| name.to_string());
        Ok(ReaderStatus {
            name: name.unwrap_or_default(),
            state,
            protocol,
            atr,
        })
    }

    /// Connects; gives the active protocol.
    ///
    /// # Errors
    /// The specification's codes.
    pub fn connect(
        &mut self,
        access_mode: u32,
        card_action: u32,
        preferred_protocols: u32,
    ) -> uefi::Result<u32> {
        let mut active = 0;
        let this = self.raw();
        // SAFETY: the pointer is to a variable.
        unsafe {
            (this.connect)(
                ptr::from_mut(this),
                access_mode,
                card_action,
                preferred_protocols,
                &mut active,
            )
        }
        .to_result_with_val(|| active)
    }

    /// Ends the connection.
    ///
    /// # Errors
    /// The specification's codes.
    pub fn disconnect(&mut self, card_action: u32) -> uefi::Result {
        let this = self.raw();
        // SAFETY: no pointers but the protocol's own.
        unsafe { (this.disconnect)(ptr::from_mut(this), card_action) }.to_result()
    }

    /// Sends a command APDU; gives the response APDU.
    ///
    /// # Errors
    /// The specification's codes.
    pub fn transmit(&mut self, command: &[u8]) -> uefi::Result<Vec<u8>> {
        let this = self.raw();
        filled(|room, length| {
            // SAFETY: both buffers have the lengths given.
            unsafe { (this.transmit)(ptr::from_mut(this), command.as_ptr(), command.len(), room, length) }
        })
    }

    /// Uses a function of the reader's.
    ///
    /// # Errors
    /// The specification's codes.
    pub fn control(&mut self, code: u32, data: &[u8]) -> uefi::Result<Vec<u8>> {
        let this = self.raw();
        filled(|room, length| {
            // SAFETY: both buffers have the lengths given.
            unsafe { (this.control)(ptr::from_mut(this), code, data.as_ptr(), data.len(), room, length) }
        })
    }

    /// An attribute's value.
    ///
    /// # Errors
    /// The specification's codes.
    pub fn attribute(&mut self, id: u32) -> uefi::Result<Vec<u8>> {
        let this = self.raw();
        filled(|room, length| {
            // SAFETY: the buffer has the length given.
            unsafe { (this.get_attrib)(ptr::from_mut(this), id, room, length) }
        })
    }
}

/// Calls `ask` with a buffer for any answer.
fn filled(ask: impl FnOnce(*mut u8, &mut usize) -> Status) -> uefi::Result<Vec<u8>> {
    let mut room = vec![0; LONGEST_RESPONSE];
    let mut length = room.len();
    ask(room.as_mut_ptr(), &mut length).to_result()?;
    room.truncate(length);
    Ok(room)
}
