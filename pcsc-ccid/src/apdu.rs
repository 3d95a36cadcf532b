//! Command and response APDUs (ISO/IEC 7816-3 clause 12.1, ISO/IEC 7816-4 clause 5).
//!
//! [`CommandApdu`] is a checked view over the bytes of a command APDU: the header, the data field and
//! the expected length. The four cases, each short or extended, are distinguished by length alone.

/// Longest short command APDU: header, Lc, 255 bytes of data, Le.
pub const MAX_SHORT_COMMAND: usize = 4 + 1 + 255 + 1;
/// Longest extended command APDU: header, 3-byte Lc, 65,535 bytes of data, 2-byte Le.
pub const MAX_EXTENDED_COMMAND: usize = 4 + 3 + 65_535 + 2;
/// Longest response APDU: 65,536 bytes of data and the two status bytes.
pub const MAX_RESPONSE: usize = 65_536 + 2;

/// Why bytes are not a command APDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApduError {
    /// Fewer than the four bytes of a header.
    #[error("a command APDU has at least four bytes")]
    TooShort,
    /// CLA is 'FF', which is reserved for PPS (ISO 7816-4 clause 5.1.1).
    #[error("class byte FF is reserved for PPS")]
    InvalidClass,
    /// The Lc field announces this many bytes, and the bytes after it fit neither with nor without Le.
    #[error("Lc announces {announced} bytes but {present} follow it")]
    Length {
        /// What the Lc field says.
        announced: usize,
        /// How many bytes follow the Lc field.
        present: usize,
    },
}

/// The case of a command APDU (ISO 7816-3 clause 12.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// No data either way.
    One,
    /// No command data, response data expected.
    Two,
    /// Command data, no response data expected.
    Three,
    /// Data both ways.
    Four,
}

/// A decoded command APDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandApdu<'a> {
    /// CLA, INS, P1 and P2.
    pub header: [u8; 4],
    /// The data field; Nc is its length.
    pub data: &'a [u8],
    /// Ne, the largest number of response bytes expected (1 to 65,536); `None` without an Le field.
    pub ne: Option<usize>,
    /// Whether the length fields are extended.
    pub extended: bool,
}

impl<'a> CommandApdu<'a> {
    /// Decodes `apdu`.
    ///
    /// # Errors
    /// [`ApduError`].
    pub fn parse(apdu: &'a [u8]) -> Result<Self, ApduError> {
        match apdu {
            [0xFF, _, _, _, ..] => Err(ApduError::InvalidClass),
            _ => Self::parse_of_any_class(apdu),
        }
    }

    /// The same for a command whose class may be FF: one to the reader itself (PC/SC part 3, clause 3.2.2).
    ///
    /// # Errors
    /// [`ApduError::TooShort`] and [`ApduError::Length`].
    pub fn parse_of_any_class(apdu: &'a [u8]) -> Result<Self, ApduError> {
        let (header, body) = apdu.split_first_chunk::<4>().ok_or(ApduError::TooShort)?;
        let command = |data, ne, extended| CommandApdu {
            header: *header,
            data,
            ne,
            extended,
        };
        let with_data = |nc: usize, rest: &'a [u8], extended| {
            let error = ApduError::Length {
                announced: nc,
                present: rest.len(),
            };
            // Lc 0 is no length: it marks extended fields, and they have an Lc of their own (ISO 7816-3,
            // clause 12.1.3).
            match (rest.split_at_checked(nc).filter(|_| nc > 0), extended) {
                (Some((data, [])), _) => Ok(command(data, None, extended)),
                (Some((data, &[le])), false) => Ok(command(data, Some(short_le(le)), false)),
                (Some((data, &[high, low])), true) => Ok(command(data, Some(extended_le(high, low)), true)),
                _ => Err(error),
            }
        };
        match *body {
            [] => Ok(command(&[], None, false)),
            [le] => Ok(command(&[], Some(short_le(le)), false)),
            // Before the cases with Lc: three bytes that begin with 0 can be nothing but an extended Le.
            [0, high, low] => Ok(command(&[], Some(extended_le(high, low)), true)),
            [0, high, low, ref rest @ ..] => with_data(u16::from_be_bytes([high, low]).into(), rest, true),
            [lc, ref rest @ ..] => with_data(lc.into(), rest, false),
        }
    }

    /// The case that the data field and Le make.
    pub fn case(&self) -> Case {
        match (self.data.is_empty(), self.ne) {
            (true, None) => Case::One,
            (true, Some(_)) => Case::Two,
            (false, None) => Case::Three,
            (false, Some(_)) => Case::Four,
        }
    }

    /// Whether short length fields can carry the command: Nc up to 255 and Ne up to 256.
    pub fn fits_short(&self) -> bool {
        self.data.len() <= 255 && self.ne.unwrap_or(0) <= 256
    }
}

fn short_le(le: u8) -> usize {
    match le {
        0 => 256,
        n => usize::from(n),
    }
}

fn extended_le(high: u8, low: u8) -> usize {
    match u16::from_be_bytes([high, low]) {
        0 => 65_536,
        n => usize::from(n),
    }
}

/// Splits a response APDU in data field and status word SW1-SW2; `None` when shorter than a status word.
pub fn split_response(apdu: &[u8]) -> Option<(&[u8], u16)> {
    let (data, status) = apdu.split_last_chunk::<2>()?;
    Some((data, u16::from_be_bytes(*status)))
}

/// Whether the command data of an instruction hold a PIN or other reference data: VERIFY, CHANGE REFERENCE
/// DATA, ENABLE and DISABLE VERIFICATION REQUIREMENT, RESET RETRY COUNTER, each with the odd INS that has
/// its data in BER-TLV where there is one (ISO 7816-4:2013 clauses 11.5.6 to 11.5.10). Nothing shows or
/// records such data.
pub(crate) fn carries_pin(ins: u8) -> bool {
    matches!(ins, 0x20 | 0x21 | 0x24 | 0x25 | 0x26 | 0x28 | 0x2C | 0x2D)
}
