//! The reader states as clients of each version want them.

use pcsc_wire::{Endian, MAX_READER_STATES, READER_STATE_SIZE};

use crate::readers::Readers;

/// How many states clients up to 4.5 read, and the least number that later ones are told, as by pcscd.
const SLOTS: usize = 16;

/// The states of all readers that clients take, and free places up to `SLOTS`.
fn all(readers: &Readers, endian: Endian) -> Vec<u8> {
    let mut states = Vec::with_capacity(SLOTS * READER_STATE_SIZE);
    readers.each(&mut |reader| {
        if states.len() < MAX_READER_STATES * READER_STATE_SIZE {
            states.extend_from_slice(&reader.to_bytes(endian));
        }
    });
    states.resize(states.len().max(SLOTS * READER_STATE_SIZE), 0);
    states
}

/// The states for clients up to 4.5: those of the first 16 readers.
pub fn sixteen(readers: &Readers, endian: Endian) -> Vec<u8> {
    let mut states = all(readers, endian);
    states.truncate(SLOTS * READER_STATE_SIZE);
    states
}

/// The table for clients from 4.6 on, who ask for its size and then for its states.
#[derive(Default)]
pub struct Table {
    /// The size that the client has been told.
    announced: Option<usize>,
}

impl Table {
    /// How many states there are. The client gets so many, whatever comes or goes meanwhile.
    pub fn announce(&mut self, readers: &Readers) -> u32 {
        let size = readers.count().clamp(SLOTS, MAX_READER_STATES);
        self.announced = Some(size);
        size as u32
    }

    /// The states.
    pub fn states(&self, readers: &Readers, endian: Endian) -> Vec<u8> {
        let mut states = all(readers, endian);
        if let Some(size) = self.announced {
            states.resize(size * READER_STATE_SIZE, 0);
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joined::Joined;
    use crate::policy::Policy;
    use crate::source::Named;
    use std::sync::Arc;

    #[test]
    fn no_more_states_are_sent_than_clients_take() {
        let names = vec!["Reader 00 00"; MAX_READER_STATES + 1];
        let sources = Joined::numbered([Arc::new(Named::new(&names)) as Arc<_>]);
        let readers = Readers::new(sources, Policy::default());
        let mut table = Table::default();
        assert_eq!(table.announce(&readers) as usize, MAX_READER_STATES);
        assert_eq!(
            all(&readers, Endian::NATIVE).len(),
            MAX_READER_STATES * READER_STATE_SIZE
        );
        assert_eq!(sixteen(&readers, Endian::NATIVE).len(), SLOTS * READER_STATE_SIZE);
    }
}
