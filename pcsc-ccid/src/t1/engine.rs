//! The interface device's side of T=1 (clause 11.6), without I/O.

use core::fmt;

use super::block::{Block, Edc, Pcb, Supervisory, MAX_BLOCK};

/// IFSC and IFSD before anything else is said (clause 11.4.2).
const DEFAULT_IFS: u8 = 32;

/// Bounds on what a card may make us do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Attempts at one block before the next stage of recovery; the standard says three (rules 6.4, 7.4).
    pub attempts: u8,
    /// Resynchronisations in one exchange.
    pub resynchs: u8,
    /// S(WTX request) in a row, that is, without a byte of data in between.
    pub wtx_in_a_row: u16,
    /// Sum of the multipliers of those requests, in units of BWT. A caller with a cap in seconds
    /// divides it by its BWT.
    pub wtx_units: u32,
    /// Other blocks in a row that are right but move no data: S(IFS request), repeated S(ABORT
    /// request), empty I-blocks in a chain.
    pub idle_blocks: u8,
    /// Send a command again after resynchronisation though the card may have executed it. Off, such
    /// an exchange ends with [`Error::Resynchronized`]; a VERIFY sent twice costs two tries of the PIN.
    pub resend_after_resynch: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            attempts: 3,
            resynchs: 2,
            wtx_in_a_row: 1024,
            wtx_units: 1024,
            idle_blocks: 8,
            resend_after_resynch: false,
        }
    }
}

/// What the ATR and the caller fix for the life of a card session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Node address byte of our blocks; the card answers with its nibbles swapped (clause 11.3.2.1).
    pub nad: u8,
    /// Error detection code, from the first TC for T=1.
    pub edc: Edc,
    /// Card's information field size, from the first TA for T=1. 0 and 255 are reserved: they are
    /// taken as 32, the default, and 254, the nearest.
    pub ifsc: u8,
    /// The information field size we want to receive, at most 254; asked for once if it is not 32.
    pub ifsd: u8,
    /// The card has been told `ifsd` by somebody else, so that it needs no announcement.
    pub ifsd_is_known: bool,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            nad: 0,
            edc: Edc::Lrc,
            ifsc: DEFAULT_IFS,
            ifsd: 254,
            ifsd_is_known: false,
            limits: Limits::default(),
        }
    }
}

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// No usable block after every attempt and resynchronisation (rules 6.4, 7.4.1).
    Unresponsive,
    /// More waiting time was asked for than [`Limits`] allow.
    WtxLimit,
    /// The card keeps sending blocks that move no data.
    Stalled,
    /// The card was resynchronised; whether it executed the command is unknown.
    Resynchronized,
    /// The card ended the chain with S(ABORT request) (rule 9).
    AbortedByCard,
    /// The response does not fit the caller's buffer; the chain was aborted.
    ResponseTooLong,
    /// The response is shorter than a status word.
    ResponseTooShort,
    /// [`Exchange::cancel`] was called and the chain was aborted.
    Cancelled,
    /// The exchange has ended, or was not started.
    Over,
}

impl Error {
    /// Whether the card is of no use before a warm reset or a new activation.
    pub const fn needs_reset(self) -> bool {
        matches!(self, Error::Unresponsive | Error::WtxLimit | Error::Stalled)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Unresponsive => "the card sends no usable block",
            Error::WtxLimit => "the card asks for too much waiting time",
            Error::Stalled => "the card sends blocks without progress",
            Error::Resynchronized => "the card was resynchronised; the command may have been executed",
            Error::AbortedByCard => "the card aborted the chain",
            Error::ResponseTooLong => "the response does not fit the buffer",
            Error::ResponseTooShort => "the response has no status word",
            Error::Cancelled => "the exchange was cancelled",
            Error::Over => "the exchange is over",
        })
    }
}

