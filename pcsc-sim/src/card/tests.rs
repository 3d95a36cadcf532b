//! Cards, driven at their contacts.

use std::sync::{Arc, Mutex};

use super::apps::Echo;
use super::*;

const LINE: LineSettings = LineSettings {
    clock_hz: 4_000_000,
    rate: Rate::DEFAULT,
    millivolts: 5000,
};

/// A card that keeps its commands, and an empty one for each reset.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Vec<u8>>>>);

impl VirtualCard for Kept {
    fn atr(&self) -> Vec<u8> {
        vec![0x3B, 0x00]
    }

    fn reset(&mut self) {
        self.0.lock().unwrap().push(Vec::new());
    }

    fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
        self.0.lock().unwrap().push(command.to_vec());
        vec![0x90, 0x00]
    }
}

#[test]
fn a_virtual_card_speaks_the_protocol_of_its_atr_and_gets_le_or_data() {
    let kept = Kept::default();
    let mut card = SimCard::of(Box::new(kept.clone()), SharedBehaviour::default());
    assert_eq!(card.reset(LINE).bytes, [0x3B, 0x00]);
    for le in [2, 0] {
        assert_eq!(card.hear(&[0x00, 0xB0, 0, 0, le], LINE).bytes, [0x90, 0x00]);
    }
    assert_eq!(card.hear(&[0x00, 0xD6, 0, 0, 1], LINE).bytes, [0xD6]);
    assert_eq!(card.hear(&[0x77], LINE).bytes, [0x90, 0x00]);
    let commands = [
        vec![],
        vec![0x00, 0xB0, 0, 0, 2],
        vec![0x00, 0xB0, 0, 0, 0],
        vec![0x00, 0xD6, 0, 0, 1, 0x77],
    ];
    assert_eq!(*kept.0.lock().unwrap(), commands);
}

#[test]
fn a_command_that_comes_again_with_the_right_le_is_executed_once() {
    struct Counter(u8);
    impl VirtualCard for Counter {
        fn atr(&self) -> Vec<u8> {
            vec![0x3B, 0x00]
        }

        fn transmit(&mut self, _command: &[u8]) -> Vec<u8> {
            self.0 += 1;
            vec![self.0, 0x90, 0x00]
        }
    }
    let mut card = SimCard::of(Box::new(Counter(0)), SharedBehaviour::default());
    card.reset(LINE);
    let mut hear = |command: [u8; 5]| card.hear(&command, LINE).bytes;
    assert_eq!(hear([0x80, 0x10, 0, 0, 0]), [0x6C, 1]);
    assert_eq!(hear([0x80, 0x10, 0, 0, 1]), [0x10, 1, 0x90, 0x00]);
    assert_eq!(hear([0x80, 0x10, 0, 0, 1]), [0x10, 2, 0x90, 0x00]);
    // Another command in between: the first one is executed again, and its response is not fetched.
    assert_eq!(hear([0x80, 0x10, 0, 0, 0]), [0x6C, 1]);
    assert_eq!(hear([0x80, 0x12, 0, 0, 1]), [0x12, 4, 0x90, 0x00]);
    assert_eq!(hear([0x80, 0x10, 0, 0, 1]), [0x10, 5, 0x90, 0x00]);
}

#[test]
fn an_extended_command_comes_over_t0_in_envelopes() {
    let mut card = SimCard::good(Profile::new(&[Offer::T0]), Box::new(Echo));
    card.reset(LINE);
    let data: Vec<u8> = (0..=255).collect();
    let command = [&[0x80, 0xEC, 0, 0, 0, 1, 0][..], &data, &[0, 0]].concat();
    let mut status = Vec::new();
    for part in command.chunks(200) {
        assert_eq!(
            status,
            if status.is_empty() {
                vec![]
            } else {
                vec![0x90, 0x00]
            }
        );
        assert_eq!(
            card.hear(&[0x00, 0xC2, 0, 0, part.len() as u8], LINE).bytes,
            [0xC2]
        );
        status = card.hear(part, LINE).bytes;
    }
    assert_eq!(status, [0x61, 0]);
    let answer = card.hear(&[0x00, 0xC0, 0, 0, 0], LINE).bytes;
    assert_eq!(answer, [&[0xC0][..], &data, &[0x90, 0x00]].concat());
}

#[test]
fn a_card_may_acknowledge_byte_by_byte() {
    let behaviour = Behaviour {
        byte_by_byte: true,
        ..Behaviour::default()
    };
    let mut card = SimCard::new(Profile::new(&[Offer::T0]), behaviour, Box::new(Echo));
    card.reset(LINE);
    for (sent, answer) in [
        (&[0x80, 0xEC, 0, 0, 2][..], &[!0xEC][..]),
        (b"a", &[!0xEC]),
        (b"b", &[0x61, 2]),
        (&[0x00, 0xC0, 0, 0, 2], &[!0xC0, b'a', !0xC0, b'b', 0x90, 0x00]),
    ] {
        assert_eq!(card.hear(sent, LINE).bytes, answer);
    }
}

