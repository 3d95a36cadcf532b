//! Commands for the reader itself: escapes, SECODER commands, pseudo APDUs.

use super::*;

/// What comes of a command for the reader, and whether the reader got it.
fn sent(
    device: (u16, u16, u16),
    options: ReaderOptions,
    code: u32,
    command: &[u8],
) -> (Result<usize, ReaderError>, bool) {
    let unknown = || message(0x83, &[], [0x40, 0, 0]);
    // Gemalto's are asked twice who they are.
    let mut reader = opened(device, 0, options, &[status(), unknown(), unknown()]).unwrap();
    reader.transport().incoming.clear();
    answers(&mut reader, &[message(0x83, &[0x55, 0xAA], [0, 0, 0])]);
    let mut answer = [0; 2];
    let result = reader.control(0, code, command, &mut answer);
    let got = &reader.transport().outgoing;
    let is_sent = match got.as_slice() {
        [] => false,
        [escape] => escape[0] == ESCAPE && &escape[10..] == command,
        more => panic!("{more:02X?}"),
    };
    assert_eq!(answer == [0x55, 0xAA], is_sent);
    (result, is_sent)
}

#[test]
fn escapes_go_to_the_reader_only_where_they_are_allowed() {
    const REFUSED: (Result<usize, ReaderError>, bool) = (Err(ReaderError::Unsupported), false);
    const SENT: (Result<usize, ReaderError>, bool) = (Ok(2), true);
    let user_allows = ReaderOptions::default().with_driver_options(1);
    let (any, prox_du, omnikey_5427) = (
        (0xFFFF, 0xFFFF, 0x0100),
        (0x08E6, 0x5503, 0x0100),
        (0x076B, 0x5427, 0x0100),
    );
    let switch = [0x52, 0xF8, 0x04, 0x01, 0x00, 0x02];
    for (device, options, command, expected) in [
        (any, ReaderOptions::default(), &[0x02][..], REFUSED),
        (any, user_allows, &[0x02], SENT),
        (prox_du, ReaderOptions::default(), &[0x02], SENT),
        (prox_du, ReaderOptions::default(), &[0x6A], REFUSED),
        (prox_du, ReaderOptions::default(), &switch, SENT),
        (prox_du, ReaderOptions::default(), &switch[..5], REFUSED),
        (omnikey_5427, ReaderOptions::default(), &[0xFF, 0x70], SENT),
    ] {
        let what = format!("{device:04X?} {command:02X?}");
        assert_eq!(
            sent(device, options, VENDOR_IFD_EXCHANGE, command),
            expected,
            "{what}"
        );
    }
}

#[test]
fn secoder_commands_go_to_the_readers_that_have_them() {
    let direct = Feature::MctReaderDirect.code();
    let secoder = [0x20, 0x70, 0x00, 0x00, 0x00];
    let (midentity, any) = ((0x0D46, 0x4289, 0x0100), (0xFFFF, 0xFFFF, 0x0100));
    let user_allows = ReaderOptions::default().with_driver_options(1);
    assert_eq!(
        sent(midentity, ReaderOptions::default(), direct, &secoder),
        (Ok(2), true)
    );
    for (device, options, command) in [
        (any, user_allows, &secoder[..]),
        (midentity, user_allows, &[0x20, 0x75, 0x00, 0x00, 0x00]),
        (midentity, user_allows, &[0x02]),
    ] {
        let refused = (Err(ReaderError::Unsupported), false);
        assert_eq!(sent(device, options, direct, command), refused, "{command:02X?}");
    }
}

