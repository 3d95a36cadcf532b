//! Quirks: readers whose descriptors are wrong or whose firmware has faults. One table, with a line and a
//! reason for each family.
//!
//! [`TABLE`] is data. [`for_reader`] combines the lines that match a reader; [`Quirks::apply`] corrects a
//! class descriptor with it, and what no descriptor can express is in the fields of [`Quirks`]. A new reader
//! that misbehaves takes a line in `table.rs` and, if it misbehaves in a new way, a field of [`Quirks`].
//!
//! Cards that need help have a table of their own, [`for_card`].

mod table;

pub use table::TABLE;

use crate::descriptor::{ClassDescriptor, ExchangeLevel, Features, Flavour, Interface};
use alloc::vec::Vec;
use core::time::Duration;

/// One line of the table.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Quirk {
    /// The rule.
    pub rule: Rule,
    /// Why: what the reader does otherwise.
    pub reason: &'static str,
}

/// A difference, and the devices that have it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Rule {
    /// The devices that have it.
    pub devices: Devices,
    /// Which firmware versions, by `bcdDevice`.
    pub firmware: Firmware,
    /// Which interface, by `bInterfaceNumber`; `None` for all.
    pub interface: Option<u8>,
    /// What is different.
    pub change: QuirkChange,
}

/// The devices that a line applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Devices {
    /// These products of a vendor.
    Products(u16, &'static [u16]),
    /// All products of a vendor.
    Vendor(u16),
    /// All interfaces of this kind, from any vendor.
    Flavour(Flavour),
}

/// The firmware versions that a line applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Firmware {
    /// All.
    Any,
    /// Those before this one.
    Before(u16),
    /// These.
    Exactly(&'static [u16]),
}

/// What is different about a reader.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum QuirkChange {
    /// It is not used, unless the user insists, for this reason.
    Refuse(&'static str),
    /// Sets the fields that differ from [`Quirks::default`].
    Field(fn(&mut Quirks)),
}

/// How `bNumberMessage` and the message indices of a PIN modification are encoded for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ModifyMessages {
    /// As the specification says.
    #[default]
    AsIs,
    /// `bNumberMessage` is 0, and yet the structure has all three message indices, of value 0.
    NoneWithIndices,
    /// Three messages, whatever number the caller has requested.
    Three,
    /// The number that the caller has requested, and all three message indices.
    AllIndices,
    /// The reader's default messages where the caller has requested none.
    DefaultForNone,
}

/// All quirks of one reader. The default is a reader without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Quirks {
    /// Why it is refused, unless the user insists.
    pub refused: Option<&'static str>,
    /// How long to wait between opening and the first command.
    pub settle: Duration,
    /// How long the first GetSlotStatus at opening may take.
    pub slow_first_answer: Option<Duration>,
    /// How long any command may take at least, whatever the card's parameters say.
    pub slow_commands: Option<Duration>,
    /// How much longer than the card's parameters say a T=1 exchange may take.
    pub exchange_extra: Duration,
    /// The true `dwMaxDataRate`, in bits per second.
    pub max_data_rate_bps: Option<u32>,
    /// The only rates of the slots after the first, in bits per second.
    pub other_slots_rates: Option<&'static [u32]>,
    /// It cannot carry a PPS: the card stays at its first protocol and the default rate.
    pub no_pps: bool,
    /// At character level, a reply that fills its packets does not come: its transfer has no end.
    pub loses_whole_packets: bool,
    /// The true `dwMaxIFSD`.
    pub max_ifsd: Option<u32>,
    /// Bits to add to `dwFeatures`.
    pub added_features: Features,
    /// It announces short APDUs and chains like a reader of extended ones.
    pub chains_short_apdus: bool,
    /// It announces extended APDUs and takes short ones only.
    pub short_apdus_only: bool,
    /// Its PIN pad does not exist, or is not secure.
    pub no_pin_pad: bool,
    /// Slots from this one on do not notice cards: each counts as occupied.
    pub blind_from: Option<u8>,
    /// A slot that does not notice cards counts as empty after a failed power-up, until one succeeds.
    pub empty_after_failure: bool,
    /// A card must be powered off before it is powered on.
    pub power_off_first: bool,
    /// Opening takes a power cycle, which brings the card's state machine to its start.
    pub power_cycle_at_open: bool,
    /// When powering on fails with bError BB, this Escape leads back from EMV to ISO mode.
    pub iso_mode: Option<&'static [u8]>,
    /// Escape 02 gives its firmware's name, Escape 6A its features.
    pub gemalto_escapes: bool,
    /// Its display's messages must be loaded at opening.
    pub load_messages: bool,
    /// Escapes that every application may send, as their length and beginning.
    pub allowed_escapes: [Option<(usize, &'static [u8])>; 2],
    /// Every application may send any Escape.
    pub any_escape_allowed: bool,
    /// It takes Secoder commands (FEATURE_MCT_READER_DIRECT).
    pub reader_direct: bool,
    /// The driver answers the pseudo-APDUs FF 9A 01, which ask who the reader is.
    pub info_apdus: bool,
    /// What its PIN pad needs.
    pub pin: PinQuirks,
}

/// What a reader's PIN pad needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PinQuirks {
    /// Smallest and largest PIN, in digits.
    pub sizes: Option<(u8, u8)>,
    /// Entering a PIN ends with a key only: `bEntryValidationCondition` is 02.
    pub validation_key_only: bool,
    /// What `bNumberMessage` of a verification must be.
    pub verify_messages: Option<u8>,
    /// How messages of a modification must be put.
    pub modify_messages: ModifyMessages,
    /// The bytes of `wPINMaxExtraDigit` are swapped in a verification.
    pub swaps_digits: bool,
    /// How long to wait before a verification, until the key that started it is released.
    pub key_release: Duration,
    /// Before a verification with a header alone, this Escape makes it append the PIN.
    pub append_pin: Option<&'static [u8]>,
}