#[test]
fn a_card_in_specific_mode_has_its_rate_at_once_unless_it_is_implicit() {
    for (ta2, rate) in [(0x00, Rate::from_ta1(0x95).unwrap()), (0x10, Rate::DEFAULT)] {
        let profile = Profile {
            ta1: Some(0x95),
            ta2: Some(ta2),
            ..Profile::new(&[Offer::T0])
        };
        let mut card = SimCard::good(profile, Box::new(Echo));
        card.reset(LINE);
        let answered = [0x95, 0x11].map(|ta1| {
            let rate = Rate::from_ta1(ta1).unwrap();
            let line = LineSettings { rate, ..LINE };
            !card.hear(&[0x80, 0xEC, 0, 0, 0], line).bytes.is_empty()
        });
        assert_eq!(
            answered,
            [rate != Rate::DEFAULT, rate == Rate::DEFAULT],
            "{ta2:02X}"
        );
    }
}

#[test]
fn a_card_that_works_sends_null_bytes_first() {
    let behaviour = Behaviour {
        nulls: 2,
        ..Behaviour::default()
    };
    let mut card = SimCard::new(Profile::new(&[Offer::T0]), behaviour, Box::new(Echo));
    card.reset(LINE);
    let answer = card.hear(&[0x80, 0xEC, 0, 0, 1], LINE).bytes;
    assert_eq!(answer, [0x60, 0x60, 0xEC]);
}

#[test]
fn a_card_that_works_for_ever_takes_little_memory() {
    let behaviour = Behaviour {
        time: Duration::MAX,
        work: u64::MAX,
        ..Behaviour::default()
    };
    let mut card = SimCard::new(Profile::new(&[Offer::T0]), behaviour, Box::new(Echo));
    card.reset(LINE);
    assert_eq!(card.hear(&[0x80, 0xEC, 0, 0, 1], LINE).bytes.len(), (1 << 20) + 1);
}

#[test]
fn a_behaviour_that_is_set_later_holds_from_the_next_reset_or_command_on() {
    let behaviour = SharedBehaviour::default();
    let mut card = SimCard::of(Box::new(Kept::default()), behaviour.clone());
    let command = [0x00, 0xB0, 0, 0, 2];
    card.reset(LINE);
    assert_eq!(card.hear(&command, LINE).bytes, [0x90, 0x00]);
    behaviour.set(Behaviour {
        nulls: 1,
        mute: true,
        ..Behaviour::default()
    });
    assert_eq!(card.hear(&command, LINE).bytes, [0x60, 0x90, 0x00]);
    assert_eq!(card.reset(LINE), Burst::default());
}

#[test]
fn delays_add_up_until_they_are_taken() {
    let switches = Switches::default();
    switches.owe(Duration::from_millis(2));
    switches.owe(Duration::from_millis(3));
    assert_eq!(switches.take_owed(), Duration::from_millis(5));
    assert_eq!(switches.take_owed(), Duration::ZERO);
}

/// A card that answers each command with three characters, 20 etu apart.
struct Slow;

impl CharacterCard for Slow {
    fn reset(&mut self, _line: LineSettings) -> Burst {
        Burst {
            bytes: vec![0x3B, 0x00],
            spacing: 12,
            ..Burst::default()
        }
    }

    fn power_off(&mut self) {}

    fn hear(&mut self, _bytes: &[u8], _line: LineSettings) -> Burst {
        Burst {
            bytes: vec![1, 2, 3],
            delay: 5,
            spacing: 20,
            ..Burst::default()
        }
    }
}

#[test]
fn characters_come_at_their_times_and_not_after_a_reset() {
    let mut contact = Contact::new(Box::new(Slow));
    assert_eq!(contact.activate(4_000_000), Some(vec![0x3B, 0x00]));
    let mut received = Vec::new();
    contact.send(&[0]);
    let mut receive = |contact: &mut Contact, max, first, next| {
        received.clear();
        contact.receive(&mut received, max, first, next);
        received.clone()
    };
    assert_eq!(receive(&mut contact, 3, 4, 20), []);
    assert_eq!(receive(&mut contact, 3, 1, 19), [1]);
    assert_eq!(receive(&mut contact, 3, 1, 20), [2, 3]);
    contact.send(&[0]);
    assert_eq!(contact.activate(4_000_000), Some(vec![0x3B, 0x00]));
}

#[test]
fn the_time_of_a_slow_clock_does_not_overflow() {
    let mut contact = Contact::new(Box::new(Slow));
    contact.activate(1);
    contact.send(&[0; 65_536]);
    assert_eq!(contact.elapsed(), Duration::from_nanos(u64::MAX / 1000));
}

#[test]
fn characters_to_a_card_have_its_extra_guard_time() {
    let mut contact = Contact::new(Box::new(Slow));
    contact.activate(4_000_000);
    let mut sent = |extra_guard| {
        contact.set_extra_guard(extra_guard);
        let before = contact.elapsed();
        contact.send(&[0; 10]);
        (contact.elapsed() - before).as_micros()
    };
    // 93 us an etu.
    assert_eq!([0, 8, 255].map(&mut sent), [11_160, 18_600, 11_160]);
}
