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
    let changes = roll.update(Seen {
        arrived: vec![candidate(17), candidate(18)],
        ..Seen::default()
    });
    assert_eq!(places(&changes.arrived), [17, 18]);
    assert_eq!(places(roll.known()), [17, 18]);
    let changes = roll.update(Seen {
        gone: vec![candidate(17).place],
        arrived: vec![candidate(19)],
        ..Seen::default()
    });
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
        roll.update(seen).notices
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
        roll.update(Seen {
            arrived: vec![candidate(17)],
            ..Seen::default()
        });
        let changes = roll.update(Seen::nothing(&error.into()));
        assert!(changes.gone.is_empty() && changes.arrived.is_empty());
        assert_eq!(places(roll.known()), [17]);
        assert_eq!(roll.is_open(), is_open);
        roll.update(Seen::default());
        assert!(!roll.is_open());
    }
}
