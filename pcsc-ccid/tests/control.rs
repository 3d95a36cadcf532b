//! Functions of the reader itself, and attributes: exact buffers, and what is not asked of the reader.

mod common;

use common::script::{In, Script};
use common::{message, plain_interface};
use pcsc_ccid::attributes;
use pcsc_ccid::descriptor::Interface;
use pcsc_ccid::part10::{Feature, FEATURES_ROOM, GET_FEATURE_REQUEST, USB_PATH};
use pcsc_ccid::reader::{DeviceInfo, Reader, ReaderError, ReaderOptions};

fn opened(device: DeviceInfo, interface: &Interface) -> Reader<Script> {
    let mut script = Script::default();
    let status = message(0x81, &[], [1, 0, 0]);
    script.incoming.push_back(In::Bytes(status));
    Reader::open(script, device, interface, ReaderOptions::default()).unwrap()
}

#[test]
fn the_features_need_room_for_all_that_there_are() {
    let mut reader = opened(DeviceInfo::default(), &plain_interface(0x2_00BA));
    let mut answer = [0; FEATURES_ROOM];
    let short = &mut answer[..FEATURES_ROOM - 1];
    assert_eq!(
        reader.control(0, GET_FEATURE_REQUEST, &[], short),
        Err(ReaderError::BufferTooSmall)
    );
    // VerifyPinDirect, ModifyPinDirect, PinProperties, TlvProperties.
    assert_eq!(reader.control(0, GET_FEATURE_REQUEST, &[], &mut answer), Ok(24));
}

#[test]
fn the_path_ends_with_a_nul() {
    let mut reader = opened(DeviceInfo::default(), &plain_interface(0x2_00BA));
    assert_eq!(
        reader.control(0, USB_PATH, &[], &mut [0; 8]),
        Err(ReaderError::Unsupported)
    );
    let mut device = DeviceInfo::default();
    device.path = "1-2:1.0".into();
    let mut reader = opened(device, &plain_interface(0x2_00BA));
    let mut answer = [0xFF; 9];
    assert_eq!(
        reader.control(0, USB_PATH, &[], &mut answer[..7]),
        Err(ReaderError::BufferTooSmall)
    );
    assert_eq!(reader.control(0, USB_PATH, &[], &mut answer[..8]), Ok(8));
    assert_eq!(&answer, b"1-2:1.0\0\xFF");
}

#[test]
fn each_function_of_the_mechanics_has_its_bit() {
    // bFunction and the bit of dwMechanical that it needs (CCID 1.1, clauses 5.1 and 6.1.12).
    for (function, bit) in [(1, 0x01), (2, 0x02), (3, 0x04), (4, 0x08), (5, 0x08)] {
        let mut interface = plain_interface(0x2_00BA);
        interface.descriptor.mechanical = bit;
        let mut reader = opened(DeviceInfo::default(), &interface);
        let done = message(0x81, &[], [1, 0, 0]);
        reader.transport().incoming.push_back(In::Bytes(done));
        assert_eq!(reader.mechanical(0, function), Ok(()));

        interface.descriptor.mechanical = !bit;
        let mut reader = opened(DeviceInfo::default(), &interface);
        assert_eq!(reader.mechanical(0, function), Err(ReaderError::Unsupported));
    }
}

#[test]
fn the_name_of_the_firmware_is_a_property_where_it_is_known() {
    const FIRMWARE_ID: u8 = 8;
    for (name, expected) in [
        (&b"GemTwRC6-V2.11"[..], Some(&b"GemTwRC6-V2.11"[..])),
        (b"", None),
    ] {
        let gemalto = DeviceInfo::new(0x08E6, 0, 0);
        let incoming = [
            message(0x81, &[], [1, 0, 0]),
            // The features, which are unknown, and the name.
            message(0x83, &[], [0x40, 0, 0]),
            message(0x83, name, [0, 0, 0]),
        ];
        let script = Script::answering(incoming);
        let interface = plain_interface(0x2_00BA);
        let mut reader = Reader::open(script, gemalto, &interface, ReaderOptions::default()).unwrap();
        let mut answer = [0; 128];
        let code = Feature::GetTlvProperties.code();
        let length = reader.control(0, code, &[], &mut answer).unwrap();
        let mut rest = &answer[..length];
        let mut found = None;
        while let [tag, size, more @ ..] = rest {
            let (value, after) = more.split_at(usize::from(*size));
            if *tag == FIRMWARE_ID {
                found = Some(value);
            }
            rest = after;
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn the_reader_is_asked_only_for_attributes_of_its_card() {
    for (icc, presence) in [(0, 2), (1, 2), (2, 0)] {
        let mut reader = opened(DeviceInfo::default(), &plain_interface(0x2_00BA));
        let mut value = [0xFF; 4];
        let status = message(0x81, &[], [icc, 0, 0]);
        reader.transport().incoming.push_back(In::Bytes(status));
        assert_eq!(
            reader.attribute(0, attributes::ICC_PRESENCE, None, &mut value),
            Ok(1)
        );
        assert_eq!(value[0], presence);
        assert_eq!(reader.transport().outgoing.len(), 2);
        let longest = attributes::MAXINPUT;
        assert_eq!(reader.attribute(0, longest, None, &mut value), Ok(4));
        assert_eq!(value, 261u32.to_ne_bytes());
        assert_eq!(reader.transport().outgoing.len(), 2);
    }
}

#[test]
fn attributes_of_the_reader_are_those_of_its_descriptors() {
    let mut device = DeviceInfo::new(0x058F, 0x9540, 0x0120);
    device.manufacturer = Some("Généric".into());
    (device.bus, device.address) = (3, 7);
    let mut interface = plain_interface(0x2_00BA);
    let mut reader = opened(device, &interface);
    let mut value = [0xFF; 16];
    let mut get = |reader: &mut Reader<Script>, id, name| {
        let length = reader.attribute(0, id, name, &mut value)?;
        Ok::<_, ReaderError>(value[..length].to_vec())
    };
    for (id, expected) in [
        // No card has power, and there is no serial number.
        (attributes::ATR_STRING, &[][..]),
        (attributes::VENDOR_IFD_SERIAL_NO, &[]),
        (attributes::VENDOR_NAME, b"G?n?ric\0"),
        (attributes::VENDOR_IFD_VERSION, &0x0120_0000u32.to_ne_bytes()),
        (attributes::CHANNEL_ID, &0x0020_0307u32.to_ne_bytes()),
        (attributes::DEVICE_FRIENDLY_NAME, b"R 00 00\0"),
        (attributes::DEVICE_SYSTEM_NAME, b"R 00 00\0"),
    ] {
        assert_eq!(
            get(&mut reader, id, Some("R 00 00")),
            Ok(expected.to_vec()),
            "{id:08X}"
        );
    }
    for id in [
        attributes::CURRENT_CLK,
        attributes::CURRENT_PROTOCOL_TYPE,
        attributes::DEVICE_FRIENDLY_NAME,
        0x0001_0101,
        0,
    ] {
        assert_eq!(
            get(&mut reader, id, None),
            Err(ReaderError::Unsupported),
            "{id:08X}"
        );
    }
    // Shorter than a header. The driver takes it for 271, as a descriptor that is wrong.
    interface.descriptor.max_message_length = 3;
    let mut reader = opened(DeviceInfo::default(), &interface);
    assert_eq!(
        get(&mut reader, attributes::MAXINPUT, None),
        Ok(261u32.to_ne_bytes().to_vec())
    );
}
