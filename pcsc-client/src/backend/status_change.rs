//! `SCardGetStatusChange`: what it reports, from the reader states and what the caller knows (PC/SC part 5, clause 3.2.5;
//! the bits as PC/SC Lite sets them), and its wait, which is the same for all backends.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::bytes::Atr;
use crate::error::{Error, Outcome};
use pcsc_wire::ReaderState;

/// The name of the pseudo-reader that reports readers coming and going.
pub const PNP_NAME: &[u8] = br"\\?PnP?\Notification";

const IGNORE: u32 = pcsc_constants::SCARD_STATE_IGNORE;
const CHANGED: u32 = pcsc_constants::SCARD_STATE_CHANGED;
const UNKNOWN: u32 = pcsc_constants::SCARD_STATE_UNKNOWN;
const UNAVAILABLE: u32 = pcsc_constants::SCARD_STATE_UNAVAILABLE;
const EMPTY: u32 = pcsc_constants::SCARD_STATE_EMPTY;
const PRESENT: u32 = pcsc_constants::SCARD_STATE_PRESENT;
const ATRMATCH: u32 = pcsc_constants::SCARD_STATE_ATRMATCH;
const EXCLUSIVE: u32 = pcsc_constants::SCARD_STATE_EXCLUSIVE;
const INUSE: u32 = pcsc_constants::SCARD_STATE_INUSE;
const MUTE: u32 = pcsc_constants::SCARD_STATE_MUTE;

const READER_UNKNOWN: u32 = pcsc_constants::SCARD_UNKNOWN;
const CARD_ABSENT: u32 = pcsc_constants::SCARD_ABSENT;
const CARD_PRESENT: u32 = pcsc_constants::SCARD_PRESENT;
const CARD_MUTE: u32 = pcsc_constants::SCARD_SWALLOWED;

/// One reader that a caller watches.
#[derive(Debug, Clone)]
pub struct Watched<'a> {
    /// The reader's name.
    pub name: &'a [u8],
    /// What the caller knows: `SCARD_STATE_*` bits, and an event counter in the high word.
    pub current: u32,
    event: u32,
    is_evaluated: bool,
    /// Whether a reader of this name was seen in the current look.
    is_found: bool,
    /// The card's ATR; `None` until a reader of this name was looked at.
    pub atr: Option<Atr>,
}

impl<'a> Watched<'a> {
    /// A reader of which the caller knows `current`.
    pub fn new(name: &'a [u8], current: u32) -> Watched<'a> {
        Watched {
            name,
            current,
            event: 0,
            is_evaluated: false,
            is_found: false,
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

        self.atr = Some(if has_card {
            state.atr.into()
        } else {
            Atr::default()
        });
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

/// What a look at the readers has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing differs from what the caller knows.
    Nothing,
    /// There is something to report.
    News,
    /// A reader that the caller names does not exist, at the first look.
    UnknownReader,
}

/// One call: what the caller watches, and what the looks before have shown. A look costs time in proportion to the readers,
/// and to the logarithm of how many of them are watched.
#[derive(Debug)]
pub struct StatusChange<'c, 'a> {
    watched: &'c mut [Watched<'a>],
    /// The indices of the watched readers, in the order of their names.
    by_name: Vec<usize>,
    /// A hash of the readers' names and the count of reader events, as of the first look.
    list_at_start: Option<(u64, Option<u32>)>,
    is_first: bool,
}

impl<'c, 'a> StatusChange<'c, 'a> {
    fn new(watched: &'c mut [Watched<'a>]) -> Outcome<StatusChange<'c, 'a>> {
        let mut by_name = Vec::new();
        by_name
            .try_reserve_exact(watched.len())
            .map_err(|_| Error::NoMemory)?;
        by_name.extend(0..watched.len());
        by_name.sort_unstable_by_key(|&index| watched[index].name);
        Ok(StatusChange {
            watched,
            by_name,
            list_at_start: None,
            is_first: true,
        })
    }

    /// Whether the count of readers that came or went is of use.
    pub fn wants_reader_events(&self) -> bool {
        self.watched.iter().any(Watched::is_pnp)
    }

    /// Compares what the caller knows with the readers of now. `events` is the backend's count of readers that came or
    /// went, where it keeps one.
    pub fn compare<'r>(
        &mut self,
        readers: impl Iterator<Item = ReaderState<'r>> + Clone,
        events: Option<u32>,
    ) -> Verdict {
        if std::mem::take(&mut self.is_first) {
            for reader in readers.clone() {
                self.for_each_of_name(reader.name, |entry| entry.is_found = true);
            }
            if !self.watched.iter().all(|entry| entry.is_found || entry.is_pnp()) {
                return Verdict::UnknownReader;
            }
        }
        let came_or_went = self.wants_reader_events() && self.has_list_changed(readers.clone(), events);
        for entry in &mut *self.watched {
            (entry.is_evaluated, entry.is_found) = (true, false);
        }
        let mut news = false;
        for reader in readers {
            self.for_each_of_name(reader.name, |entry| {
                // Of several readers with one name the first counts.
                if !std::mem::replace(&mut entry.is_found, true) && !entry.is_ignored() {
                    news |= entry.compare(Some(reader));
                }
            });
        }
        for entry in self.watched.iter_mut().filter(|entry| !entry.is_found) {
            if entry.is_pnp() {
                news |= entry.compare_list(events, came_or_went);
            } else if !entry.is_ignored() {
                news |= entry.compare(None);
            }
        }
        if news {
            Verdict::News
        } else {
            Verdict::Nothing
        }
    }

