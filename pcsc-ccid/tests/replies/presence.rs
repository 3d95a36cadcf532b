//! What the slot's status in a reply says about the presence of a card.

use super::*;

#[test]
fn a_card_that_was_exchanged_unseen_is_told_once() {
    let mut reader = ready();
    for expected in [Presence::Replaced, Presence::Present] {
        let inactive = message(0x81, &[], [1, 0, 0]);
        reader.transport().incoming.push_back(In::Bytes(inactive));
        assert_eq!(reader.presence(0), Ok(expected));
    }
    assert_eq!(reader.presence(1), Err(ReaderError::NoSuchSlot));
}

/// What `presence` returns, call by call, for a reader that reports this of its card.
fn looks(reader: &mut Reader<Script>, icc: u8) -> [Result<Presence, ReaderError>; 2] {
    [0; 2].map(|_| {
        let status = || message(0x81, &[], [icc, 0, 0]);
        // The second one answers to IccPowerOff, where that is sent.
        reader.transport().incoming = bytes(&[status(), status()]).into();
        reader.presence(0)
    })
}

const ACTIVE: u8 = 0;

const INACTIVE: u8 = 1;

const TOLD_ONCE: [Result<Presence, ReaderError>; 2] = [Ok(Presence::Replaced), Ok(Presence::Present)];

#[test]
fn a_card_that_is_back_before_anybody_has_looked_is_told_once() {
    let empty = || message(0x80, &[], [0x42, 0xFE, 0]);
    // A reader may have given the new card power by itself.
    for icc in [ACTIVE, INACTIVE] {
        let mut reader = ready();
        assert_eq!(transmit(&mut reader, bytes(&[empty()])), Err(ReaderError::NoCard));
        assert_eq!(looks(&mut reader, icc), TOLD_ONCE, "{icc}");

        let mut reader = ready();
        let answers = [message(0x81, &[], [2, 0, 0]), empty(), empty()];
        reader.transport().incoming.extend(bytes(&answers));
        assert_eq!(reader.power_on(0, Reset::Cold), Err(ReaderError::NoCard));
        assert_eq!(looks(&mut reader, icc), TOLD_ONCE, "{icc}");
    }
    // One that was seen to be away is a new card, and one whose power was taken is the same.
    let mut reader = ready();
    assert_eq!(transmit(&mut reader, bytes(&[empty()])), Err(ReaderError::NoCard));
    assert_eq!(looks(&mut reader, 2), [Ok(Presence::Absent); 2]);
    assert_eq!(looks(&mut reader, INACTIVE), [Ok(Presence::Present); 2]);
    let mut reader = ready();
    let off = message(0x81, &[], [INACTIVE, 0, 0]);
    reader.transport().incoming.extend(bytes(&[off]));
    reader.power_off(0).unwrap();
    assert_eq!(looks(&mut reader, INACTIVE), [Ok(Presence::Present); 2]);
}

#[test]
fn a_slot_s_status_counts_even_where_the_card_is_called_mute() {
    let mute = |icc| message(0x81, &[], [0x40 | icc, 0xFE, 0]);
    for (icc, expected) in [
        (ACTIVE, Presence::Present),
        (INACTIVE, Presence::Replaced),
        (2, Presence::Absent),
    ] {
        let mut reader = ready();
        reader.transport().incoming.extend(bytes(&[mute(icc)]));
        assert_eq!(reader.presence(0), Ok(expected), "{icc}");
    }
    let mut reader = ready();
    let hardware = message(0x81, &[], [0x40, 0xFB, 0]);
    reader.transport().incoming.extend(bytes(&[hardware]));
    assert_eq!(
        reader.presence(0),
        Err(ReaderError::Slot(SlotErrorCode::Hardware))
    );
}

#[test]
fn who_asks_for_an_attribute_does_not_hear_the_news_in_place_of_others() {
    let mut reader = ready();
    let inactive = || message(0x81, &[], [INACTIVE, 0, 0]);
    reader.transport().incoming.extend(bytes(&[inactive()]));
    let mut value = [0; 4];
    assert_eq!(
        reader.attribute(0, attributes::ICC_PRESENCE, None, &mut value),
        Ok(1)
    );
    assert_eq!(value[0], 2);
    assert_eq!(looks(&mut reader, INACTIVE), TOLD_ONCE);
}
