//! What several fuzz targets need.
#![forbid(unsafe_code)]

pub mod script;

use pcsc_ccid::quirks::{Devices, Firmware, TABLE};

/// `idVendor`, `idProduct` and `bcdDevice` of a device that a line of the table of quirks is about; zeros
/// beyond its end, and where it is about a kind of interface.
pub fn device_of(line: u8) -> [u16; 3] {
    let Some(line) = TABLE.get(usize::from(line)) else {
        return [0; 3];
    };
    let (vendor, product) = match line.rule.devices {
        Devices::Products(vendor, products) => (vendor, products.first().copied().unwrap_or(0)),
        Devices::Vendor(vendor) => (vendor, 0),
        _ => (0, 0),
    };
    let release = match line.rule.firmware {
        Firmware::Before(good) => good.saturating_sub(1),
        Firmware::Exactly(bad) => bad.first().copied().unwrap_or(0),
        _ => 0,
    };
    [vendor, product, release]
}

/// Takes bytes off the front of an input; zeros at its end.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        byte
    }

    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// A length, then as many bytes.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.bytes(usize::from(length))
    }
}