#[cfg(feature = "std")]
impl std::error::Error for Error {}

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send [`Exchange::block`] and wait for a block, up to `wait` times BWT.
    Send {
        /// 1, or what the card's S(WTX request) asked for (1 to 255).
        wait: u8,
    },
    /// The exchange ended well; the response has this many bytes.
    Done(usize),
    /// The exchange ended badly.
    Failed(Error),
}

/// T=1 of one card session: what must outlive an APDU. Make a new one after each reset of the card.
#[derive(Debug, Clone)]
pub struct Engine {
    config: Config,
    /// N(S) of our next I-block.
    ns: u8,
    /// N(S) we expect of the card's next I-block.
    nr: u8,
    ifsc: u8,
    ifsd: u8,
    ifsd_due: bool,
    /// A valid block was received since the reset.
    heard: bool,
    /// The last exchange ended in a state that both sides know.
    clean: bool,
    block: [u8; MAX_BLOCK],
    block_len: usize,
}

impl Engine {
    /// The state after a reset of the card.
    pub fn new(mut config: Config) -> Self {
        config.nad &= 0x77;
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
            ifsd: if config.ifsd_is_known {
                config.ifsd
            } else {
                DEFAULT_IFS
            },
            ifsd_due: !config.ifsd_is_known && config.ifsd != DEFAULT_IFS,
            heard: false,
            clean: true,
            block: [0; MAX_BLOCK],
            block_len: 0,
        }
    }

    /// Begins the exchange of `command` for a response to be written to `response`. The first one
    /// after a reset sends S(IFS request) before; one after an exchange that was dropped half way
    /// resynchronises before.
    pub fn exchange<'a>(&'a mut self, command: &'a [u8], response: &'a mut [u8]) -> Exchange<'a> {
        Exchange::new(self, Some(command), response)
    }

    /// Announces IFSD and nothing else; [`Action::Done`] with 0. A card that does not know the
    /// request leaves IFSD at 32.
    pub fn negotiate(&mut self) -> Exchange<'_> {
        Exchange::new(self, None, &mut [])
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

    /// Notes an exchange of one I-block each way that somebody else made: a reader that has a PIN pad. Where
    /// it did not end with the card's I-block, the next exchange resynchronises.
    pub fn note_foreign_exchange(&mut self, ended_well: bool) {
        self.ns ^= 1;
        self.nr ^= 1;
        self.heard = true;
        self.clean &= ended_well;
    }

    /// Changes the node address of the blocks to come (clause 11.3.2.1).
    pub fn set_nad(&mut self, nad: u8) {
        self.config.nad = nad & 0x77;
    }

    /// The parameters it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// S(IFS request) is out.
    Ifsd,
    /// An I-block of the command is out.
    Sending,
    /// A chained response is coming in.
    Receiving,
    /// Our S(ABORT request) is out.
    Aborting(Error),
    /// We answered the card's S(ABORT request); it may now return the right to send.
    Aborted,
    /// S(RESYNCH request) is out; with the error to end with, if the exchange is lost already.
    Resynch(Option<Error>),
    Over,
}

/// The kind of our last block decides how a bad answer to it is treated (rules 7.1 to 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    I,
    R,
    Request,
    Response,
}

/// One exchange. Call [`start`](Exchange::start), do as the [`Action`] says, and report what came
/// with one of the `on_` methods, until the action is not `Send`.
#[derive(Debug)]
pub struct Exchange<'a> {
    engine: &'a mut Engine,
    command: Option<&'a [u8]>,
    response: &'a mut [u8],
    started: bool,
    phase: Phase,
    last: Last,
    /// Bytes of the command that the card has acknowledged, and those of the I-block that is out.
    sent: usize,
    pending: usize,
    received: usize,
    /// The card may have the whole command.
    committed: bool,
    cancelled: bool,
    failures: u8,
    resynchs: u8,
    /// S(IFS request) was answered by something else than its response.
    ifsd_refused: bool,
    wtx_in_a_row: u16,
    wtx_units: u32,
    idle_blocks: u8,
}

