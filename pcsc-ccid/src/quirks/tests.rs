use super::*;
use alloc::vec;
use proptest::prelude::*;

fn descriptor(features: u32) -> ClassDescriptor {
    ClassDescriptor {
        max_data_rate_bps: 688_172,
        max_ifsd: 254,
        features: Features(features),
        max_message_length: 271,
        max_busy_slots: 1,
        pin_support: 3,
        ..ClassDescriptor::default()
    }
}

#[test]
fn a_reader_without_a_line_has_no_quirks() {
    assert_eq!(for_reader(0xFFFF, 0xFFFF, 0x0100, 0), Quirks::default());
    let before = descriptor(0x4_04BE);
    let mut after = before;
    Quirks::default().apply(&mut after);
    assert_eq!(before.to_bytes(), after.to_bytes());
}

#[test]
fn the_au9540_is_capped() {
    let quirks = for_reader(0x058F, 0x9540, 0x0120, 0);
    let mut capped = descriptor(0x4_04BE);
    quirks.apply(&mut capped);
    assert_eq!(capped.max_data_rate_bps, 200_000);
    let mut rates = vec![9946, 200_000, 200_001, 688_172];
    quirks.limit_rates(0, &mut rates);
    assert_eq!(rates, [9946, 200_000]);
}

#[test]
fn false_pin_pads_are_off() {
    for (vendor, product) in [
        (0x03F0, 0x1024),
        (0x03F0, 0x0036),
        (0x04F2, 0x1469),
        (0x0BF8, 0x1017),
        (0x0783, 0x0006),
        (0x25DD, 0x3111),
        (0x076B, 0x3A21),
        (0x076B, 0x3031),
        (0x076B, 0x6632),
        (0x046A, 0x00A7),
        (0x0BF8, 0x1024),
    ] {
        let mut off = descriptor(0x2_04BE);
        for_reader(vendor, product, 0x0130, 0).apply(&mut off);
        assert_eq!(off.pin_support, 0, "{vendor:04X}:{product:04X}");
    }
}

#[test]
fn levels_of_exchange_are_put_right() {
    let level = |vendor, product, firmware, features| {
        let mut descriptor = descriptor(features);
        for_reader(vendor, product, firmware, 0).apply(&mut descriptor);
        assert_eq!(descriptor.features.0 & 0xFFFF, features & 0xFFFF);
        descriptor.features.exchange_level()
    };
    assert_eq!(
        level(0x2F7C, 0x6007, 0x0100, 0x2_04BE),
        ExchangeLevel::ExtendedApdu
    );
    assert_eq!(
        level(0x076B, 0x3A21, 0x0103, 0x2_07B2),
        ExchangeLevel::ExtendedApdu
    );
    assert_eq!(level(0x0D46, 0x3010, 0x0040, 0x4_06BA), ExchangeLevel::ShortApdu);
    // Firmware 1.00 only.
    assert_eq!(
        level(0x046A, 0x00A1, 0x0100, 0x2_07BA),
        ExchangeLevel::ExtendedApdu
    );
    assert_eq!(level(0x046A, 0x00A1, 0x0102, 0x2_07BA), ExchangeLevel::ShortApdu);
    // A TPDU reader stays one.
    assert_eq!(level(0x076B, 0x3A21, 0x0103, 0x1_07B2), ExchangeLevel::Tpdu);
}

#[test]
fn sizes_are_put_right() {
    let mut wide = descriptor(0x4_07B2);
    wide.max_ifsd = 492;
    for_reader(0x076B, 0x6623, 0x0204, 0).apply(&mut wide);
    assert_eq!(wide.max_ifsd, 254);
    let mut token = descriptor(0x1_0230);
    for_reader(0x0529, 0x0620, 0x0013, 0).apply(&mut token);
    assert!(token.features.has(Features::AUTOMATIC_IFSD));
    assert_eq!(for_reader(0x0529, 0x0620, 0x0014, 0), Quirks::default());
}

