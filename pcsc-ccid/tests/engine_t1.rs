//! T=1, rule by rule: blocks are written out by hand, as the clauses and Annex A draw them.

use pcsc_ccid::t1::{Action, Block, Config, Edc, Engine, Error, Exchange, Invalid, Limits, Pcb, Supervisory};

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

/// One side of the conversation: what the engine must send, and what it is told.
struct Play<'a> {
    exchange: Exchange<'a>,
    action: Action,
}

impl<'a> Play<'a> {
    fn new(mut exchange: Exchange<'a>) -> Self {
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
            (Action::Send { wait }, &block(pcb, inf)[..])
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

    fn cancels(&mut self) -> &mut Self {
        self.exchange.cancel();
        self
    }

    #[track_caller]
    fn done(&mut self, len: usize) {
        assert_eq!(self.action, Action::Done(len));
    }

    #[track_caller]
    fn fails(&mut self, error: Error) {
        assert_eq!(self.action, Action::Failed(error));
    }
}

/// Exchanges one short command so that the card has been heard; numbers are then 1 and 1.
fn warm_up(engine: &mut Engine) {
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0, 0, 0, 0], &mut response))
        .sends(I00, &[0, 0, 0, 0])
        .hears(I00, &OK)
        .done(2);
}

fn warm() -> Engine {
    let mut engine = engine();
    warm_up(&mut engine);
    engine
}

// Clause 11.3: the block frame.

#[test]
fn lrc_and_crc_as_seen_on_real_lines() {
    let ifs = Block {
        nad: 0,
        pcb: Pcb::Request(Supervisory::Ifs),
        inf: &[0xFE],
    };
    let mut out = [0; 259];
    let len = ifs.encode(Edc::Lrc, &mut out);
    assert_eq!(out[..len], [0x00, 0xC1, 0x01, 0xFE, 0x3E]);
    for bytes in [
        &[0x00, 0xC1, 0x01, 0xFE, 0x54, 0x4E][..],
        &[0x00, 0xE1, 0x01, 0xFE, 0x57, 0x75],
        &[0x00, 0x00, 0x05, 0x00, 0xA4, 0x00, 0x00, 0x00, 0xB8, 0xDA],
        &[0x00, 0x90, 0x00, 0x20, 0x6E],
    ] {
        let block = Block::decode(bytes, Edc::Crc).unwrap();
        let len = block.encode(Edc::Crc, &mut out);
        assert_eq!(&out[..len], bytes);
    }
}

#[test]
fn every_pcb_decodes_to_itself_or_not_at_all() {
    let known = (0..=255u8).filter(|&pcb| Pcb::decode(pcb).is_some());
    let expected: Vec<u8> = [I00, I01, I10, I11]
        .into_iter()
        .chain([R0, R0 | 1, R0 | 2, R1, R1 | 1, R1 | 2])
        .chain([RESYNCH, IFS, ABORT, WTX])
        .chain([RESYNCH, IFS, ABORT, WTX].map(|pcb| pcb | RESPONSE))
        .collect();
    assert!(known.clone().eq(expected));
    assert!(known.clone().all(|pcb| Pcb::decode(pcb).unwrap().encode() == pcb));
}

#[test]
fn a_block_must_be_as_long_as_len_says_and_len_is_never_255() {
    let good = block(I00, &[1, 2, 3]);
    assert!(Block::decode(&good, Edc::Lrc).is_ok());
    for cut in 0..good.len() {
        assert_eq!(Block::decode(&good[..cut], Edc::Lrc), Err(Invalid::Length));
    }
    let mut long = good.clone();
    long.push(0);
    assert_eq!(Block::decode(&long, Edc::Lrc), Err(Invalid::Length));
    assert!(Block::decode(&block(I00, &[7; 254]), Edc::Lrc).is_ok());
    assert_eq!(
        Block::decode(&block(I00, &[7; 255]), Edc::Lrc),
        Err(Invalid::Length)
    );
}

