//! The class descriptor (CCID 1.1, clause 5.1; ICCD 1.0, clause 5.1), and where real devices put it among
//! their interfaces.

mod interface;

use alloc::vec::Vec;

pub use interface::{interfaces, Flavour, Interface, Interrupt, Unusable};

/// Length of the class descriptor in bytes.
pub const SIZE: usize = 54;

/// The smart card class descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ClassDescriptor {
    /// `bcdCCID`: the specification's release, 0x0110 for 1.1.
    pub release: u16,
    /// `bMaxSlotIndex`: the number of slots less one.
    pub max_slot_index: u8,
    /// `bVoltageSupport`: bit 0 for 5 V, bit 1 for 3 V, bit 2 for 1.8 V.
    pub voltages: u8,
    /// `dwProtocols`: bit 0 for T=0, bit 1 for T=1.
    pub protocols: u32,
    /// `dwDefaultClock` in kHz.
    pub default_clock_khz: u32,
    /// `dwMaximumClock` in kHz.
    pub max_clock_khz: u32,
    /// `bNumClockSupported`: the length of the list of clocks; 0 if it is not given.
    pub clock_count: u8,
    /// `dwDataRate` in bits per second.
    pub data_rate_bps: u32,
    /// `dwMaxDataRate` in bits per second.
    pub max_data_rate_bps: u32,
    /// `bNumDataRatesSupported`: the length of the list of data rates; 0 if it is not given.
    pub data_rate_count: u8,
    /// `dwMaxIFSD` for T=1.
    pub max_ifsd: u32,
    /// `dwSynchProtocols`.
    pub synchronous_protocols: u32,
    /// `dwMechanical`.
    pub mechanical: u32,
    /// `dwFeatures`, see [`Features`].
    pub features: Features,
    /// `dwMaxCCIDMessageLength` in bytes, header included.
    pub max_message_length: u32,
    /// `bClassGetResponse`: the class of GET RESPONSE; FF is that of the command.
    pub class_get_response: u8,
    /// `bClassEnvelope`: likewise of ENVELOPE.
    pub class_envelope: u8,
    /// `wLcdLayout`: lines in the high byte, columns in the low one.
    pub lcd_layout: u16,
    /// `bPINSupport`: bit 0 for verification, bit 1 for modification.
    pub pin_support: u8,
    /// `bMaxCCIDBusySlots`.
    pub max_busy_slots: u8,
}

/// What the reader does by itself (`dwFeatures`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(pub u32);

impl Features {
    /// The ATR decides the parameters.
    pub const AUTOMATIC_PARAMETERS: Features = Features(0x02);
    /// A card is activated when it is inserted.
    pub const AUTOMATIC_ACTIVATION: Features = Features(0x04);
    /// The voltage is found by trying.
    pub const AUTOMATIC_VOLTAGE: Features = Features(0x08);
    /// The clock follows the parameters.
    pub const AUTOMATIC_CLOCK: Features = Features(0x10);
    /// The baud rate follows the parameters.
    pub const AUTOMATIC_BAUD_RATE: Features = Features(0x20);
    /// Parameters are negotiated by the reader, by rules of its own.
    pub const AUTOMATIC_NEGOTIATION: Features = Features(0x40);
    /// PPS is made by the reader, for the parameters in use.
    pub const AUTOMATIC_PPS: Features = Features(0x80);
    /// The card's clock can be stopped.
    pub const CLOCK_STOP: Features = Features(0x100);
    /// A NAD other than 0 is taken.
    pub const NAD: Features = Features(0x200);
    /// IFSD is announced by the reader in the first exchange.
    pub const AUTOMATIC_IFSD: Features = Features(0x400);
    /// The device is a card and reader in one (ICCD 1.0).
    pub const ICCD: Features = Features(0x800);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// The level of exchange. At most one of its bits is to be set (CCID 1.1, clause 5.1); of several the
    /// highest counts.
    pub const fn exchange_level(self) -> ExchangeLevel {
        match self.0 & 0x7_0000 {
            0 => ExchangeLevel::Character,
            0x1_0000 => ExchangeLevel::Tpdu,
            0x2_0000 | 0x3_0000 => ExchangeLevel::ShortApdu,
            _ => ExchangeLevel::ExtendedApdu,
        }
    }
}

