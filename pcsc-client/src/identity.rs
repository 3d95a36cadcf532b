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

/// The port and the interface of a name such as `1-4.2:1.0`.
pub(crate) fn port_and_interface(name: &str) -> (Option<String>, Option<u8>) {
    let (port, interface) = name.split_once(':').unwrap_or((name, ""));
    let number = interface
        .rsplit('.')
        .next()
        .and_then(|number| number.parse().ok());
    (Some(port.to_owned()).filter(|port| !port.is_empty()), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces_give_port_and_number() {
        assert_eq!(port_and_interface("1-4.2:1.3"), (Some("1-4.2".into()), Some(3)));
        assert_eq!(port_and_interface("1-4.2"), (Some("1-4.2".into()), None));
        assert_eq!(port_and_interface(""), (None, None));
    }
}
