//! Readers that are not what they say: one table, one line a family, each with its reason.
//!
//! [`TABLE`] is data. [`for_reader`] puts together what it says of one reader; [`Quirks::apply`] corrects
//! a class descriptor with it, and what no descriptor can tell is in the fields of [`Quirks`]. A new
//! reader that misbehaves takes a line in `table.rs` and, if it misbehaves in a new way, an [`Effect`].
//!
//! Cards that need help have a table of their own, [`for_card`].

mod table;

pub use table::TABLE;

use crate::descriptor::{ClassDescriptor, ExchangeLevel, Features, Flavour, Interface};
use alloc::vec::Vec;
use core::time::Duration;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirk {
    /// Which devices it is about.
    pub devices: Devices,
    /// Which firmware versions, by `bcdDevice`.
    pub firmware: Firmware,
    /// Which interface, by `bInterfaceNumber`; `None` for all.
    pub interface: Option<u8>,
    /// What is different.
    pub effects: &'static [Effect],
    /// Why: what the reader does otherwise.
    pub reason: &'static str,
}

/// Which devices a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// These products of a vendor.
    Products(u16, &'static [u16]),
    /// All products of a vendor.
    Vendor(u16),
    /// All interfaces of this kind, whoever made them.
    Flavour(Flavour),
}

/// Which firmware versions a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// All.
    Any,
    /// Those before this one.
    Before(u16),
    /// These.
    Exactly(&'static [u16]),
}

