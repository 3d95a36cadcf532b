//! Requests on the control pipe.

use super::super::pipe::Pipe;
use super::pipe::UsbfsPipe;
use crate::transport::{copy, TransportError};
use std::time::{Duration, Instant};
use std::vec::Vec;
use zeroize::Zeroize;

/// The control pipe.
#[derive(Debug)]
pub(in crate::usb) struct Control<P = UsbfsPipe> {
    pipe: P,
    /// For the next transfer. Wiped: the last one may have held a PIN.
    buffer: Vec<u8>,
}

/// `bmRequestType` of a class request to an interface, without the direction (USB 2.0, clause 9.3).
const CLASS_REQUEST: u8 = 0x21;
/// `bmRequestType` of a standard request to the device, likewise.
pub(super) const STANDARD_REQUEST: u8 = 0x00;

impl<P: Pipe> Control<P> {
    pub(super) fn new(pipe: P) -> Control<P> {
        Control {
            pipe,
            buffer: Vec::new(),
        }
    }

    /// Makes a class request to an interface, with data for the device.
    pub(in crate::usb) fn send(
        &mut self,
        interface: u8,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        let setup = setup(CLASS_REQUEST, request, value, interface.into(), data.len())?;
        self.transfer(setup, data, &mut [], timeout).map(|_| ())
    }

    /// Makes a class request to an interface, with data from the device. Returns their length.
    pub(in crate::usb) fn receive(
        &mut self,
        interface: u8,
        request: u8,
        value: u16,
        into: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        self.receive_of(CLASS_REQUEST, request, value, interface.into(), into, timeout)
    }

    /// The same for a request of any kind.
    pub(super) fn receive_of(
        &mut self,
        kind: u8,
        request: u8,
        value: u16,
        index: u16,
        into: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        let limit = into.len().min(u16::MAX.into());
        let setup = setup(kind | 0x80, request, value, index, limit)?;
        self.transfer(setup, &[], &mut into[..limit], timeout)
    }

    /// Makes a control transfer in one direction: `data` or `into` is empty. Returns the length of what came.
    fn transfer(
        &mut self,
        setup: [u8; SETUP_SIZE],
        data: &[u8],
        into: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        if let Some(earlier) = self.pipe.reclaim()? {
            self.keep(earlier.buffer);
        }
        let mut message = std::mem::take(&mut self.buffer);
        // Where the buffer has to grow, it does before the data are in it, so that no copy of them is left
        // behind.
        message.clear();
        message.extend_from_slice(&setup);
        message.extend_from_slice(data);
        message.resize(SETUP_SIZE + data.len() + into.len(), 0);
        self.pipe.submit(message);
        match self.pipe.wait(Instant::now().checked_add(timeout)) {
            Ok(completion) => {
                let received = completion.buffer.get(SETUP_SIZE..).unwrap_or(&[]);
                let length = completion.result.map(|()| copy(received, into));
                self.keep(completion.buffer);
                length.map_err(|error| self.pipe.explain(error))
            }
            Err(interruption) => match self.pipe.reclaim()? {
                // Even if the request has succeeded in the same moment: its deadline has passed, or its
                // caller has cancelled it.
                Some(late) => {
                    self.keep(late.buffer);
                    match late.result {
                        Err(TransportError::Gone) => Err(TransportError::Gone),
                        _ => Err(interruption),
                    }
                }
                None => Err(interruption),
            },
        }
    }

    /// Keeps the buffer of a transfer that has ended, and wipes it.
    fn keep(&mut self, mut buffer: Vec<u8>) {
        // The pipe shortens it to the bytes transferred: behind them is the rest of what was to be sent.
        buffer.resize(buffer.capacity(), 0);
        buffer.as_mut_slice().zeroize();
        self.buffer = buffer;
    }
}

/// Bytes of a setup packet (USB 2.0, clause 9.3).
const SETUP_SIZE: usize = 8;

fn setup(
    kind: u8,
    request: u8,
    value: u16,
    index: u16,
    length: usize,
) -> Result<[u8; SETUP_SIZE], TransportError> {
    let length = u16::try_from(length).map_err(|_| TransportError::Fault)?;
    let [[v0, v1], [i0, i1], [l0, l1]] = [value, index, length].map(u16::to_le_bytes);
    Ok([kind, request, v0, v1, i0, i1, l0, l1])
}

#[cfg(test)]
mod tests {
    use super::super::super::bulk::tests::Fake;
    use super::*;

    #[test]
    fn a_request_is_as_the_specification_has_it() {
        assert_eq!(setup(0xA1, 1, 0x0201, 3, 0x104), Ok([0xA1, 1, 1, 2, 3, 0, 4, 1]));
        assert_eq!(setup(0x21, 1, 0x0201, 3, 0x1_0000), Err(TransportError::Fault));
    }

    const LONG: Duration = Duration::from_secs(60);
    const PIN: &[u8] = b"313233343536";

    /// Sends a PIN by a request that ends so. Returns its result, and what the pipe keeps.
    fn kept_after(control: &mut Control<Fake>, timeout: Duration) -> (Result<(), TransportError>, Vec<u8>) {
        let result = control.send(0, 1, 0, PIN, timeout);
        (result, control.buffer.clone())
    }

    #[test]
    fn the_buffer_is_wiped_however_the_transfer_ends() {
        for (ending, result) in [
            (Some(Ok(())), Ok(())),
            (Some(Err(TransportError::Stall)), Err(TransportError::Stall)),
            (Some(Err(TransportError::Fault)), Err(TransportError::Fault)),
            (None, Err(TransportError::Timeout)),
        ] {
            let fake = Fake::out();
            let timeout = match ending {
                Some(ending) => {
                    fake.will_end(ending, &[]);
                    LONG
                }
                None => Duration::ZERO,
            };
            let (sent, kept) = kept_after(&mut Control::new(fake.clone()), timeout);
            assert_eq!(sent, result);
            assert!(fake.last_submitted().ends_with(PIN), "{result:?}");
            assert!(
                kept.len() >= SETUP_SIZE + PIN.len(),
                "{result:?}: the buffer is not kept"
            );
            assert!(kept.iter().all(|byte| *byte == 0), "{result:?}: {kept:02X?}");
        }
    }

    #[test]
    fn what_the_device_did_not_take_is_wiped_too() {
        let mut control = Control::new(Fake::out());
        let mut shortened = PIN.to_vec();
        shortened.truncate(1);
        control.keep(shortened);
        assert_eq!(control.buffer, [0; PIN.len()]);
    }
}