/// Of any vendor: the Axalto Reflex USB v3, and a product without a line in the table.
#[test]
fn a_message_length_of_263_is_believed_only_where_apdus_come_in_parts() {
    for (vendor, product) in [(0x04E6, 0x511C), (0xFFFF, 0xFFFF)] {
        for (level, announced, expected) in [
            (0x0_00BA, 263, 271),
            (0x1_00BA, 263, 271),
            (0x2_00BA, 263, 271),
            (0x4_00BA, 263, 263),
            (0x1_00BA, 262, 262),
            (0x1_00BA, 264, 264),
        ] {
            let mut narrow = descriptor(level);
            narrow.max_message_length = announced;
            for_reader(vendor, product, 0x0100, 0).apply(&mut narrow);
            assert_eq!(narrow.max_message_length, expected, "{level:X} {announced}");
        }
    }
}

/// No bulk pipe has packets so small that a reader could mean it.
#[test]
fn a_message_length_that_holds_no_command_is_not_believed() {
    for level in [0, 0x1_0000, 0x2_0000, 0x4_0000] {
        for (announced, expected) in [
            (0, 271),
            (1, 271),
            (10, 271),
            (15, 271),
            (63, 271),
            (64, 64),
            (u32::MAX, u32::MAX),
        ] {
            let mut tiny = descriptor(level);
            tiny.max_message_length = announced;
            Quirks::default().apply(&mut tiny);
            assert_eq!(tiny.max_message_length, expected, "{level:X} {announced}");
        }
    }
}

#[test]
fn busy_slots_are_between_one_and_the_slots_that_there_are() {
    for (max_slot_index, announced, expected) in [
        (0, 0, 1),
        (0, 1, 1),
        (0, 5, 1),
        (4, 0, 1),
        (4, 5, 5),
        (4, 8, 5),
        (255, 255, 255),
    ] {
        let mut busy = descriptor(0x1_0000);
        (busy.max_slot_index, busy.max_busy_slots) = (max_slot_index, announced);
        Quirks::default().apply(&mut busy);
        assert_eq!(busy.max_busy_slots, expected, "{max_slot_index} {announced}");
    }
}

#[test]
fn slow_readers_get_their_time() {
    let first = |vendor, product| for_reader(vendor, product, 0x0300, 0).first_answer().as_millis();
    assert_eq!(first(0x072F, 0x2200), 1000);
    assert_eq!(first(0x09D8, 0x0428), 1000);
    assert!(first(0x04E6, 0x5790) >= 350);
    assert_eq!(first(0x08E6, 0x3437), 100);
    for (vendor, product) in [(0x0B81, 0x0200), (0x08E6, 0x3478), (0x0982, 0x0008)] {
        assert_eq!(for_reader(vendor, product, 0, 0).settle, Duration::from_secs(1));
    }
    assert_eq!(
        for_reader(0x08E6, 0x34D2, 0, 0).exchange_extra,
        Duration::from_secs(300)
    );
}

#[test]
fn firmware_with_bugs_is_refused_up_to_the_version_that_mends_it() {
    let bad = for_reader(0x072F, 0x2200, 0x0205, 0);
    assert_eq!(bad.refused, Some("ACS ACR122U before 2.06"));
    assert_eq!(for_reader(0x072F, 0x2200, 0x0206, 0).refused, None);
    assert!(for_reader(0x0D46, 0x3002, 0x0036, 0).refused.is_some());
}

#[test]
fn slots_that_do_not_notice_cards_are_known() {
    let acr33u = for_reader(0x072F, 0x8300, 0x5000, 0);
    assert!(acr33u.sees_cards(1) && !acr33u.sees_cards(2) && !acr33u.sees_cards(4));
    assert!(!acr33u.empty_after_failure);
    let second = for_reader(0x0424, 0x1202, 0x0222, 1);
    assert!(second.sees_cards(0) && second.power_off_first);
    let sim_pro = for_reader(0x08E6, 0x3480, 0x0100, 0);
    assert!(!sim_pro.sees_cards(1) && sim_pro.empty_after_failure);
    let mended = for_reader(0x08E6, 0x3480, 0x0200, 0);
    assert!(mended.sees_cards(1));
    let mut rates = vec![10753, 344_086];
    mended.limit_rates(1, &mut rates);
    assert_eq!(rates, [10753, 344_086]);
    for_reader(0x08E6, 0x3480, 0x0100, 0).limit_rates(1, &mut rates);
    assert_eq!(rates, [10753, 21505, 43011, 125_000]);
}

