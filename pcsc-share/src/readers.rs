//! The readers of all sources, as one list.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::thread;

use pcsc_wire::{Endian, ReaderStateRecord, MAX_READER_STATES, READER_STATE_SIZE};

use crate::joined::Joined;
use crate::policy::AccessPolicy;
use crate::sync::lock;
use crate::threads;

/// The number of states that clients up to 4.5 read, and the least number that is sent to later ones, as by
/// pcscd.
pub const SLOTS: usize = 16;

/// The readers of all sources that are offered, in the order of the sources.
pub struct Readers {
    sources: Vec<Joined>,
    policy: AccessPolicy,
    /// What [`Readers::states`] has made last.
    kept: Mutex<Option<Kept>>,
}

/// A copy of the states.
struct Kept {
    /// The count of changes that was read before the copy was made.
    changes: u64,
    endian: Endian,
    states: Arc<[u8]>,
}

impl Readers {
    /// The readers of these sources that the policy offers.
    pub fn new(sources: Vec<Joined>, policy: AccessPolicy) -> Readers {
        Readers {
            sources,
            policy,
            kept: Mutex::default(),
        }
    }

    /// Who may use which readers.
    pub fn policy(&self) -> &AccessPolicy {
        &self.policy
    }

    /// The sources.
    pub fn sources(&self) -> &[Joined] {
        &self.sources
    }

    /// The states of all readers that clients take, and free places up to [`SLOTS`], as bytes. They are made
    /// anew when one has changed.
    pub fn states(&self, endian: Endian) -> Arc<[u8]> {
        // Each count only grows, so that the sum is another one once a state has changed.
        let counts = self.sources.iter().map(|joined| joined.source.state_changes());
        // Before the states are read, see `Kept`. `None` where a source is not notified of all changes.
        let changes: Option<u64> = counts.sum();
        let is_up_to_date = |kept: &&Kept| Some(kept.changes) == changes && kept.endian == endian;
        if let Some(kept) = lock(&self.kept).as_ref().filter(is_up_to_date) {
            return kept.states.clone();
        }
        let states = self.new_states(endian);
        if let Some(changes) = changes {
            *lock(&self.kept) = Some(Kept {
                changes,
                endian,
                states: states.clone(),
            });
        }
        states
    }

    fn new_states(&self, endian: Endian) -> Arc<[u8]> {
        let looked = self.look_at_all(|joined| {
            let mut states = Vec::new();
            self.each_of(joined, &mut |reader| {
                states.extend_from_slice(&reader.to_bytes(endian))
            });
            states
        });
        let mut states = looked.concat();
        // libpcsclite takes no more, and would break the connection.
        states.truncate(MAX_READER_STATES * READER_STATE_SIZE);
        states.resize(states.len().max(SLOTS * READER_STATE_SIZE), 0);
        states.into()
    }

    /// What `look` returns for each source. Looks that take a round trip go on at the same time, so that all
    /// of them take no longer than the longest one.
    fn look_at_all<T: Send>(&self, look: impl Fn(&Joined) -> T + Sync) -> Vec<T> {
        let look = &look;
        thread::scope(|scope| {
            let mut has_first = false;
            let begun = self.sources.iter().map(|joined| {
                let takes_round_trip = joined.source.state_changes().is_none();
                // The first one is left to this thread, which would only wait.
                if !takes_round_trip || !std::mem::replace(&mut has_first, true) {
                    return None;
                }
                let builder = threads::builder("pcsc-look");
                // Where there is no room for a thread, this one looks.
                builder.spawn_scoped(scope, move || look(joined)).ok()
            });
            let begun: Vec<_> = begun.collect();
            let looked = self.sources.iter().zip(begun).map(|(joined, begun)| match begun {
                Some(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                None => look(joined),
            });
            looked.collect()
        })
    }

    /// Calls `look` with each reader of a source.
    fn each_of(&self, joined: &Joined, look: &mut dyn FnMut(ReaderStateRecord<'_>)) {
        joined.source.each_reader(&mut |reader| {
            if let Some(name) = self.name_of(joined, reader.name) {
                look(ReaderStateRecord {
                    name: &name,
                    ..reader
                });
            }
        });
    }

    /// The name in the list of the reader that a source calls `name`. `None` for one that is not offered.
    fn name_of<'n>(&self, joined: &Joined, name: &'n [u8]) -> Option<Cow<'n, [u8]>> {
        let name = joined.name_of(name);
        self.is_offered(joined, &name).then_some(name)
    }

