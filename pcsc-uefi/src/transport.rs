//! `pcsc-ccid`'s transport over EFI_USB_IO_PROTOCOL.

use core::ptr::NonNull;
use core::time::Duration;

use alloc::vec::Vec;

use pcsc_ccid::descriptor::{Flavour, Interface};
use pcsc_ccid::transport::{Transport, TransportError};
use uefi::proto::usb::io::{ControlTransfer, UsbIo};
use uefi_raw::protocol::usb::UsbTransferStatus;

use crate::clock::Clock;
use crate::short;

/// bmRequestType of class requests to the interface (CCID 1.1, clause 5.3); [`UsbIo`] sets the direction's
/// bit.
const CLASS_INTERFACE: u8 = 0x21;
/// GET_STATUS of the device and CLEAR_FEATURE(ENDPOINT_HALT) of an endpoint (USB 2.0, clause 9.4).
const STANDARD_DEVICE: u8 = 0x00;
const STANDARD_ENDPOINT: u8 = 0x02;
const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const ENDPOINT_HALT: u16 = 0;
/// GET_CLOCK_FREQUENCIES and GET_DATA_RATES (CCID 1.1, clauses 5.3.2 and 5.3.3).
const GET_CLOCK_FREQUENCIES: u8 = 0x02;
const GET_DATA_RATES: u8 = 0x03;
/// How long a device may take for a standard request, in milliseconds (USB 2.0, clause 9.2.6.4).
const STANDARD_REQUEST: u32 = 500;
/// How long to wait for an answer before it is checked whether the device is still there. Firmware reports a
/// transfer to a device that was pulled out at the end of its timeout where the host controller does not stop
/// it, and a card may take minutes. Most answers take less: a message that is under way when a transfer is
/// stopped can be lost.
const ANSWER: Duration = Duration::from_secs(2);
/// The longest bulk IN transfer in bytes. EDK II divides a longer one into transfers of 64 KiB, each of which
/// must end before the whole does, so that a short answer is never seen.
const LONGEST_TRANSFER: usize = 0x1_0000;

/// One interface of a USB device.
#[derive(Debug)]
pub struct UsbTransport {
    usb: NonNull<UsbIo>,
    interface: Interface,
    clock: Clock,
    /// The last class request with data for the device.
    command: u8,
}

// SAFETY: boot services run on one processor, and `slot` keeps calls from interrupting each other.
// `Transport` asks for `Send`; nothing ever sends a transport.
unsafe impl Send for UsbTransport {}

impl UsbTransport {
    /// The transport of `interface`.
    ///
    /// # Safety
    /// `usb` stays installed, and no other code uses it, while this value lives.
    pub unsafe fn new(usb: NonNull<UsbIo>, interface: Interface) -> UsbTransport {
        UsbTransport {
            usb,
            interface,
            clock: Clock::start(),
            command: 0,
        }
    }

    fn usb(&mut self) -> &mut UsbIo {
        // SAFETY: valid and ours, as `new`'s caller promises.
        unsafe { self.usb.as_mut() }
    }

    /// A message of the interrupt pipe that has come since the last call, if any. A reader without that pipe
    /// has none. Takes up to one polling interval: in less the host controller may not ask the reader.
    pub fn notification(&mut self) -> Option<Vec<u8>> {
        let pipe = self.interface.interrupt_in?;
        // bInterval of a full speed device is in milliseconds; that of a fast one is a smaller time. 0 would
        // wait without end.
        let interval = usize::from(pipe.interval).max(1);
        let mut message = alloc::vec![0; usize::from(pipe.max_packet_size).max(1)];
        let length = self
            .usb()
            .sync_interrupt_receive(pipe.address, &mut message, interval)
            .ok()?;
        message.truncate(length);
        (length > 0).then_some(message)
    }

    /// What a failed transfer means. The firmware reports a device that was unplugged in several ways, as a
    /// timeout too; a device that does not answer a standard request either is gone.
    fn error(&mut self, error: &uefi::Error<UsbTransferStatus>) -> TransportError {
        let mut answer = [0; 2];
        let asked = self.usb().control_transfer(
            STANDARD_DEVICE,
            GET_STATUS,
            0,
            0,
            ControlTransfer::DataIn(&mut answer),
            STANDARD_REQUEST,
        );
        let status = *error.data();
        match asked {
            Err(_) => TransportError::Gone,
            Ok(()) if status.contains(UsbTransferStatus::STALL) => TransportError::Stall,
            Ok(()) if status.contains(UsbTransferStatus::TIMEOUT) => TransportError::Timeout,
            Ok(()) if error.status() == uefi::Status::TIMEOUT => TransportError::Timeout,
            Ok(()) => TransportError::Fault,
        }
    }
}

