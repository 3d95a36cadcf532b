//! What a device is, at the level of USB transfers.

use std::time::Duration;

/// The device refuses: STALL. A bulk endpoint stays halted until the host clears that; the control endpoint does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall;

/// A USB device with one configuration.
///
/// Endpoints are named by their address, with bit 7 set for those towards the host. Each data argument or result is a whole
/// transfer, as the host's driver sees it: the division into packets and a last packet of zero bytes are the bus's business.
///
/// No method may block: it holds up every other pipe of the device.
pub trait UsbFunction: Send {
    /// The device descriptor (USB 2.0, clause 9.6.1).
    fn device_descriptor(&self) -> [u8; 18];

    /// The configuration descriptor with all that belongs to it (clause 9.6.3): interfaces, class descriptors, endpoints.
    fn configuration(&self) -> Vec<u8>;

    /// The string of that index, 1 or more (clause 9.6.7). None stalls the request.
    fn string(&self, index: u8) -> Option<String>;

    /// A request that is not a standard one. `data` is what came with a request towards the device; the result is what a request
    /// towards the host gives, cut off at what the host asked for.
    ///
    /// # Errors
    /// If the device refuses it.
    fn control(&mut self, setup: [u8; 8], data: &[u8]) -> Result<Vec<u8>, Stall>;

    /// A bulk transfer towards the device.
    ///
    /// # Errors
    /// If the endpoint halts.
    fn bulk_out(&mut self, endpoint: u8, data: &[u8]) -> Result<(), Stall>;

    /// The host waits for at most `max` bytes. None is NAK: the transfer waits, and is offered again after whatever happens to the
    /// device next. More than `max` bytes are the error that babble is on the bus.
    fn bulk_in(&mut self, endpoint: u8, max: usize) -> Option<Result<Vec<u8>, Stall>>;

    /// The host polls an interrupt endpoint. None is NAK, as for [`bulk_in`](Self::bulk_in).
    fn interrupt_in(&mut self, endpoint: u8) -> Option<Vec<u8>>;

    /// When waiting bulk transfers are to be offered again though nothing happens: a device that takes its time says how long.
    fn ready_in(&self) -> Option<Duration> {
        None
    }

    /// The host has chosen the configuration of that value, which also resets every endpoint; 0 is none.
    fn configured(&mut self, _value: u8) {}

    /// The host has chosen an interface's alternate setting.
    fn interface_set(&mut self, _interface: u8, _alternate: u8) {}

    /// The host has cleared an endpoint's halt, whether or not it was halted.
    fn halt_cleared(&mut self, _endpoint: u8) {}
}
