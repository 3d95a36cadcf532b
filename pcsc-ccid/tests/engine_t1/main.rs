//! T=1, rule by rule: blocks are written out by hand, as the clauses and Annex A draw them.

mod abort;
mod errors;
mod frames;
mod resynch;
mod transfer;

use pcsc_ccid::t1::{Block, Config, Edc, Engine, Invalid, Pcb, Supervisory, T1Action, T1Error, T1Exchange};

const I00: u8 = 0x00;
const I01: u8 = 0x20;
const I10: u8 = 0x40;
const I11: u8 = 0x60;
const R0: u8 = 0x80;
const R1: u8 = 0x90;
const EDC_ERROR: u8 = 1;
const OTHER_ERROR: u8 = 2;
const RESYNCH: u8 = 0xC0;
const IFS: u8 = 0xC1;
const ABORT: u8 = 0xC2;
const WTX: u8 = 0xC3;
const RESPONSE: u8 = 0x20;

const OK: [u8; 2] = [0x90, 0x00];

/// A block with NAD 0 and LRC.
fn block(pcb: u8, inf: &[u8]) -> Vec<u8> {
    let mut block = vec![0, pcb, inf.len() as u8];
    block.extend(inf);
    block.push(block.iter().fold(0, |lrc, b| lrc ^ b));
    block
}

fn config() -> Config {
    Config {
        ifsc: 4,
        ifsd: 32,
        ..Config::default()
    }
}

fn engine() -> Engine {
    Engine::new(config())
}

/// One side of the conversation: what the engine must send, and what it receives.
struct Play<'a> {
    exchange: T1Exchange<'a>,
    action: T1Action,
}

impl<'a> Play<'a> {
    fn new(mut exchange: T1Exchange<'a>) -> Self {
        let action = exchange.start();
        Play { exchange, action }
    }

    #[track_caller]
    fn sends(&mut self, pcb: u8, inf: &[u8]) -> &mut Self {
        self.sends_and_waits(pcb, inf, 1)
    }

    #[track_caller]
    fn sends_and_waits(&mut self, pcb: u8, inf: &[u8], wait: u8) -> &mut Self {
        assert_eq!(
            (self.action, self.exchange.block()),
            (T1Action::Send { wait }, &block(pcb, inf)[..])
        );
        self
    }

    fn hears(&mut self, pcb: u8, inf: &[u8]) -> &mut Self {
        self.hears_bytes(&block(pcb, inf))
    }

    fn hears_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.action = self.exchange.on_block(bytes);
        self
    }

    /// A block with a wrong LRC.
    fn hears_damaged(&mut self) -> &mut Self {
        self.hears_bytes(&[0, 0, 2, 0x90, 0x00, 0xFF])
    }

    fn hears_nothing(&mut self) -> &mut Self {
        self.action = self.exchange.on_timeout();
        self
    }

    #[track_caller]
    fn done(&mut self, len: usize) {
        assert_eq!(self.action, T1Action::Done(len));
    }

    #[track_caller]
    fn fails(&mut self, error: T1Error) {
        assert_eq!(self.action, T1Action::Failed(error));
    }
}

/// Exchanges a command. The blocks of `script` are sent and received, and then there is this response.
#[track_caller]
fn exchange(
    engine: &mut Engine,
    command: &[u8],
    expected: &[u8],
    script: impl for<'p, 'e> FnOnce(&'p mut Play<'e>) -> &'p mut Play<'e>,
) {
    let mut response = vec![0; expected.len()];
    script(&mut Play::new(engine.exchange(command, &mut response))).done(expected.len());
    assert_eq!(response, expected);
}

/// Exchanges one short command so that the card has been heard; numbers are then 1 and 1.
fn warm_up(engine: &mut Engine) {
    exchange(engine, &[0; 4], &OK, |play| {
        play.sends(I00, &[0; 4]).hears(I00, &OK)
    });
}

fn warm() -> Engine {
    let mut engine = engine();
    warm_up(&mut engine);
    engine
}

fn with_ifsd(ifsd: u8) -> Engine {
    Engine::new(Config { ifsd, ..config() })
}
