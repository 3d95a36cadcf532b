//! PIN pads: verification, modification, keys.

use super::*;
use crate::card::apps::{File, FileSystem};
use crate::card::SimCard;
use crate::reader::{Key, KeypadEntry, Oddities};
use std::time::Duration;

const T1_PARAMETERS: [u8; 7] = [0x11, 0x10, 0x00, 0x45, 0x00, 0xFE, 0x00];
const VERIFY: [u8; 5] = [0x00, 0x20, 0x00, 0x81, 0x04];
const CHANGE: [u8; 5] = [0x00, 0x24, 0x00, 0x81, 0x08];

fn bench(name: &str, offer: Offer) -> Bench {
    let card = SimCard::good(Profile::new(&[offer]), Box::new(FileSystem::example()));
    let mut bench = Bench::with_card(name, card);
    bench.power_on();
    if offer.number() == 1 {
        bench.say(&message(0x61, 0, 1, [1, 0, 0], &T1_PARAMETERS));
    }
    bench
}

/// bTimeOut 20 s, ASCII from the left in 4 bytes, 4 to 8 digits, validation key, one message.
fn verify(apdu: &[u8]) -> Vec<u8> {
    let mut data = vec![0x00, 20, 0x82, 0x04, 0x00, 8, 4, 0x02, 1, 0x09, 0x04, 0, 0, 0, 9];
    data.extend(apdu);
    message(0x69, 0, 5, [0, 0, 0], &data)
}

fn modify(messages: u8, indexes: &[u8]) -> Vec<u8> {
    let mut data = vec![
        0x01, 20, 0x82, 0x04, 0x00, 0, 4, 4, 4, 3, 0x02, messages, 0x09, 0x04,
    ];
    data.extend(indexes);
    data.extend([0, 0, 13]);
    data.extend(CHANGE);
    data.extend([0xFF; 8]);
    message(0x69, 0, 6, [0, 0, 0], &data)
}

#[test]
fn a_pin_is_typed_and_verified() {
    let apdu = [&VERIFY[..], &[0xFF; 4]].concat();
    let mut bench = bench("gempc-pinpad", Offer::T1);
    bench.device.will_type(KeypadEntry::pin("1234"));
    assert_eq!(
        bench.say(&verify(&apdu)),
        [0x80, 6, 0, 0, 0, 0, 5, 0, 0x81, 0, 0, 0, 2, 0x90, 0x00, 0x92],
        "a T=1 block of the card"
    );
    let mut wrong = self::bench("gempc-pinpad", Offer::T0);
    wrong.device.will_type(KeypadEntry::pin("4321"));
    assert_eq!(wrong.say(&verify(&apdu))[10..], [0x63, 0xC2], "two tries left");
}

#[test]
fn keys_end_an_entry_in_other_ways() {
    let apdu = [&VERIFY[..], &[0xFF; 4]].concat();
    let mut bench = bench("gempc-pinpad", Offer::T0);
    bench.device.will_type(KeypadEntry {
        takes: Duration::from_millis(2500),
        key: Key::Cancel,
    });
    bench.device.bulk_out(&verify(&apdu)).unwrap();
    let begun = bench.device.now();
    for second in 1..=2 {
        assert_eq!(bench.hear()[7..9], [0x80, 1], "time extension");
        assert_eq!(bench.device.now() - begun, Duration::from_secs(second));
    }
    assert_eq!(bench.hear()[7..], [0x40, 0xEF, 0]);
    assert_eq!(bench.device.now() - begun, Duration::from_millis(2500));

    let begun = bench.device.now();
    bench.device.bulk_out(&verify(&apdu)).unwrap();
    while bench.hear()[7] == 0x80 {}
    assert_eq!(
        bench.device.now() - begun,
        Duration::from_secs(20),
        "nothing was typed"
    );
    for too_few in ["123", "123456789"] {
        bench.device.will_type(KeypadEntry::pin(too_few));
        assert_eq!(bench.say(&verify(&apdu))[7..9], [0x40, 0xF0]);
    }
    assert_eq!(
        bench.device.tally(0).to_card,
        0,
        "nothing of this reached the card"
    );
}

