//! The byte order of a connection.

use super::{Header, RequestCode};

/// The byte order of the integers on a connection, which is that of the daemon's machine. Names, ATRs,
/// commands, responses and the values of attributes are bytes, and have none.
///
/// pcscd closes a connection whose first request has the other order, as it does after any unknown command. A
/// client then makes a new connection and uses the other order there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endian {
    /// The least significant byte comes first.
    Little,
    /// The most significant byte comes first.
    Big,
}

impl Endian {
    /// The order of this machine.
    pub const NATIVE: Endian = if cfg!(target_endian = "big") {
        Endian::Big
    } else {
        Endian::Little
    };

    /// The opposite order.
    pub fn other(self) -> Endian {
        match self {
            Endian::Little => Endian::Big,
            Endian::Big => Endian::Little,
        }
    }

    /// The order of a client, from the header of its first request. `None` if the command is unknown in
    /// either order, or the header is not complete.
    pub fn of_request(header: &[u8]) -> Option<Endian> {
        [Endian::NATIVE, Endian::NATIVE.other()]
            .into_iter()
            .find(|&endian| {
                Header::parse(header, endian)
                    .is_some_and(|header| RequestCode::from_code(header.command).is_some())
            })
    }

    /// Reads a number off the front of `bytes`, which must hold four bytes.
    pub fn read_u32(self, bytes: &[u8]) -> u32 {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        match self {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        }
    }

    /// Writes a number to the front of `out`, which must hold four bytes.
    pub fn write_u32(self, out: &mut [u8], number: u32) {
        out[..4].copy_from_slice(&match self {
            Endian::Little => number.to_le_bytes(),
            Endian::Big => number.to_be_bytes(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, ConnectBody, ReaderStateRecord, Version, VersionBody, NAME_SIZE};

    #[test]
    fn the_order_of_a_client_is_that_of_its_first_request() {
        for endian in [Endian::Little, Endian::Big] {
            let mut request = [0; Header::SIZE + VersionBody::SIZE];
            VersionBody::new(Version::NEWEST).emit_request(RequestCode::Version, endian, &mut request);
            assert_eq!(Endian::of_request(&request), Some(endian));
            assert_eq!(Endian::of_request(&request[..Header::SIZE - 1]), None);
        }
        assert_eq!(Endian::of_request(&[0; Header::SIZE]), None);
        assert_eq!(Endian::of_request(&[0xFF; Header::SIZE]), None);
    }

    #[test]
    fn numbers_have_the_order_and_strings_have_none() {
        let mut reader = [0; NAME_SIZE];
        reader[..4].copy_from_slice(b"name");
        let connect = ConnectBody {
            context: 0x0102_0304,
            reader,
            share: 2,
            protocols: 3,
            card: -2,
            active: 0,
            rv: 0x8010_0001,
        };
        let mut little = [0; ConnectBody::SIZE];
        connect.emit(Endian::Little, &mut little);
        assert_eq!(&little[..8], b"\x04\x03\x02\x01name");
        assert_eq!(little[140..144], [0xFE, 0xFF, 0xFF, 0xFF]);
        let mut big = [0; ConnectBody::SIZE];
        connect.emit(Endian::Big, &mut big);
        assert_eq!(&big[..8], b"\x01\x02\x03\x04name");
        assert_eq!(big[140..], [0xFF, 0xFF, 0xFF, 0xFE, 0, 0, 0, 0, 0x80, 0x10, 0, 1]);
        for (bytes, endian) in [(little, Endian::Little), (big, Endian::Big)] {
            assert_eq!(ConnectBody::parse(&bytes, endian), Some(connect));
        }

        let state = ReaderStateRecord {
            name: b"Reader",
            event_counter: 0x0102_0304,
            state: 0x34,
            sharing: -1,
            atr: b"\x3B\x80",
            protocol: 2,
        };
        let big = state.to_bytes(Endian::Big);
        assert_eq!(&big[..6], b"Reader");
        assert_eq!(
            big[128..142],
            *b"\x01\x02\x03\x04\0\0\0\x34\xFF\xFF\xFF\xFF\x3B\x80"
        );
        assert_eq!(big[176..], [0, 0, 0, 2, 0, 0, 0, 2]);
        let little = state.to_bytes(Endian::Little);
        assert_eq!(little[176..], [2, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(ReaderStateRecord::parse(&little, Endian::Little), Some(state));
    }
}