    fn for_each_of_name(&mut self, name: &[u8], mut act: impl FnMut(&mut Watched<'a>)) {
        let first = self
            .by_name
            .partition_point(|&index| self.watched[index].name < name);
        for &index in &self.by_name[first..] {
            let entry = &mut self.watched[index];
            if entry.name != name {
                break;
            }
            act(entry);
        }
    }

    /// Whether readers came or went since the first look.
    fn has_list_changed<'r>(
        &mut self,
        readers: impl Iterator<Item = ReaderState<'r>>,
        events: Option<u32>,
    ) -> bool {
        let mut names = DefaultHasher::new();
        readers.for_each(|reader| reader.name.hash(&mut names));
        let now = (names.finish(), events);
        *self.list_at_start.get_or_insert(now) != now
    }
}

/// A backend's readers, as one call sees them.
pub trait Readers {
    /// Passes the readers of now to [`StatusChange::compare`]. Where `register`, the next [`Readers::wait`] ends if they
    /// have changed since.
    fn look(&mut self, call: &mut StatusChange<'_, '_>, register: bool) -> Outcome<Verdict>;

    /// Waits until readers have changed since the last look. Returns false if the deadline has passed; `None` waits
    /// forever. Returns at once where the last look has not registered.
    ///
    /// # Errors
    /// [`Error::Cancelled`] for a cancel or a release.
    fn wait(&mut self, deadline: Option<Instant>) -> Outcome<bool>;

    /// Ends a registration that no [`Readers::wait`] has ended.
    fn stop(&mut self);
}

