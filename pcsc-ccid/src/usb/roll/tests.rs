use super::*;
use crate::usb::candidate::Reason;
use crate::usb::tree::candidate;
use rustix::io::Errno;
use std::vec;

fn notice(address: u8) -> Notice {
    let reader = candidate(address);
    Notice {
        place: reader.place,
        identity: reader.identity,
        reason: Reason::Permission,
    }
}

fn places(readers: &[Candidate]) -> Vec<u8> {
    readers.iter().map(|reader| reader.place.address).collect()
}

#[test]
fn readers_come_and_go() {
    let mut roll = Roll::default();
    let now = Instant::now();
    let seen = Seen {
        arrived: vec![candidate(17), candidate(18)],
        ..Seen::default()
    };
    let changes = roll.update(seen, now);
    assert_eq!(places(&changes.arrived), [17, 18]);
    assert_eq!(places(roll.known()), [17, 18]);
    let seen = Seen {
        gone: vec![candidate(17).place],
        arrived: vec![candidate(19)],
        ..Seen::default()
    };
    let changes = roll.update(seen, now);
    assert_eq!(changes.gone, [candidate(17).place]);
    assert_eq!(places(&changes.arrived), [19]);
    assert_eq!(places(roll.known()), [18, 19]);
}

#[test]
fn what_is_to_be_logged_is_told_once_until_it_has_ended() {
    let mut roll = Roll::default();
    let mut told = |notices: Vec<Notice>, is_partial| {
        let seen = Seen {
            notices,
            is_partial,
            ..Seen::default()
        };
        roll.update(seen, Instant::now()).notices
    };
    assert_eq!(told(vec![notice(17)], false), [notice(17)]);
    // A look that has not seen all leaves it told.
    assert_eq!(told(vec![notice(18)], true), [notice(18)]);
    assert_eq!(told(vec![notice(17), notice(18)], false), []);
    assert_eq!(told(vec![], false), []);
    assert_eq!(told(vec![notice(17)], false), [notice(17)]);
}

#[test]
fn a_system_that_does_not_tell_changes_nothing() {
    for (error, is_open) in [(Errno::MFILE, true), (Errno::NOENT, false)] {
        let mut roll = Roll::default();
        let now = Instant::now();
        let seen = Seen {
            arrived: vec![candidate(17)],
            ..Seen::default()
        };
        roll.update(seen, now);
        let changes = roll.update(Seen::nothing(&error.into()), now);
        assert!(changes.gone.is_empty() && changes.arrived.is_empty());
        assert_eq!(places(roll.known()), [17]);
        assert_eq!(roll.is_open(), is_open);
        roll.update(Seen::default(), now);
        assert!(!roll.is_open());
    }
}

#[test]
fn a_reader_that_is_not_ready_is_waited_for_in_vain_once() {
    let (place, other) = (candidate(17).place, candidate(18).place);
    let begin = Instant::now();
    let at = |milliseconds| begin + Duration::from_millis(milliseconds);
    let coming = |coming: &[Place]| Seen {
        coming: coming.to_vec(),
        ..Seen::default()
    };
    let mut roll = Roll::default();
    assert!(!roll.has_waited(place, begin));
    roll.update(coming(&[place]), begin);
    assert!(roll.is_open() && !roll.has_waited(place, begin));
    // Others that come meanwhile do not delay it.
    roll.update(coming(&[other, place]), at(900));
    assert!(!roll.has_waited(place, at(999)));
    assert!(roll.has_waited(place, at(1000)));
    assert!(!roll.has_waited(other, at(1000)));
    // It is refused, and the notice says that it was waited for.
    let seen = Seen {
        notices: vec![notice(17)],
        ..coming(&[other])
    };
    roll.update(seen, at(1000));
    roll.update(
        Seen {
            notices: vec![notice(17)],
            ..Seen::default()
        },
        at(2000),
    );
    assert!(!roll.is_open() && roll.has_waited(place, at(9000)));
    // The same place again, later, is another device.
    roll.update(Seen::default(), at(9000));
    assert!(!roll.has_waited(place, at(9000)));
}
