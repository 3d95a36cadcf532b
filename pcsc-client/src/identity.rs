//! The identity of a reader.

/// What distinguishes a reader from others of its model. Each part is `None` where it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReaderIdentity {
    /// `idVendor`.
    pub vendor_id: Option<u16>,
    /// `idProduct`.
    pub product_id: Option<u16>,
    /// The serial number. Many readers have none.
    pub serial: Option<String>,
    /// The number of the USB bus.
    pub bus: Option<u8>,
    /// The address on the bus, which is another one each time that the reader is plugged in.
    pub address: Option<u8>,
    /// The USB port as Linux writes it, such as `1-4.2`. It stays the same while the reader is plugged in at
    /// the same place.
    pub port: Option<String>,
    /// `bInterfaceNumber`, for a device that has several readers.
    pub interface: Option<u8>,
    /// The slot, from 0, of a reader that takes several cards.
    pub slot: Option<u8>,
}
