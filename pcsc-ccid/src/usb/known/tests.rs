use super::*;
use crate::usb::linux::tests::candidate;
use crate::usb::listing::NoticeReason;
use std::vec;

fn notice(address: u8) -> Notice {
    let reader = candidate(address);
    Notice {
        place: reader.place,
        port: reader.port,
        identity: reader.identity,
        reason: NoticeReason::Permission,
    }
}

fn places(readers: &[Candidate]) -> Vec<u8> {
    readers.iter().map(|reader| reader.place.address).collect()
}

fn known_places(readers: &KnownReaders) -> Vec<u8> {
    let known = readers.known().iter();
    known.map(|reader| reader.place.address).collect()
}

#[test]
fn readers_come_and_go() {
    let mut readers = KnownReaders::default();
    let now = Instant::now();
    let scan = Scan {
        arrived: vec![candidate(17), candidate(18)],
        ..Scan::default()
    };
    let changes = readers.update(scan, now);
    assert_eq!(places(&changes.arrived), [17, 18]);
    assert_eq!(known_places(&readers), [17, 18]);
    let scan = Scan {
        gone: vec![candidate(17).place],
        arrived: vec![candidate(19)],
        ..Scan::default()
    };
    let changes = readers.update(scan, now);
    assert_eq!(changes.gone, [candidate(17).place]);
    assert_eq!(places(&changes.arrived), [19]);
    assert_eq!(known_places(&readers), [18, 19]);
}

#[test]
fn a_notice_is_reported_once_until_its_reason_ends() {
    let mut readers = KnownReaders::default();
    let mut told = |notices: Vec<Notice>, is_partial| {
        let scan = Scan {
            notices,
            is_partial,
            ..Scan::default()
        };
        readers.update(scan, Instant::now()).notices
    };
    assert_eq!(told(vec![notice(17)], false), [notice(17)]);
    // After a partial scan it counts as reported.
    assert_eq!(told(vec![notice(18)], true), [notice(18)]);
    assert_eq!(told(vec![notice(17), notice(18)], false), []);
    assert_eq!(told(vec![], false), []);
    assert_eq!(told(vec![notice(17)], false), [notice(17)]);
}

#[test]
fn a_scan_that_failed_changes_nothing() {
    for is_partial in [true, false] {
        let mut readers = KnownReaders::default();
        let now = Instant::now();
        let scan = Scan {
            arrived: vec![candidate(17)],
            ..Scan::default()
        };
        readers.update(scan, now);
        let failed = Scan {
            is_partial,
            ..Scan::default()
        };
        let changes = readers.update(failed, now);
        assert!(changes.gone.is_empty() && changes.arrived.is_empty());
        assert_eq!(known_places(&readers), [17]);
        assert_eq!(readers.needs_rescan(), is_partial);
        readers.update(Scan::default(), now);
        assert!(!readers.needs_rescan());
    }
}

#[test]
fn a_reader_that_never_becomes_ready_is_waited_for_once() {
    let (place, other) = (candidate(17).place, candidate(18).place);
    let begin = Instant::now();
    let at = |milliseconds| begin + Duration::from_millis(milliseconds);
    let pending = |pending: &[Place]| Scan {
        pending: pending.to_vec(),
        ..Scan::default()
    };
    let mut readers = KnownReaders::default();
    assert!(!readers.has_waited(place, begin));
    readers.update(pending(&[place]), begin);
    assert!(readers.needs_rescan() && !readers.has_waited(place, begin));
    // Readers that arrive in between do not delay it.
    readers.update(pending(&[other, place]), at(900));
    assert!(!readers.has_waited(place, at(999)));
    assert!(readers.has_waited(place, at(1000)));
    assert!(!readers.has_waited(other, at(1000)));
    // It is refused with a notice, after the wait.
    let scan = Scan {
        notices: vec![notice(17)],
        ..pending(&[other])
    };
    readers.update(scan, at(1000));
    readers.update(
        Scan {
            notices: vec![notice(17)],
            ..Scan::default()
        },
        at(2000),
    );
    assert!(!readers.needs_rescan() && readers.has_waited(place, at(9000)));
    // The same place again, later, is another device.
    readers.update(Scan::default(), at(9000));
    assert!(!readers.has_waited(place, at(9000)));
}
