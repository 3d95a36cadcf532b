//! Rule 6: resynchronisation.

use super::*;

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
    let mut engine = with_ifsd(254);
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
fn rule_6_3_extensions_are_counted_anew_after_resynch() {
    let mut engine = Engine::new(Config {
        wtx_in_a_row: 1,
        ..config()
    });
    warm_up(&mut engine);
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response));
    play.hears(WTX, &[1]).sends(WTX | RESPONSE, &[1]);
    until_resynch(&mut play);
    play.hears(RESYNCH | RESPONSE, &[])
        .sends(I01, &[1, 2, 3, 4])
        .hears(WTX, &[1])
        .sends(WTX | RESPONSE, &[1])
        .hears(R1, &[])
        .sends(I10, &[5])
        .hears(I00, &OK)
        .done(2);
}

/// A card that answers S(IFS request) with another block is used with IFSD 32, one that is silent is
/// resynchronised: what it has answered before the last resynchronisation does not count.
#[test]
fn rule_6_3_a_refusal_of_ifsd_is_forgotten_after_resynch() {
    let mut engine = with_ifsd(254);
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[1, 2, 3, 4, 5], &mut response));
    play.hears(R0, &[])
        .sends(IFS, &[254])
        .hears(IFS | RESPONSE, &[254])
        .sends(I01, &[1, 2, 3, 4]);
    until_resynch(&mut play);
    play.hears(RESYNCH | RESPONSE, &[]).sends(IFS, &[254]);
    until_resynch(&mut play);
}

/// What the card may send is as after a reset, until it has agreed to more.
#[test]
fn rule_6_3_ifsd_is_32_after_resynch() {
    let mut engine = with_ifsd(254);
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[1, 2, 3, 4], &mut response));
    play.hears(IFS | RESPONSE, &[254]).sends(I00, &[1, 2, 3, 4]);
    until_resynch(&mut play);
    play.hears(RESYNCH | RESPONSE, &[]).fails(T1Error::Resynchronized);
    assert_eq!(engine.ifsd(), 32);
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
        .fails(T1Error::Unresponsive);
    assert!(T1Error::Unresponsive.needs_reset());
}

#[test]
fn a_command_that_may_have_been_executed_is_not_sent_twice() {
    let mut engine = warm();
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    until_resynch(&mut play);
    play.hears(RESYNCH | RESPONSE, &[]).fails(T1Error::Resynchronized);
    // The session goes on with both numbers at 0.
    exchange(&mut engine, &[0; 4], &OK, |play| {
        play.sends(I00, &[0; 4]).hears(I00, &OK)
    });
}

#[test]
fn a_command_that_the_card_reported_lost_is_sent_again_after_resynch() {
    exchange(&mut warm(), &[0; 4], &OK, |play| {
        play.hears(R1 | EDC_ERROR, &[])
            .sends(I10, &[0; 4])
            .hears(R1 | EDC_ERROR, &[])
            .sends(I10, &[0; 4])
            .hears(R1 | EDC_ERROR, &[])
            .sends(RESYNCH, &[])
            .hears(RESYNCH | RESPONSE, &[])
            .sends(I00, &[0; 4])
            .hears(I00, &OK)
    });
}

#[test]
fn the_card_may_not_ask_for_resynch() {
    exchange(&mut engine(), &[0; 4], &OK, |play| {
        play.hears(RESYNCH, &[])
            .sends(R0 | OTHER_ERROR, &[])
            .hears(I00, &OK)
    });
}

#[test]
fn the_exchange_of_a_pin_pad_does_not_replace_a_resynch() {
    let mut engine = warm();
    let mut response = [0; 2];
    let _ = Play::new(engine.exchange(&[0; 4], &mut response));
    engine.note_foreign_exchange(true);
    Play::new(engine.exchange(&[9; 4], &mut response)).sends(RESYNCH, &[]);
}

#[test]
fn an_exchange_dropped_half_way_is_followed_by_a_resynch() {
    let mut engine = warm();
    let mut response = [0; 2];
    let _ = Play::new(engine.exchange(&[0; 4], &mut response));
    exchange(&mut engine, &[9; 4], &OK, |play| {
        play.sends(RESYNCH, &[])
            .hears(RESYNCH | RESPONSE, &[])
            .sends(I00, &[9; 4])
            .hears(I00, &OK)
    });
}
