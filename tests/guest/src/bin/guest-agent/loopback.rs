//! A device that returns the data that it receives, to test the bus itself.

use pcsc_guest_tests::usbip::{Stall, UsbFunction};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The numbers of the device: for tests, by the registry at pid.codes.
pub const NUMBERS: (u16, u16) = (0x1209, 0x0001);

/// Vendor requests to an interface: keep the data, give the data back, refuse.
pub const KEEP: u8 = 1;
/// See [`KEEP`].
pub const GIVE: u8 = 2;
/// See [`KEEP`].
pub const REFUSE: u8 = 3;

/// Two alternate settings: none of the endpoints, and all three.
#[derive(Debug, Default)]
pub struct Loopback {
    serial: String,
    /// What it gives on the bulk endpoint.
    pub bulk: VecDeque<Vec<u8>>,
    /// What it gives on the interrupt endpoint.
    pub interrupts: VecDeque<Vec<u8>>,
    /// Halts the bulk endpoint towards the host at the next transfer.
    pub halt: bool,
    /// Holds data on the bulk endpoint back until then.
    pub hold: Option<Instant>,
    /// The endpoints whose halt the host has cleared.
    pub cleared: Vec<u8>,
    /// The alternate setting.
    pub alternate: u8,
    kept: Vec<u8>,
}

impl Loopback {
    /// With that serial number.
    pub fn new(serial: &str) -> Self {
        Self {
            serial: serial.into(),
            ..Self::default()
        }
    }
}

impl UsbFunction for Loopback {
    fn device_descriptor(&self) -> [u8; 18] {
        let [[vendor, vendor_high], [product, product_high]] = [NUMBERS.0, NUMBERS.1].map(u16::to_le_bytes);
        [
            18,
            1,
            0,
            2,
            0xFF,
            0,
            0,
            64,
            vendor,
            vendor_high,
            product,
            product_high,
            0x34,
            0x12,
            1,
            2,
            3,
            1,
        ]
    }

    fn configuration(&self) -> Vec<u8> {
        let mut bytes = vec![9, 2, 48, 0, 1, 1, 0, 0x80, 50];
        bytes.extend([9, 4, 0, 0, 0, 0xFF, 0, 0, 0]);
        bytes.extend([9, 4, 0, 1, 3, 0xFF, 0, 0, 0]);
        bytes.extend([7, 5, 0x01, 2, 64, 0, 0]);
        bytes.extend([7, 5, 0x81, 2, 64, 0, 0]);
        bytes.extend([7, 5, 0x82, 3, 16, 0, 8]);
        bytes
    }

    fn string(&self, index: u8) -> Option<String> {
        match index {
            1 => Some("Ring & Töchter".into()),
            2 => Some("Loopback".into()),
            3 => Some(self.serial.clone()),
            _ => None,
        }
    }

    fn control(&mut self, setup: [u8; 8], data: &[u8]) -> Result<Vec<u8>, Stall> {
        match setup {
            [0x41, KEEP, ..] => {
                self.kept = data.to_vec();
                Ok(Vec::new())
            }
            [0xC1, GIVE, ..] => Ok(self.kept.clone()),
            _ => Err(Stall),
        }
    }

    fn bulk_out(&mut self, _endpoint: u8, data: &[u8]) -> Result<(), Stall> {
        self.bulk.push_back(data.to_vec());
        Ok(())
    }

    fn bulk_in(&mut self, _endpoint: u8, _max: usize) -> Option<Result<Vec<u8>, Stall>> {
        if std::mem::take(&mut self.halt) {
            return Some(Err(Stall));
        }
        match self.hold {
            Some(until) if Instant::now() < until => return None,
            _ => self.hold = None,
        }
        self.bulk.pop_front().map(Ok)
    }

    fn interrupt_in(&mut self, _endpoint: u8) -> Option<Vec<u8>> {
        self.interrupts.pop_front()
    }

    fn ready_in(&self) -> Option<Duration> {
        let until = self.hold.filter(|_| !self.bulk.is_empty())?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    fn interface_set(&mut self, _interface: u8, alternate: u8) {
        self.alternate = alternate;
    }

    fn halt_cleared(&mut self, endpoint: u8) {
        self.cleared.push(endpoint);
    }
}
