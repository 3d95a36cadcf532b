//! What `SCardGetStatusChange` reports, as a pure function of the reader states and of what the caller
//! knows (PC/SC part 5, clause 3.2.5; the bits as PC/SC Lite sets them).

use pcsc_wire::{ReaderState, ReaderStates};

/// The name of the pseudo-reader that reports readers coming and going.
pub const PNP_NAME: &[u8] = br"\\?PnP?\Notification";

const IGNORE: u32 = 0x0001;
const CHANGED: u32 = 0x0002;
const UNKNOWN: u32 = 0x0004;
const UNAVAILABLE: u32 = 0x0008;
const EMPTY: u32 = 0x0010;
const PRESENT: u32 = 0x0020;
const ATRMATCH: u32 = 0x0040;
const EXCLUSIVE: u32 = 0x0080;
const INUSE: u32 = 0x0100;
const MUTE: u32 = 0x0200;

const READER_UNKNOWN: u32 = 0x01;
const CARD_ABSENT: u32 = 0x02;
const CARD_PRESENT: u32 = 0x04;
const CARD_MUTE: u32 = 0x08;

/// One reader that a caller watches.
#[derive(Debug, Clone)]
pub struct Watched<'a> {
    /// The reader's name.
    pub name: &'a [u8],
    /// What the caller knows: `SCARD_STATE_*` bits, and an event counter in the high word.
    pub current: u32,
    event: u32,
    is_evaluated: bool,
    /// The ATR's length and bytes; `None` until a reader of this name was looked at.
    pub atr: Option<(usize, [u8; 33])>,
}