#[test]
fn a_pseudo_apdu_is_no_t1_block() {
    /// The answer to Escape 6A of a reader that has pseudo-APDUs.
    const FIRMWARE: [u8; 21] = [0, 0, 0, 2, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 4, 8, 0, 0, 0, 0, 0, 0];
    const PSEUDO: [u8; 5] = [0xFF, 0xC2, 0x01, 0x06, 0x00];
    for (firmware, sent) in [
        (&FIRMWARE[..], &PSEUDO[..]),
        (&[], &[0x00, 0x00, 0x05, 0xFF, 0xC2, 0x01, 0x06, 0x00, 0x3F]),
    ] {
        let mut script = Script::default();
        let answers = [
            status(),
            message(0x83, firmware, [0, 0, 0]),
            message(0x83, b"GemTest", [0, 0, 0]),
            message(0x80, &[0x3B, 0x80, 0x01, 0x81], [0, 0, 0]),
            message(0x82, &[0x11, 0x10, 0, 0x4D, 0, 0x20, 0], [0, 0, 1]),
            message(0x80, &[0x90, 0x00], [0, 0, 0]),
        ];
        script.incoming.extend(answers.map(In::Bytes));
        let device = identity((0x08E6, 0xFFFF, 0x0100));
        // TPDU level, and nothing to negotiate.
        let interface = plain_interface(0x1_00BA);
        let mut reader = Reader::open(script, device, &interface, ReaderOptions::default()).unwrap();
        reader.power_on(0, Reset::Cold).unwrap();
        reader.set_protocol(0, Protocol::T1).unwrap();
        reader.transport().outgoing.clear();
        let result = transmit(&mut reader, &PSEUDO);
        let outgoing = &reader.transport().outgoing;
        assert_eq!(&outgoing[0][10..], sent, "{result:?}");
    }
}

/// It may ask its user for something.
#[test]
fn a_pseudo_apdu_is_waited_for_whoever_made_the_reader() {
    // Short APDUs, TPDUs, characters, extended APDUs.
    for level in [0x2_00BA, 0x1_00BA, 0x0_00BA, 0x4_00BA] {
        for (protocol, atr, parameters) in [
            (Protocol::T0, &ATR[..], &[0x11, 0x00, 0, 10, 0][..]),
            (
                Protocol::T1,
                &[0x3B, 0x80, 0x01, 0x81],
                &[0x11, 0x10, 0, 0x4D, 0, 0x20, 0],
            ),
        ] {
            let script = Script::answering([status()]);
            let interface = plain_interface(level);
            let mut reader = script.open(&interface);
            let set = message(0x82, parameters, [0, 0, protocol as u8]);
            answers(&mut reader, &[message(0x80, atr, [0, 0, 0]), set]);
            common::power_up(&mut reader, protocol).unwrap();
            let before = reader.transport().now;
            let unanswered = transmit(&mut reader, &[0xFF, 0xC2, 0x01, 0x06, 0x00]);
            assert_eq!(unanswered, Err(ReaderError::Transport(TransportError::Timeout)));
            let waited = reader.transport().now - before;
            assert!(
                waited >= Duration::from_secs(90),
                "{level:X} {protocol:?}: {waited:?}"
            );
        }
    }
}

/// A PIN to be appended to a header, and one for a block in the command.
#[test]
fn the_spr532_is_told_to_append_a_pin() {
    const VERIFY: u32 = Feature::VerifyPinDirect.code();
    let spr532 = (0x04E6, 0xE003, 0x0510);
    let structure = |block: u8, apdu: &[u8]| {
        let mut bytes = vec![0, 0, 0x82, block, 0, 8, 4, 2, 1, 9, 4, 0, 0, 0, 0];
        bytes.extend((apdu.len() as u32).to_le_bytes());
        bytes.extend(apdu);
        bytes
    };
    let header = structure(0, &[0x00, 0x20, 0x00, 0x80]);
    let with_block = structure(8, &[0x00, 0x20, 0x00, 0x80, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (pin, expected) in [(header, &[ESCAPE, SECURE][..]), (with_block, &[SECURE])] {
        let script = Script::answering([status()]);
        let mut interface = plain_interface(FEATURES);
        interface.descriptor.pin_support = 3;
        let mut reader =
            Reader::open(script, identity(spr532), &interface, ReaderOptions::default()).unwrap();
        let set = message(0x82, &[0x11, 0x00, 0, 10, 0], [0, 0, 0]);
        answers(&mut reader, &[message(0x80, &ATR, [0, 0, 0]), set]);
        common::power_up(&mut reader, Protocol::T0).unwrap();
        reader.transport().incoming.clear();
        let entered = message(0x80, &[0x90, 0x00], [0, 0, 0]);
        match expected.len() {
            1 => answers(&mut reader, &[entered]),
            _ => answers(&mut reader, &[message(0x83, &[], [0, 0, 0]), entered]),
        }
        assert_eq!(reader.control(0, VERIFY, &pin, &mut [0; 2]), Ok(2));
        assert_eq!(kinds(&mut reader), expected);
        if expected.len() == 2 {
            assert_eq!(reader.transport().outgoing[0][10..], [0x80, 0x02, 0x00]);
        }
    }
}
