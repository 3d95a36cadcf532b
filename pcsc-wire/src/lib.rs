//! The codec of pcscd's socket protocol, versions 4.2 to 4.6, in both directions. No I/O here.
//!
//! A request is a [`Header`] and a body; a reply is the same body, filled in, without a header. All
//! integers are in the byte order of the daemon's machine, an [`Endian`]. The codec is total: any bytes give
//! a value or `None`.

mod body;
mod endian;
mod name_size;
mod reader_state;
mod state_batch;

pub use body::*;
pub use endian::Endian;
pub use name_size::{name_size_requests, NameSize};
pub use reader_state::{ReaderStateRecord, ReaderStateRecords, READER_STATE_SIZE};
pub use state_batch::{Parsed, Progress, StateBatch, EVENT_SIZE, MAX_READER_STATES};

use std::fmt;

/// The length of a reader's name on the wire, with its NUL.
pub const NAME_SIZE: usize = pcsc_constants::MAX_READERNAME;
/// The length of an attribute's value on the wire. Each message carries that many bytes, whatever the value's
/// own length is.
pub const ATTRIBUTE_SIZE: usize = pcsc_constants::MAX_BUFFER_SIZE;
/// The longest command and the longest response in a transmit or control message, in bytes. pcscd has buffers
/// of this size, and closes the connection if a request announces more.
pub const MAX_PAYLOAD: usize = pcsc_constants::MAX_BUFFER_SIZE_EXTENDED;

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The major number, 4 for every daemon since 1.6.
    pub major: i32,
    /// The minor number.
    pub minor: i32,
}

impl Version {
    /// The oldest version that this library speaks (pcsc-lite 1.8.4 to 1.8.8; see [`NameSize`]).
    pub const OLDEST: Version = Version { major: 4, minor: 2 };
    /// The newest version that this library speaks (pcsc-lite 2.5).
    pub const NEWEST: Version = Version { major: 4, minor: 6 };

    /// Whether this library speaks the version.
    pub fn is_spoken(self) -> bool {
        (Version::OLDEST..=Version::NEWEST).contains(&self)
    }

    /// In 4.2 reader names have one of two sizes: see [`NameSize`].
    pub fn has_unknown_name_size(self) -> bool {
        self.minor <= 2
    }

    /// Up to 4.3, WAIT and STOP_WAITING carry a body, and WAIT is not answered before an event: a client has
    /// to request the states after it has registered, or it misses a change in between. In 4.4 and 4.5 WAIT
    /// is answered with the states at once; from 4.6 on they are requested after it.
    pub fn waits_with_body(self) -> bool {
        self.minor <= 3
    }

    /// From 4.5 the daemon counts the readers that came and went.
    pub fn counts_reader_events(self) -> bool {
        self.minor >= 5
    }

    /// From 4.6 the daemon sends the number of states. Before, it is a constant of the daemon's build: 16, or
    /// another number where a distribution has patched it.
    pub fn sends_table_size(self) -> bool {
        self.minor >= 6
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)+) => {
        /// What a request asks for.
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RequestCode {
            $($(#[$doc])* $name = $code,)+
        }

        impl RequestCode {
            const ALL: &[RequestCode] = &[$(RequestCode::$name,)+];

            /// The command of a number.
            pub fn from_code(code: u32) -> Option<RequestCode> {
                RequestCode::ALL.iter().copied().find(|command| *command as u32 == code)
            }
        }
    };
}

commands! {
    /// A new context; body [`EstablishBody`].
    EstablishContext = 0x01,
    /// The end of a context; body [`ReleaseBody`].
    ReleaseContext = 0x02,
    /// A connection to a reader; body [`ConnectBody`].
    Connect = 0x04,
    /// Another share mode or protocol of a connection; body [`ReconnectBody`].
    Reconnect = 0x05,
    /// The end of a connection; body [`DisconnectBody`].
    Disconnect = 0x06,
    /// The start of a transaction; body [`BeginTransactionBody`].
    BeginTransaction = 0x07,
    /// The end of a transaction; body [`EndTransactionBody`].
    EndTransaction = 0x08,
    /// An APDU; body [`TransmitBody`] and the payload.
    Transmit = 0x09,
    /// A function of the reader itself; body [`ControlBody`] and the payload.
    Control = 0x0A,
    /// Whether a connection can still be used; body [`StatusBody`].
    Status = 0x0B,
    /// The end of another connection's wait: the connection that waits cannot send it, because the daemon
    /// serves each in order; body [`CancelBody`].
    Cancel = 0x0D,
    /// An attribute's value; body [`AttributeBody`].
    GetAttrib = 0x0F,
    /// A new value for an attribute; body [`AttributeBody`].
    SetAttrib = 0x10,
    /// The protocol versions; body [`VersionBody`].
    Version = 0x11,
    /// All reader states, up to 4.5; no body.
    GetReadersState = 0x12,
    /// Registration for one event; body [`EventBody`] up to 4.3, none later.
    WaitReaderStateChange = 0x13,
    /// The end of the registration; body [`EventBody`] up to 4.3, none later.
    StopWaitingReaderStateChange = 0x14,
    /// The count of reader events, from 4.5; no body, reply [`ReaderEventsBody`].
    GetReaderEvents = 0x15,
    /// The number of reader states, from 4.6; no body, reply one `i32`.
    GetReadersStateSize = 0x16,
    /// All reader states, from 4.6; no body.
    GetReadersStateArray = 0x17,
}

/// The header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The body's size in bytes, without the payload of a transmit or control request.
    pub size: u32,
    /// The command's number.
    pub command: u32,
}

impl Header {
    /// The header's size in bytes.
    pub const SIZE: usize = 8;

    /// The header of a request.
    pub fn new(command: RequestCode, body_size: usize) -> Header {
        Header {
            size: body_size as u32,
            command: command as u32,
        }
    }

    /// Reads a header off the front of `bytes`.
    pub fn parse(bytes: &[u8], endian: Endian) -> Option<Header> {
        let bytes = bytes.get(..Header::SIZE)?;
        Some(Header {
            size: endian.read_u32(&bytes[..4]),
            command: endian.read_u32(&bytes[4..]),
        })
    }

    /// The header's bytes.
    #[inline]
    pub fn to_bytes(self, endian: Endian) -> [u8; Header::SIZE] {
        let mut bytes = [0; Header::SIZE];
        endian.write_u32(&mut bytes[..4], self.size);
        endian.write_u32(&mut bytes[4..], self.command);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_headers_survive_the_wire() {
        for &command in RequestCode::ALL {
            let header = Header::new(command, 12);
            for endian in [Endian::Little, Endian::Big] {
                assert_eq!(Header::parse(&header.to_bytes(endian), endian), Some(header));
            }
            assert_eq!(RequestCode::from_code(header.command), Some(command));
        }
        for unknown in [0, 3, 0x0C, 0x0E, 0x18, u32::MAX] {
            assert_eq!(RequestCode::from_code(unknown), None);
        }
        assert_eq!(Header::parse(&[0; 7], Endian::NATIVE), None);
    }

    #[test]
    fn only_known_versions_are_spoken() {
        let spoken: Vec<i32> = (0..10)
            .filter(|&minor| Version { major: 4, minor }.is_spoken())
            .collect();
        assert_eq!(spoken, [2, 3, 4, 5, 6]);
        assert!(!Version { major: 3, minor: 4 }.is_spoken());
        assert!(!Version { major: 5, minor: 4 }.is_spoken());
    }
}
