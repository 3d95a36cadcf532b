//! A batch of requests for the reader states in one round trip, with or without registration for the next
//! event, and the parser of the replies.
//!
//! Two things make the replies ambiguous. Up to 4.5 the number of states is not sent, and in 4.6 it can
//! change between SIZE and ARRAY. After the registration, the event, which has no tag, can come before any
//! reply. A VERSION request behind the batch resolves both: its answer is known byte for byte, so where it
//! begins shows the length of what precedes it. A length that is eight bytes more than that of whole states
//! holds the event.

use std::ops::Range;

use super::{
    Body, Endian, EventBody, Header, ReaderEventsBody, ReaderStateRecords, RequestCode, Version, VersionBody,
    READER_STATE_SIZE,
};

/// The largest number of reader states that is accepted.
pub const MAX_READER_STATES: usize = 4096;
/// The size of an event, in bytes.
pub const EVENT_SIZE: usize = EventBody::SIZE;

const SIZE_REPLY: usize = 4;

/// The requests of a batch, which determine the replies that the parser expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateBatch {
    /// The byte order of the connection.
    pub endian: Endian,
    /// The version spoken on the connection.
    pub version: Version,
    /// The version in the daemon's answers: newer than the one spoken if the daemon accepts older clients.
    pub answered: Version,
    /// How many states the daemon sends, up to 4.5, once it is known.
    pub slots: Option<usize>,
    /// Whether to register for the next event.
    pub wait: bool,
    /// Whether to ask for the count of reader events too; ignored below 4.5.
    pub events: bool,
}

/// The result of parsing the bytes received so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// At least this many bytes are missing.
    More(usize),
    /// The replies are complete.
    Done(Parsed),
    /// These bytes are not an answer to the batch.
    OutOfStep(&'static str),
}

/// The replies to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// How many bytes the replies take.
    pub consumed: usize,
    /// The range of the states in them.
    pub states: Range<usize>,
    /// The count of reader events, if it was asked for.
    pub reader_events: Option<u32>,
    /// The event that came among the replies.
    pub event: Option<EventBody>,
}

impl StateBatch {
    /// The longest requests, in bytes: five headers, the body of WAIT and that of VERSION.
    pub const MAX_SIZE: usize = 5 * Header::SIZE + EventBody::SIZE + VersionBody::SIZE;