/// What one XfrBlock carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeLevel {
    /// Characters: the host runs the protocol.
    Character,
    /// TPDUs: a T=0 command or a T=1 block.
    Tpdu,
    /// Short APDUs.
    ShortApdu,
    /// Short and extended APDUs.
    ExtendedApdu,
}

impl ExchangeLevel {
    /// Whether the reader takes APDUs, and speaks the card's protocol itself.
    pub const fn is_apdu(self) -> bool {
        matches!(self, ExchangeLevel::ShortApdu | ExchangeLevel::ExtendedApdu)
    }
}

impl ClassDescriptor {
    /// Reads a class descriptor.
    ///
    /// # Errors
    /// [`DescriptorError::Size`].
    pub fn parse(bytes: &[u8]) -> Result<ClassDescriptor, DescriptorError> {
        let bytes: &[u8; SIZE] = bytes
            .get(..SIZE)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(DescriptorError::Size(bytes.len()))?;
        if usize::from(bytes[0]) != SIZE {
            return Err(DescriptorError::Size(bytes[0].into()));
        }
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let descriptor = ClassDescriptor {
            release: word(2),
            max_slot_index: bytes[4],
            voltages: bytes[5],
            protocols: long(6),
            default_clock_khz: long(10),
            max_clock_khz: long(14),
            clock_count: bytes[18],
            data_rate_bps: long(19),
            max_data_rate_bps: long(23),
            data_rate_count: bytes[27],
            max_ifsd: long(28),
            synchronous_protocols: long(32),
            mechanical: long(36),
            features: Features(long(40)),
            max_message_length: long(44),
            class_get_response: bytes[48],
            class_envelope: bytes[49],
            lcd_layout: word(50),
            pin_support: bytes[52],
            max_busy_slots: bytes[53],
        };
        Ok(descriptor)
    }

    /// The descriptor's bytes.
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[0] = SIZE as u8;
        bytes[1] = 0x21;
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(2, &self.release.to_le_bytes());
        put(4, &[self.max_slot_index, self.voltages]);
        put(6, &self.protocols.to_le_bytes());
        put(10, &self.default_clock_khz.to_le_bytes());
        put(14, &self.max_clock_khz.to_le_bytes());
        put(18, &[self.clock_count]);
        put(19, &self.data_rate_bps.to_le_bytes());
        put(23, &self.max_data_rate_bps.to_le_bytes());
        put(27, &[self.data_rate_count]);
        put(28, &self.max_ifsd.to_le_bytes());
        put(32, &self.synchronous_protocols.to_le_bytes());
        put(36, &self.mechanical.to_le_bytes());
        put(40, &self.features.0.to_le_bytes());
        put(44, &self.max_message_length.to_le_bytes());
        put(48, &[self.class_get_response, self.class_envelope]);
        put(50, &self.lcd_layout.to_le_bytes());
        put(52, &[self.pin_support, self.max_busy_slots]);
        bytes
    }

    /// How many slots the reader has.
    pub fn slots(&self) -> u16 {
        u16::from(self.max_slot_index) + 1
    }
}

/// Reads the answer to GET_CLOCK_FREQUENCIES (kHz) or GET_DATA_RATES (bits per second) (CCID 1.1,
/// clauses 5.3.2 and 5.3.3): whole numbers only, without the zeros that some readers fill up with.
pub fn list(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks_exact(4)
        .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .filter(|value| *value != 0)
        .collect()
}

/// What is wrong with a class descriptor or with its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// There is no class descriptor.
    #[error("there is no class descriptor")]
    Missing,
    /// The class descriptor has 54 bytes, not this many.
    #[error("the class descriptor has {0} bytes, not {size}", size = SIZE)]
    Size(usize),
    /// One of the bulk endpoints is missing.
    #[error("a bulk endpoint is missing")]
    NoBulkPipes,
}

#[cfg(test)]
mod tests;
