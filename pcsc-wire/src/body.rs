//! The bodies of requests and replies: the same layout both ways, naturally aligned, no padding.
//!
//! They are pcsc-lite's C structures as they lie in memory. All integers have 32 bits, also where the C
//! interface has `long`, and the arrays' lengths are multiples of 4. So there is no padding, and a 32-bit
//! program can talk to a 64-bit daemon.

use super::{Endian, Header, RequestCode, Version, ATTRIBUTE_SIZE, NAME_SIZE};

/// A field of a body.
trait Field: Sized {
    const SIZE: usize;
    /// Writes the field to `out`, which has its size.
    fn put(&self, endian: Endian, out: &mut [u8]);
    /// Reads the field from `bytes`, which have its size.
    fn get(bytes: &[u8], endian: Endian) -> Self;
}

impl Field for u32 {
    const SIZE: usize = 4;
    fn put(&self, endian: Endian, out: &mut [u8]) {
        endian.write_u32(out, *self);
    }
    fn get(bytes: &[u8], endian: Endian) -> u32 {
        endian.read_u32(bytes)
    }
}

impl Field for i32 {
    const SIZE: usize = 4;
    fn put(&self, endian: Endian, out: &mut [u8]) {
        endian.write_u32(out, *self as u32);
    }
    fn get(bytes: &[u8], endian: Endian) -> i32 {
        endian.read_u32(bytes) as i32
    }
}

impl<const N: usize> Field for [u8; N] {
    const SIZE: usize = N;
    fn put(&self, _: Endian, out: &mut [u8]) {
        out.copy_from_slice(self);
    }
    fn get(bytes: &[u8], _: Endian) -> [u8; N] {
        let mut value = [0; N];
        value.copy_from_slice(bytes);
        value
    }
}

/// A message body of fixed size.
pub trait Body: Sized {
    /// The body's size in bytes.
    const SIZE: usize;
    /// Writes the body to the front of `out`, which must hold [`Body::SIZE`] bytes.
    fn emit(&self, endian: Endian, out: &mut [u8]);
    /// Reads a body off the front of `bytes`; `None` where there are too few.
    fn parse(bytes: &[u8], endian: Endian) -> Option<Self>;

    /// Writes header and body to the front of `out`. Returns their length.
    fn emit_request(&self, command: RequestCode, endian: Endian, out: &mut [u8]) -> usize {
        out[..Header::SIZE].copy_from_slice(&Header::new(command, Self::SIZE).to_bytes(endian));
        self.emit(endian, &mut out[Header::SIZE..]);
        Header::SIZE + Self::SIZE
    }
}

macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)+ })+) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)+
        }

        impl Body for $name {
            const SIZE: usize = 0 $(+ <$kind as Field>::SIZE)+;

            fn emit(&self, endian: Endian, out: &mut [u8]) {
                let rest = out;
                $(let (field, rest) = rest.split_at_mut(<$kind as Field>::SIZE);
                self.$field.put(endian, field);)+
                let _ = rest;
            }

            fn parse(bytes: &[u8], endian: Endian) -> Option<$name> {
                let rest = bytes.get(..Self::SIZE)?;
                $(let (field, rest) = rest.split_at(<$kind as Field>::SIZE);
                let $field = <$kind as Field>::get(field, endian);)+
                let _ = rest;
                Some($name { $($field,)+ })
            }
        }
    )+ };
}

