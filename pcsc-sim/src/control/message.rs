//! What a program asks of a slot, and what it is answered, as bytes. No I/O.

/// The longest line of text, in bytes: a command or its answer.
pub const MAX_LINE: u64 = 1000;
/// The most bytes of data in a message. No command and no answer is as long.
pub const MAX_DATA: usize = 1 << 17;

/// Bytes in front of a request's data.
pub const REQUEST_HEADER: usize = 9;
/// Bytes in front of an answer's data.
pub const ANSWER_HEADER: usize = 5;

/// What is asked of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotRequest<'a> {
    /// Whether there is a card. The answer is a byte: a [`CardPresence`].
    Presence,
    /// A reset of the card. The answer is the protocols offered and the first one (`SCARD_PROTOCOL_*`, a byte
    /// each), and the ATR.
    PowerUp {
        /// With its power on.
        is_warm: bool,
    },
    /// The card's power is taken away.
    PowerDown,
    /// A protocol is chosen: `SCARD_PROTOCOL_T0` or `SCARD_PROTOCOL_T1`.
    SetProtocol(u32),
    /// An APDU. The answer is the response.
    Transmit(&'a [u8]),
    /// `SCardControl` with this code.
    Control(u32, &'a [u8]),
    /// The value of this attribute.
    GetAttribute(u32),
    /// A value for this attribute.
    SetAttribute(u32, &'a [u8]),
}

impl<'a> SlotRequest<'a> {
    /// The bytes. Data beyond [`MAX_DATA`] are an error of the caller, and are left out.
    pub fn encode(&self) -> Vec<u8> {
        let (operation, argument, data): (u8, u32, &[u8]) = match *self {
            SlotRequest::Presence => (0, 0, &[]),
            SlotRequest::PowerUp { is_warm } => (1, is_warm.into(), &[]),
            SlotRequest::PowerDown => (2, 0, &[]),
            SlotRequest::SetProtocol(protocol) => (3, protocol, &[]),
            SlotRequest::Transmit(command) => (4, 0, command),
            SlotRequest::Control(code, data) => (5, code, data),
            SlotRequest::GetAttribute(id) => (6, id, &[]),
            SlotRequest::SetAttribute(id, value) => (7, id, value),
        };
        let data = &data[..data.len().min(MAX_DATA)];
        let length = data.len() as u32;
        [
            &[operation],
            &argument.to_le_bytes()[..],
            &length.to_le_bytes(),
            data,
        ]
        .concat()
    }

    /// The request with this header; `None` if there is no such operation.
    pub fn decode(header: [u8; REQUEST_HEADER], data: &'a [u8]) -> Option<SlotRequest<'a>> {
        let [operation, a0, a1, a2, a3, ..] = header;
        let argument = u32::from_le_bytes([a0, a1, a2, a3]);
        Some(match operation {
            0 => SlotRequest::Presence,
            1 => SlotRequest::PowerUp {
                is_warm: argument == 1,
            },
            2 => SlotRequest::PowerDown,
            3 => SlotRequest::SetProtocol(argument),
            4 => SlotRequest::Transmit(data),
            5 => SlotRequest::Control(argument, data),
            6 => SlotRequest::GetAttribute(argument),
            7 => SlotRequest::SetAttribute(argument, data),
            _ => return None,
        })
    }

    /// How many bytes of data follow a header; `None` if they are too many.
    pub fn data_length(header: [u8; REQUEST_HEADER]) -> Option<usize> {
        let [.., l0, l1, l2, l3] = header;
        length([l0, l1, l2, l3])
    }
}

/// The answer's bytes.
pub fn encode_answer(answer: Result<&[u8], RequestError>) -> Vec<u8> {
    let (result, data) = match answer {
        Ok(data) => (0, data),
        Err(error) => (error.code(), &[][..]),
    };
    let length = data.len() as u32;
    [&[result], &length.to_le_bytes()[..], data].concat()
}

/// What an answer's header says: success or an error, and how many bytes of data follow. `None` if they are
/// too many.
pub fn decode_answer(header: [u8; ANSWER_HEADER]) -> Option<(Result<(), RequestError>, usize)> {
    let [result, l0, l1, l2, l3] = header;
    let result = match result {
        0 => Ok(()),
        code => Err(RequestError::of_code(code)),
    };
    Some((result, length([l0, l1, l2, l3])?))
}

fn length(bytes: [u8; 4]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes) as usize;
    (length <= MAX_DATA).then_some(length)
}

/// Defines an enum whose values have a number on the wire.
macro_rules! numbered {
    (
        $(#[$doc:meta])* $name:ident,
        $(#[$other_doc:meta])* $other:ident,
        $($(#[$value_doc:meta])* $value:ident = $number:literal,)+
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
            $(#[$other_doc])*
            $other,
        }

        impl $name {
            /// Its number.
            pub fn code(self) -> u8 {
                match self {
                    $($name::$value => $number,)+
                    $name::$other => u8::MAX,
                }
            }

            /// What a number means.
            pub fn of_code(code: u8) -> $name {
                match code {
                    $($number => $name::$value,)+
                    _ => $name::$other,
                }
            }
        }
    };
}

numbered! {
    /// Why a slot could not do what it was asked.
    RequestError,
    /// The exchange failed.
    Communication,
    /// The reader is gone.
    NoDevice = 1,
    /// There is no card in the slot.
    NoCard = 2,
    /// The card does not answer to reset.
    Mute = 3,
    /// The reader or the card does not offer the protocol.
    ProtocolUnsupported = 4,
    /// The reader has no such function or attribute.
    Unsupported = 5,
    /// The answer does not fit.
    BufferTooSmall = 6,
    /// Another program has the reader.
    Busy = 7,
    /// The card was reset, and what the last command did is unknown.
    Reset = 8,
}

numbered! {
    /// Whether a card is in a slot.
    CardPresence,
    /// No card.
    Absent,
    /// A card.
    Present = 1,
    /// Another card than at the last request.
    Replaced = 2,
}

numbered! {
    /// What a watch reports of a slot.
    SlotChange,
    /// The reader is gone. The connection ends with it.
    Gone,
    /// A card may have come or gone, and two cards cannot be distinguished.
    Unclear = 1,
    /// A card may have come or gone.
    Card = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_decoded_as_they_were_encoded() {
        let all = [
            SlotRequest::Presence,
            SlotRequest::PowerUp { is_warm: true },
            SlotRequest::PowerUp { is_warm: false },
            SlotRequest::PowerDown,
            SlotRequest::SetProtocol(2),
            SlotRequest::Transmit(&[0, 0xA4, 4, 0]),
            SlotRequest::Control(0x4200_0DB8, &[1, 2]),
            SlotRequest::GetAttribute(0x0009_0303),
            SlotRequest::SetAttribute(0x0007_A0F0, &[3]),
        ];
        for request in all {
            let bytes = request.encode();
            let (header, data) = bytes.split_first_chunk().unwrap();
            assert_eq!(SlotRequest::data_length(*header), Some(data.len()), "{request:?}");
            assert_eq!(SlotRequest::decode(*header, data), Some(request));
        }
        assert_eq!(SlotRequest::decode([8, 0, 0, 0, 0, 0, 0, 0, 0], &[]), None);
        assert_eq!(SlotRequest::data_length([4, 0, 0, 0, 0, 1, 0, 2, 0]), None);
    }

    #[test]
    fn answers_are_decoded_as_they_were_encoded() {
        let bytes = encode_answer(Ok(&[0x90, 0]));
        assert_eq!(bytes, [0, 2, 0, 0, 0, 0x90, 0]);
        assert_eq!(decode_answer([0, 2, 0, 0, 0]), Some((Ok(()), 2)));
        for code in 1..=u8::MAX {
            let error = RequestError::of_code(code);
            let bytes = encode_answer(Err(error));
            assert_eq!(
                decode_answer(bytes.try_into().unwrap()),
                Some((Err(error), 0)),
                "{code}"
            );
        }
        assert_eq!(decode_answer([0, 0, 0, 0, 1]), None);
    }
}
