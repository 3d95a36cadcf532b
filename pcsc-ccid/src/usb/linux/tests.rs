//! Helpers of the tests: a folder like /sys/bus/usb/devices, and descriptors.

use super::super::candidate::{Candidate, DeviceIdentity, Place};
use super::descriptors::readers;
use super::device::Source;
use crate::descriptor::ClassDescriptor;
use std::format;
use std::fs;
use std::path::{Path, PathBuf};
use std::vec;
use std::vec::Vec;

/// A folder like /sys/bus/usb/devices, removed at the end.
pub(in crate::usb) struct Tree(PathBuf);

impl Tree {
    pub(in crate::usb) fn new(name: &str) -> Tree {
        let root = std::env::temp_dir().join(format!("pcsc-ccid-{}-{name}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Tree(root)
    }

    pub(in crate::usb) fn root(&self) -> &Path {
        &self.0
    }

    pub(in crate::usb) fn put(&self, dir: &str, attributes: &[(&str, &[u8])]) {
        fs::create_dir_all(self.0.join(dir)).unwrap();
        for (name, value) in attributes {
            fs::write(self.0.join(dir).join(name), value).unwrap();
        }
    }

    pub(in crate::usb) fn device(&self, name: &str, descriptors: &[u8], configuration: &[u8]) {
        self.put(
            name,
            &[
                ("busnum", b"3\n"),
                ("devnum", b"17\n"),
                ("dev", b"189:272\n"),
                ("idVendor", b"08e6\n"),
                ("idProduct", b"5503\n"),
                ("bcdDevice", b"0102\n"),
                ("manufacturer", b"Gemalto\n"),
                ("product", b" Prox-DU \n"),
                ("bConfigurationValue", configuration),
                ("descriptors", descriptors),
            ],
        );
    }

    pub(in crate::usb) fn interface(&self, name: &str, class: &str, label: Option<&[u8]>) {
        let number = name.rsplit('.').next().unwrap();
        self.put(
            name,
            &[
                ("bInterfaceClass", format!("{class}\n").as_bytes()),
                ("bInterfaceNumber", format!("0{number}\n").as_bytes()),
            ],
        );
        if let Some(label) = label {
            self.put(name, &[("interface", label)]);
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

pub(in crate::usb) const DEVICE: [u8; 18] = [18, 1, 0, 2, 0, 0, 0, 64, 0xE6, 8, 3, 0x55, 2, 1, 1, 2, 0, 1];

fn class_descriptor() -> [u8; 54] {
    ClassDescriptor {
        release: 0x0110,
        max_message_length: 271,
        ..Default::default()
    }
    .to_bytes()
}

pub(in crate::usb) fn interface(number: u8, class: u8, endpoints: &[u8], has_descriptor: bool) -> Vec<u8> {
    let mut bytes = vec![9, 4, number, 0, endpoints.len() as u8, class, 0, 0, 0];
    if has_descriptor {
        bytes.extend(class_descriptor());
    }
    for endpoint in endpoints {
        let kind = if endpoint & 0x0F == 3 { 3 } else { 2 };
        bytes.extend([7, 5, *endpoint, kind, 64, 0, 16]);
    }
    bytes
}

pub(in crate::usb) fn configuration(value: u8, interfaces: &[Vec<u8>]) -> Vec<u8> {
    let body = interfaces.concat();
    let total = (body.len() as u16 + 9).to_le_bytes();
    let mut bytes = vec![
        9,
        2,
        total[0],
        total[1],
        interfaces.len() as u8,
        value,
        0,
        0x80,
        50,
    ];
    bytes.extend(body);
    bytes
}

/// A contactless and a contact reader beside a HID interface, in the second of two configurations.
pub(in crate::usb) fn composite() -> Vec<u8> {
    let hid = interface(0, 3, &[0x83], false);
    let contactless = interface(1, 0x0B, &[0x01, 0x81], true);
    let contact = interface(2, 0x0B, &[0x02, 0x82, 0x83], true);
    let mut descriptors = DEVICE.to_vec();
    descriptors.extend(configuration(1, std::slice::from_ref(&hid)));
    descriptors.extend(configuration(2, &[hid, contactless, contact]));
    descriptors
}

/// The contact reader of [`composite`] on port 3-1.4, which has this address.
pub(in crate::usb) fn candidate(address: u8) -> Candidate {
    let interface = readers(&composite(), 2).pop().unwrap().unwrap();
    Candidate {
        identity: DeviceIdentity::default(),
        place: Place {
            bus: 3,
            address,
            interface: interface.number,
        },
        port: "3-1.4:2.2".into(),
        interface,
        interface_name: None,
        source: Source::Node,
    }
}