bodies! {
    /// VERSION. A refusal holds the daemon's own numbers.
    VersionBody {
        /// The major number.
        major: i32,
        /// The minor number.
        minor: i32,
        /// The return code.
        rv: u32,
    }

    /// ESTABLISH_CONTEXT.
    EstablishBody {
        /// The scope, which the daemon ignores.
        scope: u32,
        /// The daemon's number for the context.
        context: u32,
        /// The return code.
        rv: u32,
    }

    /// RELEASE_CONTEXT.
    ReleaseBody {
        /// The daemon's number for the context.
        context: u32,
        /// The return code.
        rv: u32,
    }

    /// CONNECT.
    ConnectBody {
        /// The daemon's number for the context.
        context: u32,
        /// The reader's name, NUL-terminated.
        reader: [u8; NAME_SIZE],
        /// The share mode.
        share: u32,
        /// The set of protocols that the caller accepts.
        protocols: u32,
        /// The daemon's number for the connection.
        card: i32,
        /// The protocol chosen.
        active: u32,
        /// The return code.
        rv: u32,
    }

    /// RECONNECT.
    ReconnectBody {
        /// The connection.
        card: i32,
        /// The share mode.
        share: u32,
        /// The set of protocols that the caller accepts.
        protocols: u32,
        /// What is done to the card first, `SCARD_LEAVE_CARD` and its like.
        initialization: u32,
        /// The protocol chosen.
        active: u32,
        /// The return code.
        rv: u32,
    }

    /// DISCONNECT.
    DisconnectBody {
        /// The connection.
        card: i32,
        /// What is done to the card, `SCARD_LEAVE_CARD` and its like.
        disposition: u32,
        /// The return code.
        rv: u32,
    }

    /// BEGIN_TRANSACTION.
    BeginTransactionBody {
        /// The connection.
        card: i32,
        /// The return code.
        rv: u32,
    }

    /// END_TRANSACTION.
    EndTransactionBody {
        /// The connection.
        card: i32,
        /// What is done to the card, `SCARD_LEAVE_CARD` and its like.
        disposition: u32,
        /// The return code.
        rv: u32,
    }

    /// TRANSMIT. The command follows the request, the response follows a reply of success.
    TransmitBody {
        /// The connection.
        card: i32,
        /// The protocol of the command.
        send_protocol: u32,
        /// The length of the caller's send PCI.
        send_pci_length: u32,
        /// The command's length in bytes.
        send_length: u32,
        /// The protocol of the response.
        receive_protocol: u32,
        /// The length of the caller's receive PCI.
        receive_pci_length: u32,
        /// The room for the response; in the reply, its length.
        receive_length: u32,
        /// The return code.
        rv: u32,
    }

    /// CONTROL. The data follow as in [`TransmitBody`].
    ControlBody {
        /// The connection.
        card: i32,
        /// The control code.
        code: u32,
        /// The request's length in bytes.
        send_length: u32,
        /// The room for the answer.
        receive_length: u32,
        /// The answer's length.
        returned: u32,
        /// The return code.
        rv: u32,
    }

    /// STATUS.
    StatusBody {
        /// The connection.
        card: i32,
        /// The return code.
        rv: u32,
    }

    /// CANCEL.
    CancelBody {
        /// The daemon's number for the context that waits. It is signed in this message alone.
        context: i32,
        /// The return code.
        rv: u32,
    }

    /// GET_ATTRIB and SET_ATTRIB.
    AttributeBody {
        /// The connection.
        card: i32,
        /// The attribute's tag.
        id: u32,
        /// Its value.
        value: [u8; ATTRIBUTE_SIZE],
        /// The value's length in bytes.
        length: u32,
        /// The return code.
        rv: u32,
    }

    /// The event that ends a wait, and STOP_WAITING's answer. It carries no tag.
    EventBody {
        /// Not used, and not initialised in 4.3.
        timeout: u32,
        /// Success, or `SCARD_E_CANCELLED`.
        rv: u32,
    }

    /// The reply to GET_READER_EVENTS.
    ReaderEventsBody {
        /// How many readers came or went; never 0.
        events: u32,
        /// The return code.
        rv: u32,
    }
}

impl VersionBody {
    /// The request for a version.
    pub fn new(version: Version) -> VersionBody {
        VersionBody {
            major: version.major,
            minor: version.minor,
            rv: 0,
        }
    }

    /// The message as it is sent. Behind requests whose answers vary in length, the answer to VERSION, which
    /// is known byte for byte, marks their end.
    pub fn to_bytes(&self, endian: Endian) -> [u8; VersionBody::SIZE] {
        let mut bytes = [0; VersionBody::SIZE];
        self.emit(endian, &mut bytes);
        bytes
    }

    /// The version in the message.
    pub fn version(&self) -> Version {
        Version {
            major: self.major,
            minor: self.minor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip<B: Body>(bytes: &[u8]) -> Result<(), TestCaseError> {
        for endian in [Endian::Little, Endian::Big] {
            match B::parse(bytes, endian) {
                None => prop_assert!(bytes.len() < B::SIZE),
                Some(body) => {
                    let mut out = vec![0; B::SIZE];
                    body.emit(endian, &mut out);
                    prop_assert_eq!(&out[..], &bytes[..B::SIZE]);
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_body_or_too_few(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            round_trip::<VersionBody>(&bytes)?;
            round_trip::<EstablishBody>(&bytes)?;
            round_trip::<ReleaseBody>(&bytes)?;
            round_trip::<ConnectBody>(&bytes)?;
            round_trip::<ReconnectBody>(&bytes)?;
            round_trip::<DisconnectBody>(&bytes)?;
            round_trip::<BeginTransactionBody>(&bytes)?;
            round_trip::<EndTransactionBody>(&bytes)?;
            round_trip::<TransmitBody>(&bytes)?;
            round_trip::<ControlBody>(&bytes)?;
            round_trip::<StatusBody>(&bytes)?;
            round_trip::<CancelBody>(&bytes)?;
            round_trip::<AttributeBody>(&bytes)?;
            round_trip::<EventBody>(&bytes)?;
            round_trip::<ReaderEventsBody>(&bytes)?;
        }
    }

    #[test]
    fn sizes_are_those_of_the_c_structures() {
        assert_eq!(VersionBody::SIZE, 12);
        assert_eq!(ConnectBody::SIZE, 152);
        assert_eq!(ReconnectBody::SIZE, 24);
        assert_eq!(TransmitBody::SIZE, 32);
        assert_eq!(ControlBody::SIZE, 24);
        assert_eq!(AttributeBody::SIZE, 280);
        assert_eq!(EventBody::SIZE, 8);
    }

    #[test]
    fn a_request_is_its_header_and_its_body() {
        let mut out = [0xAA; 24];
        let request = DisconnectBody {
            card: -2,
            disposition: 1,
            rv: 0,
        };
        for endian in [Endian::Little, Endian::Big] {
            assert_eq!(
                request.emit_request(RequestCode::Disconnect, endian, &mut out),
                20
            );
            assert_eq!(Header::parse(&out, endian), Some(Header { size: 12, command: 6 }));
            assert_eq!(DisconnectBody::parse(&out[8..], endian), Some(request));
            assert_eq!(out[20..], [0xAA; 4]);
        }
    }
}