/// A timeout in milliseconds, rounded up: 0 means no timeout to the firmware.
fn milliseconds(timeout: Duration) -> u32 {
    let milliseconds = timeout.as_micros().div_ceil(1000);
    u32::try_from(milliseconds).unwrap_or(u32::MAX).max(1)
}

impl Transport for UsbTransport {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        let endpoint = self.interface.bulk_out.ok_or(TransportError::Fault)?;
        let sent = self
            .usb()
            .sync_bulk_send(endpoint, message, milliseconds(timeout) as usize);
        match sent {
            Ok(length) if length == message.len() => Ok(()),
            Ok(_) => Err(TransportError::Fault),
            Err(error) => Err(self.error(&error)),
        }
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        let endpoint = self.interface.bulk_in.ok_or(TransportError::Fault)?;
        let length = buffer.len().min(LONGEST_TRANSFER);
        let buffer = &mut buffer[..length];
        // Counted by what the firmware is asked to wait: its waits take longer than that on a busy machine.
        let mut left = timeout;
        loop {
            let part = left.min(ANSWER);
            left -= part;
            let error = match self
                .usb()
                .sync_bulk_receive(endpoint, buffer, milliseconds(part) as usize)
            {
                Ok(received) => return Ok(received.min(length)),
                Err(error) => self.error(&error),
            };
            if error != TransportError::Timeout || left.is_zero() {
                return Err(error);
            }
        }
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        let transfer = match data {
            [] => ControlTransfer::None,
            data => ControlTransfer::DataOut(data),
        };
        let number = self.interface.number.into();
        let timeout = milliseconds(timeout);
        self.command = request;
        let sent = self
            .usb()
            .control_transfer(CLASS_INTERFACE, request, value, number, transfer, timeout);
        sent.map_err(|error| self.error(&error))
    }

    /// EFI_USB_IO_PROTOCOL does not return how many bytes came, and EDK II takes a short answer for an error:
    /// of the two lists of CCID exactly as many are asked for as will come. For ICCD see [`short`].
    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        let descriptor = &self.interface.descriptor;
        let flavour = self.interface.flavour;
        let wanted = match (flavour, request) {
            (Flavour::Ccid, GET_CLOCK_FREQUENCIES) => 4 * usize::from(descriptor.clock_count),
            (Flavour::Ccid, GET_DATA_RATES) => 4 * usize::from(descriptor.data_rate_count),
            (Flavour::Ccid, _) => 0,
            _ => buffer.len(),
        };
        let buffer = match buffer.get_mut(..wanted) {
            Some(buffer) if !buffer.is_empty() => buffer,
            _ => return Err(TransportError::Stall),
        };
        buffer.fill(short::FILLING);
        let number = self.interface.number.into();
        let timeout = milliseconds(timeout);
        let transfer = ControlTransfer::DataIn(&mut *buffer);
        let received =
            self.usb()
                .control_transfer(CLASS_INTERFACE, request, value, number, transfer, timeout);
        let is_short = match &received {
            // Other firmware may take a short answer for a whole one.
            Ok(()) => buffer.last() == Some(&short::FILLING),
            Err(error) => error.status() == uefi::Status::DEVICE_ERROR && error.data().is_empty(),
        };
        if is_short && short::asks_for_any(flavour, request) {
            return short::length(flavour, self.command, request, buffer).ok_or(TransportError::Fault);
        }
        received
            .map(|()| buffer.len())
            .map_err(|error| self.error(&error))
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        for endpoint in [self.interface.bulk_out, self.interface.bulk_in]
            .into_iter()
            .flatten()
        {
            let cleared = self.usb().control_transfer(
                STANDARD_ENDPOINT,
                CLEAR_FEATURE,
                ENDPOINT_HALT,
                endpoint.into(),
                ControlTransfer::None,
                STANDARD_REQUEST,
            );
            cleared.map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        uefi::boot::stall(time);
        Ok(())
    }

    fn now(&self) -> Duration {
        self.clock.elapsed()
    }
}
