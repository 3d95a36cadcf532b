//! The list of readers, and any bytes.

use super::*;
use crate::reader::{model, BadColumn, Model, NAMES};
use pcsc_ccid::descriptor::ExchangeLevel;
use proptest::prelude::*;

const READERS: &str = include_str!("../../../../pcsc-ccid/tests/data/readers.txt");

fn lines() -> impl Iterator<Item = &'static str> {
    READERS.lines().filter(|line| !line.starts_with('#'))
}

#[test]
fn every_line_makes_a_reader() {
    let mut count = 0;
    for line in lines() {
        let model = Model::parse(line).unwrap();
        let slots = model.descriptor.slots();
        let mut bench = Bench {
            device: SimDevice::new(model),
        };
        bench
            .device
            .insert(0, Box::new(good(&[Offer::T0, Offer::T1], Some(0x95))));
        if bench.device.model().endpoints >= 2 {
            let last = (slots - 1) as u8;
            let reply = bench.say(&message(0x65, last, 1, [0, 0, 0], &[]));
            assert_eq!(reply[7] & 0xC0, 0, "{line}");
        }
        count += 1;
    }
    assert_eq!(count, 573);
}

#[test]
fn a_line_of_the_list() {
    let model = Model::parse(lines().find(|line| line.starts_with("Teridian")).unwrap()).unwrap();
    assert_eq!(
        (
            model.identity.vendor_id,
            model.identity.product_id,
            model.identity.release
        ),
        (0x1862, 0x0000, 0x0000)
    );
    assert_eq!(model.identity.product.as_deref(), Some("TSC12xxFV.09"));
    assert_eq!((model.endpoints, model.class, model.protocol), (3, 0x0B, 0));
    let descriptor = model.descriptor;
    assert_eq!((descriptor.max_slot_index, descriptor.max_busy_slots), (4, 5));
    assert_eq!(descriptor.release, 0x0100);
    assert_eq!(descriptor.features.0, 0x405F2);
    assert_eq!(model.clocks_khz, [3600, 4000, 5050, 6000, 8000, 9600]);
    assert_eq!(model.data_rates_bps.len(), 11);
}

#[test]
fn what_is_wrong_with_a_line_is_told_by_its_column() {
    let line = lines().next().unwrap();
    let with = |column: usize, text: &str| {
        let mut columns: Vec<_> = line.split('\t').collect();
        columns[column - 1] = text;
        Model::parse(&columns.join("\t")).unwrap_err()
    };
    assert_eq!(with(1, ""), BadColumn(1));
    assert_eq!(with(2, "12345:0"), BadColumn(2));
    assert_eq!(with(3, "1"), BadColumn(3));
    assert_eq!(with(8, "256"), BadColumn(8));
    assert_eq!(with(26, "x"), BadColumn(26));
    assert_eq!(with(34, "1,,2"), BadColumn(34));
    assert_eq!(Model::parse(""), Err(BadColumn(1)));
    assert_eq!(Model::parse(&[line, "\t7"].concat()), Err(BadColumn(35)));
    let cut = line.rsplit_once('\t').unwrap().0;
    assert_eq!(Model::parse(cut), Err(BadColumn(34)));
}

#[test]
fn the_names_are_one_of_each_kind() {
    for (name, _) in NAMES {
        assert!(model(name).is_some_and(|model| model.name == name), "{name}");
    }
    assert_eq!(model("none"), None);
    assert!(SimDevice::named("none").is_none());
    for level in [
        ExchangeLevel::Character,
        ExchangeLevel::Tpdu,
        ExchangeLevel::ShortApdu,
        ExchangeLevel::ExtendedApdu,
    ] {
        assert!(NAMES
            .iter()
            .any(|(name, _)| model(name).unwrap().descriptor.features.exchange_level() == level));
    }
}

proptest! {
    #[test]
    fn any_line_is_a_model_or_a_column(line in "(\\PC|\t){0,200}") {
        let _ = Model::parse(&line);
    }

    #[test]
    fn any_messages_get_replies(
        which in 0..NAMES.len(),
        messages in proptest::collection::vec(
            (
                0x60u8..0x76,
                0u8..3,
                proptest::collection::vec(any::<u8>(), 3),
                proptest::collection::vec(any::<u8>(), 0..64),
            ),
            0..12,
        ),
    ) {
        let mut bench = Bench::with_card(NAMES[which].0, good(&[Offer::T0, Offer::T1], Some(0x95)));
        let has_bulk = bench.device.model().endpoints >= 2;
        for (kind, slot, specific, data) in messages {
            let bytes = message(kind, slot, 1, [specific[0], specific[1], specific[2]], &data);
            if has_bulk {
                bench.device.bulk_out(&bytes).unwrap();
                prop_assert!(kind == 0x72 || bench.device.ready_at().is_some());
                while bench.device.ready_at().is_some() {
                    let reply = bench.hear();
                    prop_assert_eq!((reply[5], reply[6]), (slot, 1));
                }
            } else {
                let value = u16::from_le_bytes([specific[0], specific[1]]);
                let _ = bench.device.control_out(kind, value, &data);
                let _ = bench.device.control_in(kind, value, usize::from(specific[2]));
                let _ = bench.device.control_in(0x6F, 0, 300);
                let _ = bench.device.control_in(0xA0, 0, 1);
            }
        }
    }

    #[test]
    fn any_bytes_do_no_harm(
        transfers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..12),
        max in 0usize..400,
    ) {
        let mut bench = Bench::with_card("octsim", good(&[Offer::T0], None));
        for transfer in transfers {
            bench.device.bulk_out(&transfer).unwrap();
            bench.device.advance(std::time::Duration::from_secs(1));
            let _ = bench.device.bulk_in(max).unwrap();
        }
    }
}
