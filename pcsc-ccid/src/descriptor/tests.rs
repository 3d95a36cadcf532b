use super::*;
use alloc::vec;
use proptest::prelude::*;

fn sample() -> ClassDescriptor {
    ClassDescriptor {
        release: 0x0110,
        max_slot_index: 1,
        voltages: 7,
        protocols: 3,
        default_clock_khz: 4800,
        max_clock_khz: 8000,
        clock_count: 2,
        data_rate_bps: 12_903,
        max_data_rate_bps: 412_903,
        data_rate_count: 0,
        max_ifsd: 254,
        synchronous_protocols: 7,
        mechanical: 1,
        features: Features(0x0001_00BA),
        max_message_length: 271,
        class_get_response: 0xFF,
        class_envelope: 0xFE,
        lcd_layout: 0x0210,
        pin_support: 3,
        max_busy_slots: 1,
    }
}

fn interface(number: u8, class: u8, protocol: u8) -> Vec<u8> {
    vec![9, 4, number, 0, 3, class, 0, protocol, 5]
}

const BULK_OUT: [u8; 7] = [7, 5, 0x02, 2, 64, 0, 0];
const BULK_IN: [u8; 7] = [7, 5, 0x82, 2, 64, 0, 0];
const INTERRUPT: [u8; 7] = [7, 5, 0x81, 3, 8, 0, 16];
const CONFIGURATION: [u8; 9] = [9, 2, 0, 0, 1, 1, 0, 0x80, 50];

