//! One exchange over T=1, by the rules of clause 11.6, without I/O.

use super::block::{Block, Edc, Pcb, Supervisory};
use super::engine::{Engine, T1Action, T1Error, DEFAULT_IFS};
use zeroize::Zeroize;

/// Attempts at one block before the next stage of recovery: the first, and two more (rules 6.4, 7.4).
const ATTEMPTS: u8 = 3;
/// Resynchronisations in one exchange.
const RESYNCHS: u8 = 2;
/// Blocks in a row that are right but move no data: S(IFS request), repeated S(ABORT request), empty I-blocks
/// in a chain. S(WTX request) is counted by itself.
const IDLE_BLOCKS: u8 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// S(IFS request) is out.
    Ifsd,
    /// An I-block of the command is out.
    Sending,
    /// A chained response is coming in.
    Receiving,
    /// Our S(ABORT request) is out.
    Aborting(T1Error),
    /// We answered the card's S(ABORT request); it may now return the right to send.
    Aborted,
    /// S(RESYNCH request) is out; with the error to end with, if the exchange is lost already.
    Resynch(Option<T1Error>),
    Over,
}

/// The kind of the last block sent, which decides how a bad answer to it is treated (rules 7.1 to 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    I,
    R,
    Request,
    Response,
}

/// One exchange. Call [`start`](T1Exchange::start), do what the [`T1Action`] says, and report the result
/// with one of the `on_` methods, until the action is not `Send`.
#[derive(Debug)]
pub struct T1Exchange<'a> {
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
    /// The card may have the whole command, and may have executed it.
    committed: bool,
    failures: u8,
    resynchs: u8,
    /// S(IFS request) was answered by another block than its response.
    ifsd_refused: bool,
    wtx_in_a_row: u16,
    idle_blocks: u8,
}

impl Engine {
    /// Begins the exchange of `command`; the response is written to `response`. The first exchange after a
    /// reset sends S(IFS request) first. An exchange after one that was dropped half way resynchronises
    /// first, because the sequence numbers of the card are unknown then.
    pub fn exchange<'a>(&'a mut self, command: &'a [u8], response: &'a mut [u8]) -> T1Exchange<'a> {
        T1Exchange::new(self, Some(command), response)
    }

    /// Announces IFSD and nothing else; ends with [`T1Action::Done`] and 0. IFSD stays at 32 if the card does
    /// not acknowledge the request.
    pub fn negotiate(&mut self) -> T1Exchange<'_> {
        T1Exchange::new(self, None, &mut [])
    }
}

impl<'a> T1Exchange<'a> {
    fn new(engine: &'a mut Engine, command: Option<&'a [u8]>, response: &'a mut [u8]) -> Self {
        T1Exchange {
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
            failures: 0,
            resynchs: 0,
            ifsd_refused: false,
            wtx_in_a_row: 0,
            idle_blocks: 0,
        }
    }

    /// The first action.
    pub fn start(&mut self) -> T1Action {
        if core::mem::replace(&mut self.started, true) {
            return T1Action::Failed(T1Error::Over);
        }
        // Set again at the end of the exchange. One that is dropped half-way leaves `false`, and the next one
        // finds it.
        let clean = core::mem::replace(&mut self.engine.clean, false);
        if clean {
            self.begin()
        } else {
            self.resynch(None)
        }
    }

    /// The block to send for the last [`T1Action::Send`].
    pub fn block(&self) -> &[u8] {
        &self.engine.block[..self.engine.block_len]
    }

    /// The error detection code of the blocks.
    pub fn edc(&self) -> Edc {
        self.engine.config.edc
    }

    /// BWT, or its extension, went by without a block; or CWT within one.
    pub fn on_timeout(&mut self) -> T1Action {
        self.invalid(2)
    }

    /// A character of the block had a parity error.
    pub fn on_parity_error(&mut self) -> T1Action {
        self.invalid(1)
    }