#[test]
fn lines_about_one_reader_add_up() {
    let pin_pad = for_reader(0x08E6, 0x3478, 0x0100, 0);
    assert!(pin_pad.gemalto_escapes && pin_pad.load_messages);
    assert_eq!(pin_pad.pin.sizes, Some((4, 8)));
    assert_eq!(pin_pad.pin.modify_messages, ModifyMessages::AllIndices);
    assert_eq!(pin_pad.pin.verify_messages, Some(1));
    assert_eq!(for_reader(0x08E6, 0x3478, 0x0211, 0).pin.sizes, None);
    let prox = for_reader(0x08E6, 0x5503, 0x0100, 1);
    assert_eq!(
        prox.allowed_escapes,
        [
            Some((1, &[0x02][..])),
            Some((6, &[0x52, 0xF8, 0x04, 0x01, 0x00][..]))
        ]
    );
}

#[test]
fn tokens_are_known_by_their_flavour() {
    let mut interface = Interface {
        number: 0,
        alternate: 0,
        class: 0x0B,
        name_index: 0,
        flavour: Flavour::IccdB,
        bulk_out: None,
        bulk_in: None,
        interrupt_in: None,
        descriptor: descriptor(0x2_0840),
    };
    let quirks = for_interface(0x1059, 0x000D, 0x0100, &interface);
    assert!(quirks.power_cycle_at_open && quirks.chains_short_apdus);
    quirks.apply(&mut interface.descriptor);
    assert_eq!(
        interface.descriptor.features.exchange_level(),
        ExchangeLevel::ExtendedApdu
    );
    interface.flavour = Flavour::Ccid;
    assert_eq!(
        for_interface(0x1059, 0x000D, 0x0100, &interface),
        Quirks::default()
    );
}

#[test]
fn every_line_has_its_effect_and_its_reason() {
    for line in TABLE {
        let mut quirks = Quirks::default();
        quirks.add(&line.rule);
        assert!(quirks != Quirks::default() && line.reason.len() > 10, "{line:?}");
        if let Devices::Products(vendor, products) = line.rule.devices {
            for &product in products {
                let firmware = match line.rule.firmware {
                    Firmware::Any => 0xFFFF,
                    Firmware::Before(version) => version - 1,
                    Firmware::Exactly(versions) => versions[0],
                };
                let quirks = for_reader(vendor, product, firmware, line.rule.interface.unwrap_or(0));
                assert_ne!(quirks, Quirks::default(), "{line:?}");
            }
        }
    }
}

#[test]
fn a_card_is_known_by_its_whole_atr() {
    let card = CARDS[0];
    assert_eq!(for_card(card.atr), Some(&CARDS[0]));
    assert_eq!(for_card(&card.atr[1..]), None);
    assert_eq!(for_card(&[]), None);
}

proptest! {
    #[test]
    fn corrected_descriptors_are_sane(
        line in 0..TABLE.len(),
        vendor: u16,
        product: u16,
        firmware: u16,
        interface in 0u8..4,
        bytes in proptest::collection::vec(any::<u8>(), 52),
    ) {
        let mut raw = vec![54, 0x21];
        raw.extend(bytes);
        let (vendor, product) = match TABLE[line].rule.devices {
            Devices::Products(vendor, products) => (vendor, products[usize::from(product) % products.len()]),
            _ => (vendor, product),
        };
        if let Ok(before) = ClassDescriptor::parse(&raw) {
            let quirks = for_reader(vendor, product, firmware, interface);
            let mut after = before;
            quirks.apply(&mut after);
            prop_assert!(after.max_ifsd <= 254);
            prop_assert!(after.max_data_rate_bps <= before.max_data_rate_bps);
            let mut again = after;
            quirks.apply(&mut again);
            prop_assert_eq!(again.to_bytes(), after.to_bytes());
        }
    }
}
