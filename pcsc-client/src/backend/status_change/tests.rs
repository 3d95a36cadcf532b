//! What is reported, and which calls the loop makes to a backend.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::watched::*;
use super::*;
use crate::error::{Error, Outcome};
use pcsc_wire::ReaderStateRecord;

fn look(state: &[ReaderStateRecord<'_>], name: &[u8], current: u32) -> Watched<'static> {
    let mut watched = [Watched::new(name, current)];
    let mut call = StatusChange::new(&mut watched).unwrap();
    // At later looks a reader that is gone is reported, and is no error.
    call.is_first = false;
    let comparison = call.compare(state.iter().copied(), None);
    let [entry] = watched;
    assert_eq!(comparison == Comparison::Changed, entry.event & CHANGED != 0);
    Watched { name: b"", ..entry }
}

fn reader(state: u32, sharing: i32, event_counter: u32) -> ReaderStateRecord<'static> {
    let atr: &[u8] = if state & CARD_PRESENT != 0 {
        b"\x3B\x00"
    } else {
        b""
    };
    ReaderStateRecord {
        name: b"r",
        event_counter,
        state,
        sharing,
        atr,
        protocol: 0,
    }
}

#[test]
fn presence_and_sharing_are_reported() {
    let empty = look(&[reader(CARD_ABSENT, 0, 5)], b"r", 0);
    assert_eq!(empty.event, 5 << 16 | EMPTY | CHANGED);
    assert_eq!(
        look(&[reader(CARD_ABSENT, 0, 5)], b"r", empty.event & !CHANGED).event,
        5 << 16 | EMPTY
    );
    let card = look(&[reader(CARD_PRESENT, 2, 6)], b"r", empty.event);
    assert_eq!(card.event, 6 << 16 | PRESENT | INUSE | CHANGED);
    assert_eq!(&*card.atr.unwrap(), b"\x3B\x00");
    let alone = look(&[reader(CARD_PRESENT, -1, 6)], b"r", card.event);
    assert_eq!(alone.event, 6 << 16 | PRESENT | EXCLUSIVE | CHANGED);
    assert_eq!(look(&[], b"r", card.event).event, UNKNOWN | UNAVAILABLE | CHANGED);
    assert_eq!(look(&[], b"r", UNKNOWN).event, UNKNOWN | UNAVAILABLE);
    assert_eq!(look(&[reader(1, 0, 0)], b"r", EMPTY).event, UNAVAILABLE | CHANGED);
}

#[test]
fn a_look_keeps_nothing_of_the_one_before() {
    let mut watched = [Watched::new(b"r", EMPTY | EXCLUSIVE)];
    let mut call = StatusChange::new(&mut watched).unwrap();
    for (state, sharing, event) in [(CARD_ABSENT, -1, EMPTY | EXCLUSIVE), (0, 1, 0)] {
        let readers = [reader(state, sharing, 0)];
        assert_eq!(call.compare(readers.into_iter(), None), Comparison::Unchanged);
        assert_eq!(call.watched[0].event, event);
    }
}

#[test]
fn a_counter_is_compared_in_sixteen_bits() {
    let known = 0x0001_0000 | EMPTY;
    assert_eq!(
        look(&[reader(CARD_ABSENT, 0, 0x1_0001)], b"r", known).event & CHANGED,
        0
    );
    assert_eq!(
        look(&[reader(CARD_ABSENT, 0, 0x1_0002)], b"r", known).event & CHANGED,
        CHANGED
    );
}

#[test]
fn the_pseudo_reader_sees_a_replacement_and_an_earlier_count() {
    let one = [reader(CARD_ABSENT, 0, 0)];
    let other = [ReaderStateRecord {
        name: b"s",
        ..reader(CARD_ABSENT, 0, 0)
    }];
    let mut watched = [Watched::new(br"\\?pnp?\NOTIFICATION", 0)];
    let mut call = StatusChange::new(&mut watched).unwrap();
    for _ in 0..2 {
        assert_eq!(call.compare(one.iter().copied(), Some(7)), Comparison::Unchanged);
        assert_eq!(call.watched[0].event, 7 << 16);
    }
    assert_eq!(call.compare(other.iter().copied(), Some(9)), Comparison::Changed);
    assert_eq!(watched[0].event, 9 << 16 | CHANGED);
    let mut earlier = [Watched::new(PNP_NAME, 6 << 16)];
    let mut call = StatusChange::new(&mut earlier).unwrap();
    assert_eq!(call.compare(one.iter().copied(), Some(7)), Comparison::Changed);
}

/// Names in any order, some of them twice, against a plain search.
#[test]
fn each_entry_is_compared_with_the_reader_of_its_name() {
    let names: Vec<String> = (0..300)
        .map(|number| format!("Reader {}", number * 7 % 300))
        .collect();
    let readers = names.iter().enumerate().map(|(number, name)| ReaderStateRecord {
        name: name.as_bytes(),
        event_counter: number as u32,
        ..reader(CARD_ABSENT, 0, 0)
    });
    let watch = |name: &'static str| Watched::new(name.as_bytes(), 0);
    let mut watched = ["Reader 299", "Reader 0", "Reader 14", "Reader 0", "Reader 15"].map(watch);
    let mut call = StatusChange::new(&mut watched).unwrap();
    assert_eq!(call.compare(readers.clone(), None), Comparison::Changed);
    for entry in &watched {
        let counter = readers
            .clone()
            .find(|reader| reader.name == entry.name)
            .unwrap()
            .event_counter;
        assert_eq!(entry.event, counter << 16 | EMPTY | CHANGED, "{:?}", entry.name);
    }
    // The first of two readers with one name counts, and one that does not exist is unknown at the first look
    // only.
    let twins = [reader(CARD_ABSENT, 0, 1), reader(CARD_PRESENT, 0, 2)];
    let mut watched = [Watched::new(b"r", 1 << 16 | EMPTY), Watched::new(b"q", IGNORE)];
    let mut call = StatusChange::new(&mut watched).unwrap();
    assert_eq!(
        call.compare(twins.iter().copied(), None),
        Comparison::UnknownReader
    );
    assert_eq!(call.compare(twins.iter().copied(), None), Comparison::Unchanged);
    assert_eq!(watched[0].event(), Some(1 << 16 | EMPTY));
}

/// Readers that change at given looks. Records the loop's calls.
#[derive(Default)]
struct Script {
    has_card: Vec<bool>,
    looks: usize,
    asked: Vec<&'static str>,
    waits: Vec<Outcome<bool>>,
}

impl Readers for Script {
    fn look(&mut self, call: &mut StatusChange<'_, '_>, register: bool) -> Outcome<Comparison> {
        self.asked.push(if register { "register" } else { "look" });
        let state = if self.has_card[self.looks] {
            CARD_PRESENT
        } else {
            CARD_ABSENT
        };
        self.looks += 1;
        Ok(call.compare([reader(state, 0, 0)].into_iter(), None))
    }

    fn wait(&mut self, _deadline: Option<Instant>) -> Outcome<bool> {
        self.asked.push("wait");
        self.waits.remove(0)
    }

    fn stop(&mut self) {
        self.asked.push("stop");
    }
}

#[test]
fn the_loop_registers_when_it_waits_and_stops_when_it_does_not() {
    const LONG: Duration = Duration::from_secs(1000);
    let cancelled = || Err(Error::Cancelled.into());
    let run = |timeout, current, has_card: &[bool], waits| {
        let mut script = Script {
            has_card: has_card.to_vec(),
            waits,
            ..Script::default()
        };
        let result = wait_for_change(&mut script, timeout, &mut [Watched::new(b"r", current)]);
        (result.map_err(|failure| failure.error()), script.asked.join(" "))
    };
    let asked = |text: &str| text.to_owned();
    for (timeout, current, has_card, waits, result, expected) in [
        (
            Some(Duration::ZERO),
            EMPTY,
            &[false][..],
            vec![],
            Err(Error::Timeout),
            "look",
        ),
        (Some(Duration::ZERO), EMPTY, &[true], vec![], Ok(()), "look stop"),
        // To a caller that knows no state yet, any state is a change.
        (None, 0, &[false], vec![], Ok(()), "look stop"),
        (None, EMPTY, &[true], vec![], Ok(()), "register stop"),
        (
            Some(LONG),
            EMPTY,
            &[false],
            vec![Ok(false)],
            Err(Error::Timeout),
            "register wait",
        ),
        (
            None,
            EMPTY,
            &[false],
            vec![cancelled()],
            Err(Error::Cancelled),
            "register wait",
        ),
        (
            None,
            EMPTY,
            &[false, false, true],
            vec![Ok(true), Ok(true)],
            Ok(()),
            "register wait register wait register stop",
        ),
        // A change at the end of the caller's time is reported.
        (
            Some(Duration::from_nanos(1)),
            EMPTY,
            &[false, true],
            vec![Ok(true)],
            Ok(()),
            "register wait look stop",
        ),
        (
            Some(Duration::from_nanos(1)),
            EMPTY,
            &[false, false],
            vec![Ok(true)],
            Err(Error::Timeout),
            "register wait look",
        ),
    ] {
        assert_eq!(run(timeout, current, has_card, waits), (result, asked(expected)));
    }
}

proptest! {
    /// For any state of the reader and any state that the caller knows.
    #[test]
    fn no_contradicting_bits_and_no_change_twice(
        state in 0u32..0x80, sharing in -1i32..3, counter: u32, current in 0u32..0x800, known_counter: u16,
        exists: bool,
    ) {
        let readers = [reader(state, sharing, counter)];
        let readers = if exists { &readers[..] } else { &[] };
        let current = current & !IGNORE | u32::from(known_counter) << 16;
        let entry = look(readers, b"r", current);
        for pair in [EMPTY | PRESENT, INUSE | EXCLUSIVE, UNAVAILABLE | EXCLUSIVE, UNAVAILABLE | INUSE,
                     EMPTY | MUTE, UNAVAILABLE | PRESENT] {
            prop_assert_ne!(entry.event & pair, pair);
        }
        // A caller that passes the result to the next call gets no change.
        if entry.event & !CHANGED != 0 {
            prop_assert_eq!(look(readers, b"r", entry.event).event & CHANGED, 0);
        }
    }
}
