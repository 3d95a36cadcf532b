use super::*;
use crate::descriptor::DescriptorError;
use crate::usb::linux::tests::{composite, configuration, interface, Tree, DEVICE};

#[test]
fn every_reader_of_a_composite_device_is_found_in_the_active_configuration() {
    let tree = Tree::new("composite");
    tree.device("3-1.4", &composite(), b"2\n");
    tree.interface("3-1.4:2.0", "03", None);
    tree.interface("3-1.4:2.1", "0b", Some(b"Prox-DU Contactless_09A00795 \n"));
    tree.interface("3-1.4:2.2", "0b", None);
    tree.put("usb3", &[]);
    tree.interface("3-0:1.0", "09", None);
    let interfaces = interfaces(tree.root()).unwrap();
    let readers: Vec<&str> = interfaces
        .iter()
        .filter(|interface| can_be_reader(tree.root(), interface).unwrap())
        .map(|interface| device_of(interface))
        .collect();
    assert_eq!((interfaces.len(), readers), (4, std::vec!["3-1.4", "3-1.4"]));

    let device = SysfsDevice::read(tree.root(), "3-1.4").unwrap();
    assert_eq!((device.bus, device.address, device.configuration), (3, 17, 2));
    assert_eq!(device.number.as_deref(), Some("189:272"));
    assert_eq!(
        device.identity,
        DeviceIdentity {
            vendor_id: 0x08E6,
            product_id: 0x5503,
            release: 0x0102,
            manufacturer: Some("Gemalto".into()),
            // Blanks are kept, as in pcscd's names.
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
    let device = SysfsDevice::read(tree.root(), "3-2").unwrap();
    let numbers: Vec<u8> = device
        .readers
        .iter()
        .flatten()
        .map(|(interface, _)| interface.number)
        .collect();
    assert_eq!(numbers, [1]);
}

#[test]
fn a_device_without_a_configuration_cannot_be_read() {
    let tree = Tree::new("unconfigured");
    tree.device("3-3", &composite(), b"\n");
    for name in ["3-3", "3-9"] {
        let error = SysfsDevice::read(tree.root(), name).unwrap_err();
        assert!(!is_transient(&error), "{error}");
    }
}

#[test]
fn a_device_that_is_being_reset_cannot_be_read_yet() {
    let tree = Tree::new("reset");
    tree.device("3-3", &composite(), b"2\n");
    tree.put("3-3", &[("devnum", b"0\n")]);
    let error = SysfsDevice::read(tree.root(), "3-3").unwrap_err();
    assert!(is_transient(&error), "{error}");
}

#[test]
fn a_lack_of_descriptors_is_temporary_and_a_missing_permission_is_not() {
    let optional = |error: Errno| optional(Err::<u8, _>(error.into()));
    for error in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
        assert!(optional(error).is_err(), "{error}");
    }
    for error in [Errno::NOENT, Errno::NODEV, Errno::ACCESS] {
        assert_eq!(optional(error).unwrap(), None, "{error}");
    }
}

#[test]
fn a_vendor_specific_reader_is_recognised_by_its_descriptor() {
    for (has_descriptor, readers) in [(true, 1), (false, 0)] {
        let tree = Tree::new(&format!("vendor-{has_descriptor}"));
        let mut descriptors = DEVICE.to_vec();
        descriptors.extend(configuration(
            1,
            &[interface(0, 0xFF, &[0x01, 0x82], has_descriptor)],
        ));
        tree.device("3-5", &descriptors, b"1\n");
        tree.interface("3-5:1.0", "ff", None);
        assert_eq!(
            SysfsDevice::read(tree.root(), "3-5").unwrap().readers.len(),
            readers
        );
    }
}

#[test]
fn an_unusable_reader_is_named_with_the_reason() {
    let tree = Tree::new("unusable");
    let mut descriptors = DEVICE.to_vec();
    descriptors.extend(configuration(1, &[interface(0, 0x0B, &[0x01, 0x82], false)]));
    tree.device("3-6", &descriptors, b"1\n");
    tree.interface("3-6:1.0", "0b", None);
    let device = SysfsDevice::read(tree.root(), "3-6").unwrap();
    assert_eq!(device.readers.len(), 1);
    assert_eq!(
        device.readers[0].as_ref().unwrap_err().error,
        DescriptorError::Missing
    );
}