fn only(parts: &[&[u8]]) -> Result<Interface, Unusable> {
    let mut found = interfaces(&parts.concat());
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn every_field_is_at_its_offset() {
    let bytes = sample().to_bytes();
    assert_eq!(bytes[..6], [54, 0x21, 0x10, 0x01, 1, 7]);
    assert_eq!(bytes[10..14], 4800u32.to_le_bytes());
    assert_eq!(bytes[40..44], [0xBA, 0x00, 0x01, 0x00]);
    assert_eq!(bytes[48..], [0xFF, 0xFE, 0x10, 0x02, 3, 1]);
    assert_eq!(ClassDescriptor::parse(&bytes), Ok(sample()));
    assert_eq!(
        ClassDescriptor::parse(&bytes[..53]),
        Err(DescriptorError::Size(53))
    );
}

#[test]
fn the_class_descriptor_is_found_wherever_it_is() {
    let class = sample().to_bytes();
    let before = only(&[
        &CONFIGURATION,
        &interface(0, 0x0B, 0),
        &class,
        &INTERRUPT,
        &BULK_OUT,
        &BULK_IN,
    ])
    .unwrap();
    assert_eq!(before.descriptor, sample());
    assert_eq!((before.bulk_out, before.bulk_in), (Some(0x02), Some(0x82)));
    assert_eq!(before.interrupt_in.unwrap().interval, 16);
    assert_eq!(before.name_index, 5);
    let after = only(&[
        &CONFIGURATION,
        &interface(0, 0x0B, 0),
        &BULK_OUT,
        &BULK_IN,
        &class,
    ])
    .unwrap();
    assert_eq!((after.descriptor, after.interrupt_in), (sample(), None));
    // Of the smart card class, what has its size is it, whatever its type.
    let mut of_other_type = class;
    of_other_type[1] = 0x24;
    let with_other_type = |interface_class| {
        let interface = interface(0, interface_class, 0);
        interfaces(&[&interface[..], &of_other_type, &BULK_OUT, &BULK_IN].concat())
    };
    assert_eq!(with_other_type(0x0B)[0].unwrap().descriptor, sample());
    assert_eq!(with_other_type(0xFF), []);
    // The first of the specification's type is preferred.
    let mut others = [class, class];
    for (other, kind) in others.iter_mut().zip([0x24, 0x21]) {
        (other[1], other[4]) = (kind, 7);
    }
    let [before, behind] = others;
    let found = only(&[
        &CONFIGURATION,
        &interface(0, 0x0B, 0),
        &before,
        &class,
        &behind,
        &BULK_OUT,
        &BULK_IN,
    ]);
    assert_eq!(found.unwrap().descriptor, sample());
    let mut vendor = class;
    vendor[1] = 0xFF;
    let old = only(&[
        &CONFIGURATION,
        &interface(0, 0xFF, 0),
        &vendor,
        &BULK_OUT,
        &BULK_IN,
    ])
    .unwrap();
    assert_eq!(old.class, 0xFF);
}

#[test]
fn several_interfaces_and_alternates() {
    let class = sample().to_bytes();
    let mut second_alternate = interface(2, 0x0B, 0);
    second_alternate[3] = 1;
    let found = interfaces(
        &[
            &CONFIGURATION[..],
            &interface(0, 3, 0),
            &[9, 0x21, 0x11, 1, 0, 1, 0x22, 63, 0],
            &INTERRUPT,
            &interface(1, 0x0B, 0),
            &class,
            &BULK_OUT,
            &BULK_IN,
            &interface(2, 0x0B, 0),
            &second_alternate,
            &class,
            &BULK_OUT,
            &BULK_IN,
            &interface(3, 0xFF, 0),
            &interface(4, 0x0B, 2),
            &class,
        ]
        .concat(),
    );
    let seen: Vec<_> = found
        .iter()
        .map(|entry| entry.map(|i| (i.number, i.alternate, i.flavour)))
        .collect();
    assert_eq!(
        seen,
        [
            Ok((1, 0, Flavour::Ccid)),
            Ok((2, 1, Flavour::Ccid)),
            Ok((4, 0, Flavour::IccdB)),
        ]
    );
}

#[test]
fn what_cannot_be_used_says_why() {
    let class = sample().to_bytes();
    let error = |parts: &[&[u8]]| only(parts).unwrap_err().error;
    assert_eq!(
        error(&[&interface(0, 0x0B, 0), &BULK_OUT, &BULK_IN]),
        DescriptorError::Missing
    );
    assert_eq!(
        error(&[&interface(0, 0x0B, 0), &class, &BULK_OUT]),
        DescriptorError::NoBulkPipes
    );
    // Endpoint 0 is the control pipe, and bits 4 to 6 are reserved.
    for address in [0x00, 0x10, 0x42] {
        let mut out = BULK_OUT;
        out[2] = address;
        assert_eq!(
            error(&[&interface(0, 0x0B, 0), &class, &out, &BULK_IN]),
            DescriptorError::NoBulkPipes,
            "{address:02X}"
        );
    }
    assert!(
        interfaces(&[0, 4, 1]).is_empty(),
        "a length of 0 does not go on for ever"
    );
    assert!(interfaces(&class[..20]).is_empty());
}

#[test]
fn lists_of_rates_may_be_short_and_padded() {
    assert_eq!(list(&[0x00, 0x2A, 0, 0, 0x80, 0x25, 0, 0]), [10_752, 9600]);
    assert_eq!(list(&[0x00, 0x2A, 0, 0, 0, 0, 0, 0, 1, 2]), [10_752]);
    assert_eq!(list(&[]), []);
}

#[test]
fn levels_by_their_bits() {
    let level = |bits| Features(bits).exchange_level();
    assert_eq!(level(0x840), ExchangeLevel::Character);
    assert_eq!(level(0x100BA), ExchangeLevel::Tpdu);
    assert_eq!(level(0x204BE), ExchangeLevel::ShortApdu);
    assert_eq!(level(0x404BA), ExchangeLevel::ExtendedApdu);
    assert_eq!(level(0x30000), ExchangeLevel::ShortApdu);
    assert_eq!(
        [5, 6, 7].map(|bits| level(bits << 16)),
        [ExchangeLevel::ExtendedApdu; 3]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for entry in interfaces(&bytes) {
            let _ = entry;
        }
        list(&bytes);
        if let Ok(descriptor) = ClassDescriptor::parse(&bytes) {
            prop_assert_eq!(&descriptor.to_bytes()[2..], &bytes[2..SIZE]);
        }
    }
}
