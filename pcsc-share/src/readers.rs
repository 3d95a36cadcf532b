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
            if self.policy.offers(&name) && !self.is_of_another(joined, &name) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Named;
    use std::sync::Arc;

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
        let readers = Readers::new(sources, Policy::default());
        let mut names = Vec::new();
        readers.each(&mut |reader| names.push(String::from_utf8(reader.name.to_vec()).unwrap()));
        let expected = ["Real (4711) 00 00", "Fake (b) 00 00", "Fake (b) (c) 00 00"];
        assert_eq!(names, expected);
        assert_eq!(readers.find(b"Fake (b) 00 00"), Some((1, b"Fake 00 00".to_vec())));
    }
}