/// How long a reader may take for the first answers when it is opened.
pub(crate) const FIRST_ANSWER: Duration = Duration::from_millis(100);
/// The shortest limit for a command.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(3);

/// What SCM's firmware announces.
const SCM_MESSAGE: u32 = 263;
/// A header and the longest short APDU (CCID 1.1, clause 5.1).
const WHOLE_MESSAGE: u32 = 271;
/// The least `dwMaxCCIDMessageLength`: `wMaxPacketSize` of the bulk OUT endpoint (CCID 1.1, clause 5.1),
/// which is 64 bytes at full speed.
const LEAST_MESSAGE: u32 = 64;

impl Rule {
    /// Whether the rule is about this reader.
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

/// The table without its reasons: a driver does not need them, and they take more room than the rest.
static RULES: [Rule; TABLE.len()] = {
    let mut rules = [TABLE[0].rule; TABLE.len()];
    let mut at = 0;
    while at < rules.len() {
        rules[at] = TABLE[at].rule;
        at += 1;
    }
    rules
};

/// What the table says of an interface (`bInterfaceNumber`) of a device (`idVendor`, `idProduct`,
/// `bcdDevice`). Lines further down win.
pub fn for_reader(vendor: u16, product: u16, firmware: u16, interface: u8) -> Quirks {
    let mut quirks = Quirks::default();
    for rule in &RULES {
        if rule.is_about(vendor, product, firmware, interface) {
            quirks.add(rule);
        }
    }
    quirks
}

/// Like [`for_reader`], and what goes for all interfaces of the same kind.
pub fn for_interface(vendor: u16, product: u16, firmware: u16, interface: &Interface) -> Quirks {
    let mut quirks = for_reader(vendor, product, firmware, interface.number);
    for rule in &RULES {
        if rule.devices == Devices::Flavour(interface.flavour) {
            quirks.add(rule);
        }
    }
    quirks
}

impl Quirks {
    fn add(&mut self, rule: &Rule) {
        match rule.change {
            QuirkChange::Refuse(reason) => self.refused = Some(reason),
            QuirkChange::Field(set) => set(self),
        }
    }

    /// How long the first GetSlotStatus may take.
    pub(crate) fn first_answer(&self) -> Duration {
        self.slow_first_answer.unwrap_or(FIRST_ANSWER)
    }

    /// How long any command may take at least.
    pub(crate) fn command_limit(&self) -> Duration {
        self.slow_commands.unwrap_or(COMMAND_LIMIT)
    }

    /// Adds an Escape that every application may send: its length, and how it begins.
    fn allow_escape(&mut self, length: usize, beginning: &'static [u8]) {
        if let Some(free) = self.allowed_escapes.iter_mut().find(|entry| entry.is_none()) {
            *free = Some((length, beginning));
        }
    }

    /// Corrects a class descriptor: first what the table says, then values that no reader can have.
    ///
    /// * `dwMaxIFSD` above 254, the limit of T=1 (ISO/IEC 7816-3, clause 11.4.2), becomes 254: many readers
    ///   announce their buffer instead.
    /// * `dwMaxCCIDMessageLength` below 64 becomes 271, which holds a short APDU: no reader with such a limit
    ///   could carry a command. Real readers announce 0. 263 becomes 271 as well: SCM's firmware, which is in
    ///   readers of many brands, announces it and takes a whole short APDU behind the header. An extended
    ///   APDU level reader splits APDUs into messages, so its limit can stay as announced.
    /// * `bMaxCCIDBusySlots` becomes at least 1 and at most the number of slots.
    ///
    /// Clocks, data rates, voltages and protocols stay as they are, because what replaces an impossible value
    /// depends on the card: see [`ReaderSpeeds`](crate::internals::speed::ReaderSpeeds) and
    /// [`Reader`](crate::reader::Reader).
    pub fn apply(&self, descriptor: &mut ClassDescriptor) {
        const LEVEL: u32 = 0x7_0000;
        // The level first: which message length makes sense depends on it.
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
        // A reader that claims more busy slots than it has would be sent more commands than it can keep
        // apart.
        let slots = descriptor.slots().min(u8::MAX.into()) as u8;
        descriptor.max_busy_slots = descriptor.max_busy_slots.clamp(1, slots);
        if let Some(size) = self.max_ifsd {
            descriptor.max_ifsd = size;
        }
        descriptor.max_ifsd = descriptor.max_ifsd.min(254);
    }

    /// Drops from the reader's list of data rates (bits per second) those that a slot cannot do.
    pub(crate) fn limit_rates(&self, slot: u8, rates: &mut Vec<u32>) {
        if let (Some(own), true) = (self.other_slots_rates, slot > 0) {
            rates.clear();
            rates.extend_from_slice(own);
        }
        if let Some(max) = self.max_data_rate_bps {
            rates.retain(|&rate| rate <= max);
        }
    }

    /// Whether the slot notices that a card comes or goes.
    pub(crate) fn sees_cards(&self, slot: u8) -> bool {
        self.blind_from.is_none_or(|blind| slot < blind)
    }
}

/// What a card needs beyond what its ATR says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
