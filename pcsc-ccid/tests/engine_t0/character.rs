//! One TPDU, character by character (clause 10.3).

use pcsc_ccid::t0::{Character, CharacterAction, DataDirection, T0Error, MAX_TPDU_RESPONSE};

const HEADER: [u8; 5] = [0x00, 0xB0, 1, 2, 3];
const INS: u8 = 0xB0;

/// Bytes that the card sends, with what goes to it before and how many bytes are then expected.
type Part<'a> = (&'a [u8], usize, &'a [u8]);

/// Plays the parts and gives the response or the error.
fn play(header: [u8; 5], direction: DataDirection<'_>, parts: &[Part<'_>]) -> Result<Vec<u8>, T0Error> {
    let mut response = [0; MAX_TPDU_RESPONSE];
    let mut line = Character::new(header, direction, &mut response)?;
    let mut step = line.start();
    for (at, (sent, expect, answer)) in parts.iter().enumerate() {
        assert_eq!(step, CharacterAction::Transfer { expect: *expect }, "part {at}");
        assert_eq!(line.outgoing(), *sent, "part {at}");
        step = line.on_bytes(answer);
    }
    match step {
        CharacterAction::Done(length) => Ok(response[..length].to_vec()),
        CharacterAction::Failed(error) => Err(error),
        CharacterAction::Transfer { expect } => panic!("{expect} more bytes are expected"),
    }
}

fn ok(bytes: &[u8]) -> Result<Vec<u8>, T0Error> {
    Ok(bytes.to_vec())
}

#[test]
fn a_command_without_data() {
    let header = [0x00, 0x20, 0, 1, 0];
    let nothing = DataDirection::ToCard(&[]);
    assert_eq!(play(header, nothing, &[(&header, 2, &[0x90, 0])]), ok(&[0x90, 0]));
    // SW1 and SW2 apart, and NULL before.
    assert_eq!(
        play(
            header,
            nothing,
            &[(&header, 2, &[0x60]), (&[], 2, &[0x60, 0x63]), (&[], 1, &[0xC2])]
        ),
        ok(&[0x63, 0xC2])
    );
    // 60 as SW2 is no NULL.
    assert_eq!(
        play(header, nothing, &[(&header, 2, &[0x90, 0x60])]),
        ok(&[0x90, 0x60])
    );
    // There is nothing to go on with.
    for ack in [0x20, 0xDF] {
        assert_eq!(
            play(header, nothing, &[(&header, 2, &[ack])]),
            Err(T0Error::InvalidProcedure(ack))
        );
    }
}

#[test]
fn data_from_the_card() {
    let from = DataDirection::FromCard;
    // All at once after INS.
    assert_eq!(
        play(
            HEADER,
            from,
            &[(&HEADER, 1, &[INS]), (&[], 5, &[7, 8, 9, 0x90, 0])]
        ),
        ok(&[7, 8, 9, 0x90, 0])
    );
    assert_eq!(
        play(HEADER, from, &[(&HEADER, 1, &[INS, 7, 8, 9, 0x90, 0])]),
        ok(&[7, 8, 9, 0x90, 0])
    );
    // In pieces: fewer are expected each time.
    assert_eq!(
        play(
            HEADER,
            from,
            &[
                (&HEADER, 1, &[INS]),
                (&[], 5, &[7]),
                (&[], 4, &[8, 9]),
                (&[], 2, &[0x90]),
                (&[], 1, &[0])
            ]
        ),
        ok(&[7, 8, 9, 0x90, 0])
    );
    // One byte at a time after its complement; a procedure byte follows each, or SW1 and SW2 the last.
    assert_eq!(
        play(
            HEADER,
            from,
            &[
                (&HEADER, 1, &[!INS]),
                (&[], 2, &[7, !INS]),
                (&[], 2, &[8, INS]),
                (&[], 3, &[9, 0x90, 0])
            ]
        ),
        ok(&[7, 8, 9, 0x90, 0])
    );
    // Data that look like procedure bytes are data.
    assert_eq!(
        play(
            HEADER,
            from,
            &[(&HEADER, 1, &[INS]), (&[], 5, &[0x60, INS, 0x90, 0x90, 0])]
        ),
        ok(&[0x60, INS, 0x90, 0x90, 0])
    );
    // The card ends before it has given all.
    assert_eq!(
        play(HEADER, from, &[(&HEADER, 1, &[0x6A]), (&[], 1, &[0x82])]),
        ok(&[0x6A, 0x82])
    );
    assert_eq!(
        play(
            HEADER,
            from,
            &[(&HEADER, 1, &[!INS]), (&[], 2, &[7, 0x62]), (&[], 1, &[0x81])]
        ),
        ok(&[7, 0x62, 0x81])
    );
    // P3 0 stands for 256.
    let all = [0x00, INS, 0, 0, 0];
    let answer = [&[0x5A; 256][..], &[0x90, 0]].concat();
    assert_eq!(
        play(all, from, &[(&all, 1, &[INS]), (&[], 258, &answer)]),
        ok(&answer)
    );
}