    /// Writes the requests to the front of `out`, which must hold [`StateBatch::MAX_SIZE`] bytes. Returns
    /// their length.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let mut length = 0;
        let mut request = |command, body: &[u8]| {
            let end = length + Header::SIZE + body.len();
            let (header, room) = out[length..end].split_at_mut(Header::SIZE);
            header.copy_from_slice(&Header::new(command, body.len()).to_bytes(self.endian));
            room.copy_from_slice(body);
            length = end;
        };
        if self.wait {
            let body: &[u8] = if self.version.waits_with_body() {
                &[0; EVENT_SIZE]
            } else {
                &[]
            };
            request(RequestCode::WaitReaderStateChange, body);
        }
        if self.version.sends_table_size() {
            request(RequestCode::GetReadersStateSize, &[]);
            request(RequestCode::GetReadersStateArray, &[]);
        } else if !self.wait || self.version.waits_with_body() {
            request(RequestCode::GetReadersState, &[]);
        }
        if self.asks_for_events() {
            request(RequestCode::GetReaderEvents, &[]);
        }
        if self.needs_anchor() {
            request(
                RequestCode::Version,
                &VersionBody::new(self.version).to_bytes(self.endian),
            );
        }
        length
    }

    /// Reads the replies. `bytes` may hold more than the replies: what is left belongs to later ones.
    pub fn parse(&self, bytes: &[u8]) -> Progress {
        let trailer = if self.asks_for_events() {
            ReaderEventsBody::SIZE
        } else {
            0
        };
        if !self.needs_anchor() {
            let states = self.slots.unwrap_or(0) * READER_STATE_SIZE;
            return match bytes.get(..states + trailer) {
                None => Progress::More(states + trailer - bytes.len()),
                Some(replies) => Progress::Done(self.finish(replies, 0..states, states, None)),
            };
        }

        let mut head = 0;
        let mut event = None;
        let mut expected = self.slots.unwrap_or(1);
        if self.version.sends_table_size() {
            // A SIZE is never 0. The first word of an event is.
            if bytes.get(..SIZE_REPLY) == Some(&[0; SIZE_REPLY]) {
                if !self.wait {
                    return Progress::OutOfStep("a reader table of size 0");
                }
                let Some(early) = EventBody::parse(bytes, self.endian) else {
                    return Progress::More(EVENT_SIZE - bytes.len());
                };
                event = Some(early);
                head = EVENT_SIZE;
            }
            let Some(size) = bytes.get(head..head + SIZE_REPLY) else {
                return Progress::More(head + SIZE_REPLY - bytes.len());
            };
            expected = match usize::try_from(self.endian.read_u32(size) as i32) {
                Ok(size @ 1..=MAX_READER_STATES) => size,
                _ => return Progress::OutOfStep("a reader table of an impossible size"),
            };
            head += SIZE_REPLY;
        }

        let least = head + expected * READER_STATE_SIZE + trailer + VersionBody::SIZE;
        if bytes.len() < least {
            return Progress::More(least - bytes.len());
        }
        let slack_allowed = self.wait && event.is_none();
        let anchor = self.anchor();
        // Up to 4.5 the table's size does not change, and a state can hold bytes that look like the anchor.
        let counts = match self.slots {
            Some(known) if !self.version.sends_table_size() => known..=known,
            _ => 0..=MAX_READER_STATES,
        };
        for slots in counts {
            for slack in [0, EVENT_SIZE] {
                if slack > 0 && !slack_allowed {
                    continue;
                }
                let at = head + slots * READER_STATE_SIZE + trailer + slack;
                let Some(found) = bytes.get(at..at + anchor.len()) else {
                    return Progress::More(at + anchor.len() - bytes.len());
                };
                if found == anchor {
                    return self.resolve(bytes, head, slots, slack > 0, event, at + anchor.len());
                }
            }
        }
        Progress::OutOfStep("reader states without an end")
    }

    /// Finds the event in replies that are longer by an event than without one.
    fn resolve(
        &self,
        bytes: &[u8],
        head: usize,
        slots: usize,
        has_event: bool,
        mut event: Option<EventBody>,
        end: usize,
    ) -> Progress {
        let length = slots * READER_STATE_SIZE;
        let mut states = head..head + length;
        let mut count = states.end;
        if has_event {
            let shifted = states.start + EVENT_SIZE..states.end + EVENT_SIZE;
            let is_first = !ReaderStateRecords::new(&bytes[states.clone()], self.endian).is_plausible()
                && ReaderStateRecords::new(&bytes[shifted.clone()], self.endian).is_plausible();
            let at = if is_first {
                count = shifted.end;
                std::mem::replace(&mut states, shifted).start
            } else if self.asks_for_events() && bytes[count..count + 4] != [0; 4] {
                // The count of reader events, which is never 0, precedes the event.
                count + ReaderEventsBody::SIZE
            } else {
                count += EVENT_SIZE;
                states.end
            };
            event = EventBody::parse(&bytes[at..], self.endian);
        }
        Progress::Done(self.finish(&bytes[..end], states, count, event))
    }

    /// The replies, of which the count of reader events is at `count`, if it was asked for.
    fn finish(&self, bytes: &[u8], states: Range<usize>, count: usize, event: Option<EventBody>) -> Parsed {
        let reply = bytes.get(count..).filter(|_| self.asks_for_events());
        let reply = reply.and_then(|reply| ReaderEventsBody::parse(reply, self.endian));
        Parsed {
            consumed: bytes.len(),
            states,
            reader_events: reply.filter(|reply| reply.rv == 0).map(|reply| reply.events),
            event,
        }
    }

    fn asks_for_events(&self) -> bool {
        self.events && self.version.counts_reader_events()
    }

    fn needs_anchor(&self) -> bool {
        self.wait || self.version.sends_table_size() || self.slots.is_none()
    }

    /// The daemon's answer to VERSION, known byte for byte.
    fn anchor(&self) -> [u8; VersionBody::SIZE] {
        VersionBody::new(self.answered).to_bytes(self.endian)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ReaderStateRecord;
    use super::*;
    use proptest::prelude::*;

    /// With a return code of its own, so that no other bytes are taken for it.
    const EVENT: EventBody = EventBody {
        timeout: 0,
        rv: pcsc_constants::SCARD_E_CANCELLED,
    };

    fn event(endian: Endian) -> [u8; EVENT_SIZE] {
        let mut bytes = [0; EVENT_SIZE];
        EVENT.emit(endian, &mut bytes);
        bytes
    }

    fn table(slots: usize, readers: &[usize], endian: Endian) -> Vec<u8> {
        (0..slots)
            .flat_map(|slot| {
                let name = format!("Reader {slot}");
                let free = !readers.contains(&slot);
                ReaderStateRecord {
                    name: if free { b"" } else { name.as_bytes() },
                    event_counter: if free { 0 } else { 3 },
                    state: if free { 0 } else { 0x34 },
                    sharing: 0,
                    atr: if free { b"" } else { b"\x3B\x00" },
                    protocol: if free { 0 } else { 1 },
                }
                .to_bytes(endian)
            })
            .collect()
    }

    /// Where the event stands among the replies.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Early {
        No,
        First,
        AfterSize,
        AfterStates,
        AfterEvents,
    }

    fn replies(batch: &StateBatch, slots: usize, size: usize, readers: &[usize], early: Early) -> Vec<u8> {
        let mut out = Vec::new();
        let event = |out: &mut Vec<u8>, at| {
            if at == early {
                out.extend_from_slice(&self::event(batch.endian));
            }
        };
        let number = |out: &mut Vec<u8>, number| {
            let mut bytes = [0; 4];
            batch.endian.write_u32(&mut bytes, number);
            out.extend_from_slice(&bytes);
        };
        event(&mut out, Early::First);
        if batch.version.sends_table_size() {
            number(&mut out, size as u32);
            event(&mut out, Early::AfterSize);
        }
        out.extend(table(slots, readers, batch.endian));
        event(&mut out, Early::AfterStates);
        if batch.asks_for_events() {
            number(&mut out, 7);
            number(&mut out, 0);
            event(&mut out, Early::AfterEvents);
        }
        if batch.needs_anchor() {
            out.extend_from_slice(&batch.anchor());
        }
        out
    }

    fn drain(batch: &StateBatch, bytes: &[u8]) -> Parsed {
        let mut have = 0;
        loop {
            match batch.parse(&bytes[..have]) {
                Progress::More(missing) => {
                    assert!(missing > 0 && have + missing <= bytes.len(), "asked for too much");
                    // They may come in parts.
                    have += missing.div_ceil(2);
                }
                Progress::Done(parsed) => return parsed,
                Progress::OutOfStep(why) => panic!("{why}"),
            }
        }
    }

    proptest! {
        #[test]
        fn states_are_found_whatever_stands_between(
            minor in 2..=6i32, slots in 1usize..70, grown in 0usize..3, known: bool, wait: bool,
            events: bool, reader in 0usize..70, place in 0usize..5, is_big: bool,
        ) {
            let endian = if is_big { Endian::Big } else { Endian::Little };
            let version = Version { major: 4, minor };
            let reader = reader % slots;
            let batch = StateBatch {
                endian,
                version,
                answered: version,
                slots: (known && minor < 6).then_some(slots),
                wait,
                events,
            };
            let early = if !wait {
                Early::No
            } else {
                [Early::No, Early::First, Early::AfterSize, Early::AfterStates, Early::AfterEvents][place]
            };
            let size = if minor >= 6 { slots.saturating_sub(grown).max(1) } else { slots };
            let bytes = replies(&batch, slots, size, &[reader], early);
            let inserted = match early {
                Early::No => false,
                Early::AfterSize => minor >= 6,
                Early::AfterEvents => batch.asks_for_events(),
                _ => true,
            };
            let parsed = drain(&batch, &bytes);
            prop_assert_eq!(parsed.consumed, bytes.len());
            prop_assert_eq!(&bytes[parsed.states.clone()], &table(slots, &[reader], endian)[..]);
            prop_assert_eq!(parsed.event, inserted.then_some(EVENT));
            prop_assert_eq!(parsed.reader_events, batch.asks_for_events().then_some(7));
        }

        #[test]
        fn any_bytes_end(
            minor in 2..=6i32, slots in proptest::option::of(1usize..40), wait: bool, events: bool,
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let batch = StateBatch { endian: Endian::NATIVE, version: Version { major: 4, minor },
                answered: Version { major: 4, minor }, slots, wait, events };
            match batch.parse(&bytes) {
                Progress::More(missing) => prop_assert!(missing > 0),
                Progress::Done(parsed) => {
                    prop_assert!(parsed.consumed <= bytes.len());
                    prop_assert!(parsed.states.end <= bytes.len());
                }
                Progress::OutOfStep(_) => (),
            }
        }
    }

    #[test]
    fn an_event_comes_once_and_to_who_waits_alone() {
        let version = Version::NEWEST;
        let batch = |wait| StateBatch {
            endian: Endian::NATIVE,
            version,
            answered: version,
            slots: None,
            wait,
            events: false,
        };
        let not_asked_for = replies(&batch(false), 2, 2, &[0], Early::AfterStates);
        let twice = [
            &event(Endian::NATIVE)[..],
            &replies(&batch(true), 2, 2, &[0], Early::AfterStates),
        ]
        .concat();
        for (batch, bytes) in [(batch(false), not_asked_for), (batch(true), twice)] {
            assert!(matches!(batch.parse(&bytes), Progress::More(_)), "{batch:?}");
        }
    }

    #[test]
    fn no_more_is_asked_for_than_shows_what_follows() {
        let version = Version::NEWEST;
        let batch = StateBatch {
            endian: Endian::NATIVE,
            version,
            answered: version,
            slots: None,
            wait: true,
            events: false,
        };
        let bytes = replies(&batch, 1, 1, &[0], Early::First);
        // An event or a size, the rest of the event, and then the size.
        for (have, missing) in [(0, 4), (3, 1), (4, 4), (7, 1), (8, 4), (11, 1)] {
            let Progress::More(asked) = batch.parse(&bytes[..have]) else {
                panic!("{have} bytes are no answer");
            };
            assert_eq!(asked, missing, "behind {have} bytes");
        }
    }

    /// The length of an ATR, the protocol and a free slot behind them are the answer to VERSION in 4.2.
    #[test]
    fn a_state_may_look_like_the_end_of_the_states() {
        let version = Version { major: 4, minor: 2 };
        let state = ReaderStateRecord {
            name: b"Reader",
            event_counter: 3,
            state: 0x34,
            sharing: 0,
            atr: b"\x3B\x80\x01\x81",
            protocol: 2,
        };
        let endian = Endian::NATIVE;
        let table = [&state.to_bytes(endian)[..], &[0; READER_STATE_SIZE]].concat();
        let batch = StateBatch {
            endian,
            version,
            answered: version,
            slots: Some(2),
            wait: true,
            events: false,
        };
        let bytes = [&event(endian)[..], &table, &batch.anchor()].concat();
        let parsed = drain(&batch, &bytes);
        assert_eq!(bytes[parsed.states], table);
        assert_eq!(parsed.event, Some(EVENT));
    }

    #[test]
    fn a_batch_has_the_requests_of_its_version() {
        let commands = |minor, slots, wait, events| {
            let mut out = [0; StateBatch::MAX_SIZE];
            let batch = StateBatch {
                endian: Endian::NATIVE,
                version: Version { major: 4, minor },
                answered: Version { major: 4, minor },
                slots,
                wait,
                events,
            };
            let length = batch.emit(&mut out);
            let mut commands = Vec::new();
            let mut rest = &out[..length];
            while let Some(header) = Header::parse(rest, Endian::NATIVE) {
                commands.push(header.command);
                rest = &rest[Header::SIZE + header.size as usize..];
            }
            commands
        };
        assert_eq!(commands(4, None, false, false), [0x12, 0x11]);
        assert_eq!(commands(4, Some(16), false, true), [0x12]);
        assert_eq!(commands(3, Some(16), true, true), [0x13, 0x12, 0x11]);
        assert_eq!(commands(4, Some(16), true, true), [0x13, 0x11]);
        assert_eq!(commands(5, Some(16), true, true), [0x13, 0x15, 0x11]);
        assert_eq!(commands(6, None, false, false), [0x16, 0x17, 0x11]);
        assert_eq!(commands(6, None, true, true), [0x13, 0x16, 0x17, 0x15, 0x11]);
    }

    #[test]
    fn absurd_sizes_are_refused_at_once() {
        let batch = StateBatch {
            endian: Endian::NATIVE,
            version: Version::NEWEST,
            answered: Version::NEWEST,
            slots: None,
            wait: false,
            events: false,
        };
        for size in [0, -1, i32::MIN, i32::MAX, 4097] {
            assert!(
                matches!(batch.parse(&size.to_ne_bytes()), Progress::OutOfStep(_)),
                "{size}"
            );
        }
    }
}
