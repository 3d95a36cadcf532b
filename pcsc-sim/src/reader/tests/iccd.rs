//! Devices without bulk pipes.

use super::*;
use crate::reader::{model, Model, Oddities};
use pcsc_ccid::descriptor::interfaces;
use pcsc_ccid::transport::TransportError;
use std::time::Duration;

/// Asks until the card is not busy.
fn status(bench: &mut Bench) -> u8 {
    loop {
        match bench.device.control_in(0xA0, 0, 1).unwrap()[..] {
            [0x40] => bench.device.advance(Duration::from_millis(10)),
            [status] => return status,
            _ => panic!("one byte"),
        }
    }
}

fn block(bench: &mut Bench) -> Vec<u8> {
    loop {
        let block = bench.device.control_in(0x6F, 0, 300).unwrap();
        match block[..] {
            [0x80, low, high] => {
                let units = u64::from(u16::from_le_bytes([low, high]));
                assert!(units > 0);
                bench.device.advance(Duration::from_millis(10 * units));
            }
            _ => return block,
        }
    }
}

#[test]
fn version_a_takes_a_header_first() {
    let mut bench = Bench::with_card("ibank2key", good(&[Offer::T0], None));
    bench.device.control_out(0x63, 0, &[]).unwrap();
    assert_eq!(status(&mut bench), 0x00);
    assert_eq!(bench.device.control_in(0x62, 0, 33), Ok(vec![0x3B, 0x00]));
    // Case 3: the header, then the data, then SW1 and SW2.
    bench.device.control_out(0x65, 0, &[0x80, 0xEC, 0, 0, 3]).unwrap();
    assert_eq!(status(&mut bench), 0x10);
    bench.device.control_out(0x65, 0, b"abc").unwrap();
    assert_eq!(status(&mut bench), 0x20);
    assert_eq!(bench.device.control_in(0x6F, 0, 2), Ok(vec![0x61, 3]));
    // Case 2: the header, then data from the card.
    bench.device.control_out(0x65, 0, &[0x00, 0xC0, 0, 0, 3]).unwrap();
    assert_eq!(status(&mut bench), 0x10);
    assert_eq!(bench.device.control_in(0x6F, 0, 2), Ok(b"ab".to_vec()));
    assert_eq!(status(&mut bench), 0x10);
    assert_eq!(bench.device.control_in(0x6F, 0, 2), Ok(b"c".to_vec()));
    assert_eq!(status(&mut bench), 0x20);
    assert_eq!(bench.device.control_in(0x6F, 0, 2), Ok(vec![0x90, 0x00]));
    assert_eq!(
        bench.device.control_in(0x6F, 0, 2),
        Err(TransportError::Stall),
        "no more"
    );
    assert_eq!(
        bench.device.bulk_out(&[0x65]),
        Err(TransportError::Stall),
        "there is no such pipe"
    );
    // The end of the power is the end of a command.
    bench.device.control_out(0x65, 0, &[0x80, 0xEC, 0, 0, 3]).unwrap();
    assert_eq!(status(&mut bench), 0x10);
    bench.device.control_out(0x63, 0, &[]).unwrap();
    assert_eq!(status(&mut bench), 0x00);
    bench.device.remove(0);
    assert_eq!(status(&mut bench), 0x80);
}

#[test]
fn version_b_says_what_a_block_is() {
    let mut bench = Bench::with_card("starsign", good(&[Offer::T1], None));
    assert_eq!(bench.device.control_in(0x81, 0, 3), Ok(vec![0, 0x01, 0]));
    bench.device.control_out(0x62, 1, &[]).unwrap();
    let atr = block(&mut bench);
    assert_eq!((atr[0], atr[1]), (0x00, 0x3B));
    assert_eq!(bench.device.control_in(0x81, 0, 3), Ok(vec![0, 0x00, 0]));
    bench
        .device
        .control_out(0x65, 0, b"\x80\xEC\x00\x00\x05hello\x00")
        .unwrap();
    assert_eq!(bench.device.control_in(0x6F, 0, 300).unwrap()[0], 0x80, "not yet");
    assert_eq!(block(&mut bench), b"\x00hello\x90\x00");
    bench.device.control_out(0x65, 0, &[0x80, 0xEC]).unwrap();
    assert_eq!(block(&mut bench), [0x40, 0x40, 10], "no APDU");
    assert_eq!(block(&mut bench), [0x40, 0x40, 0xFE], "nothing was asked");
    bench.device.control_out(0x63, 0, &[]).unwrap();
    assert_eq!(bench.device.control_in(0x81, 0, 3), Ok(vec![0, 0x01, 0]));
    assert_eq!(bench.device.control_out(0x62, 7, &[]), Err(TransportError::Stall));
    bench.device = bench.device.with(Oddities {
        empty_blocks: true,
        ..Oddities::default()
    });
    assert_eq!(bench.device.control_in(0x6F, 0, 300), Ok(vec![]));
    bench.device.remove(0);
    assert_eq!(
        bench.device.interrupt_in(),
        Some(vec![0x50, 0x02]),
        "its one endpoint"
    );
}

#[test]
fn the_driver_reads_the_descriptors_that_a_model_makes() {
    for (name, _) in crate::reader::NAMES {
        let model = model(name).unwrap();
        let found = interfaces(&Model::configuration_descriptor(&[&model], 4));
        let interface = found[0].unwrap();
        assert_eq!(interface.descriptor, model.descriptor, "{name}");
        assert_eq!(interface.flavour, model.flavour(), "{name}");
        assert_eq!(interface.interrupt_in.is_some(), model.notifies(), "{name}");
        let device = model.device_descriptor();
        assert_eq!(device[..8], [18, 1, 0, 2, 0, 0, 0, 64]);
        assert_eq!(device[8..10], model.identity.vendor_id.to_le_bytes());
    }
    // Several interfaces in one device have endpoints of their own.
    let models = ["scr331-di", "acr1252-picc", "yubikey"].map(|name| {
        let mut model = model(name).unwrap();
        model.number = match name {
            "scr331-di" => 0,
            "acr1252-picc" => 1,
            _ => 2,
        };
        model
    });
    let found = interfaces(&Model::configuration_descriptor(&models.each_ref(), 4));
    let mut endpoints: Vec<_> = found
        .iter()
        .flat_map(|found| {
            let interface = found.unwrap();
            [
                interface.bulk_in,
                interface.interrupt_in.map(|interrupt| interrupt.address),
            ]
        })
        .collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    assert_eq!(endpoints.len(), 6);
    assert_eq!(
        found[2].unwrap().name_index,
        0,
        "the token's interface has no name"
    );
}