impl<'a> Watched<'a> {
    /// A reader of which the caller knows `current`.
    pub fn new(name: &'a [u8], current: u32) -> Watched<'a> {
        Watched {
            name,
            current,
            event: 0,
            is_evaluated: false,
            atr: None,
        }
    }

    /// What is the case; `None` where the call failed before it could tell.
    pub fn event(&self) -> Option<u32> {
        self.is_evaluated.then_some(self.event)
    }

    /// Whether this is the pseudo-reader for readers that come and go.
    pub fn is_pnp(&self) -> bool {
        self.name.eq_ignore_ascii_case(PNP_NAME)
    }

    /// Whether the caller leaves this reader out.
    pub fn is_ignored(&self) -> bool {
        self.current & IGNORE != 0
    }

    /// Whether the caller knows nothing yet, so that any state is news.
    pub fn is_news(&self) -> bool {
        self.current == 0 && !self.is_pnp()
    }

    /// Compares with a reader's state; true when the call has something to report.
    fn compare(&mut self, state: Option<ReaderState<'_>>) -> bool {
        let Some(state) = state else {
            self.event = UNKNOWN | UNAVAILABLE;
            return self.report(self.current & UNKNOWN == 0);
        };
        let is_empty = state.state & CARD_ABSENT != 0;
        let has_card = state.state & CARD_PRESENT != 0;

        let mut news = self.current & UNKNOWN != 0;
        let known_counter = self.current >> 16;
        news |= known_counter != 0 && known_counter != state.event_counter & 0xFFFF;
        self.event = (self.event & 0xFFFF & !UNKNOWN) | (state.event_counter << 16);

        let is_bad = state.state & READER_UNKNOWN != 0;
        news |= is_bad != (self.current & UNAVAILABLE != 0);
        self.event &= !UNAVAILABLE;

        let mut atr = [0; 33];
        let known_atr = if has_card { state.atr } else { &[] };
        atr[..known_atr.len()].copy_from_slice(known_atr);
        self.atr = Some((known_atr.len(), atr));
        if is_bad {
            self.event = UNAVAILABLE;
            return self.report(news || self.current == 0);
        }

        if is_empty {
            self.event &= !(PRESENT | IGNORE | UNKNOWN | UNAVAILABLE | ATRMATCH | MUTE | INUSE);
            self.event |= EMPTY;
            news |= self.current & PRESENT != 0;
        } else if has_card {
            self.event &= !(EMPTY | IGNORE | UNKNOWN | UNAVAILABLE | MUTE);
            self.event |= PRESENT;
            let is_mute = state.state & CARD_MUTE != 0;
            if is_mute {
                self.event |= MUTE;
            }
            news |= self.current & EMPTY != 0 || is_mute != (self.current & MUTE != 0);
        }

        match state.sharing {
            -1 => {
                self.event = (self.event & !INUSE) | EXCLUSIVE;
                news |= self.current & INUSE != 0;
            }
            0 => {
                self.event &= !(INUSE | EXCLUSIVE);
                news |= self.current & (INUSE | EXCLUSIVE) != 0;
            }
            1.. if has_card => {
                self.event = (self.event & !EXCLUSIVE) | INUSE;
                news |= self.current & EXCLUSIVE != 0;
            }
            _ => (),
        }
        self.report(news || self.current == 0)
    }

    /// Compares the pseudo-reader with the count of readers that came or went, which goes to the high
    /// word and tells what happened before the call to a caller that knows an earlier count.
    fn compare_list(&mut self, events: Option<u32>, came_or_went: bool) -> bool {
        if let Some(events) = events {
            self.event = (self.event & 0xFFFF) | (events << 16);
        }
        let known = self.current >> 16;
        let missed = known != 0 && events.is_some_and(|events| events & 0xFFFF != known);
        self.report(missed || (came_or_went && !self.is_ignored()))
    }

    fn report(&mut self, news: bool) -> bool {
        if news {
            self.event |= CHANGED;
        }
        news
    }
}

/// Whether every watched reader exists, or is the pseudo-reader.
pub fn all_known(watched: &[Watched<'_>], states: &ReaderStates<'_>) -> bool {
    watched
        .iter()
        .all(|entry| entry.is_pnp() || states.find(entry.name).is_some())
}

/// The readers that a call began with, to see readers come and go while it waits.
#[derive(Debug, Default)]
pub struct ReaderList {
    at_start: Option<(Vec<u8>, Option<u32>)>,
}

impl ReaderList {
    /// Whether readers came or went since the first look.
    fn has_changed(&mut self, states: &ReaderStates<'_>, events: Option<u32>) -> bool {
        let mut names = Vec::new();
        for state in states.readers() {
            names.extend_from_slice(state.name);
            names.push(0);
        }
        let now = (names, events);
        *self.at_start.get_or_insert_with(|| now.clone()) != now
    }
}

/// Compares what the caller knows with what is; true when the call has something to report.
///
/// `events` is the daemon's count of readers that came or went, where it keeps one.
pub fn evaluate(
    watched: &mut [Watched<'_>],
    states: &ReaderStates<'_>,
    events: Option<u32>,
    list: &mut ReaderList,
) -> bool {
    let came_or_went = watched.iter().any(Watched::is_pnp) && list.has_changed(states, events);
    let mut news = false;
    for entry in watched {
        entry.is_evaluated = true;
        let state = states.find(entry.name);
        if entry.is_pnp() && state.is_none() {
            news |= entry.compare_list(events, came_or_went);
        } else if !entry.is_ignored() {
            news |= entry.compare(state);
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn look(state: &[ReaderState<'_>], name: &[u8], current: u32) -> Watched<'static> {
        let bytes: Vec<u8> = state.iter().flat_map(ReaderState::to_bytes).collect();
        let mut watched = [Watched::new(name, current)];
        let news = evaluate(
            &mut watched,
            &ReaderStates::new(&bytes),
            None,
            &mut ReaderList::default(),
        );
        let [entry] = watched;
        assert_eq!(news, entry.event & CHANGED != 0);
        Watched { name: b"", ..entry }
    }

    fn reader(state: u32, sharing: i32, event_counter: u32) -> ReaderState<'static> {
        let atr: &[u8] = if state & CARD_PRESENT != 0 {
            b"\x3B\x00"
        } else {
            b""
        };
        ReaderState {
            name: b"r",
            event_counter,
            state,
            sharing,
            atr,
            protocol: 0,
        }
    }

    #[test]
    fn presence_and_sharing_are_told() {
        let empty = look(&[reader(CARD_ABSENT, 0, 5)], b"r", 0);
        assert_eq!(empty.event, 5 << 16 | EMPTY | CHANGED);
        assert_eq!(
            look(&[reader(CARD_ABSENT, 0, 5)], b"r", empty.event & !CHANGED).event,
            5 << 16 | EMPTY
        );
        let card = look(&[reader(CARD_PRESENT, 2, 6)], b"r", empty.event);
        assert_eq!(card.event, 6 << 16 | PRESENT | INUSE | CHANGED);
        assert_eq!(card.atr.unwrap().0, 2);
        let alone = look(&[reader(CARD_PRESENT, -1, 6)], b"r", card.event);
        assert_eq!(alone.event, 6 << 16 | PRESENT | EXCLUSIVE | CHANGED);
        assert_eq!(look(&[], b"r", card.event).event, UNKNOWN | UNAVAILABLE | CHANGED);
        assert_eq!(look(&[], b"r", UNKNOWN).event, UNKNOWN | UNAVAILABLE);
        assert_eq!(look(&[reader(1, 0, 0)], b"r", EMPTY).event, UNAVAILABLE | CHANGED);
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
        let one = reader(CARD_ABSENT, 0, 0).to_bytes();
        let other = ReaderState {
            name: b"s",
            ..reader(CARD_ABSENT, 0, 0)
        }
        .to_bytes();
        let mut list = ReaderList::default();
        let mut watched = [Watched::new(br"\\?pnp?\NOTIFICATION", 0)];
        assert!(!evaluate(
            &mut watched,
            &ReaderStates::new(&one),
            Some(7),
            &mut list
        ));
        assert_eq!(watched[0].event, 7 << 16);
        assert!(!evaluate(
            &mut watched,
            &ReaderStates::new(&one),
            Some(7),
            &mut list
        ));
        assert!(evaluate(
            &mut watched,
            &ReaderStates::new(&other),
            Some(9),
            &mut list
        ));
        assert_eq!(watched[0].event, 9 << 16 | CHANGED);
        let mut earlier = [Watched::new(PNP_NAME, 6 << 16)];
        assert!(evaluate(
            &mut earlier,
            &ReaderStates::new(&one),
            Some(7),
            &mut ReaderList::default()
        ));
    }

    proptest! {
        /// Whatever the reader does and whatever the caller claims to know.
        #[test]
        fn no_impossible_pairs_and_no_news_twice(
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
            // A caller that feeds the answer back is not told the same again.
            if entry.event & !CHANGED != 0 {
                prop_assert_eq!(look(readers, b"r", entry.event).event & CHANGED, 0);
            }
        }
    }
}