#[test]
fn information_fields_of_r_and_s_blocks() {
    let decode = |pcb, inf: &[u8]| Block::decode(&block(pcb, inf), Edc::Lrc).map(|_| ());
    for pcb in [R0, R1, RESYNCH, RESYNCH | RESPONSE, ABORT, ABORT | RESPONSE] {
        assert_eq!(decode(pcb, &[]), Ok(()));
        assert_eq!(decode(pcb, &[1]), Err(Invalid::Information));
    }
    for pcb in [IFS, IFS | RESPONSE] {
        assert_eq!(decode(pcb, &[1]), Ok(()));
        assert_eq!(decode(pcb, &[254]), Ok(()));
        for inf in [&[][..], &[0], &[255], &[32, 32]] {
            assert_eq!(decode(pcb, inf), Err(Invalid::Information));
        }
    }
    for pcb in [WTX, WTX | RESPONSE] {
        assert_eq!(decode(pcb, &[255]), Ok(()));
        assert_eq!(decode(pcb, &[]), Err(Invalid::Information));
    }
}

#[test]
fn the_card_answers_with_the_nibbles_of_nad_swapped() {
    let mut engine = Engine::new(Config {
        nad: 0x21,
        ..config()
    });
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    assert_eq!(play.exchange.block()[0], 0x21);
    let with_nad = |nad: u8, pcb| {
        let mut block = block(pcb, &OK);
        block[0] = nad;
        *block.last_mut().unwrap() ^= nad;
        block
    };
    play.hears_bytes(&with_nad(0x21, I00));
    assert_eq!(play.exchange.block()[..2], [0x21, R0 | OTHER_ERROR]);
    play.hears_bytes(&with_nad(0x12, I00)).done(2);
}

// Clause 11.4.2: sizes.

#[test]
fn reserved_sizes_become_the_nearest_allowed() {
    for (given, used) in [(0, 32), (1, 1), (254, 254), (255, 254)] {
        assert_eq!(
            Engine::new(Config {
                ifsc: given,
                ..config()
            })
            .ifsc(),
            used
        );
    }
    let mut engine = Engine::new(Config {
        ifsd: 255,
        ..config()
    });
    Play::new(engine.negotiate())
        .sends(IFS, &[254])
        .hears(IFS | RESPONSE, &[254])
        .done(0);
    assert_eq!(engine.ifsd(), 254);
}

// Rules 1 and 2: exchange of I-blocks, numbered modulo 2 from 0 on each side.

#[test]
fn rule_2_1_i_blocks_acknowledge_each_other_and_numbers_alternate() {
    let mut engine = engine();
    for (ours, theirs) in [(I00, I00), (I10, I10), (I00, I00)] {
        let mut response = [0; 8];
        Play::new(engine.exchange(&[1, 2, 3, 4], &mut response))
            .sends(ours, &[1, 2, 3, 4])
            .hears(theirs, &[5, 0x90, 0])
            .done(3);
        assert_eq!(response[..3], [5, 0x90, 0]);
    }
}

#[test]
fn rule_2_1_an_i_block_with_the_wrong_number_is_not_an_answer() {
    let mut engine = warm();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I10, &[0; 4])
        .hears(I00, &[0x6F, 0x00])
        .sends(R1 | OTHER_ERROR, &[])
        .hears(I10, &OK)
        .done(2);
    assert_eq!(response, OK);
}

#[test]
fn rules_2_2_and_5_chaining_to_the_card() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears(R1, &[])
        .sends(I11, &[5, 6, 7, 8])
        .hears(R0, &[])
        .sends(I00, &[9])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn a_command_that_fills_its_last_block_is_not_followed_by_an_empty_one() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5, 6, 7, 8], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears(R1, &[])
        .sends(I10, &[5, 6, 7, 8])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rules_2_2_and_5_chaining_from_the_card() {
    let mut engine = engine();
    let mut response = [0; 5];
    Play::new(engine.exchange(&[1, 2, 3, 4], &mut response))
        .sends(I00, &[1, 2, 3, 4])
        .hears(I01, &[1, 2])
        .sends(R1, &[])
        .hears(I11, &[3])
        .sends(R0, &[])
        .hears(I00, &OK)
        .done(5);
    assert_eq!(response, [1, 2, 3, 0x90, 0]);
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I10, &[0; 4])
        .hears(I10, &OK)
        .done(2);
}