impl<'a> Exchange<'a> {
    fn new(engine: &'a mut Engine, command: Option<&'a [u8]>, response: &'a mut [u8]) -> Self {
        Exchange {
            engine,
            command,
            response,
            started: false,
            phase: Phase::Over,
            last: Last::I,
            sent: 0,
            pending: 0,
            received: 0,
            committed: false,
            cancelled: false,
            failures: 0,
            resynchs: 0,
            ifsd_refused: false,
            wtx_in_a_row: 0,
            wtx_units: 0,
            idle_blocks: 0,
        }
    }

    /// The first action.
    pub fn start(&mut self) -> Action {
        if core::mem::replace(&mut self.started, true) {
            return Action::Failed(Error::Over);
        }
        let clean = core::mem::replace(&mut self.engine.clean, false);
        if clean {
            self.begin()
        } else {
            self.resynch(None)
        }
    }

    /// The block to send for the last [`Action::Send`].
    pub fn block(&self) -> &[u8] {
        &self.engine.block[..self.engine.block_len]
    }

    /// Asks to end a chain, in either direction, at its next block. An exchange that is not chaining
    /// ends as it would have.
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// BWT, or its extension, went by without a block; or CWT within one.
    pub fn on_timeout(&mut self) -> Action {
        self.invalid(2)
    }

    /// A character of the block had a parity error.
    pub fn on_parity_error(&mut self) -> Action {
        self.invalid(1)
    }

    /// These bytes came, from NAD to the end of the error detection code.
    pub fn on_block(&mut self, bytes: &[u8]) -> Action {
        let block = match Block::decode(bytes, self.engine.config.edc) {
            Ok(block) if block.nad == self.engine.config.nad.rotate_left(4) => block,
            Ok(_) => return self.invalid(2),
            Err(reason) => return self.invalid(reason.r_code()),
        };
        self.engine.heard = true;
        match (self.phase, block.pcb) {
            (Phase::Over, _) => Action::Failed(Error::Over),
            (Phase::Resynch(fate), Pcb::Response(Supervisory::Resynch)) => self.resynchronized(fate),
            (Phase::Ifsd, Pcb::Response(Supervisory::Ifs)) if block.inf == [self.engine.config.ifsd] => {
                self.engine.ifsd = self.engine.config.ifsd;
                self.end_of_ifsd()
            }
            (Phase::Ifsd, _) => {
                self.ifsd_refused = true;
                self.invalid(2)
            }
            (Phase::Sending, Pcb::R { seq, .. }) => self.on_acknowledge(seq),
            (Phase::Sending, Pcb::I { seq, more }) if seq == self.engine.nr && !self.pending_more() => {
                self.engine.ns ^= 1;
                self.sent += self.pending;
                self.phase = Phase::Receiving;
                self.on_data(block.inf, more)
            }
            (Phase::Receiving, Pcb::I { seq, more }) if seq == self.engine.nr => {
                self.on_data(block.inf, more)
            }
            (Phase::Sending | Phase::Receiving | Phase::Aborted, Pcb::Request(Supervisory::Wtx)) => {
                self.on_wtx(block.inf[0])
            }
            (Phase::Sending | Phase::Receiving | Phase::Aborted, Pcb::Request(Supervisory::Ifs)) => {
                self.engine.ifsc = block.inf[0];
                self.respond_idle(Supervisory::Ifs, block.inf)
            }
            (Phase::Sending, Pcb::Request(Supervisory::Abort)) if self.sent > 0 || self.pending_more() => {
                self.engine.ns ^= 1;
                self.phase = Phase::Aborted;
                self.respond_idle(Supervisory::Abort, &[])
            }
            (Phase::Receiving | Phase::Aborted, Pcb::Request(Supervisory::Abort)) => {
                self.phase = Phase::Aborted;
                self.respond_idle(Supervisory::Abort, &[])
            }
            (Phase::Aborted, Pcb::R { seq, .. }) => {
                self.engine.ns = seq;
                self.fail(Error::AbortedByCard)
            }
            (Phase::Aborting(error), Pcb::Response(Supervisory::Abort)) => self.fail(error),
            _ => self.invalid(2),
        }
    }

