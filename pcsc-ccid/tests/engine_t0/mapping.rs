//! APDUs as TPDUs (clause 12.2).

use pcsc_ccid::apdu::CommandApdu;
use pcsc_ccid::t0::{DataDirection, StatusWordPolicy, T0Action, T0Error, T0Exchange};

/// Exchanges `apdu` with a card that gets the first bytes of each pair and answers the second ones; `room` is
/// the size of the response buffer.
fn exchange_in(
    room: usize,
    apdu: &[u8],
    policy: StatusWordPolicy,
    script: &[(&[u8], &[u8])],
) -> Result<Vec<u8>, T0Error> {
    let mut response = vec![0; room];
    let command = CommandApdu::parse(apdu).unwrap();
    let mut exchange = T0Exchange::new(apdu, command, policy, &mut response)?;
    let mut action = exchange.start();
    for (expected, answer) in script {
        assert_eq!(action, T0Action::Send, "before {expected:02X?}");
        assert_eq!(exchange.tpdu(), *expected);
        action = exchange.on_response(answer);
    }
    match action {
        T0Action::Done(length) => Ok(response[..length].to_vec()),
        T0Action::Failed(error) => Err(error),
        T0Action::Send => panic!("one more TPDU: {:02X?}", exchange.tpdu()),
    }
}

fn exchange(apdu: &[u8], script: &[(&[u8], &[u8])]) -> Result<Vec<u8>, T0Error> {
    exchange_in(65_538, apdu, StatusWordPolicy::default(), script)
}

fn ok(bytes: &[u8]) -> Result<Vec<u8>, T0Error> {
    Ok(bytes.to_vec())
}

#[test]
fn each_case_is_one_tpdu() {
    // Case 1 has no P3; T=0 wants one (clause 12.2.1).
    assert_eq!(
        exchange(&[0, 0x20, 0, 1], &[(&[0, 0x20, 0, 1, 0], &[0x90, 0])]),
        ok(&[0x90, 0])
    );
    let read = [0, 0xB0, 1, 2, 3];
    assert_eq!(
        exchange(&read, &[(&read, &[7, 8, 9, 0x90, 0])]),
        ok(&[7, 8, 9, 0x90, 0])
    );
    let read_all = [0, 0xB0, 1, 2, 0];
    let answer = [&[0x5A; 256][..], &[0x90, 0]].concat();
    assert_eq!(exchange(&read_all, &[(&read_all, &answer)]), ok(&answer));
    let update = [0, 0xD6, 1, 2, 2, 0xAA, 0xBB];
    assert_eq!(exchange(&update, &[(&update, &[0x90, 0])]), ok(&[0x90, 0]));
    // The TPDU of case 4 has no Le (clause 12.2.4).
    let select = [0, 0xA4, 4, 0, 2, 0xAA, 0xBB, 5];
    assert_eq!(
        exchange(&select, &[(&select[..7], &[0x6A, 0x82])]),
        ok(&[0x6A, 0x82])
    );
    assert_eq!(exchange(&select, &[(&select[..7], &[0x90, 0])]), ok(&[0x90, 0]));
}

#[test]
fn header_and_data_are_parted() {
    let mut response = [0; 258];
    for (apdu, header, data) in [
        (
            &[0, 0x20, 0, 1][..],
            [0, 0x20, 0, 1, 0],
            DataDirection::ToCard(&[]),
        ),
        (&[0, 0xB0, 1, 2, 3], [0, 0xB0, 1, 2, 3], DataDirection::FromCard),
        (
            &[0, 0xD6, 1, 2, 2, 0xAA, 0xBB],
            [0, 0xD6, 1, 2, 2],
            DataDirection::ToCard(&[0xAA, 0xBB]),
        ),
    ] {
        let command = CommandApdu::parse(apdu).unwrap();
        let mut exchange =
            T0Exchange::new(apdu, command, StatusWordPolicy::default(), &mut response).unwrap();
        assert_eq!(exchange.start(), T0Action::Send);
        assert_eq!(exchange.parts(), (header, data));
    }
}

