//! The transport of a simulated reader.

#![forbid(unsafe_code)]

use super::sim_reader::SimReader;
use pcsc_ccid::transport::{Transport, TransportError};
use pcsc_sim::SimTransport;
use std::sync::Arc;
use std::time::Duration;

/// The transport.
pub struct SimReaderTransport {
    reader: Arc<SimReader>,
}

impl SimReaderTransport {
    /// A transport to this reader.
    pub fn new(reader: Arc<SimReader>) -> SimReaderTransport {
        SimReaderTransport { reader }
    }

    fn on<R>(&self, action: impl FnOnce(&mut SimTransport) -> R) -> R {
        let result = action(&mut self.reader.handle().transport());
        self.reader.pump();
        result
    }
}

impl Transport for SimReaderTransport {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        self.on(|line| line.send(message, timeout))
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        let mut length = self.on(|line| line.receive(buffer, timeout))?;
        if !self.reader.dwell() {
            if self.reader.handle().with(|device| device.is_gone()) {
                return Err(TransportError::Gone);
            }
            length = absent(buffer, length);
        }
        Ok(length)
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        self.on(|line| line.control_out(request, value, data, timeout))
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        self.on(|line| line.control_in(request, value, buffer, timeout))
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        self.on(|line| line.clear_halt())
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.on(|line| line.pause(time))
    }

    fn now(&self) -> Duration {
        self.reader.handle().transport().now()
    }
}

/// Changes an answer to the failure of a command whose card was removed meanwhile (CCID 1.1, clause 6.2.6).
fn absent(buffer: &mut [u8], length: usize) -> usize {
    match buffer.get_mut(..10) {
        Some([_, l0, l1, l2, l3, _, _, status, error, _]) if length >= 10 => {
            [*l0, *l1, *l2, *l3] = [0; 4];
            (*status, *error) = (0x42, 0xFE);
            10
        }
        _ => length,
    }
}
