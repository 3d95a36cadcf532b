//! The identity of a reader, as its USB descriptors have it.

use pcsc_ccid::names;
use pcsc_ccid::reader::DeviceInfo;

/// The identity of a reader without hardware: a simulated one, or one in a record. It has no serial number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsbIdentity {
    /// `idVendor`.
    pub vendor_id: u16,
    /// `idProduct`.
    pub product_id: u16,
    /// `bcdDevice`.
    pub release: u16,
    /// The manufacturer's name.
    pub manufacturer: Option<String>,
    /// The product's name.
    pub product: Option<String>,
    /// The interface's name.
    pub interface_name: Option<String>,
}

impl UsbIdentity {
    /// Sets `idVendor` and `idProduct` from `VVVV:PPPP`. `None` if it is not that.
    pub(crate) fn set_ids(&mut self, text: &str) -> Option<()> {
        let (vendor, product) = text.split_once(':')?;
        (self.vendor_id, self.product_id) = (hexadecimal(vendor)?, hexadecimal(product)?);
        Some(())
    }

    /// Sets `bcdDevice` from `R.RR`. `None` if it is not that.
    pub(crate) fn set_release(&mut self, text: &str) -> Option<()> {
        let (major, minor) = text.split_once('.')?;
        let byte = |text| u8::try_from(hexadecimal(text)?).ok();
        self.release = u16::from_be_bytes([byte(major)?, byte(minor)?]);
        Some(())
    }

    /// The reader's name as pcscd would call it, without the numbers of reader and slot.
    pub fn base_name(&self) -> String {
        names::NameIdentity {
            vendor: self.vendor_id,
            product: self.product_id,
            manufacturer: self.manufacturer.as_deref(),
            product_name: self.product.as_deref(),
            interface: self.interface_name.as_deref(),
            serial: None,
        }
        .base_name()
    }

    /// The device as [`Reader::open`](pcsc_ccid::reader::Reader::open) takes it.
    pub fn device_info(&self) -> DeviceInfo {
        let mut device = DeviceInfo::new(self.vendor_id, self.product_id, self.release);
        device.manufacturer.clone_from(&self.manufacturer);
        device
    }
}

/// Digits alone, without a sign.
fn hexadecimal(text: &str) -> Option<u16> {
    let are_digits = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    u16::from_str_radix(text, 16).ok().filter(|_| are_digits)
}
