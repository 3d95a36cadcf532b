//! The size of reader names in protocol 4.2: 100 bytes up to pcsc-lite 1.8.3, 128 bytes from 1.8.4 to 1.8.8.
//! The version is the same, so only the size of a whole table shows which it is.

use super::{Body, Endian, Header, RequestCode, Version, VersionBody, MAX_READER_STATES, READER_STATE_SIZE};

/// The size of a reader state whose name has 100 bytes.
const SHORT_READER_STATE_SIZE: usize = 156;

/// The requests: for the states, and for the version, whose answer marks the end of the states.
pub fn name_size_requests(version: Version, endian: Endian) -> [u8; 2 * Header::SIZE + VersionBody::SIZE] {
    let mut bytes = [0; 2 * Header::SIZE + VersionBody::SIZE];
    let (states, version_request) = bytes.split_at_mut(Header::SIZE);
    states.copy_from_slice(&Header::new(RequestCode::GetReadersState, 0).to_bytes(endian));
    VersionBody::new(version).emit_request(RequestCode::Version, endian, version_request);
    bytes
}

/// The result of parsing the answers to [`name_size_requests`] received so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameSize {
    /// At least this many bytes are missing.
    More(usize),
    /// The names have 128 bytes.
    Long {
        /// How many states the table has.
        slots: usize,
        /// How many bytes the answers take.
        consumed: usize,
    },
    /// The names have 100 bytes.
    Short,
    /// These bytes are not an answer.
    OutOfStep,
}

impl NameSize {
    /// Reads the answers, of which `version` is the one to VERSION.
    pub fn parse(bytes: &[u8], version: &[u8; VersionBody::SIZE]) -> NameSize {
        // A table of 39 long states is as large as one of 46 short ones, which no daemon has.
        let may_end = |at: &usize| at % READER_STATE_SIZE == 0 || at % SHORT_READER_STATE_SIZE == 0;
        for at in (4..=MAX_READER_STATES * READER_STATE_SIZE)
            .step_by(4)
            .filter(may_end)
        {
            let end = at + version.len();
            match bytes.get(at..end) {
                None => return NameSize::More(end - bytes.len()),
                Some(found) if found != version => (),
                Some(_) if at % READER_STATE_SIZE == 0 => {
                    return NameSize::Long {
                        slots: at / READER_STATE_SIZE,
                        consumed: end,
                    }
                }
                Some(_) => return NameSize::Short,
            }
        }
        NameSize::OutOfStep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VERSION: Version = Version { major: 4, minor: 2 };

    proptest! {
        #[test]
        fn the_size_of_a_table_shows_the_size_of_its_names(
            slots in 1usize..39, is_long: bool, more in 0usize..40,
        ) {
            let size = if is_long { READER_STATE_SIZE } else { SHORT_READER_STATE_SIZE };
            let version = VersionBody::new(VERSION).to_bytes(Endian::NATIVE);
            let whole = [vec![b'n'; slots * size], version.to_vec()].concat();
            let mut have = 0;
            let parsed = loop {
                match NameSize::parse(&whole[..have], &version) {
                    NameSize::More(missing) => have += missing,
                    parsed => break parsed,
                }
                prop_assert!(have <= whole.len(), "asked for too much");
            };
            let consumed = whole.len();
            let expected = if is_long { NameSize::Long { slots, consumed } } else { NameSize::Short };
            prop_assert_eq!(parsed, expected);
            // What follows belongs to later answers.
            let longer = [whole, vec![4; more]].concat();
            prop_assert_eq!(NameSize::parse(&longer, &version), expected);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let version = VersionBody::new(VERSION).to_bytes(Endian::NATIVE);
            if let NameSize::More(missing) = NameSize::parse(&bytes, &version) {
                prop_assert!(missing > 0);
            }
        }
    }

    #[test]
    fn the_requests_are_for_the_states_and_for_the_version() {
        for endian in [Endian::Little, Endian::Big] {
            let numbers = [0, 0x12, 12, 0x11, 4, 2, 0];
            let mut expected = [0; 28];
            for (number, place) in numbers.into_iter().zip(expected.chunks_exact_mut(4)) {
                endian.write_u32(place, number);
            }
            assert_eq!(name_size_requests(VERSION, endian), expected);
        }
    }

    #[test]
    fn a_table_without_an_end_is_given_up() {
        let bytes = vec![1; (MAX_READER_STATES + 1) * READER_STATE_SIZE];
        let version = VersionBody::new(VERSION).to_bytes(Endian::NATIVE);
        assert_eq!(NameSize::parse(&bytes, &version), NameSize::OutOfStep);
    }
}
