//! Rules 1 to 4: I-blocks, chains, waiting time extension, sizes of information fields.

use super::*;

// Rules 1 and 2: exchange of I-blocks, numbered modulo 2 from 0 on each side.

#[test]
fn rule_2_1_i_blocks_acknowledge_each_other_and_numbers_alternate() {
    let mut engine = engine();
    for (ours, theirs) in [(I00, I00), (I10, I10), (I00, I00)] {
        exchange(&mut engine, &[1, 2, 3, 4], &[5, 0x90, 0], |play| {
            play.sends(ours, &[1, 2, 3, 4]).hears(theirs, &[5, 0x90, 0])
        });
    }
}

#[test]
fn an_exchange_that_a_pin_pad_made_counts_as_one() {
    let mut engine = engine();
    for sequence in [(1, 1), (0, 0), (1, 1)] {
        engine.note_foreign_exchange(true);
        assert_eq!(engine.sequence(), sequence);
    }
    exchange(&mut engine, &[1, 2, 3, 4], &OK, |play| {
        play.sends(I10, &[1, 2, 3, 4]).hears(I10, &[0x90, 0])
    });
    assert_eq!(engine.sequence(), (0, 0));
}

#[test]
fn rule_2_1_an_i_block_with_the_wrong_number_is_not_an_answer() {
    exchange(&mut warm(), &[0; 4], &OK, |play| {
        play.sends(I10, &[0; 4])
            .hears(I00, &[0x6F, 0x00])
            .sends(R1 | OTHER_ERROR, &[])
            .hears(I10, &OK)
    });
}

#[test]
fn rules_2_2_and_5_chaining_to_the_card() {
    exchange(&mut engine(), &[1, 2, 3, 4, 5, 6, 7, 8, 9], &OK, |play| {
        play.sends(I01, &[1, 2, 3, 4])
            .hears(R1, &[])
            .sends(I11, &[5, 6, 7, 8])
            .hears(R0, &[])
            .sends(I00, &[9])
            .hears(I00, &OK)
    });
}

#[test]
fn a_command_that_fills_its_last_block_is_not_followed_by_an_empty_one() {
    exchange(&mut engine(), &[1, 2, 3, 4, 5, 6, 7, 8], &OK, |play| {
        play.sends(I01, &[1, 2, 3, 4])
            .hears(R1, &[])
            .sends(I10, &[5, 6, 7, 8])
            .hears(I00, &OK)
    });
}

#[test]
fn rules_2_2_and_5_chaining_from_the_card() {
    let mut engine = engine();
    exchange(&mut engine, &[1, 2, 3, 4], &[1, 2, 3, 0x90, 0], |play| {
        play.sends(I00, &[1, 2, 3, 4])
            .hears(I01, &[1, 2])
            .sends(R1, &[])
            .hears(I11, &[3])
            .sends(R0, &[])
            .hears(I00, &OK)
    });
    exchange(&mut engine, &[0; 4], &OK, |play| {
        play.sends(I10, &[0; 4]).hears(I10, &OK)
    });
}

#[test]
fn chaining_both_ways_in_one_exchange() {
    exchange(&mut engine(), &[1, 2, 3, 4, 5], &[8, 9, 0x90, 0], |play| {
        play.sends(I01, &[1, 2, 3, 4])
            .hears(R1, &[])
            .sends(I10, &[5])
            .hears(I01, &[8])
            .sends(R1, &[])
            .hears(I10, &[9, 0x90, 0])
    });
}

#[test]
fn an_i_block_in_the_middle_of_our_chain_is_invalid() {
    exchange(&mut engine(), &[1, 2, 3, 4, 5], &OK, |play| {
        play.sends(I01, &[1, 2, 3, 4])
            .hears(I00, &OK)
            .sends(R0 | OTHER_ERROR, &[])
            .hears(R1, &[])
            .sends(I10, &[5])
            .hears(I00, &OK)
    });
}

// Rule 3: waiting time extension.

#[test]
fn rule_3_wtx_is_granted_and_the_wait_is_told() {
    exchange(&mut engine(), &[0; 4], &OK, |play| {
        play.sends(I00, &[0; 4])
            .hears(WTX, &[5])
            .sends_and_waits(WTX | RESPONSE, &[5], 5)
            .hears(WTX, &[255])
            .sends_and_waits(WTX | RESPONSE, &[255], 255)
            .hears(WTX, &[0])
            .sends_and_waits(WTX | RESPONSE, &[0], 1)
            .hears(I00, &OK)
    });
}