#[test]
fn chaining_both_ways_in_one_exchange() {
    let mut engine = engine();
    let mut response = [0; 4];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears(R1, &[])
        .sends(I10, &[5])
        .hears(I01, &[8])
        .sends(R1, &[])
        .hears(I10, &[9, 0x90, 0])
        .done(4);
    assert_eq!(response, [8, 9, 0x90, 0]);
}

#[test]
fn an_i_block_in_the_middle_of_our_chain_is_invalid() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears(I00, &OK)
        .sends(R0 | OTHER_ERROR, &[])
        .hears(R1, &[])
        .sends(I10, &[5])
        .hears(I00, &OK)
        .done(2);
}

// Rule 3: waiting time extension.

#[test]
fn rule_3_wtx_is_granted_and_the_wait_is_told() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I00, &[0; 4])
        .hears(WTX, &[5])
        .sends_and_waits(WTX | RESPONSE, &[5], 5)
        .hears(WTX, &[255])
        .sends_and_waits(WTX | RESPONSE, &[255], 255)
        .hears(WTX, &[0])
        .sends_and_waits(WTX | RESPONSE, &[0], 1)
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_3_wtx_within_chains_of_both_sides() {
    let mut engine = engine();
    let mut response = [0; 3];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears(WTX, &[2])
        .sends_and_waits(WTX | RESPONSE, &[2], 2)
        .hears(R1, &[])
        .sends(I10, &[5])
        .hears(I01, &[7])
        .sends(R1, &[])
        .hears(WTX, &[3])
        .sends_and_waits(WTX | RESPONSE, &[3], 3)
        .hears(I10, &OK)
        .done(3);
}

#[test]
fn wtx_in_a_row_is_bounded_in_number_and_in_time() {
    for (limits, allowed) in [
        (
            Limits {
                wtx_in_a_row: 3,
                ..Limits::default()
            },
            3,
        ),
        (
            Limits {
                wtx_units: 21,
                ..Limits::default()
            },
            2,
        ),
    ] {
        let mut engine = Engine::new(Config { limits, ..config() });
        let mut response = [0; 2];
        let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
        for _ in 0..allowed {
            play.hears(WTX, &[10]).sends_and_waits(WTX | RESPONSE, &[10], 10);
        }
        play.hears(WTX, &[10]).fails(Error::WtxLimit);
        assert!(Error::WtxLimit.needs_reset());
    }
}

#[test]
fn data_in_between_give_a_card_new_waiting_time() {
    let limits = Limits {
        wtx_in_a_row: 1,
        ..Limits::default()
    };
    let mut engine = Engine::new(Config { limits, ..config() });
    let mut response = [0; 3];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(WTX, &[1])
        .hears(I01, &[7])
        .sends(R1, &[])
        .hears(WTX, &[1])
        .hears(I10, &OK)
        .done(3);
}

// Rule 4: information field sizes.

#[test]
fn rule_4_ifsd_is_announced_before_the_first_command_only() {
    let mut engine = Engine::new(Config {
        ifsd: 254,
        ..config()
    });
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(IFS, &[254])
        .hears(IFS | RESPONSE, &[254])
        .sends(I00, &[0; 4])
        .hears(I00, &OK)
        .done(2);
    assert_eq!(engine.ifsd(), 254);
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I10, &[0; 4])
        .hears(I10, &OK)
        .done(2);
}

#[test]
fn rule_4_ifs_response_must_confirm_what_was_asked() {
    let mut engine = Engine::new(Config {
        ifsd: 254,
        ..config()
    });
    Play::new(engine.negotiate())
        .sends(IFS, &[254])
        .hears(IFS | RESPONSE, &[32])
        .sends(IFS, &[254])
        .hears(IFS | RESPONSE, &[254])
        .done(0);
}