    fn begin(&mut self) -> Action {
        if self.engine.ifsd_due {
            self.phase = Phase::Ifsd;
            self.send(Pcb::Request(Supervisory::Ifs), &[self.engine.config.ifsd])
        } else {
            self.end_of_ifsd()
        }
    }

    fn end_of_ifsd(&mut self) -> Action {
        self.engine.ifsd_due = false;
        self.failures = 0;
        if self.command.is_none() {
            return self.finish(0);
        }
        self.phase = Phase::Sending;
        self.send_data()
    }

    fn left(&self) -> &'a [u8] {
        let command = self.command.unwrap_or_default();
        command.get(self.sent..).unwrap_or_default()
    }

    fn pending_more(&self) -> bool {
        self.pending < self.left().len()
    }

    /// Sends the next I-block, or the same again.
    fn send_data(&mut self) -> Action {
        let left = self.left();
        self.pending = left.len().min(usize::from(self.engine.ifsc));
        let more = self.pending_more();
        self.committed |= !more;
        self.send(
            Pcb::I {
                seq: self.engine.ns,
                more,
            },
            &left[..self.pending],
        )
    }

    /// An R-block came while an I-block of ours was out.
    fn on_acknowledge(&mut self, expected: u8) -> Action {
        if expected == self.engine.ns {
            // The card wants that I-block again, so it does not have it.
            self.committed = false;
            if self.too_many_failures() {
                return self.escalate();
            }
            self.send_data()
        } else if self.pending_more() {
            self.engine.ns ^= 1;
            self.sent += self.pending;
            self.progress();
            if self.cancelled {
                self.abort(Error::Cancelled)
            } else {
                self.send_data()
            }
        } else {
            self.invalid(2)
        }
    }

    fn on_data(&mut self, inf: &[u8], more: bool) -> Action {
        self.engine.nr ^= 1;
        if inf.is_empty() {
            if self.too_idle() {
                return self.fail(Error::Stalled);
            }
            self.failures = 0;
        } else {
            self.progress();
        }
        let end = self.received + inf.len();
        let fits = match self.response.get_mut(self.received..end) {
            Some(room) => {
                room.copy_from_slice(inf);
                self.received = end;
                true
            }
            None => false,
        };
        match (more, fits) {
            (true, false) => self.abort(Error::ResponseTooLong),
            (true, true) if self.cancelled => self.abort(Error::Cancelled),
            (true, true) => self.send(
                Pcb::R {
                    seq: self.engine.nr,
                    error: 0,
                },
                &[],
            ),
            (false, false) => self.fail(Error::ResponseTooLong),
            (false, true) if self.received < 2 => self.fail(Error::ResponseTooShort),
            (false, true) => self.finish(self.received),
        }
    }

    fn on_wtx(&mut self, multiplier: u8) -> Action {
        let limits = self.engine.config.limits;
        let wait = multiplier.max(1);
        self.wtx_in_a_row = self.wtx_in_a_row.saturating_add(1);
        self.wtx_units = self.wtx_units.saturating_add(u32::from(wait));
        if self.wtx_in_a_row > limits.wtx_in_a_row || self.wtx_units > limits.wtx_units {
            return self.fail(Error::WtxLimit);
        }
        self.failures = 0;
        self.send(Pcb::Response(Supervisory::Wtx), &[multiplier]);
        Action::Send { wait }
    }

    fn respond_idle(&mut self, function: Supervisory, inf: &[u8]) -> Action {
        if self.too_idle() {
            return self.fail(Error::Stalled);
        }
        self.failures = 0;
        self.send(Pcb::Response(function), inf)
    }

    fn progress(&mut self) {
        self.failures = 0;
        self.wtx_in_a_row = 0;
        self.wtx_units = 0;
        self.idle_blocks = 0;
    }

    fn too_idle(&mut self) -> bool {
        self.idle_blocks = self.idle_blocks.saturating_add(1);
        self.idle_blocks > self.engine.config.limits.idle_blocks
    }

    fn too_many_failures(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures >= self.engine.config.limits.attempts
    }

    /// Nothing came, or nothing that fits: rules 7.1 to 7.3.
    fn invalid(&mut self, error: u8) -> Action {
        if self.phase == Phase::Over {
            return Action::Failed(Error::Over);
        }
        if self.too_many_failures() {
            return self.escalate();
        }
        match self.last {
            Last::I | Last::Response => self.send(
                Pcb::R {
                    seq: self.engine.nr,
                    error,
                },
                &[],
            ),
            Last::R | Last::Request => Action::Send { wait: 1 },
        }
    }

    /// Every attempt failed: rules 6.4 and 7.4.
    fn escalate(&mut self) -> Action {
        let fate = match self.phase {
            Phase::Resynch(_) => return self.fail(Error::Unresponsive),
            Phase::Ifsd if self.ifsd_refused => return self.end_of_ifsd(),
            Phase::Aborting(error) => Some(error),
            Phase::Aborted => Some(Error::AbortedByCard),
            _ => None,
        };
        if !self.engine.heard || self.resynchs >= self.engine.config.limits.resynchs {
            return self.fail(Error::Unresponsive);
        }
        self.resynch(fate)
    }

    fn resynch(&mut self, fate: Option<Error>) -> Action {
        self.resynchs = self.resynchs.saturating_add(1);
        self.failures = 0;
        self.phase = Phase::Resynch(fate);
        self.send(Pcb::Request(Supervisory::Resynch), &[])
    }

    /// The protocol starts anew (rule 6.3): numbers and sizes have their first values.
    fn resynchronized(&mut self, fate: Option<Error>) -> Action {
        let engine = &mut *self.engine;
        (engine.ns, engine.nr) = (0, 0);
        engine.ifsc = engine.config.ifsc;
        engine.ifsd = DEFAULT_IFS;
        engine.ifsd_due = engine.config.ifsd != DEFAULT_IFS;
        if let Some(error) = fate {
            return self.fail(error);
        }
        if self.committed && !self.engine.config.limits.resend_after_resynch {
            return self.fail(Error::Resynchronized);
        }
        (self.sent, self.pending, self.received) = (0, 0, 0);
        (self.committed, self.ifsd_refused) = (false, false);
        self.progress();
        self.begin()
    }

    fn abort(&mut self, error: Error) -> Action {
        self.failures = 0;
        self.phase = Phase::Aborting(error);
        self.send(Pcb::Request(Supervisory::Abort), &[])
    }

    fn send(&mut self, pcb: Pcb, inf: &[u8]) -> Action {
        self.last = match pcb {
            Pcb::I { .. } => Last::I,
            Pcb::R { .. } => Last::R,
            Pcb::Request(_) => Last::Request,
            Pcb::Response(_) => Last::Response,
        };
        let engine = &mut *self.engine;
        let block = Block {
            nad: engine.config.nad,
            pcb,
            inf,
        };
        engine.block_len = block.encode(engine.config.edc, &mut engine.block);
        Action::Send { wait: 1 }
    }

    fn finish(&mut self, len: usize) -> Action {
        self.phase = Phase::Over;
        self.engine.clean = true;
        Action::Done(len)
    }

    fn fail(&mut self, error: Error) -> Action {
        self.phase = Phase::Over;
        self.engine.clean = !error.needs_reset();
        Action::Failed(error)
    }
}
