//! The card's side of T=1 (ISO 7816-3 clause 11.6), written from the rules that bind the card.

use super::program::Program;
use super::Behaviour;
use pcsc_ccid::t1::{Block, Edc, Pcb, Supervisory, MAX_BLOCK};

#[derive(Default)]
pub(super) struct Protocol {
    edc: Edc,
    ns: u8,
    nr: u8,
    ifsd: usize,
    ifs_told: bool,
    command: Vec<u8>,
    reply: Vec<u8>,
    /// Bytes of the reply that are acknowledged, and those in the I-block that is out.
    acknowledged: usize,
    out: Option<usize>,
    wtx_left: u32,
    /// The request that the card wants answered before it goes on, with its information field.
    request: Option<(Supervisory, Option<u8>)>,
    /// The last block, if rules 7.2 and 7.3 have it sent again as it is.
    again: Option<Vec<u8>>,
    /// An R-block for the last I-block of a chain is due rather than an answer.
    chaining: bool,
    failures: u8,
}

impl Protocol {
    pub fn new(edc: Edc) -> Self {
        Protocol {
            edc,
            ifsd: 32,
            ..Protocol::default()
        }
    }

    /// What the card answers to these characters; `None` when it stays in reception mode.
    pub fn hear(&mut self, bytes: &[u8], behaviour: &Behaviour, app: &mut Program) -> Option<Vec<u8>> {
        let block = match Block::decode(bytes, self.edc) {
            Ok(block) => block,
            Err(reason) => return self.refuse(bytes.first().copied().unwrap_or(0), reason.r_code()),
        };
        let nad = block.nad.rotate_left(4);
        let answer = match (block.pcb, self.request) {
            (Pcb::Request(Supervisory::Resynch), _) => {
                *self = Protocol {
                    failures: self.failures,
                    ..Protocol::new(self.edc)
                };
                Some(self.block(nad, Pcb::Response(Supervisory::Resynch), &[]))
            }
            (Pcb::Request(Supervisory::Abort), _) => {
                self.acknowledge();
                self.forget();
                Some(self.block(nad, Pcb::Response(Supervisory::Abort), &[]))
            }
            (Pcb::Request(Supervisory::Ifs), None) => {
                self.ifsd = usize::from(block.inf[0]);
                Some(self.block(nad, Pcb::Response(Supervisory::Ifs), block.inf))
            }
            (Pcb::Response(function), Some(wanted)) if wanted == (function, block.inf.first().copied()) => {
                Some(self.granted(nad, function, behaviour))
            }
            (Pcb::I { seq, more }, None) if seq == self.nr && self.out_is_last() => {
                self.acknowledge();
                self.nr ^= 1;
                self.command.extend_from_slice(block.inf);
                Some(self.take(nad, more, behaviour, app))
            }
            (Pcb::R { seq, .. }, None) => match self.out {
                Some(_) if seq == self.ns => Some(self.send_reply(nad)),
                Some(_) if !self.out_is_last() => {
                    self.acknowledge();
                    Some(self.send_reply(nad))
                }
                _ => None,
            },
            _ => None,
        };
        match answer {
            Some(answer) => {
                self.failures = 0;
                Some(answer)
            }
            None => self.refuse(block.nad, 2),
        }
    }

    /// Rules 7.1 to 7.3, and 7.4.3: after three failures the card waits for a good block.
    fn refuse(&mut self, nad: u8, error: u8) -> Option<Vec<u8>> {
        self.failures = self.failures.saturating_add(1);
        if self.failures > 3 {
            return None;
        }
        match &self.again {
            Some(last) => Some(last.clone()),
            None => {
                let seq = self.nr;
                Some(self.block(nad.rotate_left(4), Pcb::R { seq, error }, &[]))
            }
        }
    }

    /// The command has one more part.
    fn take(&mut self, nad: u8, more: bool, behaviour: &Behaviour, app: &mut Program) -> Vec<u8> {
        self.chaining = more;
        let limit = behaviour.abort_beyond.filter(|_| more);
        if limit.is_some_and(|limit| self.command.len() > limit) {
            return self.ask(nad, Supervisory::Abort, None);
        }
        if !more {
            self.reply = app.apdu(&self.command);
            self.acknowledged = 0;
            // Frees it: it may hold a PIN.
            self.command = Vec::new();
            self.wtx_left = behaviour.wtx.max(behaviour.steps());
        }
        self.go_on(nad, behaviour)
    }

    /// The next thing the card says when it has the right to send.
    fn go_on(&mut self, nad: u8, behaviour: &Behaviour) -> Vec<u8> {
        match behaviour.new_ifsc {
            Some(ifsc) if !self.ifs_told => return self.ask(nad, Supervisory::Ifs, Some(ifsc)),
            _ => {}
        }
        if self.chaining || self.reply.is_empty() {
            let seq = self.nr;
            return self.block(nad, Pcb::R { seq, error: 0 }, &[]);
        }
        if self.wtx_left > 0 {
            return self.ask(nad, Supervisory::Wtx, Some(behaviour.wtx_multiplier.max(1)));
        }
        self.send_reply(nad)
    }

    fn granted(&mut self, nad: u8, function: Supervisory, behaviour: &Behaviour) -> Vec<u8> {
        self.request = None;
        match function {
            Supervisory::Ifs => self.ifs_told = true,
            Supervisory::Wtx => self.wtx_left = self.wtx_left.saturating_sub(1),
            Supervisory::Abort | Supervisory::Resynch => self.forget(),
        }
        self.go_on(nad, behaviour)
    }

    fn ask(&mut self, nad: u8, function: Supervisory, inf: Option<u8>) -> Vec<u8> {
        self.request = Some((function, inf));
        self.block(nad, Pcb::Request(function), inf.as_slice())
    }

    fn send_reply(&mut self, nad: u8) -> Vec<u8> {
        let rest = &self.reply[self.acknowledged..];
        let part = rest[..rest.len().min(self.ifsd)].to_vec();
        let more = part.len() < rest.len();
        self.out = Some(part.len());
        let seq = self.ns;
        self.block(nad, Pcb::I { seq, more }, &part)
    }

    /// No I-block is out, or it is the last of its chain.
    fn out_is_last(&self) -> bool {
        self.out
            .is_none_or(|out| out == self.reply.len() - self.acknowledged)
    }

    /// The interface device has the I-block that is out.
    fn acknowledge(&mut self) {
        if let Some(len) = self.out.take() {
            self.ns ^= 1;
            self.acknowledged += len;
        }
    }

    fn forget(&mut self) {
        self.command = Vec::new();
        self.reply.clear();
        self.acknowledged = 0;
        self.out = None;
        self.request = None;
        self.chaining = false;
    }

    fn block(&mut self, nad: u8, pcb: Pcb, inf: &[u8]) -> Vec<u8> {
        let mut buffer = [0; MAX_BLOCK];
        let len = Block { nad, pcb, inf }.encode(self.edc, &mut buffer);
        let block = buffer[..len].to_vec();
        self.again = match pcb {
            // An I-block is repeated on request only (7.1); after a response the error is reported.
            Pcb::I { .. } | Pcb::Response(_) => None,
            Pcb::R { .. } | Pcb::Request(_) => Some(block.clone()),
        };
        block
    }
}