#[test]
fn a_card_that_refuses_ifs_is_served_with_the_default_size() {
    let mut engine = Engine::new(Config {
        ifsd: 254,
        ..config()
    });
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(IFS, &[254])
        .hears(R0 | OTHER_ERROR, &[])
        .sends(IFS, &[254])
        .hears(R0 | OTHER_ERROR, &[])
        .sends(IFS, &[254])
        .hears(R0 | OTHER_ERROR, &[])
        .sends(I00, &[0; 4])
        .hears(I00, &OK)
        .done(2);
    assert_eq!(engine.ifsd(), 32);
}

#[test]
fn rule_4_the_card_changes_ifsc_within_our_chain() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears(IFS, &[2])
        .sends(IFS | RESPONSE, &[2])
        .hears(R1, &[])
        .sends(I11, &[5, 6])
        .hears(IFS, &[254])
        .sends(IFS | RESPONSE, &[254])
        .hears(R0, &[])
        .sends(I00, &[7, 8, 9])
        .hears(I00, &OK)
        .done(2);
    assert_eq!(engine.ifsc(), 254);
}

#[test]
fn rule_4_reserved_ifsc_is_refused() {
    for ifsc in [0, 255] {
        let mut engine = engine();
        let mut response = [0; 2];
        Play::new(engine.exchange(&[0; 4], &mut response))
            .hears(IFS, &[ifsc])
            .sends(R0 | OTHER_ERROR, &[])
            .hears(I00, &OK)
            .done(2);
        assert_eq!(engine.ifsc(), 4);
    }
}

#[test]
fn ifs_requests_without_end_are_a_stall() {
    let mut engine = engine();
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    for _ in 0..8 {
        play.hears(IFS, &[9]).sends(IFS | RESPONSE, &[9]);
    }
    play.hears(IFS, &[9]).fails(Error::Stalled);
}

#[test]
fn empty_i_blocks_without_end_are_a_stall() {
    let mut engine = engine();
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    for n in 0..8 {
        play.hears(if n % 2 == 0 { I01 } else { I11 }, &[])
            .sends(if n % 2 == 0 { R1 } else { R0 }, &[]);
    }
    play.hears(I01, &[]).fails(Error::Stalled);
}

// Rule 6: resynchronisation.

/// Three failures in a row after a good exchange.
fn until_resynch(play: &mut Play<'_>) {
    play.hears_nothing()
        .hears_nothing()
        .hears_nothing()
        .sends(RESYNCH, &[]);
}

#[test]
fn rules_6_2_and_6_3_after_resynch_the_protocol_starts_anew() {
    let mut engine = warm();
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response));
    play.sends(I11, &[1, 2, 3, 4])
        .hears(IFS, &[2])
        .sends(IFS | RESPONSE, &[2]);
    until_resynch(&mut play);
    play.hears(RESYNCH | RESPONSE, &[])
        .sends(I01, &[1, 2, 3, 4])
        .hears(R1, &[])
        .sends(I10, &[5])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_6_3_ifsd_is_announced_again_after_resynch() {
    let mut engine = Engine::new(Config {
        ifsd: 254,
        ..config()
    });
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response));
    play.hears(IFS | RESPONSE, &[254]).sends(I01, &[1, 2, 3, 4]);
    until_resynch(&mut play);
    play.hears(RESYNCH | RESPONSE, &[])
        .sends(IFS, &[254])
        .hears(IFS | RESPONSE, &[254])
        .sends(I01, &[1, 2, 3, 4])
        .hears(R1, &[])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_6_4_three_attempts_at_resynch_then_the_card_needs_a_reset() {
    let mut engine = warm();
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    until_resynch(&mut play);
    play.hears_nothing()
        .sends(RESYNCH, &[])
        .hears(I10, &OK)
        .sends(RESYNCH, &[])
        .hears_damaged()
        .fails(Error::Unresponsive);
    assert!(Error::Unresponsive.needs_reset());
}