#[test]
fn data_to_the_card() {
    let to = DataDirection::ToCard(&[7, 8, 9]);
    assert_eq!(
        play(HEADER, to, &[(&HEADER, 1, &[INS]), (&[7, 8, 9], 2, &[0x90, 0])]),
        ok(&[0x90, 0])
    );
    assert_eq!(
        play(
            HEADER,
            to,
            &[
                (&HEADER, 1, &[!INS]),
                (&[7], 1, &[0x60]),
                (&[], 1, &[!INS]),
                (&[8], 1, &[INS]),
                (&[9], 2, &[0x90]),
                (&[], 1, &[0])
            ]
        ),
        ok(&[0x90, 0])
    );
    // The card refuses the data.
    assert_eq!(
        play(
            HEADER,
            to,
            &[(&HEADER, 1, &[!INS]), (&[7], 1, &[0x6A]), (&[], 1, &[0x80])]
        ),
        ok(&[0x6A, 0x80])
    );
}

#[test]
fn more_than_the_card_may_send_is_an_error() {
    let header = [0x00, 0x20, 0, 1, 0];
    assert_eq!(
        play(header, DataDirection::ToCard(&[]), &[(&header, 2, &[0x90, 0, 0])]),
        Err(T0Error::UnexpectedData)
    );
    // It goes on before it has the data that it asked for.
    assert_eq!(
        play(
            HEADER,
            DataDirection::ToCard(&[7, 8, 9]),
            &[(&HEADER, 1, &[INS, 0x90])]
        ),
        Err(T0Error::UnexpectedData)
    );
}

#[test]
fn other_procedure_bytes_are_errors() {
    for byte in [0x00, 0x5F, 0x70, 0x8F, 0xA0, INS ^ 1, 0xFF] {
        assert_eq!(
            play(HEADER, DataDirection::FromCard, &[(&HEADER, 1, &[byte])]),
            Err(T0Error::InvalidProcedure(byte)),
            "{byte:02X}"
        );
    }
    for sw1 in [0x61, 0x6F, 0x90, 0x9F] {
        assert_eq!(
            play(
                HEADER,
                DataDirection::FromCard,
                &[(&HEADER, 1, &[sw1]), (&[], 1, &[0])]
            ),
            ok(&[sw1, 0])
        );
    }
}

#[test]
fn null_bytes_have_a_limit() {
    let most = usize::from(Character::MAX_NULLS);
    for (nulls, expected) in [(most, ok(&[0x90, 0])), (most + 1, Err(T0Error::NullLimit))] {
        let mut response = [0; MAX_TPDU_RESPONSE];
        let mut line = Character::new(HEADER, DataDirection::FromCard, &mut response).unwrap();
        line.start();
        let bytes = [&vec![0x60; nulls][..], &[0x90, 0]].concat();
        let result = match line.on_bytes(&bytes) {
            CharacterAction::Done(length) => Ok(response[..length].to_vec()),
            CharacterAction::Failed(error) => Err(error),
            step => panic!("{step:?}"),
        };
        assert_eq!(result, expected, "{nulls}");
    }
}

#[test]
fn an_exchange_that_failed_is_over() {
    type Fail = fn(&mut Character<'_>) -> CharacterAction;
    let failures: [(Fail, T0Error); 4] = [
        (|line| line.on_timeout(), T0Error::Timeout),
        (|line| line.on_bytes(&[]), T0Error::Timeout),
        (|line| line.on_parity_error(), T0Error::Parity),
        (|line| line.on_bytes(&[0]), T0Error::InvalidProcedure(0)),
    ];
    for (fail, error) in failures {
        let mut response = [0; MAX_TPDU_RESPONSE];
        let mut line = Character::new(HEADER, DataDirection::FromCard, &mut response).unwrap();
        assert_eq!(
            line.on_bytes(&[INS]),
            CharacterAction::Failed(T0Error::Over),
            "before the start"
        );
        assert_eq!(line.start(), CharacterAction::Transfer { expect: 1 });
        assert_eq!(fail(&mut line), CharacterAction::Failed(error));
        assert_eq!(line.on_bytes(&[INS]), CharacterAction::Failed(T0Error::Over));
        assert_eq!(line.start(), CharacterAction::Failed(T0Error::Over));
        assert!(line.outgoing().is_empty());
    }
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let refused = |header, direction| play(header, direction, &[]).unwrap_err();
    for data in [&[][..], &[7, 8], &[7, 8, 9, 10]] {
        assert_eq!(
            refused(HEADER, DataDirection::ToCard(data)),
            T0Error::InvalidLength
        );
    }
    for ins in [0x60, 0x9F] {
        let header = [0, ins, 0, 0, 0];
        assert_eq!(
            refused(header, DataDirection::FromCard),
            T0Error::InvalidInstruction(ins)
        );
    }
}

#[test]
fn a_response_that_does_not_fit_is_an_error() {
    for room in [0, 1, 2, 3, 4] {
        let mut response = vec![0; room];
        let mut line = Character::new(HEADER, DataDirection::FromCard, &mut response).unwrap();
        line.start();
        assert_eq!(
            line.on_bytes(&[INS, 7, 8, 9, 0x90, 0]),
            CharacterAction::Failed(T0Error::ResponseTooLong),
            "{room}"
        );
    }
}
