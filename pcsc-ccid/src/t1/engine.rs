//! The state of T=1 between exchanges: sequence numbers and sizes (clauses 11.4.2 and 11.6), and its limits.

use super::block::{Edc, MAX_BLOCK};

/// The initial value of IFSC and IFSD (clause 11.4.2).
pub(super) const DEFAULT_IFS: u8 = 32;

/// The parameters of a card session, from the ATR and the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Node address byte of our blocks; the card answers with its nibbles swapped (clause 11.3.2.1). FF is
    /// taken as 0: it is the first byte of a PPS request.
    pub nad: u8,
    /// Error detection code, from the first TC for T=1.
    pub edc: Edc,
    /// Card's information field size, from the first TA for T=1. 0 and 255 are reserved: they are
    /// taken as 32, the default, and 254, the nearest.
    pub ifsc: u8,
    /// The information field size we want to receive, at most 254; asked for once if it is not 32.
    pub ifsd: u8,
    /// The longest information field that can be sent, whatever the card takes.
    pub longest: u8,
    /// The reader has already announced `ifsd` to the card.
    pub ifsd_is_known: bool,
    /// S(WTX request) in a row, that is, without a byte of data in between: bounds a card that requests
    /// without a pause. Clause 11 does not limit the sum of what is granted. The caller, which has a clock,
    /// bounds the time.
    pub wtx_in_a_row: u16,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            nad: 0,
            edc: Edc::Lrc,
            ifsc: DEFAULT_IFS,
            ifsd: 254,
            longest: 254,
            ifsd_is_known: false,
            wtx_in_a_row: u16::MAX,
        }
    }
}

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum T1Error {
    /// No usable block after every attempt and resynchronisation (rules 6.4, 7.4.1).
    #[error("the card sends no usable block")]
    Unresponsive,
    /// Waiting time was asked for more often than [`Config::wtx_in_a_row`] allows.
    #[error("the card asks for waiting time without end")]
    WtxLimit,
    /// The card keeps sending blocks that move no data.
    #[error("the card sends blocks without progress")]
    Stalled,
    /// The card was resynchronised; whether it executed the command is unknown.
    #[error("the card was resynchronised; the command may have been executed")]
    Resynchronized,
    /// The card ended the chain with S(ABORT request) (rule 9).
    #[error("the card aborted the chain")]
    AbortedByCard,
    /// The response does not fit the caller's buffer; the chain was aborted.
    #[error("the response does not fit the buffer")]
    ResponseTooLong,
    /// The response is shorter than a status word.
    #[error("the response has no status word")]
    ResponseTooShort,
    /// The exchange has ended, or was not started.
    #[error("the exchange is over")]
    Over,
}

impl T1Error {
    /// Whether the card has to be reset or activated again before it can be used.
    pub const fn needs_reset(self) -> bool {
        matches!(self, T1Error::Unresponsive | T1Error::WtxLimit | T1Error::Stalled)
    }
}

/// What the caller has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum T1Action {
    /// Send [`T1Exchange::block`](super::T1Exchange::block) and wait for a block, up to `wait` times BWT.
    Send {
        /// 1, or what the card's S(WTX request) asked for (1 to 255).
        wait: u8,
    },
    /// The exchange ended well; the response has this many bytes.
    Done(usize),
    /// The exchange ended badly.
    Failed(T1Error),
}

/// Whether a block can begin with this node address: any byte but FF, which is the first byte of a PPS
/// request (clause 11.3.2.1). Bits 4 and 8, once VPP control, are used: multiple enabled profiles of eUICCs
/// address a profile with them.
const fn is_valid_nad(nad: u8) -> bool {
    nad != 0xFF
}

/// The state of T=1 with one card. Make a new one after each reset of the card.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) config: Config,
    /// N(S) of our next I-block.
    pub(super) ns: u8,
    /// N(S) we expect of the card's next I-block.
    pub(super) nr: u8,
    pub(super) ifsc: u8,
    pub(super) ifsd: u8,
    pub(super) ifsd_due: bool,
    /// A valid block was received since the reset.
    pub(super) heard: bool,
    /// The last exchange ended in a state that both sides agree on.
    pub(super) clean: bool,
    pub(super) block: [u8; MAX_BLOCK],
    pub(super) block_len: usize,
}

impl Engine {
    /// The state after a reset of the card.
    pub fn new(mut config: Config) -> Self {
        if !is_valid_nad(config.nad) {
            config.nad = 0;
        }
        config.ifsc = match config.ifsc {
            0 => DEFAULT_IFS,
            n => n.min(254),
        };
        config.ifsd = config.ifsd.clamp(1, 254);
        Engine {
            config,
            ns: 0,
            nr: 0,
            ifsc: config.ifsc,
            // The card may not send longer blocks than 32 bytes until it has confirmed another size (clause
            // 11.4.2).
            ifsd: if config.ifsd_is_known {
                config.ifsd
            } else {
                DEFAULT_IFS
            },
            // 32 needs no request: it is in force from the reset on.
            ifsd_due: !config.ifsd_is_known && config.ifsd != DEFAULT_IFS,
            heard: false,
            clean: true,
            block: [0; MAX_BLOCK],
            block_len: 0,
        }
    }

    /// The card's present information field size.
    pub fn ifsc(&self) -> u8 {
        self.ifsc
    }

    /// Our present information field size: 32 until the card has agreed to another.
    pub fn ifsd(&self) -> u8 {
        self.ifsd
    }

    /// N(S) of the next I-block of ours and of the card's.
    pub fn sequence(&self) -> (u8, u8) {
        (self.ns, self.nr)
    }

    /// Notes an exchange of one I-block each way that a reader with a PIN pad has made. If it did not end
    /// with the card's I-block, the next exchange resynchronises.
    pub fn note_foreign_exchange(&mut self, ended_well: bool) {
        self.ns ^= 1;
        self.nr ^= 1;
        self.heard = true;
        // `&=`: an exchange before it that ended badly is not made good by this one.
        self.clean &= ended_well;
    }

    /// Changes the node address of the blocks to come (clause 11.3.2.1). Returns false, and changes nothing,
    /// for one that is not valid.
    pub fn set_nad(&mut self, nad: u8) -> bool {
        let is_valid = is_valid_nad(nad);
        if is_valid {
            self.config.nad = nad;
        }
        is_valid
    }

    /// The parameters it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