    /// Whether the reader of a source that has this name in the list is offered.
    fn is_offered(&self, joined: &Joined, name: &[u8]) -> bool {
        self.policy.offers(name) && !self.is_of_another(joined, name)
    }

    /// Whether a reader without a label is called like one of another source, for which a client could take
    /// it. A daemon names its readers as it likes.
    fn is_of_another(&self, joined: &Joined, name: &[u8]) -> bool {
        let bears = |other: &Joined| {
            let mark = format!(" ({})", other.label);
            name.windows(mark.len()).any(|part| part == mark.as_bytes())
        };
        let mut others = self.sources.iter().filter(|other| !other.label.is_empty());
        joined.label.is_empty() && others.any(bears)
    }

    /// The number of the source that has a reader, and the reader's name there. No source is looked at for a
    /// reader that is known, so that none delays a call of another one's reader.
    pub fn find(&self, name: &[u8]) -> Option<(usize, Vec<u8>)> {
        let known = self.sources.iter().map(|joined| {
            let source = &joined.source;
            self.name_at(joined, name, |look| source.each_name(look))
        });
        first(known).or_else(|| self.find_new(name))
    }

    /// Finds a reader that has just come, which a look of the client has shown it.
    fn find_new(&self, name: &[u8]) -> Option<(usize, Vec<u8>)> {
        let names = self.look_at_all(|joined| {
            let source = &joined.source;
            // One that counts all changes has no reader that is not known.
            if source.state_changes().is_some() {
                return None;
            }
            self.name_at(joined, name, |look| {
                source.each_reader(&mut |reader| look(reader.name));
            })
        });
        first(names)
    }

    /// The name at a source of the reader that has this name in the list, among those that `each` passes to
    /// its argument.
    fn name_at(
        &self,
        joined: &Joined,
        name: &[u8],
        each: impl FnOnce(&mut dyn FnMut(&[u8])),
    ) -> Option<Vec<u8>> {
        let mut found = None;
        each(&mut |name_there| {
            if *joined.name_of(name_there) == *name && self.is_offered(joined, name) {
                found = Some(name_there.to_vec());
            }
        });
        found
    }

    /// How many readers came and went, in 15 bits and never 0, as pcscd counts.
    pub fn events(&self) -> u32 {
        // With one source this is its own count.
        let events = self
            .sources
            .iter()
            .map(|joined| u64::from(joined.source.reader_events()));
        // Each count begins with 1, and so does the sum.
        let came_and_went: u64 = events.map(|events| events.saturating_sub(1)).sum();
        (came_and_went % 0x7FFF) as u32 + 1
    }

    /// What of a source's readers is an event for clients that wait: which readers there are, and what is in
    /// them. Connections to them are none, as in pcscd.
    pub fn fingerprint(&self, joined: &Joined) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.each_of(joined, &mut |reader| {
            (reader.name, reader.event_counter, reader.state, reader.atr).hash(&mut hasher);
        });
        joined.source.reader_events().hash(&mut hasher);
        hasher.finish()
    }
}