#[test]
fn a_pin_is_changed() {
    let mut bench = bench("gempc-pinpad", Offer::T0);
    for pin in ["1234", "9753", "9753"] {
        bench.device.will_type(KeypadEntry::pin(pin));
    }
    assert_eq!(bench.say(&modify(1, &[0, 1, 2]))[10..], [0x90, 0x00]);
    for pin in ["9753", "1111", "2222"] {
        bench.device.will_type(KeypadEntry::pin(pin));
    }
    assert_eq!(
        bench.say(&modify(1, &[0, 1, 2]))[7..9],
        [0x40, 0xEF],
        "the new PIN was typed otherwise the second time"
    );
    for (messages, indexes) in [
        (0, &[0][..]),
        (1, &[0, 1]),
        (2, &[0, 1]),
        (3, &[0, 1, 2]),
        (0xFF, &[0, 0, 0]),
    ] {
        let mut bench = self::bench("gempc-pinpad", Offer::T0);
        bench.device = bench.device.with(Oddities::default());
        for pin in ["1234", "9753", "9753"] {
            bench.device.will_type(KeypadEntry::pin(pin));
        }
        let reply = bench.say(&modify(messages, indexes));
        assert_eq!(reply[10..], [0x90, 0x00], "{messages}");
    }
}

#[test]
fn formats_put_a_pin_where_they_say() {
    let sent = |format: [u8; 3], apdu: &[u8], pin: &str| {
        let mut bench = bench("gempc-pinpad", Offer::T0);
        bench.device.will_type(KeypadEntry::pin(pin));
        let mut command = verify(apdu);
        command[12..15].copy_from_slice(&format);
        bench.say(&command)[7..].to_vec()
    };
    // The card's answer shows what it received; the PIN is "1234" in ASCII.
    let verified = vec![0x00, 0x81, 0x00, 0x90, 0x00];
    assert_eq!(
        sent([0x82, 0x04, 0], &[&VERIFY[..], &[0xFF; 4]].concat(), "1234"),
        verified
    );
    assert_eq!(
        sent([0x86, 0x04, 0], &[&VERIFY[..], &[0xFF; 4]].concat(), "1234"),
        verified
    );
    assert_eq!(
        sent([0x82, 0x00, 0], &VERIFY[..4], "1234"),
        verified,
        "an APDU that grows"
    );
    // A block that is too small for what is typed, and a position that is no byte's.
    assert_eq!(
        sent([0x82, 0x02, 0], &[&VERIFY[..], &[0xFF; 4]].concat(), "1234"),
        [0x40, 12, 0]
    );
    assert_eq!(
        sent([0x0A, 0x04, 0], &[&VERIFY[..], &[0xFF; 4]].concat(), "1234"),
        [0x40, 12, 0]
    );
}

#[test]
fn the_number_of_digits_goes_into_the_block() {
    // ISO 9564, format 2: 4 bits of length after 2, then digits.
    let pin = [0x24, 0x12, 0x34, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    let root = File::Df {
        id: 0x3F00,
        name: Vec::new(),
        children: Vec::new(),
    };
    let app = FileSystem::new(root, &pin);
    let mut bench = Bench::with_card(
        "gempc-pinpad",
        SimCard::good(Profile::new(&[Offer::T0]), Box::new(app)),
    );
    bench.power_on();
    bench.device.will_type(KeypadEntry::pin("1234"));
    let mut command = verify(b"\x00\x20\x00\x81\x08\x20\xFF\xFF\xFF\xFF\xFF\xFF\xFF");
    command[12..15].copy_from_slice(&[0x89, 0x47, 0x04]);
    assert_eq!(bench.say(&command)[10..], [0x90, 0x00]);
}

#[test]
fn a_pad_refuses_what_it_does_not_know() {
    let mut bench = bench("gempc-pinpad", Offer::T0);
    for (data, error) in [
        (&[][..], 1),
        (&[0x02], 10),
        (&[0x00, 1, 2, 3], 1),
        (&[0x01, 1, 2, 3], 1),
        (
            &[
                0x00, 0, 0x82, 4, 0, 4, 8, 2, 0, 9, 4, 0, 0, 0, 0, 0, 0x20, 0, 0x81,
            ],
            15,
        ),
    ] {
        let reply = bench.say(&message(0x69, 0, 5, [0, 0, 0], data));
        assert_eq!(reply[7..9], [0x40, error]);
    }
    let mut plain = self::bench("gempc-express", Offer::T0);
    assert_eq!(plain.say(&verify(&VERIFY[..4]))[7..9], [0x40, 0x00]);
}
