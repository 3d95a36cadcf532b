//! What a device says of itself at plug-in, laid out as in the kernel's file `descriptors`: the device
//! descriptor, then a configuration with all that belongs to it. Whatever the bytes, only usable readers
//! are found, and what is found is what stands there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_ccid::descriptor::{interfaces, list, ClassDescriptor, Flavour, Interface, SIZE};
use pcsc_ccid::quirks;

const DEVICE_SIZE: usize = 18;

/// A configuration descriptor that has this reader and nothing else.
fn configuration(reader: &Interface) -> Vec<u8> {
    let protocol = reader.flavour.protocol();
    let mut bytes = vec![9, 0x02, 0, 0, 1, 1, 0, 0x80, 50];
    bytes.extend([
        9,
        0x04,
        reader.number,
        reader.alternate,
        0,
        reader.class,
        0,
        protocol,
    ]);
    bytes.push(reader.name_index);
    bytes.extend(reader.descriptor.to_bytes());
    let bulk = [reader.bulk_out, reader.bulk_in].into_iter().flatten();
    bytes.extend(bulk.flat_map(|address| [7, 0x05, address, 0x02, 64, 0, 0]));
    if let Some(interrupt) = reader.interrupt_in {
        let [low, high] = interrupt.max_packet_size.to_le_bytes();
        bytes.extend([7, 0x05, interrupt.address, 0x03, low, high, interrupt.interval]);
    }
    bytes
}

fn check(reader: &Interface, configured: &[u8], ids: [u16; 3]) {
    assert!(matches!(reader.class, 0x0B | 0xFF));
    let pipes = (reader.bulk_out, reader.bulk_in);
    match (reader.flavour, pipes) {
        (Flavour::Ccid, (Some(out), Some(into))) => assert!(out < 0x80 && into >= 0x80),
        (Flavour::Ccid, _) => panic!("a CCID reader without bulk pipes"),
        (_, pipes) => assert!(pipes.0.is_none() || pipes.1.is_none()),
    }
    assert!((1..=256).contains(&reader.descriptor.slots()));
    let own = reader.descriptor.to_bytes();
    assert!(configured.windows(SIZE).any(|bytes| bytes[2..] == own[2..]));
    assert_eq!(ClassDescriptor::parse(&own), Ok(reader.descriptor));
    assert_eq!(interfaces(&configuration(reader)), [Ok(*reader)]);

    let [vendor, product, release] = ids;
    let quirks = quirks::for_interface(vendor, product, release, reader);
    let mut corrected = reader.descriptor;
    quirks.apply(&mut corrected);
    let once = corrected;
    quirks.apply(&mut corrected);
    assert_eq!(corrected, once);
    assert!(once.max_ifsd <= 254 && once.slots() == reader.descriptor.slots());
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(descriptor) = ClassDescriptor::parse(bytes) {
        assert_eq!(descriptor.to_bytes()[2..], bytes[2..SIZE]);
    }
    let values = list(bytes);
    assert!(values.len() <= bytes.len() / 4 && !values.contains(&0));

    let Some((device, configured)) = bytes.split_at_checked(DEVICE_SIZE) else {
        return;
    };
    let id = |at: usize| u16::from_le_bytes([device[at], device[at + 1]]);
    let found = interfaces(configured);
    let mut numbers = Vec::new();
    for entry in &found {
        match entry {
            Ok(reader) => {
                check(reader, configured, [id(8), id(10), id(12)]);
                numbers.push(reader.number);
            }
            Err(unusable) => {
                assert!(!unusable.to_string().is_empty());
                numbers.push(unusable.interface);
            }
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), found.len(), "an interface was found twice");
});
