//! The readers of all sources, as one list.

use std::hash::{DefaultHasher, Hash, Hasher};

use pcsc_wire::ReaderState;

use crate::joined::Joined;
use crate::policy::Policy;

/// The readers of all sources that are offered, in the order of the sources.
pub struct Readers {
    sources: Vec<Joined>,
    policy: Policy,
}

impl Readers {
    /// The readers of these sources that the policy offers.
    pub fn new(sources: Vec<Joined>, policy: Policy) -> Readers {
        Readers { sources, policy }
    }

    /// Who may use which readers.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The sources.
    pub fn sources(&self) -> &[Joined] {
        &self.sources
    }

    /// Calls `look` with each reader.
    pub fn each(&self, look: &mut dyn FnMut(ReaderState<'_>)) {
        for source in &self.sources {
            self.each_of(source, &mut |reader, _| look(reader));
        }
    }

    /// Calls `look` with each reader of a source, and its name there.
    fn each_of(&self, joined: &Joined, look: &mut dyn FnMut(ReaderState<'_>, &[u8])) {
        joined.source.each_reader(&mut |reader| {
            let name = joined.name_of(reader.name);
            if self.policy.offers(&name) {
                look(
                    ReaderState {
                        name: &name,
                        ..reader
                    },
                    reader.name,
                );
            }
        });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let mut count = 0;
        self.each(&mut |_| count += 1);
        count
    }

    /// The number of the source that has a reader, and the reader's name there.
    pub fn find(&self, name: &[u8]) -> Option<(usize, Vec<u8>)> {
        self.sources.iter().enumerate().find_map(|(number, source)| {
            let mut found = None;
            self.each_of(source, &mut |reader, name_there| {
                if reader.name == name {
                    found = Some((number, name_there.to_vec()));
                }
            });
            found
        })
    }

    /// How many readers came and went, in 15 bits and never 0, as pcscd counts.
    pub fn events(&self) -> u32 {
        // With one source this is its own count.
        let events = self
            .sources
            .iter()
            .map(|joined| u64::from(joined.source.reader_events()));
        let came_and_went: u64 = events.map(|events| events.saturating_sub(1)).sum();
        (came_and_went % 0x7FFF) as u32 + 1
    }

    /// What of a source's readers is an event for clients that wait: which readers there are, and what is in
    /// them. Connections to them are none, as in pcscd.
    pub fn fingerprint(&self, joined: &Joined) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.each_of(joined, &mut |reader, _| {
            (reader.name, reader.event_counter, reader.state, reader.atr).hash(&mut hasher);
        });
        joined.source.reader_events().hash(&mut hasher);
        hasher.finish()
    }
}