#[test]
fn a_wrong_length_is_corrected_once() {
    let read = [0, 0xB0, 0, 0, 0];
    assert_eq!(
        exchange(
            &read,
            &[(&read, &[0x6C, 2]), (&[0, 0xB0, 0, 0, 2], &[7, 8, 0x90, 0])]
        ),
        ok(&[7, 8, 0x90, 0])
    );
    assert_eq!(
        exchange(&read, &[(&read, &[0x6C, 2]), (&[0, 0xB0, 0, 0, 2], &[0x6C, 3])]),
        ok(&[0x6C, 3])
    );
    // The card has more than was asked for: it is cut (clause 12.2.3).
    let one = [0, 0xB0, 0, 0, 1];
    assert_eq!(
        exchange(
            &one,
            &[(&one, &[0x6C, 3]), (&[0, 0xB0, 0, 0, 3], &[7, 8, 9, 0x90, 0])]
        ),
        ok(&[7, 0x90, 0])
    );
    // Also behind what has come already.
    let select = [0, 0xA4, 0, 0, 1, 0xAA, 4];
    let get_response = |length| [0, 0xC0, 0, 0, length];
    assert_eq!(
        exchange(
            &select,
            &[
                (&select[..6], &[0x61, 3]),
                (&get_response(3), &[1, 2, 3, 0x61, 9]),
                (&get_response(1), &[0x6C, 5]),
                (&get_response(5), &[4, 5, 6, 7, 8, 0x90, 0]),
            ]
        ),
        ok(&[1, 2, 3, 4, 0x90, 0])
    );
    // Nothing was to come from the card, so there is nothing to correct.
    let update = [0, 0xD6, 0, 0, 1, 0xAA];
    assert_eq!(exchange(&update, &[(&update, &[0x6C, 3])]), ok(&[0x6C, 3]));
}

#[test]
fn what_is_available_is_asked_for() {
    let select = [0, 0xA4, 4, 0, 1, 0xAA, 0];
    let sent = &select[..6];
    // As much as there is, or as was wanted; 00 stands for 256.
    assert_eq!(
        exchange(
            &select,
            &[(sent, &[0x61, 2]), (&[0, 0xC0, 0, 0, 2], &[7, 8, 0x90, 0])]
        ),
        ok(&[7, 8, 0x90, 0])
    );
    let two = [0, 0xA4, 4, 0, 1, 0xAA, 2];
    assert_eq!(
        exchange(
            &two,
            &[(sent, &[0x61, 9]), (&[0, 0xC0, 0, 0, 2], &[7, 8, 0x61, 7])]
        ),
        ok(&[7, 8, 0x61, 7])
    );
    let whole = [&[0x5A; 256][..], &[0x90, 0]].concat();
    assert_eq!(
        exchange(&select, &[(sent, &[0x61, 0]), (&[0, 0xC0, 0, 0, 0], &whole)]),
        ok(&whole)
    );
    // In parts, each with a correction of its own.
    assert_eq!(
        exchange(
            &select,
            &[
                (sent, &[0x61, 4]),
                (&[0, 0xC0, 0, 0, 4], &[0x6C, 2]),
                (&[0, 0xC0, 0, 0, 2], &[7, 8, 0x61, 5]),
                (&[0, 0xC0, 0, 0, 5], &[0x6C, 1]),
                (&[0, 0xC0, 0, 0, 1], &[9, 0x62, 0x82]),
            ]
        ),
        ok(&[7, 8, 9, 0x62, 0x82])
    );
    // A card that promises data and gives none would never end.
    assert_eq!(
        exchange(&select, &[(sent, &[0x61, 4]), (&[0, 0xC0, 0, 0, 4], &[0x61, 4])]),
        ok(&[0x61, 4])
    );
    // Case 2, by some cards.
    let read = [0, 0xB0, 0, 0, 5];
    assert_eq!(
        exchange(
            &read,
            &[
                (&read, &[7, 8, 0x61, 9]),
                (&[0, 0xC0, 0, 0, 3], &[1, 2, 3, 0x90, 0])
            ]
        ),
        ok(&[7, 8, 1, 2, 3, 0x90, 0])
    );
    // Nothing was wanted.
    let update = [0, 0xD6, 0, 0, 1, 0xAA];
    assert_eq!(exchange(&update, &[(&update, &[0x61, 3])]), ok(&[0x61, 3]));
}