    /// These bytes came, from NAD to the end of the error detection code.
    pub fn on_block(&mut self, bytes: &[u8]) -> T1Action {
        // The card swaps the two addresses in NAD. Another NAD is not an answer to this host.
        let block = match Block::decode(bytes, self.engine.config.edc) {
            Ok(block) if block.nad == self.engine.config.nad.rotate_left(4) => block,
            Ok(_) => return self.invalid(2),
            Err(reason) => return self.invalid(reason.r_code()),
        };
        // Also a block that is no right answer shows that speed and check bytes are right.
        self.engine.heard = true;
        match (self.phase, block.pcb) {
            // Nothing else counts in this phase, not even an I-block: its number belongs to the sequence that
            // is being given up.
            (Phase::Resynch(fate), Pcb::Response(Supervisory::Resynch)) => self.resynchronized(fate),
            (Phase::Ifsd, Pcb::Response(Supervisory::Ifs)) if block.inf == [self.engine.config.ifsd] => {
                self.engine.ifsd = self.engine.config.ifsd;
                self.end_of_ifsd()
            }
            (Phase::Ifsd, _) => {
                // The card answers, but not to this request: after the retries it is used with IFSD 32.
                self.ifsd_refused = true;
                self.invalid(2)
            }
            (Phase::Sending, Pcb::R { seq, .. }) => self.on_acknowledge(seq),
            // Rule 2.1: an I-block acknowledges the last I-block of the command. Before the last one only
            // R-blocks do.
            (Phase::Sending, Pcb::I { seq, more }) if seq == self.engine.nr && !self.pending_more() => {
                self.engine.ns ^= 1;
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
                // Rule 4: the new IFSC is valid from the next block on, until the card announces another one.
                self.engine.ifsc = block.inf[0];
                self.respond_idle(Supervisory::Ifs, block.inf)
            }
            // Rule 9: only a chain can be aborted, here the command's. The R-block after it has N(S).
            (Phase::Sending, Pcb::Request(Supervisory::Abort)) if self.sent > 0 || self.pending_more() => {
                self.phase = Phase::Aborted;
                self.respond_idle(Supervisory::Abort, &[])
            }
            (Phase::Receiving | Phase::Aborted, Pcb::Request(Supervisory::Abort)) => {
                self.phase = Phase::Aborted;
                self.respond_idle(Supervisory::Abort, &[])
            }
            // Rule 9: after the abort the card returns the right to send by an R-block, whose number is that
            // of our next I-block.
            (Phase::Aborted, Pcb::R { seq, .. }) => {
                self.engine.ns = seq;
                self.fail(T1Error::AbortedByCard)
            }
            (Phase::Aborting(error), Pcb::Response(Supervisory::Abort)) => self.fail(error),
            _ => self.invalid(2),
        }
    }

    fn begin(&mut self) -> T1Action {
        if self.engine.ifsd_due {
            self.phase = Phase::Ifsd;
            self.send(Pcb::Request(Supervisory::Ifs), &[self.engine.config.ifsd])
        } else {
            self.end_of_ifsd()
        }
    }

