//! The block frame: NAD PCB LEN, information field, error detection code (clause 11.3).

/// Longest information field (clause 11.3.2.3: LEN 'FF' is reserved).
pub const MAX_INF: usize = 254;
/// Longest block: prologue, information field, CRC.
pub const MAX_BLOCK: usize = 3 + MAX_INF + 2;

/// The error detection code of the epilogue field (clause 11.4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Edc {
    /// One byte, the exclusive-or of all others.
    #[default]
    Lrc,
    /// Two bytes: polynomial x^16 + x^12 + x^5 + 1, bits reflected, initial value 'FFFF', sent high
    /// byte first. ISO/IEC 13239 would complement it and send the low byte first; cards and drivers
    /// in the field do neither.
    Crc,
}

impl Edc {
    /// Length in bytes.
    pub const fn size(self) -> usize {
        match self {
            Edc::Lrc => 1,
            Edc::Crc => 2,
        }
    }

    /// The code of `bytes`; with [`Edc::Lrc`] only the first byte counts.
    pub fn compute(self, bytes: &[u8]) -> [u8; 2] {
        match self {
            Edc::Lrc => [bytes.iter().fold(0, |lrc, b| lrc ^ b), 0],
            Edc::Crc => bytes
                .iter()
                .fold(0xFFFFu16, |crc, &byte| crc16_step(crc, byte))
                .to_be_bytes(),
        }
    }
}

fn crc16_step(crc: u16, byte: u8) -> u16 {
    let mut crc = crc ^ u16::from(byte);
    for _ in 0..8 {
        crc = if crc & 1 == 1 {
            (crc >> 1) ^ 0x8408
        } else {
            crc >> 1
        };
    }
    crc
}

/// What an S-block is about (clause 11.3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervisory {
    /// Resynchronisation.
    Resynch,
    /// Information field size.
    Ifs,
    /// End of a chain before its last block.
    Abort,
    /// Waiting time extension.
    Wtx,
}

/// A decoded protocol control byte (clause 11.3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pcb {
    /// I-block with its send sequence number N(S), 0 or 1, and the more-data bit.
    I {
        /// N(S).
        seq: u8,
        /// M: the chain goes on.
        more: bool,
    },
    /// R-block with the number of the I-block it expects, N(R), 0 or 1.
    R {
        /// N(R).
        seq: u8,
        /// 0 no error, 1 EDC or parity error, 2 other errors.
        error: u8,
    },
    /// S-block, request.
    Request(Supervisory),
    /// S-block, response.
    Response(Supervisory),
}

impl Pcb {
    /// Decodes `pcb`; `None` when reserved bits are set or the S-block function is unknown.
    pub fn decode(pcb: u8) -> Option<Self> {
        match pcb & 0xC0 {
            // Bit 6 and bits 4 and 3 are 0 in an R-block, and the error code 3 is reserved.
            0x80 if pcb & 0x2C == 0 && pcb & 3 != 3 => Some(Pcb::R {
                seq: (pcb >> 4) & 1,
                error: pcb & 3,
            }),
            0x80 => None,
            0xC0 => {
                let function = match pcb & 0x1F {
                    0 => Supervisory::Resynch,
                    1 => Supervisory::Ifs,
                    2 => Supervisory::Abort,
                    3 => Supervisory::Wtx,
                    _ => return None,
                };
                Some(if pcb & 0x20 == 0 {
                    Pcb::Request(function)
                } else {
                    Pcb::Response(function)
                })
            }
            _ if pcb & 0x1F == 0 => Some(Pcb::I {
                seq: (pcb >> 6) & 1,
                more: pcb & 0x20 != 0,
            }),
            _ => None,
        }
    }

    /// The byte on the wire.
    pub fn encode(self) -> u8 {
        match self {
            Pcb::I { seq, more } => 0x40 * (seq & 1) + 0x20 * u8::from(more),
            Pcb::R { seq, error } => 0x80 + 0x10 * (seq & 1) + (error & 3),
            Pcb::Request(function) => 0xC0 + function as u8,
            Pcb::Response(function) => 0xE0 + function as u8,
        }
    }
}

/// Why received bytes are not a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The number of bytes is not what LEN says, or LEN is 'FF'.
    #[error("block length and LEN differ")]
    Length,
    /// The error detection code does not match.
    #[error("wrong error detection code")]
    Edc,
    /// Reserved or unknown PCB.
    #[error("reserved protocol control byte")]
    Pcb,
    /// An R- or S-block with an information field of the wrong length or value.
    #[error("wrong information field of an R- or S-block")]
    Information,
}

impl Invalid {
    /// The error code that an R-block reports it with (clause 11.3.2.2).
    pub const fn r_code(self) -> u8 {
        match self {
            Invalid::Edc => 1,
            _ => 2,
        }
    }
}

/// A block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// Node address: destination in the high nibble, source in the low one.
    pub nad: u8,
    /// Protocol control byte.
    pub pcb: Pcb,
    /// Information field, at most [`MAX_INF`] bytes.
    pub inf: &'a [u8],
}

impl<'a> Block<'a> {
    /// Decodes exactly one block. Bytes after it are an error. libccid ignores them; but if LEN is damaged to
    /// a smaller value, the LRC of the shorter block is right in one of 256 cases.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn decode(bytes: &'a [u8], edc: Edc) -> Result<Self, Invalid> {
        let &[nad, pcb, len, ..] = bytes else {
            return Err(Invalid::Length);
        };
        let size = 3 + usize::from(len);
        if len == 0xFF || bytes.len() != size + edc.size() {
            return Err(Invalid::Length);
        }
        let (body, code) = bytes.split_at(size);
        if *code != edc.compute(body)[..edc.size()] {
            return Err(Invalid::Edc);
        }
        let pcb = Pcb::decode(pcb).ok_or(Invalid::Pcb)?;
        let inf = &body[3..];
        let sound = match (pcb, inf) {
            (Pcb::I { .. }, _) => true,
            (Pcb::R { .. }, inf) => inf.is_empty(),
            (Pcb::Request(s) | Pcb::Response(s), inf) => match (s, inf) {
                (Supervisory::Resynch | Supervisory::Abort, inf) => inf.is_empty(),
                (Supervisory::Ifs, inf) => matches!(inf, [1..=254]),
                (Supervisory::Wtx, inf) => inf.len() == 1,
            },
        };
        if sound {
            Ok(Block { nad, pcb, inf })
        } else {
            Err(Invalid::Information)
        }
    }

    /// Writes the block to `out` and returns its length. An information field beyond [`MAX_INF`] is cut.
    pub fn encode(&self, edc: Edc, out: &mut [u8; MAX_BLOCK]) -> usize {
        let len = self.inf.len().min(MAX_INF);
        out[0] = self.nad;
        out[1] = self.pcb.encode();
        out[2] = len as u8;
        out[3..3 + len].copy_from_slice(&self.inf[..len]);
        let code = edc.compute(&out[..3 + len]);
        let end = 3 + len + edc.size();
        out[3 + len..end].copy_from_slice(&code[..edc.size()]);
        end
    }
}