#[test]
fn the_policy_leaves_status_words_to_the_application() {
    let run = |policy, apdu: &[u8], script: &[(&[u8], &[u8])]| exchange_in(258, apdu, policy, script);
    let read = [0, 0xB0, 0, 0, 0];
    let select = [0, 0xA4, 4, 0, 1, 0xAA, 0];
    let sent = &select[..6];
    assert_eq!(
        run(StatusWordPolicy::Transparent, &read, &[(&read, &[0x6C, 2])]),
        ok(&[0x6C, 2])
    );
    assert_eq!(
        run(StatusWordPolicy::Transparent, &select, &[(sent, &[0x61, 2])]),
        ok(&[0x61, 2])
    );
}

/// ISO/IEC 7816-4, clause 5.4.1: secure messaging and chaining are the command's, the logical channel is the
/// card's.
#[test]
fn added_commands_keep_the_logical_channel_and_nothing_else() {
    for (class, own) in [
        (0x00, 0x00),
        (0x03, 0x03),
        (0x0C, 0x00),
        (0x12, 0x02),
        (0x3F, 0x03),
        (0x40, 0x40),
        (0x6F, 0x4F),
        (0x7A, 0x4A),
        (0x80, 0x80),
        (0xB5, 0xB5),
    ] {
        let select = [class, 0xA4, 4, 0, 1, 0xAA, 0];
        let answers: [(&[u8], &[u8]); 2] =
            [(&select[..6], &[0x61, 1]), (&[own, 0xC0, 0, 0, 1], &[7, 0x90, 0])];
        assert_eq!(exchange(&select, &answers), ok(&[7, 0x90, 0]), "{class:02X}");
    }
}

/// An extended command APDU with so much data, and Le where `le` has bytes.
fn extended(class: u8, data: usize, le: &[u8]) -> Vec<u8> {
    let [_, high, low] = [0, (data >> 8) as u8, data as u8];
    let mut apdu = vec![class, 0xD6, 0, 0, 0, high, low];
    apdu.extend((0..data).map(|at| at as u8));
    apdu.extend(le);
    apdu
}

fn envelope(class: u8, part: &[u8]) -> Vec<u8> {
    [&[class, 0xC2, 0, 0, part.len() as u8], part].concat()
}

#[test]
fn long_data_go_in_envelopes() {
    // The last size that fits a TPDU.
    let apdu = extended(0, 255, &[]);
    let tpdu = [&[0, 0xD6, 0, 0, 255], &apdu[7..]].concat();
    assert_eq!(exchange(&apdu, &[(&tpdu, &[0x90, 0])]), ok(&[0x90, 0]));
    // The first that does not, and one that ends with a whole part.
    for (size, parts) in [(256, 2), (503, 2), (504, 3)] {
        let apdu = extended(0x0C, size, &[]);
        let envelopes: Vec<_> = apdu.chunks(255).map(|part| envelope(0, part)).collect();
        assert_eq!(envelopes.len(), parts);
        let script: Vec<(&[u8], &[u8])> = envelopes.iter().map(|part| (&part[..], &[0x90, 0][..])).collect();
        assert_eq!(exchange(&apdu, &script), ok(&[0x90, 0]), "{size}");
    }
    let apdu = extended(0, 256, &[0, 0]);
    let parts: Vec<_> = apdu.chunks(255).map(|part| envelope(0, part)).collect();
    assert_eq!(
        exchange(
            &apdu,
            &[
                (&parts[0], &[0x90, 0]),
                (&parts[1], &[0x61, 2]),
                (&[0, 0xC0, 0, 0, 2], &[7, 8, 0x90, 0])
            ]
        ),
        ok(&[7, 8, 0x90, 0])
    );
    // The card answers an earlier part: that is its answer to the command.
    assert_eq!(exchange(&apdu, &[(&parts[0], &[0x69, 0x85])]), ok(&[0x69, 0x85]));
    assert_eq!(exchange(&apdu, &[(&parts[0], &[0x61, 0x02])]), ok(&[0x61, 0x02]));
    for status in [[0x6D, 0], [0x6E, 0]] {
        assert_eq!(
            exchange(&apdu, &[(&parts[0], &status)]),
            Err(T0Error::EnvelopeUnsupported)
        );
    }
    assert_eq!(exchange(&apdu, &[(&parts[0], &[0x6D, 1])]), ok(&[0x6D, 1]));
}