#[test]
fn rule_3_wtx_within_chains_of_both_sides() {
    exchange(&mut engine(), &[1, 2, 3, 4, 5], &[7, 0x90, 0], |play| {
        play.sends(I01, &[1, 2, 3, 4])
            .hears(WTX, &[2])
            .sends_and_waits(WTX | RESPONSE, &[2], 2)
            .hears(R1, &[])
            .sends(I10, &[5])
            .hears(I01, &[7])
            .sends(R1, &[])
            .hears(WTX, &[3])
            .sends_and_waits(WTX | RESPONSE, &[3], 3)
            .hears(I10, &OK)
    });
}

/// Failures are counted per block: a card that has asked for time has received the command.
#[test]
fn a_waiting_time_extension_begins_the_count_of_failures_anew() {
    let mut engine = warm();
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    for _ in 0..2 {
        play.hears_nothing()
            .sends(R1 | OTHER_ERROR, &[])
            .hears_nothing()
            .sends(R1 | OTHER_ERROR, &[])
            .hears(WTX, &[1])
            .sends(WTX | RESPONSE, &[1]);
    }
    play.hears(I10, &OK).done(2);
}

#[test]
fn wtx_in_a_row_is_bounded_in_number_and_not_in_what_it_adds_up_to() {
    let mut engine = Engine::new(Config {
        wtx_in_a_row: 1000,
        ..config()
    });
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    for _ in 0..1000 {
        play.hears(WTX, &[255])
            .sends_and_waits(WTX | RESPONSE, &[255], 255);
    }
    play.hears(WTX, &[1]).fails(T1Error::WtxLimit);
    assert!(T1Error::WtxLimit.needs_reset());
}

#[test]
fn data_in_between_give_a_card_new_waiting_time() {
    let mut engine = Engine::new(Config {
        wtx_in_a_row: 1,
        ..config()
    });
    exchange(&mut engine, &[0; 4], &[7, 0x90, 0], |play| {
        play.hears(WTX, &[1])
            .hears(I01, &[7])
            .sends(R1, &[])
            .hears(WTX, &[1])
            .hears(I10, &OK)
    });
}

// Rule 4: information field sizes.

#[test]
fn rule_4_ifsd_is_announced_before_the_first_command_only() {
    let mut engine = with_ifsd(254);
    exchange(&mut engine, &[0; 4], &OK, |play| {
        play.sends(IFS, &[254])
            .hears(IFS | RESPONSE, &[254])
            .sends(I00, &[0; 4])
            .hears(I00, &OK)
    });
    assert_eq!(engine.ifsd(), 254);
    exchange(&mut engine, &[0; 4], &OK, |play| {
        play.sends(I10, &[0; 4]).hears(I10, &OK)
    });
}

#[test]
fn rule_4_ifs_response_must_confirm_what_was_asked() {
    let mut engine = with_ifsd(254);
    Play::new(engine.negotiate())
        .sends(IFS, &[254])
        .hears(IFS | RESPONSE, &[32])
        .sends(IFS, &[254])
        .hears(IFS | RESPONSE, &[254])
        .done(0);
}

#[test]
fn a_card_that_refuses_ifs_is_served_with_the_default_size() {
    let mut engine = with_ifsd(254);
    exchange(&mut engine, &[0; 4], &OK, |play| {
        play.sends(IFS, &[254])
            .hears(R0 | OTHER_ERROR, &[])
            .sends(IFS, &[254])
            .hears(R0 | OTHER_ERROR, &[])
            .sends(IFS, &[254])
            .hears(R0 | OTHER_ERROR, &[])
            .sends(I00, &[0; 4])
            .hears(I00, &OK)
    });
    assert_eq!(engine.ifsd(), 32);
}

#[test]
fn rule_4_the_card_changes_ifsc_within_our_chain() {
    let mut engine = engine();
    exchange(&mut engine, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &OK, |play| {
        play.sends(I01, &[1, 2, 3, 4])
            .hears(IFS, &[2])
            .sends(IFS | RESPONSE, &[2])
            .hears(R1, &[])
            .sends(I11, &[5, 6])
            .hears(IFS, &[254])
            .sends(IFS | RESPONSE, &[254])
            .hears(R0, &[])
            .sends(I00, &[7, 8, 9])
            .hears(I00, &OK)
    });
    assert_eq!(engine.ifsc(), 254);
}

#[test]
fn rule_4_reserved_ifsc_is_refused() {
    for ifsc in [0, 255] {
        let mut engine = engine();
        exchange(&mut engine, &[0; 4], &OK, |play| {
            play.hears(IFS, &[ifsc])
                .sends(R0 | OTHER_ERROR, &[])
                .hears(I00, &OK)
        });
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
    play.hears(IFS, &[9]).fails(T1Error::Stalled);
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
    play.hears(I01, &[]).fails(T1Error::Stalled);
}
