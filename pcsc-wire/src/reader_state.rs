//! One reader's state as the daemon sends it: 184 bytes, natural alignment.

use super::{Endian, NAME_SIZE};

/// The size of a reader state on the wire, in bytes.
pub const READER_STATE_SIZE: usize = 184;

const COUNTER: usize = 128;
const STATE: usize = 132;
const SHARING: usize = 136;
const ATR: usize = 140;
const ATR_SIZE: usize = pcsc_constants::MAX_ATR_SIZE;
const ATR_LENGTH: usize = 176;
const PROTOCOL: usize = 180;

/// A reader's state: a view over the bytes received, or what a daemon is about to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderStateRecord<'a> {
    /// The reader's name without its NUL; empty for a free slot.
    pub name: &'a [u8],
    /// How often the card or the reader changed; wraps.
    pub event_counter: u32,
    /// `SCARD_*` status bits.
    pub state: u32,
    /// 0: no connection; -1: one exclusive connection; n: n shared ones.
    pub sharing: i32,
    /// The card's ATR; empty when there is none, or none yet.
    pub atr: &'a [u8],
    /// The protocol that the card speaks.
    pub protocol: u32,
}

impl<'a> ReaderStateRecord<'a> {
    /// Reads a state off the front of `bytes`. A name without NUL ends where its field ends. A state with an
    /// impossible ATR length has no ATR yet.
    pub fn parse(bytes: &'a [u8], endian: Endian) -> Option<ReaderStateRecord<'a>> {
        let bytes = bytes.get(..READER_STATE_SIZE)?;
        let name = &bytes[..NAME_SIZE];
        let name_length = name.iter().position(|&byte| byte == 0).unwrap_or(NAME_SIZE);
        let atr_length = endian.read_u32(&bytes[ATR_LENGTH..]) as usize;
        let atr_length = if atr_length > ATR_SIZE { 0 } else { atr_length };
        Some(ReaderStateRecord {
            name: &name[..name_length],
            event_counter: endian.read_u32(&bytes[COUNTER..]),
            state: endian.read_u32(&bytes[STATE..]),
            sharing: endian.read_u32(&bytes[SHARING..]) as i32,
            atr: &bytes[ATR..ATR + atr_length],
            protocol: endian.read_u32(&bytes[PROTOCOL..]),
        })
    }

    /// The state's bytes. Truncates a name or an ATR that is too long.
    pub fn to_bytes(&self, endian: Endian) -> [u8; READER_STATE_SIZE] {
        let mut bytes = [0; READER_STATE_SIZE];
        let name = &self.name[..self.name.len().min(NAME_SIZE)];
        let atr = &self.atr[..self.atr.len().min(ATR_SIZE)];
        bytes[..name.len()].copy_from_slice(name);
        endian.write_u32(&mut bytes[COUNTER..], self.event_counter);
        endian.write_u32(&mut bytes[STATE..], self.state);
        endian.write_u32(&mut bytes[SHARING..], self.sharing as u32);
        bytes[ATR..ATR + atr.len()].copy_from_slice(atr);
        endian.write_u32(&mut bytes[ATR_LENGTH..], atr.len() as u32);
        endian.write_u32(&mut bytes[PROTOCOL..], self.protocol);
        bytes
    }
}

/// The daemon's table of reader states, a view over the bytes received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderStateRecords<'a> {
    bytes: &'a [u8],
    endian: Endian,
}

impl<'a> ReaderStateRecords<'a> {
    /// A table of whole states. Ignores a part of a state at the end.
    pub fn new(bytes: &'a [u8], endian: Endian) -> ReaderStateRecords<'a> {
        ReaderStateRecords { bytes, endian }
    }

    /// The number of slots, free ones included.
    pub fn slots(&self) -> usize {
        self.bytes.len() / READER_STATE_SIZE
    }

    /// The readers, in the daemon's order, without the free slots.
    pub fn readers(&self) -> impl Iterator<Item = ReaderStateRecord<'a>> + Clone + use<'a> {
        let endian = self.endian;
        self.bytes
            .chunks_exact(READER_STATE_SIZE)
            .filter(|slot| slot[0] != 0)
            .filter_map(move |slot| ReaderStateRecord::parse(slot, endian))
    }

    /// The reader of this name.
    pub fn find(&self, name: &[u8]) -> Option<ReaderStateRecord<'a>> {
        self.readers().find(|state| state.name == name)
    }

    /// Whether the bytes can be a table: the name of a free slot is all zeros. A table with a reader fails
    /// this if it is read eight bytes off its place.
    pub(super) fn is_plausible(&self) -> bool {
        self.bytes
            .chunks_exact(READER_STATE_SIZE)
            .all(|slot| slot[0] != 0 || slot[..NAME_SIZE].iter().all(|&byte| byte == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_out_of_range_are_limited() {
        let mut bytes = [b'x'; READER_STATE_SIZE];
        let state = ReaderStateRecord::parse(&bytes, Endian::NATIVE).unwrap();
        assert_eq!(state.name.len(), NAME_SIZE);
        assert_eq!(state.atr, b"");
        bytes[ATR_LENGTH..PROTOCOL].copy_from_slice(&33u32.to_ne_bytes());
        assert_eq!(
            ReaderStateRecord::parse(&bytes, Endian::NATIVE)
                .unwrap()
                .atr
                .len(),
            33
        );
        assert_eq!(ReaderStateRecord::parse(&bytes[1..], Endian::NATIVE), None);
    }

    proptest! {
        #[test]
        fn a_state_survives_the_wire(
            name in "[a-zA-Z0-9 ]{0,127}", event_counter: u32, state: u32, sharing: i32,
            atr in proptest::collection::vec(any::<u8>(), 0..=33), protocol: u32,
        ) {
            let sent = ReaderStateRecord {
                name: name.as_bytes(), event_counter, state, sharing, atr: &atr, protocol,
            };
            for endian in [Endian::Little, Endian::Big] {
                let bytes = sent.to_bytes(endian);
                prop_assert_eq!(ReaderStateRecord::parse(&bytes, endian), Some(sent));
            }
        }

        #[test]
        fn any_bytes_make_a_table(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let states = ReaderStateRecords::new(&bytes, Endian::NATIVE);
            prop_assert!(states.readers().count() <= states.slots());
            prop_assert!(states.find(b"").is_none());
            states.is_plausible();
        }
    }
}
