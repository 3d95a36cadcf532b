//! The reader states as clients of each version want them.

use std::sync::Arc;

use pcsc_wire::{Endian, READER_STATE_SIZE};

use crate::readers::{Readers, SLOTS};

/// As many states as a client expects.
pub struct States {
    bytes: Arc<[u8]>,
    /// How many of the bytes the client gets.
    length: usize,
}

impl States {
    /// The states of the first readers, and free places behind them.
    fn of(mut bytes: Arc<[u8]>, count: usize) -> States {
        // As many as the client has been told of, and not as many as there are: it reads that number of
        // bytes.
        let length = count * READER_STATE_SIZE;
        if bytes.len() < length {
            // Readers have gone since GET_READERS_STATE_SIZE was answered.
            let mut longer = bytes.to_vec();
            longer.resize(length, 0);
            bytes = longer.into();
        }
        States { bytes, length }
    }
}

impl AsRef<[u8]> for States {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The states for clients up to 4.5: those of the first 16 readers.
pub fn sixteen(readers: &Readers, endian: Endian) -> States {
    States::of(readers.states(endian), SLOTS)
}

/// The table for clients from 4.6 on, who ask for its size and then for its states.
#[derive(Default)]
pub struct Table {
    /// How many states the client has been told of.
    announced: Option<usize>,
    /// The states that were counted, for the request that follows.
    counted: Option<Arc<[u8]>>,
}

impl Table {
    /// The number of states. The client reads exactly as many, also if readers come or go in between. They
    /// are kept for the request of the states themselves: the two are one look at the sources.
    pub fn announce(&mut self, readers: &Readers, endian: Endian) -> u32 {
        let states = readers.states(endian);
        let count = states.len() / READER_STATE_SIZE;
        (self.announced, self.counted) = (Some(count), Some(states));
        count as u32
    }

    /// Discards the states that are kept. Another request than that of the states has come, for instance a
    /// wait: states from before it may lack a change that the wait does not report.
    pub fn forget(&mut self) {
        self.counted = None;
    }

    /// The states.
    pub fn states(&mut self, readers: &Readers, endian: Endian) -> States {
        let bytes = self.counted.take().unwrap_or_else(|| readers.states(endian));
        let count = self.announced.unwrap_or(bytes.len() / READER_STATE_SIZE);
        States::of(bytes, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joined::Joined;
    use crate::policy::AccessPolicy;
    use crate::source::Named;
    use pcsc_wire::{ReaderStateRecords, MAX_READER_STATES};
    use std::sync::atomic::Ordering;

    fn readers(names: &[&str]) -> Readers {
        let sources = Joined::numbered([Arc::new(Named::new(names)) as Arc<_>]);
        Readers::new(sources, AccessPolicy::default())
    }

    #[test]
    fn no_more_states_are_sent_than_clients_take() {
        let readers = readers(&["Reader 00 00"; MAX_READER_STATES + 1]);
        let mut table = Table::default();
        assert_eq!(
            table.announce(&readers, Endian::NATIVE) as usize,
            MAX_READER_STATES
        );
        let states = table.states(&readers, Endian::NATIVE);
        assert_eq!(states.as_ref().len(), MAX_READER_STATES * READER_STATE_SIZE);
        let sixteen = sixteen(&readers, Endian::NATIVE);
        assert_eq!(sixteen.as_ref().len(), SLOTS * READER_STATE_SIZE);
    }

    #[test]
    fn a_client_gets_as_many_states_as_it_was_told() {
        const MORE: usize = SLOTS + 4;
        let (many, one) = (readers(&["Reader 00 00"; MORE]), readers(&["Reader 00 00"]));
        let mut table = Table::default();
        let length = |table: &mut Table, readers| table.states(readers, Endian::NATIVE).as_ref().len();
        assert_eq!(length(&mut table, &many), MORE * READER_STATE_SIZE);
        assert_eq!(table.announce(&many, Endian::NATIVE) as usize, MORE);
        table.forget();
        let states = table.states(&one, Endian::NATIVE);
        let (there, free) = states.as_ref().split_at(READER_STATE_SIZE);
        assert_eq!(there[0], b'R');
        assert_eq!(free, [0; (MORE - 1) * READER_STATE_SIZE]);
        assert_eq!(table.announce(&one, Endian::NATIVE) as usize, SLOTS);
        table.forget();
        assert_eq!(length(&mut table, &many), SLOTS * READER_STATE_SIZE);
    }

    #[test]
    fn a_size_and_the_states_are_one_look() {
        let source = Arc::new(Named::new(&["Reader 00 00"]));
        let readers = Readers::new(
            Joined::numbered([source.clone() as Arc<_>]),
            AccessPolicy::default(),
        );
        let mut table = Table::default();
        let counter = |table: &mut Table| {
            let states = table.states(&readers, Endian::NATIVE);
            let reader = ReaderStateRecords::new(states.as_ref(), Endian::NATIVE)
                .readers()
                .next();
            reader.unwrap().event_counter
        };
        table.announce(&readers, Endian::NATIVE);
        source.counter.store(1, Ordering::SeqCst);
        // Those that were counted, and no others for a request after that.
        assert_eq!([0; 2].map(|_| counter(&mut table)), [0, 1]);
        assert_eq!(source.looks.load(Ordering::SeqCst), 2);
        table.announce(&readers, Endian::NATIVE);
        source.counter.store(2, Ordering::SeqCst);
        table.forget();
        assert_eq!(counter(&mut table), 2);
    }
}