/// Waits until something differs from what the caller knows, at most `timeout`; `None` waits forever.
pub fn wait_for_change(
    readers: &mut impl Readers,
    timeout: Option<Duration>,
    watched: &mut [Watched<'_>],
) -> Outcome<()> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut may_wait = timeout != Some(Duration::ZERO);
    // Where the first look has something to report, there is no registration to end.
    let mut register = may_wait && !watched.iter().any(Watched::is_news);
    let mut call = StatusChange::new(watched)?;
    loop {
        match readers.look(&mut call, register)? {
            Verdict::Nothing if !may_wait => return Err(Error::Timeout.into()),
            Verdict::Nothing => (),
            Verdict::News => {
                readers.stop();
                return Ok(());
            }
            Verdict::UnknownReader => {
                readers.stop();
                return Err(Error::UnknownReader.into());
            }
        }
        if !readers.wait(deadline)? {
            return Err(Error::Timeout.into());
        }
        // Changes that are none for the caller must not keep it beyond its time. The last look sees the last change.
        may_wait = deadline.is_none_or(|deadline| deadline > Instant::now());
        register = may_wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn look(state: &[ReaderState<'_>], name: &[u8], current: u32) -> Watched<'static> {
        let mut watched = [Watched::new(name, current)];
        let mut call = StatusChange::new(&mut watched).unwrap();
        // A reader that is gone later is no unknown one.
        call.is_first = false;
        let verdict = call.compare(state.iter().copied(), None);
        let [entry] = watched;
        assert_eq!(verdict == Verdict::News, entry.event & CHANGED != 0);
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
        assert_eq!(&*card.atr.unwrap(), b"\x3B\x00");
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
        let one = [reader(CARD_ABSENT, 0, 0)];
        let other = [ReaderState {
            name: b"s",
            ..reader(CARD_ABSENT, 0, 0)
        }];
        let mut watched = [Watched::new(br"\\?pnp?\NOTIFICATION", 0)];
        let mut call = StatusChange::new(&mut watched).unwrap();
        for _ in 0..2 {
            assert_eq!(call.compare(one.iter().copied(), Some(7)), Verdict::Nothing);
            assert_eq!(call.watched[0].event, 7 << 16);
        }
        assert_eq!(call.compare(other.iter().copied(), Some(9)), Verdict::News);
        assert_eq!(watched[0].event, 9 << 16 | CHANGED);
        let mut earlier = [Watched::new(PNP_NAME, 6 << 16)];
        let mut call = StatusChange::new(&mut earlier).unwrap();
        assert_eq!(call.compare(one.iter().copied(), Some(7)), Verdict::News);
    }

    /// Names in any order, some of them twice, against a plain search.
    #[test]
    fn each_entry_is_compared_with_the_reader_of_its_name() {
        let names: Vec<String> = (0..300)
            .map(|number| format!("Reader {}", number * 7 % 300))
            .collect();
        let readers = names.iter().enumerate().map(|(number, name)| ReaderState {
            name: name.as_bytes(),
            event_counter: number as u32,
            ..reader(CARD_ABSENT, 0, 0)
        });
        let watch = |name: &'static str| Watched::new(name.as_bytes(), 0);
        let mut watched = ["Reader 299", "Reader 0", "Reader 14", "Reader 0", "Reader 15"].map(watch);
        let mut call = StatusChange::new(&mut watched).unwrap();
        assert_eq!(call.compare(readers.clone(), None), Verdict::News);
        for entry in &watched {
            let counter = readers
                .clone()
                .find(|reader| reader.name == entry.name)
                .unwrap()
                .event_counter;
            assert_eq!(entry.event, counter << 16 | EMPTY | CHANGED, "{:?}", entry.name);
        }
        // The first of two readers with one name counts, and one that does not exist is unknown at the first look only.
        let twins = [reader(CARD_ABSENT, 0, 1), reader(CARD_PRESENT, 0, 2)];
        let mut watched = [Watched::new(b"r", 1 << 16 | EMPTY), Watched::new(b"q", IGNORE)];
        let mut call = StatusChange::new(&mut watched).unwrap();
        assert_eq!(call.compare(twins.iter().copied(), None), Verdict::UnknownReader);
        assert_eq!(call.compare(twins.iter().copied(), None), Verdict::Nothing);
        assert_eq!(watched[0].event(), Some(1 << 16 | EMPTY));
    }

    /// Readers that change at given looks, and what the loop asks of them.
    #[derive(Default)]
    struct Script {
        has_card: Vec<bool>,
        looks: usize,
        asked: Vec<&'static str>,
        waits: Vec<Outcome<bool>>,
    }

    impl Readers for Script {
        fn look(&mut self, call: &mut StatusChange<'_, '_>, register: bool) -> Outcome<Verdict> {
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
            // Anything is news to a caller that knows nothing.
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
            // A change after the caller's time is over is reported all the same.
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