    fn end_of_ifsd(&mut self) -> T1Action {
        // Also after a refusal. A card that does not know the request would be asked, and waited for, in
        // every exchange.
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
    fn send_data(&mut self) -> T1Action {
        let left = self.left();
        // The card limits INF by IFSC, the reader by the length of its messages (rule 5: longer commands are
        // chained).
        let longest = self.engine.ifsc.min(self.engine.config.longest.max(1));
        self.pending = left.len().min(longest.into());
        let more = self.pending_more();
        // Once the last block is out, the card may have the whole command and execute it.
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
    fn on_acknowledge(&mut self, expected: u8) -> T1Action {
        // N(R) decides, and not the error bits, which the clause leaves for information.
        if expected == self.engine.ns {
            // The card requests that I-block again, so it has not received it.
            self.committed = false;
            // The card may ask for the same block for ever.
            if self.too_many_failures() {
                return self.escalate();
            }
            self.send_data()
        } else if self.pending_more() {
            self.engine.ns ^= 1;
            self.sent += self.pending;
            self.progress();
            self.send_data()
        } else {
            // It acknowledges the last block of the command. By rule 2.1 the answer has to be an I-block.
            self.invalid(2)
        }
    }

    fn on_data(&mut self, inf: &[u8], more: bool) -> T1Action {
        // Before the data are looked at: the block has arrived, whatever becomes of it, and the card has
        // counted it.
        self.engine.nr ^= 1;
        if inf.is_empty() {
            if self.too_idle() {
                return self.fail(T1Error::Stalled);
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
            // The chain is aborted rather than received to its end: the card could send without end.
            (true, false) => self.abort(T1Error::ResponseTooLong),
            (true, true) => self.send(
                Pcb::R {
                    seq: self.engine.nr,
                    error: 0,
                },
                &[],
            ),
            (false, false) => self.fail(T1Error::ResponseTooLong),
            // A response APDU ends with SW1 and SW2 (ISO/IEC 7816-4, clause 5.1).
            (false, true) if self.received < 2 => self.fail(T1Error::ResponseTooShort),
            (false, true) => self.finish(self.received),
        }
    }

    fn on_wtx(&mut self, multiplier: u8) -> T1Action {
        // Not counted as idle blocks: a card that generates a key asks hundreds of times.
        if self.wtx_in_a_row == self.engine.config.wtx_in_a_row {
            return self.fail(T1Error::WtxLimit);
        }
        self.wtx_in_a_row += 1;
        // A card that asks for time is alive: the attempts before are no sign of a fault.
        self.failures = 0;
        // Rule 3: the response repeats the multiplier, and then the card has that many BWT. A multiplier of 0
        // would leave no time at all.
        self.send(Pcb::Response(Supervisory::Wtx), &[multiplier]);
        T1Action::Send {
            wait: multiplier.max(1),
        }
    }

    fn respond_idle(&mut self, function: Supervisory, inf: &[u8]) -> T1Action {
        if self.too_idle() {
            return self.fail(T1Error::Stalled);
        }
        self.failures = 0;
        self.send(Pcb::Response(function), inf)
    }

    fn progress(&mut self) {
        self.failures = 0;
        self.wtx_in_a_row = 0;
        self.idle_blocks = 0;
    }

    fn too_idle(&mut self) -> bool {
        self.idle_blocks = self.idle_blocks.saturating_add(1);
        self.idle_blocks > IDLE_BLOCKS
    }

    fn too_many_failures(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures >= ATTEMPTS
    }

    /// Nothing was received, or no valid answer: rules 7.1 to 7.3.
    fn invalid(&mut self, error: u8) -> T1Action {
        // The caller may report a late event. Nothing may be sent then: the card has the right to be silent.
        if self.phase == Phase::Over {
            return T1Action::Failed(T1Error::Over);
        }
        if self.too_many_failures() {
            return self.escalate();
        }
        match self.last {
            // Rule 7.1: an R-block asks the card to repeat its block. The I-block itself must not be repeated
            // here: the card would execute the command twice if only its answer was lost.
            Last::I | Last::Response => self.send(
                Pcb::R {
                    seq: self.engine.nr,
                    error,
                },
                &[],
            ),
            // Rules 7.2 and 7.3: these are repeated as they are.
            Last::R | Last::Request => T1Action::Send { wait: 1 },
        }
    }

    /// Every attempt failed: rules 6.4 and 7.4.
    fn escalate(&mut self) -> T1Action {
        let fate = match self.phase {
            // Rule 6.4: only a reset is left, which the caller makes.
            Phase::Resynch(_) => return self.fail(T1Error::Unresponsive),
            Phase::Ifsd if self.ifsd_refused => return self.end_of_ifsd(),
            Phase::Aborting(error) => Some(error),
            Phase::Aborted => Some(T1Error::AbortedByCard),
            _ => None,
        };
        // A card that has never sent a valid block would not answer S(RESYNCH request) either: the speed or
        // the check bytes are wrong, and each attempt costs BWT.
        if !self.engine.heard || self.resynchs >= RESYNCHS {
            return self.fail(T1Error::Unresponsive);
        }
        self.resynch(fate)
    }

    fn resynch(&mut self, fate: Option<T1Error>) -> T1Action {
        self.resynchs = self.resynchs.saturating_add(1);
        self.failures = 0;
        self.phase = Phase::Resynch(fate);
        self.send(Pcb::Request(Supervisory::Resynch), &[])
    }

    /// The protocol starts again (rule 6.3): sequence numbers and sizes have their initial values.
    fn resynchronized(&mut self, fate: Option<T1Error>) -> T1Action {
        let engine = &mut *self.engine;
        (engine.ns, engine.nr) = (0, 0);
        // That of the ATR, as after a reset. IFSD has to be announced again, too.
        engine.ifsc = engine.config.ifsc;
        engine.ifsd = DEFAULT_IFS;
        engine.ifsd_due = engine.config.ifsd != DEFAULT_IFS;
        if let Some(error) = fate {
            return self.fail(error);
        }
        // A VERIFY that is sent twice uses up two tries of the PIN.
        if self.committed {
            return self.fail(T1Error::Resynchronized);
        }
        (self.sent, self.pending, self.received) = (0, 0, 0);
        self.ifsd_refused = false;
        self.progress();
        self.begin()
    }

    fn abort(&mut self, error: T1Error) -> T1Action {
        self.failures = 0;
        self.phase = Phase::Aborting(error);
        self.send(Pcb::Request(Supervisory::Abort), &[])
    }

    fn send(&mut self, pcb: Pcb, inf: &[u8]) -> T1Action {
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
        T1Action::Send { wait: 1 }
    }

    /// Wipes what was sent, which may be a PIN. A short block leaves the end of a long one before it. The end
    /// of an exchange does this. A caller that gives an exchange up has to.
    pub fn wipe(&mut self) {
        self.engine.block.zeroize();
    }

    fn finish(&mut self, len: usize) -> T1Action {
        self.wipe();
        self.phase = Phase::Over;
        self.engine.clean = true;
        T1Action::Done(len)
    }

    fn fail(&mut self, error: T1Error) -> T1Action {
        self.wipe();
        self.phase = Phase::Over;
        self.engine.clean = !error.needs_reset();
        T1Action::Failed(error)
    }
}