#[test]
fn a_command_that_may_have_been_executed_is_not_sent_twice() {
    let mut engine = warm();
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    until_resynch(&mut play);
    play.hears(RESYNCH | RESPONSE, &[]).fails(Error::Resynchronized);
    // The session goes on with both numbers at 0.
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I00, &[0; 4])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn a_command_that_the_card_reported_lost_is_sent_again_after_resynch() {
    let mut engine = warm();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(R1 | EDC_ERROR, &[])
        .sends(I10, &[0; 4])
        .hears(R1 | EDC_ERROR, &[])
        .sends(I10, &[0; 4])
        .hears(R1 | EDC_ERROR, &[])
        .sends(RESYNCH, &[])
        .hears(RESYNCH | RESPONSE, &[])
        .sends(I00, &[0; 4])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn sending_again_after_resynch_can_be_asked_for_and_is_bounded() {
    let limits = Limits {
        resend_after_resynch: true,
        resynchs: 2,
        ..Limits::default()
    };
    let mut engine = Engine::new(Config { limits, ..config() });
    warm_up(&mut engine);
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    for _ in 0..2 {
        until_resynch(&mut play);
        play.hears(RESYNCH | RESPONSE, &[]).sends(I00, &[0; 4]);
    }
    play.hears_nothing()
        .hears_nothing()
        .hears_nothing()
        .fails(Error::Unresponsive);
}

#[test]
fn the_card_may_not_ask_for_resynch() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(RESYNCH, &[])
        .sends(R0 | OTHER_ERROR, &[])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn an_exchange_dropped_half_way_is_followed_by_a_resynch() {
    let mut engine = warm();
    let mut response = [0; 2];
    let _ = Play::new(engine.exchange(&[0; 4], &mut response));
    Play::new(engine.exchange(&[9; 4], &mut response))
        .sends(RESYNCH, &[])
        .hears(RESYNCH | RESPONSE, &[])
        .sends(I00, &[9; 4])
        .hears(I00, &OK)
        .done(2);
}

// Rule 7: errors.

#[test]
fn rule_7_1_a_damaged_answer_is_asked_for_again() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I00, &[0; 4])
        .hears_damaged()
        .sends(R0 | EDC_ERROR, &[])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_7_1_a_missing_answer_is_asked_for_again() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears_nothing()
        .sends(R0 | OTHER_ERROR, &[])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_7_1_parity_errors_are_reported_as_such() {
    let mut engine = engine();
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    play.action = play.exchange.on_parity_error();
    play.sends(R0 | EDC_ERROR, &[]).hears(I00, &OK).done(2);
}

#[test]
fn rule_7_1_our_i_block_is_sent_again_when_the_card_asks() {
    for error in [0, EDC_ERROR, OTHER_ERROR] {
        let mut engine = engine();
        let mut response = [0; 2];
        Play::new(engine.exchange(&[0; 4], &mut response))
            .hears(R0 | error, &[])
            .sends(I00, &[0; 4])
            .hears(I00, &OK)
            .done(2);
    }
}

#[test]
fn rule_7_1_an_i_block_of_our_chain_is_sent_again_when_the_card_asks() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &mut response))
        .hears(R1, &[])
        .sends(I11, &[5, 6, 7, 8])
        .hears(R1 | EDC_ERROR, &[])
        .sends(I11, &[5, 6, 7, 8])
        .hears(R0, &[])
        .sends(I00, &[9])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_7_1_a_lost_acknowledgement_within_our_chain() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears_damaged()
        .sends(R0 | EDC_ERROR, &[])
        .hears(R1, &[])
        .sends(I10, &[5])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_7_1_a_lost_block_of_the_cards_chain() {
    let mut engine = engine();
    let mut response = [0; 4];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(I01, &[1])
        .sends(R1, &[])
        .hears_damaged()
        .sends(R1, &[])
        .hears(I10, &[2, 0x90, 0])
        .done(4);
    assert_eq!(response, [1, 2, 0x90, 0]);
}

#[test]
fn a_repeated_block_of_the_cards_chain_is_not_taken_twice() {
    let mut engine = engine();
    let mut response = [0; 4];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(I01, &[1])
        .sends(R1, &[])
        .hears(I01, &[1])
        .sends(R1, &[])
        .hears(I10, &[2, 0x90, 0])
        .done(4);
    assert_eq!(response, [1, 2, 0x90, 0]);
}

