//! What real devices do wrong, or oddly.

use std::time::Duration;

/// How the lists of clocks and data rates are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Lists {
    /// As the model has them; refused where it has none.
    #[default]
    Sound,
    /// Always refused.
    Stalled,
    /// Cut after this number of bytes.
    Short(usize),
    /// Filled up with zeros to 256 entries.
    Padded,
    /// Empty.
    Empty,
}

/// What is wrong with a device. The default is a good one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Oddities {
    /// The rate in bits per second above which the contact fails, whatever the descriptor announces.
    pub contact_limit_bps: Option<u32>,
    /// The lists.
    pub lists: Lists,
    /// The longest transfer of a reply in bytes.
    pub split: Option<usize>,
    /// All replies that wait come in one transfer.
    pub merge: bool,
    /// So many bytes follow each reply's announced length.
    pub trailing: usize,
    /// A reply that fills its packets does not come: no empty one ends its transfer.
    pub loses_whole_packets: bool,
    /// `dwLength` of each reply is so much larger than what comes.
    pub over_announce: u32,
    /// Messages of more bytes than this are refused, whatever the descriptor announces.
    pub longest_message: Option<usize>,
    /// Extended APDUs are refused, whatever the descriptor promises.
    pub no_extended_apdu: bool,
    /// A command that is going on when its card leaves is never answered.
    pub silent_on_removal: bool,
    /// The first GetSlotStatus is answered so late.
    pub first_status_delay: Duration,
    /// The card's activation after its insertion takes so long, and commands meanwhile fail with
    /// BUSY_WITH_AUTO_SEQUENCE.
    pub auto_sequence: Duration,
    /// Slots look occupied when they are empty.
    pub always_present: bool,
    /// ICCD version B: an empty answer where a block is due.
    pub empty_blocks: bool,
    /// A PIN modification has three message indexes, whatever `bNumberMessage` says.
    pub all_message_indexes: bool,
}
