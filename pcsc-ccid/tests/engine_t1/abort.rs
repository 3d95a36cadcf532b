//! Rule 9: abortion of a chain; and the end of an exchange.

use super::*;

#[test]
fn rule_9_the_card_aborts_our_chain() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears(ABORT, &[])
        .sends(ABORT | RESPONSE, &[])
        .hears(R1, &[])
        .fails(T1Error::AbortedByCard);
    assert!(!T1Error::AbortedByCard.needs_reset());
    exchange(&mut engine, &[0; 4], &OK, |play| {
        play.sends(I10, &[0; 4]).hears(I00, &OK)
    });
}

/// At its last block too, which is not chained itself.
#[test]
fn rule_9_the_card_aborts_the_end_of_our_chain() {
    let mut engine = engine();
    let mut response = [0; 2];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears(R1, &[])
        .sends(I10, &[5])
        .hears(ABORT, &[])
        .sends(ABORT | RESPONSE, &[])
        .hears(R0, &[])
        .fails(T1Error::AbortedByCard);
    exchange(&mut engine, &[0; 4], &OK, |play| {
        play.sends(I00, &[0; 4]).hears(I00, &OK)
    });
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
        .fails(T1Error::AbortedByCard);
    exchange(&mut engine, &[0; 4], &OK, |play| {
        play.sends(I10, &[0; 4]).hears(I10, &OK)
    });
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
        .fails(T1Error::AbortedByCard);
}

/// After three lost responses the protocol starts again (rule 7.4), but the chain stays aborted.
#[test]
fn rule_9_an_abort_that_ends_in_a_resynchronisation_is_one() {
    let mut engine = engine();
    let mut response = [0; 8];
    Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response))
        .sends(I01, &[1, 2, 3, 4])
        .hears(ABORT, &[])
        .sends(ABORT | RESPONSE, &[])
        .hears_nothing()
        .hears_nothing()
        .hears_nothing()
        .sends(RESYNCH, &[])
        .hears(RESYNCH | RESPONSE, &[])
        .fails(T1Error::AbortedByCard);
}

#[test]
fn an_abort_outside_a_chain_is_invalid() {
    exchange(&mut engine(), &[0; 4], &OK, |play| {
        play.hears(ABORT, &[])
            .sends(R0 | OTHER_ERROR, &[])
            .hears(I00, &OK)
    });
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
        .fails(T1Error::ResponseTooLong);
    exchange(&mut engine, &[0; 4], &OK, |play| {
        play.sends(I10, &[0; 4]).hears(I00, &OK)
    });
}

#[test]
fn a_last_block_that_does_not_fit_fails_without_abort() {
    let mut engine = engine();
    let mut response = [0; 1];
    Play::new(engine.exchange(&[0; 4], &mut response))
        .hears(I00, &OK)
        .fails(T1Error::ResponseTooLong);
    exchange(&mut engine, &[0; 4], &OK, |play| {
        play.sends(I10, &[0; 4]).hears(I10, &OK)
    });
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
        .fails(T1Error::ResponseTooLong);
}

#[test]
fn a_response_without_status_word_is_an_error() {
    for inf in [&[][..], &[0x90]] {
        let mut engine = engine();
        let mut response = [0; 2];
        Play::new(engine.exchange(&[0; 4], &mut response))
            .hears(I00, inf)
            .fails(T1Error::ResponseTooShort);
    }
}

#[test]
fn an_exchange_is_over_when_it_is_over() {
    let mut engine = engine();
    let mut response = [0; 2];
    let mut exchange = engine.exchange(&[0; 4], &mut response);
    assert_eq!(exchange.on_timeout(), T1Action::Failed(T1Error::Over));
    let mut play = Play::new(exchange);
    play.hears(I00, &OK).done(2);
    play.hears(I10, &OK).fails(T1Error::Over);
    assert_eq!(play.exchange.start(), T1Action::Failed(T1Error::Over));
}