/// What is different about a reader. Times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Do not use it, unless the user insists.
    Refuse,
    /// It needs this long after it is opened before the first command.
    Settle(u32),
    /// It answers the first GetSlotStatus only after this long.
    SlowFirstAnswer(u32),
    /// A command may take this long, whatever the card's parameters say.
    SlowCommands(u32),
    /// T=1 exchanges may take this much longer than the card's parameters say.
    SlowExchanges(u32),
    /// The true `dwMaxDataRate`, bits per second.
    MaxDataRate(u32),
    /// The slots after the first know these rates only, bits per second.
    OtherSlotsRates(&'static [u32]),
    /// It cannot carry a PPS: the card stays at its first protocol and default rate.
    NoPps,
    /// At character level, a reply that fills its packets does not come: its transfer has no end.
    LosesWholePackets,
    /// The true `dwMaxIFSD`.
    MaxIfsd(u32),
    /// Bits to add to `dwFeatures`.
    AddFeatures(Features),
    /// It announces short APDUs and chains like a reader of extended ones.
    ChainsShortApdus,
    /// It announces extended APDUs and takes short ones.
    ShortApdusOnly,
    /// Its PIN pad is none, or not secure.
    NoPinPad,
    /// Slots from this one on do not notice cards: each counts as occupied.
    Blind(u8),
    /// A slot that does not notice cards counts as empty where power was applied in vain, until it succeeds.
    EmptyAfterFailure,
    /// Slots from this one on have no contacts.
    Contactless(u8),
    /// A card must be powered off before it is powered on.
    PowerOffFirst,
    /// Opening takes a power cycle, to bring the card's state machine to its start.
    PowerCycleAtOpen,
    /// When powering on fails with bError BB, this Escape leads back from EMV to ISO mode.
    IsoMode(&'static [u8]),
    /// Escape 02 tells its firmware's name, Escape 6A its features.
    GemaltoEscapes,
    /// Its display's messages must be loaded at opening.
    LoadMessages,
    /// Everybody may send it Escapes that are as long as this and begin with that.
    EscapeAllowed(usize, &'static [u8]),
    /// Everybody may send it any Escape.
    AnyEscapeAllowed,
    /// It takes Secoder commands (FEATURE_MCT_READER_DIRECT).
    ReaderDirect,
    /// It has the pseudo-APDUs FF 9A 01 that ask who it is, answered by the driver.
    InfoApdus,
    /// Smallest and largest PIN, in digits.
    PinSizes(u8, u8),
    /// Entering a PIN ends with a key only: `bEntryValidationCondition` is 02.
    ValidationKeyOnly,
    /// `bNumberMessage` of a verification must be this.
    VerifyMessages(u8),
    /// How messages of a modification must be put.
    ModifyMessages(ModifyMessages),
    /// The bytes of `wPINMaxExtraDigit` are swapped in a verification.
    SwapsDigits,
    /// The key that started a verification must be let go first; wait this long.
    KeyRelease(u32),
    /// Before a verification with a header alone, this Escape makes it append the PIN.
    AppendPin(&'static [u8]),
}

/// How the messages of a PIN modification must be put for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModifyMessages {
    /// As the specification says.
    #[default]
    AsIs,
    /// No message, and all three indices all the same, of value 0.
    NoneWithIndices,
    /// Three messages, whatever was asked for.
    Three,
    /// The number that was asked for, and all three indices.
    AllIndices,
    /// The reader's default messages where none were asked for.
    DefaultForNone,
}

/// What the table says of one reader, all lines together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// Why it should be refused, if the user does not insist.
    pub refused: Option<&'static str>,
    /// To wait between opening and the first command.
    pub settle: Duration,
    /// To wait for the first answers at opening.
    pub first_answer: Duration,
    /// The shortest limit for any command.
    pub command_limit: Duration,
    /// To add to the limit of a T=1 exchange.
    pub exchange_extra: Duration,
    /// The true greatest data rate, bits per second.
    pub max_data_rate_bps: Option<u32>,
    /// The rates of all slots but the first, bits per second.
    pub other_slots_rates: Option<&'static [u32]>,
    /// Whether PPS must not be tried.
    pub no_pps: bool,
    /// Whether characters must be asked for so that the reply does not fill its packets.
    pub loses_whole_packets: bool,
    /// The true IFSD.
    pub max_ifsd: Option<u32>,
    /// Bits to add to `dwFeatures`.
    pub added_features: Features,
    /// Whether a reader of short APDUs is to be used as one of extended ones.
    pub chains_short_apdus: bool,
    /// Whether a reader of extended APDUs is to be used as one of short ones.
    pub short_apdus_only: bool,
    /// Whether its PIN pad must not be used.
    pub no_pin_pad: bool,
    /// The first slot that does not notice cards.
    pub blind_from: Option<u8>,
    /// Whether such a slot is empty where power was applied in vain.
    pub empty_after_failure: bool,
    /// The first slot that has no contacts.
    pub contactless_from: Option<u8>,
    /// Whether to power off before powering on.
    pub power_off_first: bool,
    /// Whether to power off, on and off at opening.
    pub power_cycle_at_open: bool,
    /// The Escape that leads from EMV to ISO mode.
    pub iso_mode: Option<&'static [u8]>,
    /// Whether it has Gemalto's Escapes 02 and 6A.
    pub gemalto_escapes: bool,
    /// Whether its display's messages must be loaded.
    pub load_messages: bool,
    /// Escapes for everybody, as their length and beginning.
    pub allowed_escapes: [Option<(usize, &'static [u8])>; 2],
    /// Whether all Escapes are for everybody.
    pub any_escape_allowed: bool,
    /// Whether it takes Secoder commands.
    pub reader_direct: bool,
    /// Whether the driver answers its pseudo-APDUs FF 9A 01.
    pub info_apdus: bool,
    /// What its PIN pad needs.
    pub pin: PinQuirks,
}

/// What a reader's PIN pad needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PinQuirks {
    /// Smallest and largest PIN, in digits.
    pub sizes: Option<(u8, u8)>,
    /// Whether `bEntryValidationCondition` can be 02 only.
    pub validation_key_only: bool,
    /// What `bNumberMessage` of a verification must be.
    pub verify_messages: Option<u8>,
    /// How messages of a modification must be put.
    pub modify_messages: ModifyMessages,
    /// Whether the bytes of `wPINMaxExtraDigit` are swapped in a verification.
    pub swaps_digits: bool,
    /// To wait before a verification.
    pub key_release: Duration,
    /// The Escape before a verification with a header alone.
    pub append_pin: Option<&'static [u8]>,
}

impl Default for Quirks {
    /// A reader that is what it says.
    fn default() -> Self {
        Quirks {
            refused: None,
            settle: Duration::ZERO,
            first_answer: FIRST_ANSWER,
            command_limit: COMMAND_LIMIT,
            exchange_extra: Duration::ZERO,
            max_data_rate_bps: None,
            other_slots_rates: None,
            no_pps: false,
            loses_whole_packets: false,
            max_ifsd: None,
            added_features: Features(0),
            chains_short_apdus: false,
            short_apdus_only: false,
            no_pin_pad: false,
            blind_from: None,
            empty_after_failure: false,
            contactless_from: None,
            power_off_first: false,
            power_cycle_at_open: false,
            iso_mode: None,
            gemalto_escapes: false,
            load_messages: false,
            allowed_escapes: [None; 2],
            any_escape_allowed: false,
            reader_direct: false,
            info_apdus: false,
            pin: PinQuirks::default(),
        }
    }
}

/// How long a reader may take for the first answers when it is opened.
pub const FIRST_ANSWER: Duration = Duration::from_millis(100);
/// The shortest limit for a command.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(3);

/// What SCM's firmware announces.
const SCM_MESSAGE: u32 = 263;
/// A header and the longest short APDU (CCID 1.1, clause 5.1).
const WHOLE_MESSAGE: u32 = 271;
/// The least `dwMaxCCIDMessageLength`: `wMaxPacketSize` of the bulk OUT endpoint (CCID 1.1, clause 5.1), which is 64 bytes
/// at full speed.
const LEAST_MESSAGE: u32 = 64;

impl Quirk {
    /// Whether the line is about this reader.
    pub fn is_about(&self, vendor: u16, product: u16, firmware: u16, interface: u8) -> bool {
        let device = match self.devices {
            Devices::Products(own, products) => own == vendor && products.contains(&product),
            Devices::Vendor(own) => own == vendor,
            Devices::Flavour(_) => false,
        };
        let version = match self.firmware {
            Firmware::Any => true,
            Firmware::Before(good) => firmware < good,
            Firmware::Exactly(bad) => bad.contains(&firmware),
        };
        device && version && self.interface.is_none_or(|own| own == interface)
    }
}

/// What the table says of an interface (`bInterfaceNumber`) of a device (`idVendor`, `idProduct`,
/// `bcdDevice`). Lines further down win.
pub fn for_reader(vendor: u16, product: u16, firmware: u16, interface: u8) -> Quirks {
    let mut quirks = Quirks::default();
    for line in TABLE {
        if line.is_about(vendor, product, firmware, interface) {
            quirks.add(line);
        }
    }
    quirks
}

/// Like [`for_reader`], and what goes for all interfaces of the same kind.
pub fn for_interface(vendor: u16, product: u16, firmware: u16, interface: &Interface) -> Quirks {
    let mut quirks = for_reader(vendor, product, firmware, interface.number);
    for line in TABLE {
        if line.devices == Devices::Flavour(interface.flavour) {
            quirks.add(line);
        }
    }
    quirks
}

impl Quirks {
    fn add(&mut self, line: &Quirk) {
        let millis = |ms: u32| Duration::from_millis(u64::from(ms));
        for effect in line.effects {
            match *effect {
                Effect::Refuse => self.refused = Some(line.reason),
                Effect::Settle(ms) => self.settle = millis(ms),
                Effect::SlowFirstAnswer(ms) => self.first_answer = millis(ms),
                Effect::SlowCommands(ms) => self.command_limit = millis(ms),
                Effect::SlowExchanges(ms) => self.exchange_extra = millis(ms),
                Effect::MaxDataRate(rate) => self.max_data_rate_bps = Some(rate),
                Effect::OtherSlotsRates(rates) => self.other_slots_rates = Some(rates),
                Effect::NoPps => self.no_pps = true,
                Effect::LosesWholePackets => self.loses_whole_packets = true,
                Effect::MaxIfsd(size) => self.max_ifsd = Some(size),
                Effect::AddFeatures(bits) => self.added_features.0 |= bits.0,
                Effect::ChainsShortApdus => self.chains_short_apdus = true,
                Effect::ShortApdusOnly => self.short_apdus_only = true,
                Effect::NoPinPad => self.no_pin_pad = true,
                Effect::Blind(slot) => self.blind_from = Some(slot),
                Effect::EmptyAfterFailure => self.empty_after_failure = true,
                Effect::Contactless(slot) => self.contactless_from = Some(slot),
                Effect::PowerOffFirst => self.power_off_first = true,
                Effect::PowerCycleAtOpen => self.power_cycle_at_open = true,
                Effect::IsoMode(escape) => self.iso_mode = Some(escape),
                Effect::GemaltoEscapes => self.gemalto_escapes = true,
                Effect::LoadMessages => self.load_messages = true,
                Effect::EscapeAllowed(size, start) => {
                    if let Some(free) = self.allowed_escapes.iter_mut().find(|entry| entry.is_none()) {
                        *free = Some((size, start));
                    }
                }
                Effect::AnyEscapeAllowed => self.any_escape_allowed = true,
                Effect::ReaderDirect => self.reader_direct = true,
                Effect::InfoApdus => self.info_apdus = true,
                Effect::PinSizes(min, max) => self.pin.sizes = Some((min, max)),
                Effect::ValidationKeyOnly => self.pin.validation_key_only = true,
                Effect::VerifyMessages(number) => self.pin.verify_messages = Some(number),
                Effect::ModifyMessages(way) => self.pin.modify_messages = way,
                Effect::SwapsDigits => self.pin.swaps_digits = true,
                Effect::KeyRelease(ms) => self.pin.key_release = millis(ms),
                Effect::AppendPin(escape) => self.pin.append_pin = Some(escape),
            }
        }
    }

    /// Corrects a class descriptor: first what the table says, then values that no reader can have.
    ///
    /// * `dwMaxIFSD` above 254, the limit of T=1 (ISO/IEC 7816-3, clause 11.4.2), becomes 254: many readers announce
    ///   their buffer instead.
    /// * `dwMaxCCIDMessageLength` below 64 becomes 271, which holds a short APDU: no reader with such a limit could carry a
    ///   command. Real readers announce 0. 263 becomes 271 as well: SCM's firmware, which is in readers of many brands,
    ///   announces it and takes a whole short APDU behind the header. An extended APDU level reader splits APDUs into
    ///   messages, so its limit can stay as announced.
    /// * `bMaxCCIDBusySlots` becomes at least 1 and at most the number of slots.
    ///
    /// Clocks, data rates, voltages and protocols stay as they are, because what replaces an impossible value depends on
    /// the card: see [`ReaderSpeeds`](crate::speed::ReaderSpeeds) and [`Reader`](crate::reader::Reader).
    pub fn apply(&self, descriptor: &mut ClassDescriptor) {
        const LEVEL: u32 = 0x7_0000;
        let features = &mut descriptor.features;
        features.0 |= self.added_features.0;
        match features.exchange_level() {
            ExchangeLevel::ShortApdu if self.chains_short_apdus => {
                features.0 = features.0 & !LEVEL | 0x4_0000;
            }
            ExchangeLevel::ExtendedApdu if self.short_apdus_only => {
                features.0 = features.0 & !LEVEL | 0x2_0000;
            }
            _ => {}
        }
        if self.no_pin_pad {
            descriptor.pin_support = 0;
        }
        if let Some(rate) = self.max_data_rate_bps {
            descriptor.max_data_rate_bps = descriptor.max_data_rate_bps.min(rate);
        }
        let is_chained = descriptor.features.exchange_level() == ExchangeLevel::ExtendedApdu;
        let length = descriptor.max_message_length;
        if length < LEAST_MESSAGE || (length == SCM_MESSAGE && !is_chained) {
            descriptor.max_message_length = WHOLE_MESSAGE;
        }
        let slots = descriptor.slots().min(u8::MAX.into()) as u8;
        descriptor.max_busy_slots = descriptor.max_busy_slots.clamp(1, slots);
        if let Some(size) = self.max_ifsd {
            descriptor.max_ifsd = size;
        }
        descriptor.max_ifsd = descriptor.max_ifsd.min(254);
    }

    /// Drops from the reader's list of data rates (bits per second) those that a slot cannot do.
    pub fn limit_rates(&self, slot: u8, rates: &mut Vec<u32>) {
        if let (Some(own), true) = (self.other_slots_rates, slot > 0) {
            rates.clear();
            rates.extend_from_slice(own);
        }
        if let Some(max) = self.max_data_rate_bps {
            rates.retain(|&rate| rate <= max);
        }
    }

    /// Whether the slot notices that a card comes or goes.
    pub fn sees_cards(&self, slot: u8) -> bool {
        self.blind_from.is_none_or(|blind| slot < blind)
    }

    /// Whether the slot has no contacts.
    pub fn is_contactless(&self, slot: u8) -> bool {
        self.contactless_from.is_some_and(|first| slot >= first)
    }
}

/// What a card needs beyond what its ATR says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardQuirk {
    /// Its ATR.
    pub atr: &'static [u8],
    /// What its BWI and CWI (TB3) should have been.
    pub waiting: u8,
    /// Why.
    pub reason: &'static str,
}

/// All cards that need help.
pub static CARDS: &[CardQuirk] = &[CardQuirk {
    atr: &[
        0x3B, 0xFA, 0x13, 0x00, 0xFF, 0x81, 0x31, 0x80, 0x45, 0x00, 0x31, 0xC1, 0x73, 0xC0, 0x01, 0x00, 0x00,
        0x90, 0x00, 0xB1,
    ],
    waiting: 0x75,
    reason: "OpenPGP card 1.x: makes keys for longer than its BWT of 1.4 s and asks for no extension",
}];

/// What the table says of a card.
pub fn for_card(atr: &[u8]) -> Option<&'static CardQuirk> {
    CARDS.iter().find(|card| card.atr == atr)
}

#[cfg(test)]
mod tests;
