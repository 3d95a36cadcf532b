use super::*;
use crate::descriptor::{ClassDescriptor, Error};
use std::path::PathBuf;
use std::vec;

/// A folder like /sys/bus/usb/devices, gone at the end.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Tree {
        let root = std::env::temp_dir().join(format!("pcsc-ccid-{}-{name}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Tree(root)
    }

    fn put(&self, dir: &str, attributes: &[(&str, &[u8])]) {
        fs::create_dir_all(self.0.join(dir)).unwrap();
        for (name, value) in attributes {
            fs::write(self.0.join(dir).join(name), value).unwrap();
        }
    }

    fn device(&self, name: &str, descriptors: &[u8], configuration: &[u8]) {
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

    fn interface(&self, name: &str, class: &str, label: Option<&[u8]>) {
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

const DEVICE: [u8; 18] = [18, 1, 0, 2, 0, 0, 0, 64, 0xE6, 8, 3, 0x55, 2, 1, 1, 2, 0, 1];

fn class_descriptor() -> [u8; 54] {
    ClassDescriptor {
        release: 0x0110,
        max_message_length: 271,
        ..Default::default()
    }
    .to_bytes()
}

fn interface(number: u8, class: u8, endpoints: &[u8], has_descriptor: bool) -> Vec<u8> {
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

fn configuration(value: u8, interfaces: &[Vec<u8>]) -> Vec<u8> {
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
fn composite() -> Vec<u8> {
    let hid = interface(0, 3, &[0x83], false);
    let contactless = interface(1, 0x0B, &[0x01, 0x81], true);
    let contact = interface(2, 0x0B, &[0x02, 0x82, 0x83], true);
    let mut descriptors = DEVICE.to_vec();
    descriptors.extend(configuration(1, std::slice::from_ref(&hid)));
    descriptors.extend(configuration(2, &[hid, contactless, contact]));
    descriptors
}

#[test]
fn every_reader_of_a_composite_device_is_found_in_the_active_configuration() {
    let tree = Tree::new("composite");
    tree.device("3-1.4", &composite(), b"2\n");
    tree.interface("3-1.4:2.0", "03", None);
    tree.interface("3-1.4:2.1", "0b", Some(b"Prox-DU Contactless_09A00795 \n"));
    tree.interface("3-1.4:2.2", "0b", None);
    tree.put("usb3", &[]);
    tree.interface("3-0:1.0", "09", None);
    assert_eq!(
        devices_with_readers(&tree.0).unwrap(),
        BTreeSet::from(["3-1.4".into()])
    );

    let device = Device::read(&tree.0, "3-1.4").unwrap();
    assert_eq!((device.bus, device.address, device.configuration), (3, 17, 2));
    assert_eq!(device.number.as_deref(), Some("189:272"));
    assert_eq!(
        device.identity,
        Identity {
            vendor_id: 0x08E6,
            product_id: 0x5503,
            release: 0x0102,
            manufacturer: Some("Gemalto".into()),
            // Blanks stay: pcscd's names have them.
            product: Some(" Prox-DU ".into()),
            serial: None,
        }
    );
    let readers: Vec<_> = device.readers.into_iter().map(Result::unwrap).collect();
    let [(contactless, name), (contact, None)] = readers.as_slice() else {
        panic!("{readers:?}");
    };
    assert_eq!(
        (contactless.number, contactless.bulk_out, contactless.bulk_in),
        (1, Some(1), Some(0x81))
    );
    assert_eq!(contactless.interrupt_in, None);
    assert_eq!(name.as_deref(), Some("Prox-DU Contactless_09A00795 "));
    assert_eq!(
        contact.interrupt_in.map(|interrupt| interrupt.address),
        Some(0x83)
    );
}

#[test]
fn an_interface_that_is_not_registered_yet_waits_for_its_event() {
    let tree = Tree::new("early");
    tree.device("3-2", &composite(), b"2\n");
    tree.interface("3-2:2.1", "0b", None);
    let device = Device::read(&tree.0, "3-2").unwrap();
    let numbers: Vec<u8> = device
        .readers
        .iter()
        .flatten()
        .map(|(interface, _)| interface.number)
        .collect();
    assert_eq!(numbers, [1]);
}

#[test]
fn a_device_without_a_configuration_is_none() {
    let tree = Tree::new("unconfigured");
    tree.device("3-3", &composite(), b"\n");
    assert!(Device::read(&tree.0, "3-3").is_none());
    assert!(Device::read(&tree.0, "3-9").is_none());
}

#[test]
fn a_reader_of_the_vendors_class_is_told_by_its_descriptor() {
    for (has_descriptor, readers) in [(true, 1), (false, 0)] {
        let tree = Tree::new(&format!("vendor-{has_descriptor}"));
        let mut descriptors = DEVICE.to_vec();
        descriptors.extend(configuration(
            1,
            &[interface(0, 0xFF, &[0x01, 0x82], has_descriptor)],
        ));
        tree.device("3-5", &descriptors, b"1\n");
        tree.interface("3-5:1.0", "ff", None);
        assert_eq!(Device::read(&tree.0, "3-5").unwrap().readers.len(), readers);
    }
}

#[test]
fn an_unusable_reader_is_named_with_the_reason() {
    let tree = Tree::new("unusable");
    let mut descriptors = DEVICE.to_vec();
    descriptors.extend(configuration(1, &[interface(0, 0x0B, &[0x01, 0x82], false)]));
    tree.device("3-6", &descriptors, b"1\n");
    tree.interface("3-6:1.0", "0b", None);
    let device = Device::read(&tree.0, "3-6").unwrap();
    assert_eq!(device.readers.len(), 1);
    assert_eq!(device.readers[0].as_ref().unwrap_err().error, Error::Missing);
}

#[test]
fn a_device_without_a_node_is_not_opened() {
    let tree = Tree::new("node");
    tree.device("3-7", &composite(), b"2\n");
    tree.put(
        "3-7",
        &[("busnum", b"255\n"), ("devnum", b"255\n"), ("dev", b"0:0\n")],
    );
    let device = Device::read(&tree.0, "3-7").unwrap();
    assert_eq!(device.reason_against(), Some(Reason::NoNode));
}