#[test]
fn rule_7_2_the_same_r_block_again() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears_damaged()
        .sends(R0 | EDC_ERROR, &[])
        .hears_nothing()
        .sends(R0 | EDC_ERROR, &[])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_7_2_an_r_block_that_asks_for_nothing_new_is_answered_by_ours_again() {
    // Our R-block was damaged on its way; the card, which has our I-block, expects the next one.
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears_damaged()
        .sends(R0 | EDC_ERROR, &[])
        .hears(R1 | EDC_ERROR, &[])
        .sends(R0 | EDC_ERROR, &[])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_7_3_an_s_request_is_repeated_until_its_response_comes() {
    let mut engine = Engine::new(Config {
        ifsd: 254,
        ..config()
    });
    Play::new(engine.negotiate())
        .sends(IFS, &[254])
        .hears_damaged()
        .sends(IFS, &[254])
        .hears_nothing()
        .sends(IFS, &[254])
        .hears(IFS | RESPONSE, &[254])
        .done(0);
}

#[test]
fn rule_7_3_the_card_repeats_its_request_when_our_response_was_lost() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(WTX, &[2])
        .sends_and_waits(WTX | RESPONSE, &[2], 2)
        .hears_nothing()
        .sends(R0 | OTHER_ERROR, &[])
        .hears(WTX, &[2])
        .sends_and_waits(WTX | RESPONSE, &[2], 2)
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_7_4_1_three_failures_at_the_start_need_a_reset_and_no_resynch() {
    let mut silent = engine();
    let mut response = [0; 2];
    Play::new(silent.exchange(&[0; 4], &mut response))
        .sends(I00, &[0; 4])
        .hears_nothing()
        .sends(R0 | OTHER_ERROR, &[])
        .hears_damaged()
        .sends(R0 | OTHER_ERROR, &[])
        .hears_nothing()
        .fails(Error::Unresponsive);
    let mut silent = Engine::new(Config {
        ifsd: 254,
        ..config()
    });
    Play::new(silent.negotiate())
        .sends(IFS, &[254])
        .hears_nothing()
        .sends(IFS, &[254])
        .hears_nothing()
        .sends(IFS, &[254])
        .hears_nothing()
        .fails(Error::Unresponsive);
}

#[test]
fn rule_7_4_2_three_failures_later_lead_to_resynch() {
    let mut engine = warm();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I10, &[0; 4])
        .hears_damaged()
        .sends(R1 | EDC_ERROR, &[])
        .hears_damaged()
        .sends(R1 | EDC_ERROR, &[])
        .hears_damaged()
        .sends(RESYNCH, &[]);
}

#[test]
fn each_good_block_gives_three_new_attempts() {
    let mut engine = engine();
    let mut response = [0; 4];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    play.hears_nothing()
        .hears_nothing()
        .hears(I01, &[1])
        .sends(R1, &[]);
    play.hears_nothing()
        .hears_nothing()
        .hears(I11, &[2])
        .sends(R0, &[]);
    play.hears_nothing().hears_nothing().hears(I00, &OK).done(4);
}

#[test]
fn responses_to_requests_never_made_are_invalid() {
    for (pcb, inf) in [(WTX, &[1][..]), (IFS, &[32]), (ABORT, &[]), (RESYNCH, &[])] {
        let mut engine = engine();
        let mut response = [0; 2];
        Play::new(engine.exchange(&[0; 4], &mut response))
            .hears(pcb | RESPONSE, inf)
            .sends(R0 | OTHER_ERROR, &[])
            .hears(I00, &OK)
            .done(2);
    }
}

// Rule 9: abortion of a chain.

