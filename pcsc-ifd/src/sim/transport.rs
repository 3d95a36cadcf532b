//! The transport of a simulated reader.

#![forbid(unsafe_code)]

use super::sim_reader::SimReader;
use pcsc_ccid::transport::{Error, Transport};
use pcsc_sim::SimTransport;
use std::sync::Arc;
use std::time::Duration;

/// The transport.
pub struct SimReaderTransport {
    reader: Arc<SimReader>,
    noise: Option<Noise>,
}

impl SimReaderTransport {
    /// A transport, which damages messages if there is a seed.
    pub fn new(reader: Arc<SimReader>, seed: Option<u64>) -> SimReaderTransport {
        SimReaderTransport {
            reader,
            noise: seed.map(|seed| Noise(seed | 1)),
        }
    }

    fn on<R>(&self, action: impl FnOnce(&mut SimTransport) -> R) -> R {
        let result = action(&mut self.reader.handle().transport());
        self.reader.pump();
        result
    }
}

impl Transport for SimReaderTransport {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), Error> {
        self.on(|line| line.send(message, timeout))
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, Error> {
        let mut length = self.on(|line| line.receive(buffer, timeout))?;
        if !self.reader.dwell() {
            if self.reader.handle().with(|device| device.is_gone()) {
                return Err(Error::Gone);
            }
            length = absent(buffer, length);
        }
        match &mut self.noise {
            Some(noise) => noise.strike(buffer, length),
            None => Ok(length),
        }
    }

    fn control_out(&mut self, request: u8, value: u16, data: &[u8], timeout: Duration) -> Result<(), Error> {
        self.on(|line| line.control_out(request, value, data, timeout))
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, Error> {
        let length = self.on(|line| line.control_in(request, value, buffer, timeout))?;
        match &mut self.noise {
            Some(noise) => noise.strike(buffer, length),
            None => Ok(length),
        }
    }

    fn clear_halt(&mut self) -> Result<(), Error> {
        self.on(|line| line.clear_halt())
    }

    fn pause(&mut self, time: Duration) -> Result<(), Error> {
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

/// Random damage, from a seed.
#[derive(Debug)]
struct Noise(u64);

impl Noise {
    /// Marsaglia's xorshift64.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }

    /// Damages every second transfer, on average.
    fn strike(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, Error> {
        let length = length.min(buffer.len());
        match self.next() % 16 {
            0 => return Err(Error::Stall),
            1 => return Err(Error::Timeout),
            2 => return Ok(0),
            3 => return Ok(self.below(length + 1)),
            4 => {
                // Whatever a message of any type and length can hold.
                let longer = self.below(buffer.len() + 1);
                let kind = buffer.first().copied().unwrap_or(0);
                buffer[..longer].fill_with(|| self.next() as u8);
                if let Some(first) = buffer.first_mut().filter(|_| longer > 0) {
                    *first = kind;
                }
                return Ok(longer);
            }
            5..=7 if length > 0 => {
                let at = self.below(length.min(12));
                buffer[at] = self.next() as u8;
            }
            _ => (),
        }
        Ok(length)
    }
}