#[test]
fn bad_answers_are_errors() {
    let read = [0, 0xB0, 0, 0, 2];
    assert_eq!(exchange(&read, &[(&read, &[])]), Err(T0Error::ResponseTooShort));
    assert_eq!(
        exchange(&read, &[(&read, &[0x90])]),
        Err(T0Error::ResponseTooShort)
    );
    assert_eq!(
        exchange(&read, &[(&read, &[1, 2, 3, 0x90, 0])]),
        Err(T0Error::UnexpectedData)
    );
    let read_all = [0, 0xB0, 0, 0, 0];
    assert_eq!(
        exchange(&read_all, &[(&read_all, &[0x5A; 259])]),
        Err(T0Error::UnexpectedData)
    );
    // A command of case 1 has the same TPDU as one of case 2 with Le 256: data are passed on, up to that.
    let case_1 = [0x80, 0x10, 0, 0];
    let tpdu = [0x80, 0x10, 0, 0, 0];
    assert_eq!(
        exchange(&case_1, &[(&tpdu, &[1, 2, 0x90, 0])]),
        ok(&[1, 2, 0x90, 0])
    );
    assert_eq!(
        exchange(&case_1, &[(&tpdu, &[1, 2, 0x61, 5])]),
        ok(&[1, 2, 0x61, 5])
    );
    let longest = [&[0x5A; 256][..], &[0x90, 0]].concat();
    assert_eq!(exchange(&case_1, &[(&tpdu, &longest)]), ok(&longest));
    assert_eq!(
        exchange(&case_1, &[(&tpdu, &[0x5A; 259])]),
        Err(T0Error::UnexpectedData)
    );
    let update = [0, 0xD6, 0, 0, 1, 0xAA];
    assert_eq!(
        exchange(&update, &[(&update, &[1, 0x90, 0])]),
        Err(T0Error::UnexpectedData)
    );
    for ins in [0x60, 0x6F, 0x90, 0x9F] {
        assert_eq!(
            exchange(&[0, ins, 0, 0], &[]),
            Err(T0Error::InvalidInstruction(ins))
        );
    }
    for ins in [0x5F, 0x70, 0x8F, 0xA0] {
        let tpdu = [0, ins, 0, 0, 0];
        assert_eq!(exchange(&tpdu[..4], &[(&tpdu, &[0x90, 0])]), ok(&[0x90, 0]));
    }
}

#[test]
fn a_response_that_does_not_fit_is_an_error() {
    let read = [0, 0xB0, 0, 0, 2];
    for (room, expected) in [
        (0, Err(T0Error::ResponseTooLong)),
        (1, Err(T0Error::ResponseTooLong)),
        (3, Err(T0Error::ResponseTooLong)),
        (4, ok(&[7, 8, 0x90, 0])),
    ] {
        let answers: [(&[u8], &[u8]); 1] = [(&read, &[7, 8, 0x90, 0])];
        assert_eq!(
            exchange_in(room, &read, StatusWordPolicy::default(), &answers),
            expected,
            "{room}"
        );
    }
}

#[test]
fn an_exchange_is_started_once_and_ends_once() {
    let read = [0, 0xB0, 0, 0, 2];
    let mut response = [0; 258];
    let command = CommandApdu::parse(&read).unwrap();
    let mut exchange = T0Exchange::new(&read, command, StatusWordPolicy::default(), &mut response).unwrap();
    assert_eq!(exchange.on_response(&[0x90, 0]), T0Action::Failed(T0Error::Over));
    let mut exchange = T0Exchange::new(&read, command, StatusWordPolicy::default(), &mut response).unwrap();
    assert_eq!(exchange.start(), T0Action::Send);
    assert_eq!(exchange.start(), T0Action::Failed(T0Error::Over));
    assert_eq!(exchange.on_response(&[0x90, 0]), T0Action::Done(2));
    assert_eq!(exchange.on_response(&[0x90, 0]), T0Action::Failed(T0Error::Over));
}