#[test]
fn rule_9_the_card_aborts_our_chain() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears(ABORT, &[])
        .sends(ABORT | RESPONSE, &[])
        .hears(R1, &[])
        .fails(Error::AbortedByCard);
    assert!(!Error::AbortedByCard.needs_reset());
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I10, &[0; 4])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_9_the_card_aborts_its_own_chain() {
    let mut engine = engine();
    let mut response = [0; 8];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(I01, &[1])
        .sends(R1, &[])
        .hears(ABORT, &[])
        .sends(ABORT | RESPONSE, &[])
        .hears(R1, &[])
        .fails(Error::AbortedByCard);
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I10, &[0; 4])
        .hears(I10, &OK)
        .done(2);
}

#[test]
fn rule_9_abort_survives_a_lost_response() {
    let mut engine = engine();
    let mut response = [0; 8];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(I01, &[1])
        .hears(ABORT, &[])
        .sends(ABORT | RESPONSE, &[])
        .hears_nothing()
        .sends(R1 | OTHER_ERROR, &[])
        .hears(ABORT, &[])
        .sends(ABORT | RESPONSE, &[])
        .hears(R1, &[])
        .fails(Error::AbortedByCard);
}

#[test]
fn an_abort_outside_a_chain_is_invalid() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(ABORT, &[])
        .sends(R0 | OTHER_ERROR, &[])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn rule_9_we_abort_a_response_that_does_not_fit() {
    let mut engine = engine();
    let mut response = [0; 3];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(I01, &[1, 2])
        .sends(R1, &[])
        .hears(I11, &[3, 4])
        .sends(ABORT, &[])
        .hears_nothing()
        .sends(ABORT, &[])
        .hears(ABORT | RESPONSE, &[])
        .fails(Error::ResponseTooLong);
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I10, &[0; 4])
        .hears(I00, &OK)
        .done(2);
}

#[test]
fn a_last_block_that_does_not_fit_fails_without_abort() {
    let mut engine = engine();
    let mut response = [0; 1];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(I00, &OK)
        .fails(Error::ResponseTooLong);
    let mut response = [0; 2];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .sends(I10, &[0; 4])
        .hears(I10, &OK)
        .done(2);
}

#[test]
fn rule_9_cancelling_aborts_a_chain_in_either_direction() {
    let mut first = engine();
    let mut response = [0; 8];
    Play::new(first.exchange(&[1, 2, 3, 4, 5], &mut response))
        .cancels()
        .hears(R1, &[])
        .sends(ABORT, &[])
        .hears(ABORT | RESPONSE, &[])
        .fails(Error::Cancelled);
    let mut second = engine();
    Play::new(second.exchange(&[0; 4], &mut response))
        .cancels()
        .hears(I01, &[1])
        .sends(ABORT, &[])
        .hears(ABORT | RESPONSE, &[])
        .fails(Error::Cancelled);
}

#[test]
fn an_abort_that_the_card_ignores_ends_in_resynch_and_keeps_its_reason() {
    let mut engine = engine();
    let mut response = [0; 1];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(I01, &[1, 2])
        .sends(ABORT, &[])
        .hears(I11, &[3])
        .sends(ABORT, &[])
        .hears(I11, &[3])
        .sends(ABORT, &[])
        .hears(I11, &[3])
        .sends(RESYNCH, &[])
        .hears(RESYNCH | RESPONSE, &[])
        .fails(Error::ResponseTooLong);
}

#[test]
fn a_response_without_status_word_is_an_error() {
    for inf in [&[][..], &[0x90]] {
        let mut engine = engine();
        let mut response = [0; 2];
        Play::new(engine.exchange(&[0; 4], &mut response))
            .hears(I00, inf)
            .fails(Error::ResponseTooShort);
    }
}

#[test]
fn an_exchange_is_over_when_it_is_over() {
    let mut engine = engine();
    let mut response = [0; 2];
    let mut exchange = engine.exchange(&[0; 4], &mut response);
    assert_eq!(exchange.on_timeout(), Action::Failed(Error::Over));
    let mut play = Play::new(exchange);
    play.hears(I00, &OK).done(2);
    play.hears(I10, &OK).fails(Error::Over);
    assert_eq!(play.exchange.start(), Action::Failed(Error::Over));
}
