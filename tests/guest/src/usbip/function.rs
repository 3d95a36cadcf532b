//! The interface of a device, at the level of USB transfers.

use std::time::Duration;

/// A STALL handshake. A bulk endpoint stays halted until the host clears the halt; the control endpoint does
/// not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall;

/// A USB device with one configuration.
///
/// Endpoints are given by address; bit 7 is set for IN endpoints. Each data argument or result is a whole
/// transfer, as the host's driver sees it, without the division into packets and without a zero-length packet
/// at its end.
///
/// No method may block: all pipes of the device are served by one thread.
pub trait UsbFunction: Send {
    /// The device descriptor (USB 2.0, clause 9.6.1).
    fn device_descriptor(&self) -> [u8; 18];

    /// The configuration descriptor and the interface, class and endpoint descriptors that follow it (clause
    /// 9.6.3).
    fn configuration(&self) -> Vec<u8>;

    /// The string of that index, 1 or more (clause 9.6.7). None stalls the request.
    fn string(&self, index: u8) -> Option<String>;

    /// A class or vendor request. `data` is the data stage of an OUT request; the result is that of an IN
    /// request, truncated to the length that the host asked for.
    ///
    /// # Errors
    /// If the device refuses it.
    fn control(&mut self, setup: [u8; 8], data: &[u8]) -> Result<Vec<u8>, Stall>;

    /// A bulk OUT transfer.
    ///
    /// # Errors
    /// If the endpoint halts.
    fn bulk_out(&mut self, endpoint: u8, data: &[u8]) -> Result<(), Stall>;

    /// A bulk IN transfer of at most `max` bytes. None is NAK: the transfer stays pending and is offered
    /// again after the next request or change. More than `max` bytes are babble.
    fn bulk_in(&mut self, endpoint: u8, max: usize) -> Option<Result<Vec<u8>, Stall>>;

    /// The host polls an interrupt endpoint. None is NAK, as for [`bulk_in`](Self::bulk_in).
    fn interrupt_in(&mut self, endpoint: u8) -> Option<Vec<u8>>;

    /// After which time pending transfers are offered again without another request: for a device with a
    /// delay.
    fn ready_in(&self) -> Option<Duration> {
        None
    }

    /// The host has selected a configuration, which also resets every endpoint. 0 deselects it.
    fn configured(&mut self, _value: u8) {}

    /// The host has selected an alternate setting.
    fn interface_set(&mut self, _interface: u8, _alternate: u8) {}

    /// The host has cleared an endpoint's halt, whether or not it was halted.
    fn halt_cleared(&mut self, _endpoint: u8) {}
}
