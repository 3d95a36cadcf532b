//! Rule 7: errors.

use super::*;

#[test]
fn rule_7_1_a_damaged_answer_is_asked_for_again() {
    exchange(&mut engine(), &[0; 4], &OK, |play| {
        play.sends(I00, &[0; 4])
            .hears_damaged()
            .sends(R0 | EDC_ERROR, &[])
            .hears(I00, &OK)
    });
}

/// The last block of a command may have a PIN in it, and a shorter block leaves the end of a longer one.
#[test]
fn what_was_sent_is_wiped_at_the_end() {
    for (pcb, inf) in [(I00, &OK[..]), (I00, &[0x90])] {
        let mut engine = engine();
        let mut response = [0; 2];
        let mut play = Play::new(engine.exchange(&[1, 2, 3, 4], &mut response));
        play.sends(I00, &[1, 2, 3, 4]).hears(pcb, inf);
        assert!(!matches!(play.action, T1Action::Send { .. }));
        assert_eq!(play.exchange.block(), [0; 8]);
    }
}

#[test]
fn rule_7_1_a_missing_answer_is_asked_for_again() {
    exchange(&mut engine(), &[0; 4], &OK, |play| {
        play.hears_nothing().sends(R0 | OTHER_ERROR, &[]).hears(I00, &OK)
    });
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
        exchange(&mut engine(), &[0; 4], &OK, |play| {
            play.hears(R0 | error, &[]).sends(I00, &[0; 4]).hears(I00, &OK)
        });
    }
}

#[test]
fn rule_7_1_an_i_block_of_our_chain_is_sent_again_when_the_card_asks() {
    exchange(&mut engine(), &[1, 2, 3, 4, 5, 6, 7, 8, 9], &OK, |play| {
        play.hears(R1, &[])
            .sends(I11, &[5, 6, 7, 8])
            .hears(R1 | EDC_ERROR, &[])
            .sends(I11, &[5, 6, 7, 8])
            .hears(R0, &[])
            .sends(I00, &[9])
            .hears(I00, &OK)
    });
}

#[test]
fn rule_7_1_a_lost_acknowledgement_within_our_chain() {
    exchange(&mut engine(), &[1, 2, 3, 4, 5], &OK, |play| {
        play.sends(I01, &[1, 2, 3, 4])
            .hears_damaged()
            .sends(R0 | EDC_ERROR, &[])
            .hears(R1, &[])
            .sends(I10, &[5])
            .hears(I00, &OK)
    });
}

#[test]
fn rule_7_1_a_lost_block_of_the_cards_chain() {
    exchange(&mut engine(), &[0; 4], &[1, 2, 0x90, 0], |play| {
        play.hears(I01, &[1])
            .sends(R1, &[])
            .hears_damaged()
            .sends(R1, &[])
            .hears(I10, &[2, 0x90, 0])
    });
}

#[test]
fn a_repeated_block_of_the_cards_chain_is_not_taken_twice() {
    exchange(&mut engine(), &[0; 4], &[1, 2, 0x90, 0], |play| {
        play.hears(I01, &[1])
            .sends(R1, &[])
            .hears(I01, &[1])
            .sends(R1, &[])
            .hears(I10, &[2, 0x90, 0])
    });
}

#[test]
fn rule_7_2_the_same_r_block_again() {
    exchange(&mut engine(), &[0; 4], &OK, |play| {
        play.hears_damaged()
            .sends(R0 | EDC_ERROR, &[])
            .hears_nothing()
            .sends(R0 | EDC_ERROR, &[])
            .hears(I00, &OK)
    });
}

#[test]
fn rule_7_2_an_r_block_that_asks_for_nothing_new_is_answered_by_ours_again() {
    // Our R-block was damaged on its way; the card, which has our I-block, expects the next one.
    exchange(&mut engine(), &[0; 4], &OK, |play| {
        play.hears_damaged()
            .sends(R0 | EDC_ERROR, &[])
            .hears(R1 | EDC_ERROR, &[])
            .sends(R0 | EDC_ERROR, &[])
            .hears(I00, &OK)
    });
}

#[test]
fn rule_7_3_an_s_request_is_repeated_until_its_response_comes() {
    let mut engine = with_ifsd(254);
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
    exchange(&mut engine(), &[0; 4], &OK, |play| {
        play.hears(WTX, &[2])
            .sends_and_waits(WTX | RESPONSE, &[2], 2)
            .hears_nothing()
            .sends(R0 | OTHER_ERROR, &[])
            .hears(WTX, &[2])
            .sends_and_waits(WTX | RESPONSE, &[2], 2)
            .hears(I00, &OK)
    });
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
        .fails(T1Error::Unresponsive);
    let mut silent = with_ifsd(254);
    Play::new(silent.negotiate())
        .sends(IFS, &[254])
        .hears_nothing()
        .sends(IFS, &[254])
        .hears_nothing()
        .sends(IFS, &[254])
        .hears_nothing()
        .fails(T1Error::Unresponsive);
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
        exchange(&mut engine(), &[0; 4], &OK, |play| {
            play.hears(pcb | RESPONSE, inf)
                .sends(R0 | OTHER_ERROR, &[])
                .hears(I00, &OK)
        });
    }
}

/// Attempts are counted for one block: a right block in between begins anew.
#[test]
fn rule_7_4_a_request_of_the_card_ends_a_row_of_failures() {
    let mut engine = warm();
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    play.hears_nothing()
        .hears_nothing()
        .hears(IFS, &[4])
        .sends(IFS | RESPONSE, &[4])
        .hears_nothing()
        .sends(R1 | OTHER_ERROR, &[])
        .hears_nothing()
        .sends(R1 | OTHER_ERROR, &[])
        .hears(I10, &OK)
        .done(2);
}

#[test]
fn rule_7_4_a_block_without_data_ends_a_row_of_failures() {
    let mut engine = warm();
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    play.hears_nothing()
        .hears_nothing()
        .hears(I11, &[])
        .sends(R0, &[])
        .hears_nothing()
        .sends(R0, &[])
        .hears_nothing()
        .sends(R0, &[])
        .hears(I00, &OK)
        .done(2);
}
