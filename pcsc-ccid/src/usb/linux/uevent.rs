//! The kernel's and udev's messages about devices, on the netlink socket of kind `KOBJECT_UEVENT`.

/// The kind of a message about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Add,
    Remove,
    Change,
}

/// The beginning of udev's messages. The kernel's begin with the action and the device's path.
const UDEV_PREFIX: &[u8] = b"libudev\0";

/// Reads a message; `None` unless it is about the USB.
///
/// Messages about drivers that claim or release an interface are ignored: this driver causes them.
pub(super) fn parse(message: &[u8]) -> Option<Action> {
    let properties = if message.starts_with(UDEV_PREFIX) {
        let number = |at: usize| {
            let bytes = message.get(at..)?.first_chunk::<4>()?;
            usize::try_from(u32::from_ne_bytes(*bytes)).ok()
        };
        // `properties_off` and `properties_len` of the header in systemd's `sd-device/device-monitor.c`. They
        // are in the byte order of the machine, unlike the magic number and the filters.
        let (offset, length) = (number(16)?, number(20)?);
        message.get(offset..)?.get(..length)?
    } else {
        message
    };
    let mut action = None;
    let mut is_usb = false;
    for property in properties.split(|byte| *byte == 0) {
        match property {
            b"ACTION=add" => action = Some(Action::Add),
            b"ACTION=remove" => action = Some(Action::Remove),
            b"ACTION=change" => action = Some(Action::Change),
            b"SUBSYSTEM=usb" => is_usb = true,
            _ => (),
        }
    }
    action.filter(|_| is_usb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const KERNEL: &[u8] =
        b"add@/devices/pci0/usb1/1-1/1-1:1.0\0ACTION=add\0DEVPATH=/devices/pci0/usb1/1-1/1-1:1.0\0\
        SUBSYSTEM=usb\0DEVTYPE=usb_interface\0SEQNUM=4711\0";

    fn udev(properties: &[u8]) -> Vec<u8> {
        let mut message = b"libudev\0\xfe\xed\xca\xfe".to_vec();
        for number in [
            40,
            40,
            properties.len() as u32,
            0x1234_5678,
            0,
            0xFFFF_FFFF,
            0xFFFF_FFFF,
        ] {
            message.extend_from_slice(&number.to_ne_bytes());
        }
        message.extend_from_slice(properties);
        message
    }

    #[test]
    fn kernel_and_udev_messages_are_read() {
        assert_eq!(parse(KERNEL), Some(Action::Add));
        // The first property follows the header without a separator.
        assert_eq!(
            parse(&udev(b"ACTION=remove\0SUBSYSTEM=usb\0")),
            Some(Action::Remove)
        );
        assert_eq!(
            parse(&udev(b"SUBSYSTEM=usb\0ACTION=change\0")),
            Some(Action::Change)
        );
    }

    #[test]
    fn messages_about_other_devices_and_drivers_are_ignored() {
        assert_eq!(parse(b"add@/x\0ACTION=add\0SUBSYSTEM=usbmon\0"), None);
        assert_eq!(parse(b"bind@/x\0ACTION=bind\0SUBSYSTEM=usb\0"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_udev_message_with_wrong_lengths_is_ignored() {
        let mut message = udev(b"ACTION=add\0SUBSYSTEM=usb\0");
        message[20] = 0xFF;
        assert_eq!(parse(&message), None);
        message[16..20].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(parse(&message), None);
        assert_eq!(parse(&message[..18]), None);
    }

    proptest! {
        #[test]
        fn no_message_panics(tail in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut message = UDEV_PREFIX.to_vec();
            parse(&tail);
            message.extend(tail);
            parse(&message);
        }
    }
}
