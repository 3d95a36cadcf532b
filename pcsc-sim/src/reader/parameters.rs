//! A slot's parameters (CCID 1.1, clause 6.1.7) and what they mean on the contact.

use crate::card::{LineSettings, Rate};
use pcsc_ccid::atr::{Atr, DEFAULT_TA1};
use pcsc_ccid::internals::parameters::{Parameters as CardParameters, MAX_SIZE};
use pcsc_ccid::t1::Edc;

/// `abProtocolDataStructure` with its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parameters {
    /// `bProtocolNum`.
    pub protocol: u8,
    bytes: [u8; MAX_SIZE],
}

/// Offset of `abProtocolDataStructure` in the message.
pub(super) const OFFSET: u8 = 10;

impl Default for Parameters {
    /// What a slot has before anything is said: T=0 at 372/1, WI 10.
    fn default() -> Parameters {
        Parameters {
            protocol: 0,
            bytes: [0x11, 0x00, 0x00, 0x0A, 0x00, 0, 0],
        }
    }
}

impl Parameters {
    /// What an ATR says for a protocol, at 372/1.
    pub fn from_atr(atr: &Atr, protocol: u8) -> Parameters {
        let mut bytes = [0; MAX_SIZE];
        // CCID has no structure for other protocols. Such a slot shows that of T=0.
        let known = if protocol == 1 { 1 } else { 0 };
        if let Some(parameters) = CardParameters::for_card(atr, known, DEFAULT_TA1) {
            parameters.encode(&mut bytes);
        }
        Parameters { protocol, bytes }
    }

    /// Reads what SetParameters carries.
    ///
    /// # Errors
    /// The offset in the message of what is wrong.
    pub fn read(protocol: u8, data: &[u8]) -> Result<Parameters, u8> {
        let mut bytes = [0; MAX_SIZE];
        let size = match protocol {
            0 => 5,
            1 => 7,
            _ => return Err(7),
        };
        if data.len() != size {
            return Err(1);
        }
        bytes[..size].copy_from_slice(data);
        let parameters = Parameters { protocol, bytes };
        let wrong = |at: u8| Err(OFFSET + at);
        if Rate::from_ta1(bytes[0]).is_none() {
            return wrong(0);
        }
        match protocol {
            0 if bytes[1] & !0x02 != 0 => wrong(1),
            0 if bytes[3] == 0 => wrong(3),
            1 if bytes[1] & !0x03 != 0x10 => wrong(1),
            1 if bytes[3] >> 4 > 9 => wrong(3),
            1 if matches!(bytes[5], 0 | 255) => wrong(5),
            _ if bytes[4] > 3 => wrong(4),
            _ => Ok(parameters),
        }
    }

    /// The structure's bytes.
    pub fn bytes(&self) -> &[u8] {
        match self.protocol {
            1 => &self.bytes,
            _ => &self.bytes[..5],
        }
    }

    /// `bmFindexDindex`.
    pub fn fidi(&self) -> u8 {
        self.bytes[0]
    }

    /// The same at another rate.
    pub fn with_fidi(mut self, fidi: u8) -> Parameters {
        self.bytes[0] = fidi;
        self
    }

    /// F and D.
    pub fn rate(&self) -> Rate {
        Rate::from_ta1(self.bytes[0]).unwrap_or(Rate::DEFAULT)
    }

    /// `bGuardTime`.
    pub fn guard(&self) -> u8 {
        self.bytes[2]
    }

    /// T=1: `bmTCCKST1`.
    pub fn edc(&self) -> Edc {
        match self.bytes[1] & 1 {
            1 => Edc::Crc,
            _ => Edc::Lrc,
        }
    }

    /// T=1: `bIFSC`.
    pub fn ifsc(&self) -> u8 {
        self.bytes[5]
    }

    /// T=1: `bNadValue`.
    pub fn nad(&self) -> u8 {
        self.bytes[6]
    }

    /// WWT in etu (ISO 7816-3 clause 10.2).
    pub fn work_wait(&self, line: LineSettings) -> u64 {
        960 * u64::from(self.bytes[3].max(1)) * u64::from(line.rate.d.max(1))
    }

    /// BWT in etu (clause 11.4.3).
    pub fn block_wait(&self, line: LineSettings) -> u64 {
        let units = 960 << (self.bytes[3] >> 4).min(9);
        11 + units * 372 * u64::from(line.rate.d.max(1)) / u64::from(line.rate.f.max(1))
    }

    /// CWT in etu (clause 11.4.3).
    pub fn character_wait(&self) -> u64 {
        11 + (1 << (self.bytes[3] & 0x0F))
    }
}