/// The first name, with its number.
fn first(names: impl IntoIterator<Item = Option<Vec<u8>>>) -> Option<(usize, Vec<u8>)> {
    let mut numbered = names.into_iter().enumerate();
    numbered.find_map(|(number, name)| Some((number, name?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Named, Source};
    use pcsc_wire::ReaderStateRecords;
    use std::sync::atomic::Ordering;
    use std::sync::Condvar;
    use std::time::Duration;

    #[test]
    fn a_reader_that_is_called_like_another_sources_is_not_offered() {
        let joined = |label: &str, names: &[&str]| Joined {
            source: Arc::new(Named::new(names)),
            label: label.into(),
        };
        let sources = vec![
            joined("", &["Fake (b) 00 00", "Real (4711) 00 00"]),
            joined("b", &["Fake 00 00"]),
            joined("c", &["Fake (b) 00 00"]),
        ];
        let readers = Readers::new(sources, AccessPolicy::default());
        let states = readers.states(Endian::NATIVE);
        let names: Vec<_> = ReaderStateRecords::new(&states, Endian::NATIVE)
            .readers()
            .map(|reader| String::from_utf8(reader.name.to_vec()).unwrap())
            .collect();
        let expected = ["Real (4711) 00 00", "Fake (b) 00 00", "Fake (b) (c) 00 00"];
        assert_eq!(names, expected);
        assert_eq!(readers.find(b"Fake (b) 00 00"), Some((1, b"Fake 00 00".to_vec())));
    }

    #[test]
    fn a_reader_that_is_known_is_found_without_a_look() {
        let own = Arc::new(Named::counted(&["Own 00 00"]));
        let far = Arc::new(Named::new(&["Far 00 00"]));
        let mut new = Named::new(&["Old 00 00"]);
        new.just_come = vec!["New 00 00".into()];
        let new = Arc::new(new);
        let sources = [&own, &far, &new].map(|source| source.clone() as Arc<dyn Source>);
        let readers = Readers::new(Joined::numbered(sources), AccessPolicy::default());
        let looks = || [&own, &far, &new].map(|source| source.looks.load(Ordering::SeqCst));
        let old = readers.find(b"Old (source 3) 00 00");
        assert_eq!(old, Some((2, b"Old 00 00".to_vec())));
        assert_eq!(looks(), [0; 3]);
        // A source that knows of all changes has no reader that is not known.
        let found = readers.find(b"New (source 3) 00 00");
        assert_eq!(found, Some((2, b"New 00 00".to_vec())));
        assert_eq!(looks(), [0, 1, 1]);
    }

    #[test]
    fn looks_that_take_a_round_trip_go_on_at_the_same_time() {
        let sources = [
            Named::counted(&[]),
            Named::new(&[]),
            Named::new(&[]),
            Named::new(&[]),
        ]
        .map(|source| Arc::new(source) as Arc<dyn Source>);
        let readers = Readers::new(Joined::numbered(sources), AccessPolicy::default());
        let (looking, came) = (Mutex::new(0), Condvar::new());
        let own = thread::current().id();
        let looked = readers.look_at_all(|joined| {
            let mut all_came = true;
            if joined.source.state_changes().is_none() {
                let mut looking = lock(&looking);
                *looking += 1;
                came.notify_all();
                let limit = Duration::from_secs(60);
                let waited = came.wait_timeout_while(looking, limit, |looking| *looking < 3);
                all_came = !waited.unwrap().1.timed_out();
            }
            (all_came, thread::current().id() == own)
        });
        // The own readers, and the first source that takes a round trip, are left to this thread.
        let here = looked.iter().map(|(all_came, is_here)| {
            assert!(all_came);
            *is_here
        });
        assert_eq!(Vec::from_iter(here), [true, true, false, false]);
    }

    #[test]
    fn readers_that_came_and_went_are_counted_in_15_bits() {
        let sources = [(); 2].map(|()| Arc::new(Named::default()));
        let joined = Joined::numbered(sources.clone().map(|source| source as Arc<_>));
        let readers = Readers::new(joined, AccessPolicy::default());
        let events = |came_and_went: [u32; 2]| {
            for (source, count) in sources.iter().zip(came_and_went) {
                source.came_and_went.store(count, Ordering::SeqCst);
            }
            readers.events()
        };
        assert_eq!(events([0, 0]), 1);
        assert_eq!(events([2, 3]), 6);
        assert_eq!(events([0x7FFD, 1]), 0x7FFF);
        assert_eq!(events([0x7FFD, 2]), 1);
    }

    #[test]
    fn states_are_kept_until_one_changes() {
        let name: &[&str] = &["Reader 00 00"];
        let of = |sources: &[&Arc<Named>]| {
            let sources = sources.iter().map(|source| Arc::clone(source) as Arc<_>);
            Readers::new(Joined::numbered(sources), AccessPolicy::default())
        };
        let counter = |states: &[u8], endian| {
            let reader = ReaderStateRecords::new(states, endian).readers().next();
            reader.unwrap().event_counter
        };
        let [one, other] = [name; 2].map(|names| Arc::new(Named::counted(names)));
        let readers = of(&[&one, &other]);
        let first = readers.states(Endian::Big);
        assert!(Arc::ptr_eq(&first, &readers.states(Endian::Big)));
        one.counter.store(5, Ordering::SeqCst);
        let second = readers.states(Endian::Big);
        assert_eq!(counter(&first, Endian::Big), 0);
        assert_eq!(counter(&second, Endian::Big), 5);
        assert_eq!(counter(&readers.states(Endian::Little), Endian::Little), 5);
        // A source that does not count is looked at each time.
        let readers = of(&[&one, &Arc::new(Named::new(name))]);
        let first = readers.states(Endian::Big);
        assert!(!Arc::ptr_eq(&first, &readers.states(Endian::Big)));
    }
}
