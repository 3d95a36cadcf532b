use super::escape::{info_answer, is_allowed, is_pseudo_apdu, is_secoder_command};
use super::gemalto::{load_messages, FirmwareFeatures, MESSAGES_SIZE};
use super::pin::{Modification, Verification};
use super::properties::{pin_properties, tlv_properties, Facts};
use super::secure::{answer_limit, escape_before, modification, status_word, verification};
use super::tpdu::{self, Answer, NadRequest};
use super::*;
use crate::descriptor::Features;
use crate::message::SlotErrorCode;
use crate::quirks::{for_reader, PinQuirks, Quirks};
use crate::t1::Edc;
use alloc::format;
use alloc::vec;
use proptest::prelude::*;

const VERIFY_APDU: [u8; 13] = [
    0x00, 0x20, 0x00, 0x81, 0x08, 0x20, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77,
];

/// PIN_VERIFY as callers on a little-endian machine send it.
fn verify(apdu: &[u8]) -> Vec<u8> {
    let mut bytes = vec![30, 15, 0x82, 0x08, 0x00, 8, 4, 2, 1, 0x09, 0x04, 0, 0, 0, 0];
    bytes.extend_from_slice(&(apdu.len() as u32).to_le_bytes());
    bytes.extend_from_slice(apdu);
    bytes
}

/// PIN_MODIFY with two blocks of 8 bytes.
fn modify(messages: u8) -> Vec<u8> {
    let mut bytes = vec![
        0, 0, 0x82, 0x08, 0x00, 0, 8, 12, 4, 3, 2, messages, 0x07, 0x04, 10, 11, 12, 0, 0, 0,
    ];
    let mut apdu = vec![0x00, 0x24, 0x00, 0x81, 16];
    apdu.extend_from_slice(&[0xFF; 16]);
    bytes.extend_from_slice(&(apdu.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&apdu);
    bytes
}

fn features_of(validation: u8, mended: bool) -> FirmwareFeatures {
    let mut answer = [0; 21];
    answer[3] = validation;
    answer[8] = if mended { 0x0C } else { 0x08 };
    answer[13] = 4;
    answer[14] = 16;
    answer[15] = 1;
    answer[16] = 0x69;
    answer[17] = 0x85;
    FirmwareFeatures::decode(&answer).expect("21 bytes")
}

#[test]
fn control_codes_are_those_of_pcsc_lite() {
    assert_eq!(GET_FEATURE_REQUEST, 0x4200_0D48);
    assert_eq!(Feature::VerifyPinDirect.code(), 0x4233_0006);
    assert_eq!(Feature::GetTlvProperties.code(), 0x4233_0012);
    assert_eq!(Feature::CcidEscCommand.code(), 0x4200_0001);
    assert_eq!(
        ControlFunction::decode(0x0031_3520),
        Some(ControlFunction::Features)
    );
    assert_eq!(
        ControlFunction::decode(0x4233_0007),
        Some(ControlFunction::ModifyPin)
    );
    assert_eq!(
        ControlFunction::decode(control_code(3601)),
        Some(ControlFunction::UsbPath)
    );
    assert_eq!(ControlFunction::decode(0x4233_0001), None);
}

#[test]
fn features_are_listed_with_big_endian_codes() {
    assert_eq!(
        features_reply(features(0, false, false)),
        [0x12, 4, 0x42, 0x33, 0x00, 0x12]
    );
    let all = features_reply(features(3, true, true));
    let tags: Vec<u8> = all.chunks(6).map(|record| record[0]).collect();
    assert_eq!(tags, [0x06, 0x07, 0x0A, 0x08, 0x12, 0x13]);
    assert_eq!(all.len(), FEATURES_ROOM);
    assert_eq!(all[30..], [0x13, 4, 0x42, 0x00, 0x00, 0x01]);
}

#[test]
fn a_verification_is_decoded_and_put_as_ccid_wants_it() {
    let bytes = verify(&VERIFY_APDU);
    let pin = Verification::decode(&bytes).expect("sound");
    assert_eq!((pin.entry.min_digits, pin.entry.max_digits), (4, 8));
    assert_eq!(pin.entry.language, 0x0409);
    assert_eq!(answer_limit(&pin.entry).as_secs(), 90);
    let data = verification(&pin, &PinQuirks::default(), None, [0; 3]);
    let mut expected = vec![0, 30, 0x82, 0x08, 0x00, 8, 4, 2, 1, 0x09, 0x04, 0, 0, 0, 0];
    expected.extend_from_slice(&VERIFY_APDU);
    assert_eq!(data.bytes(), expected);
}

#[test]
fn the_other_byte_order_means_the_same() {
    let bytes = verify(&VERIFY_APDU);
    let mut swapped = bytes.clone();
    swapped.swap(5, 6);
    swapped.swap(9, 10);
    swapped[15..19].reverse();
    assert_eq!(Verification::decode(&swapped), Verification::decode(&bytes));
    let bytes = modify(3);
    let mut swapped = bytes.clone();
    swapped.swap(7, 8);
    swapped.swap(12, 13);
    swapped[20..24].reverse();
    assert_eq!(Modification::decode(&swapped), Modification::decode(&bytes));
}

#[test]
fn a_structure_with_a_wrong_field_is_refused() {
    let wrong: [fn(&mut Vec<u8>); 3] = [|b| b.truncate(22), |b| b.push(0), |b| b[15..19].fill(0xFF)];
    for change in wrong {
        let mut bytes = verify(&VERIFY_APDU);
        change(&mut bytes);
        assert_eq!(Verification::decode(&bytes), None, "{bytes:02X?}");
    }
    // As long as it says, and too short for a command.
    assert_eq!(Verification::decode(&verify(&[0; 3])), None);
    let wrong: [fn(&mut Vec<u8>); 2] = [|b| b.truncate(27), |b| b[11] = 4];
    for change in wrong {
        let mut bytes = modify(3);
        change(&mut bytes);
        assert_eq!(Modification::decode(&bytes), None, "{bytes:02X?}");
    }
}

/// As libccid: what has no meaning in part 10 may have one for the reader.
#[test]
fn other_values_go_to_the_reader_as_they_are() {
    // Where the byte is in the structure, and in PC_to_RDR_Secure.
    for (at, sent_at) in [(2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (8, 8), (23, 19)] {
        for value in [0, 2, 9, 0xFF] {
            let mut bytes = verify(&VERIFY_APDU);
            bytes[at] = value;
            let pin = Verification::decode(&bytes).expect("passed on");
            let data = verification(&pin, &PinQuirks::default(), None, [0; 3]);
            assert_eq!(data.bytes()[sent_at], value, "{at}");
        }
    }
    for (at, sent_at) in [
        (2, 2),
        (3, 3),
        (4, 4),
        (5, 5),
        (6, 6),
        (7, 7),
        (8, 8),
        (9, 9),
        (28, 24),
    ] {
        for value in [0, 9, 0xFF] {
            let mut bytes = modify(3);
            bytes[at] = value;
            let pin = Modification::decode(&bytes).expect("passed on");
            let data = modification(&pin, &PinQuirks::default(), None, [0; 3]);
            assert_eq!(data.bytes()[sent_at], value, "{at}");
        }
    }
}

/// Readers that take one number of messages only get it, whatever the caller wants.
#[test]
fn a_number_of_messages_is_put_right_for_the_readers_that_need_it() {
    let mut bytes = verify(&VERIFY_APDU);
    bytes[8] = 3;
    let pin = Verification::decode(&bytes).expect("passed on");
    for (vendor, product, messages) in [(0x08E6, 0x3478, 1), (0x413C, 0x2101, 0), (0x1234, 0x5678, 3)] {
        let quirks = crate::quirks::for_reader(vendor, product, 0x0200, 0);
        let data = verification(&pin, &quirks.pin, None, [0; 3]);
        assert_eq!(data.bytes()[8], messages);
    }
}

#[test]
fn what_callers_send_is_accepted() {
    // A header alone; a header and an Lc or Le; data and Le; extended length.
    for apdu in [
        &[0x00, 0x20, 0x00, 0x82][..],
        &[0x00, 0x20, 0x00, 0x82, 0x00],
        &[0x00, 0x20, 0x00, 0x82, 0x08],
        &[0x00, 0x20, 0x00, 0x82, 0x08, 1, 2, 3, 4, 5, 6, 7, 8, 0],
        &[0x00, 0x20, 0x00, 0x82, 0x00, 0x00, 0x08, 1, 2, 3, 4, 5, 6, 7, 8],
    ] {
        assert!(Verification::decode(&verify(apdu)).is_some(), "{apdu:02X?}");
    }
    // A prologue that the caller has made, for a driver that leaves T=1 to it.
    let mut bytes = verify(&VERIFY_APDU);
    bytes[12..15].copy_from_slice(&[0x00, 0x40, 13]);
    assert!(Verification::decode(&bytes).is_some());
    // Conditions without meaning, on which readers crash.
    for value in [0, 8, 0xFF] {
        bytes[7] = value;
        let pin = Verification::decode(&bytes).expect("sound");
        assert_eq!(pin.entry.validation, 2);
    }
    // A condition with meaning stays.
    bytes[7] = 7;
    assert_eq!(Verification::decode(&bytes).expect("sound").entry.validation, 7);
    bytes[0] = 255;
    let pin = Verification::decode(&bytes).expect("sound");
    assert_eq!(answer_limit(&pin.entry).as_secs(), 265);
}

#[test]
fn message_indices_follow_their_number() {
    let indices = |messages, quirks: &PinQuirks, firmware: Option<&FirmwareFeatures>| {
        let bytes = modify(messages);
        let pin = Modification::decode(&bytes).expect("sound");
        let data = modification(&pin, quirks, firmware, [0; 3]);
        let bytes = data.bytes();
        assert_eq!(bytes[..11], [1, 0, 0x82, 0x08, 0x00, 0, 8, 12, 4, 3, 2]);
        assert_eq!(bytes[12..14], [0x07, 0x04]);
        let end = bytes.len() - 3 - 21;
        (bytes[11], bytes[14..end].to_vec())
    };
    let plain = PinQuirks::default();
    assert_eq!(indices(0, &plain, None), (0, vec![10]));
    assert_eq!(indices(1, &plain, None), (1, vec![10, 11]));
    assert_eq!(indices(2, &plain, None), (2, vec![10, 11]));
    assert_eq!(indices(3, &plain, None), (3, vec![10, 11, 12]));
    assert_eq!(indices(0xFF, &plain, None), (0xFF, vec![10, 11, 12]));
    let of = |vendor, product| for_reader(vendor, product, 0x0500, 0).pin;
    assert_eq!(indices(2, &of(0x04E6, 0xE003), None), (0, vec![0, 0, 0]));
    assert_eq!(indices(1, &of(0x046A, 0x0010), None), (3, vec![10, 11, 12]));
    assert_eq!(indices(0, &of(0x046A, 0x00A1), None), (0xFF, vec![10, 11, 12]));
    assert_eq!(indices(1, &of(0x046A, 0x00A1), None), (1, vec![10, 11]));
    assert_eq!(indices(0, &of(0x08E6, 0x3478), None), (0, vec![10, 11, 12]));
    let mended = features_of(7, true);
    assert_eq!(indices(0, &of(0x08E6, 0x3478), Some(&mended)), (0, vec![10]));
}

#[test]
fn pin_pads_get_what_they_accept() {
    let mut bytes = verify(&VERIFY_APDU);
    bytes[7] = 7;
    bytes[8] = 0xFF;
    let pin = Verification::decode(&bytes).expect("sound");
    let fields = |vendor, product, firmware: Option<&FirmwareFeatures>| {
        let quirks = for_reader(vendor, product, 0x0211, 0).pin;
        let data = verification(&pin, &quirks, firmware, [0; 3]);
        <[u8; 4]>::try_from(&data.bytes()[5..9]).expect("four bytes")
    };
    assert_eq!(fields(0, 0, None), [8, 4, 7, 0xFF]);
    assert_eq!(fields(0x08E6, 0x3478, None), [8, 4, 2, 1]);
    assert_eq!(fields(0x0982, 0x0008, None), [8, 4, 2, 1]);
    assert_eq!(fields(0x413C, 0x2101, None), [8, 4, 7, 0]);
    assert_eq!(fields(0x413C, 0x2100, None), [4, 8, 7, 0]);
    assert_eq!(
        fields(0x08E6, 0x34C3, Some(&features_of(3, true))),
        [8, 4, 3, 0xFF]
    );
    assert_eq!(
        fields(0x08E6, 0x34C3, Some(&features_of(8, true))),
        [8, 4, 2, 0xFF]
    );
}

#[test]
fn the_spr532_is_told_to_append_the_pin() {
    let quirks = for_reader(0x04E6, 0xE003, 0x0510, 0).pin;
    let mut bytes = verify(&[0x00, 0x20, 0x00, 0x82]);
    assert_eq!(
        escape_before(&Verification::decode(&bytes).expect("sound"), &quirks),
        None
    );
    bytes[3] = 0;
    let pin = Verification::decode(&bytes).expect("sound");
    assert_eq!(escape_before(&pin, &quirks), Some(&[0x80, 0x02, 0x00][..]));
    assert_eq!(escape_before(&pin, &PinQuirks::default()), None);
}

#[test]
fn nothing_secret_is_shown() {
    let bytes = verify(&VERIFY_APDU);
    let pin = Verification::decode(&bytes).expect("sound");
    let data = verification(&pin, &PinQuirks::default(), None, [0; 3]);
    let shown = format!("{pin:?} {data:?} {:?}", Answer::Apdu(&[0x77, 0x77]));
    assert!(!shown.contains("77") && !shown.contains("119"), "{shown}");
    assert!(
        shown.contains("Apdu(13 bytes)") && shown.contains("SecureData(28 bytes)"),
        "{shown}"
    );
}

#[test]
fn the_pin_pad_answers_in_status_words() {
    assert_eq!(status_word(SlotErrorCode::PinTimeout), Some([0x64, 0x00]));
    assert_eq!(status_word(SlotErrorCode::PinCancelled), Some([0x64, 0x01]));
    assert_eq!(status_word(SlotErrorCode::Mute), None);
}

#[test]
fn properties_of_a_plain_reader() {
    let quirks = PinQuirks::default();
    let facts = Facts {
        vendor: 0x076B,
        product: 0x3021,
        features: Features(0x2_05B2),
        lcd_layout: 0,
        quirks: &quirks,
        escapes: false,
        firmware_id: None,
        firmware: None,
    };
    assert_eq!(pin_properties(&facts), [0, 0, 7, 0]);
    assert_eq!(
        tlv_properties(&facts),
        [1, 2, 0, 0, 3, 1, 0, 9, 1, 0, 11, 2, 0x6B, 0x07, 12, 2, 0x21, 0x30, 10, 4, 0, 0, 0, 0]
    );
    let facts = Facts {
        features: Features(0x1_05B2),
        escapes: true,
        lcd_layout: 0x0210,
        ..facts
    };
    assert_eq!(
        tlv_properties(&facts),
        [
            1, 2, 0x10, 0x02, 4, 2, 0x10, 0, 5, 2, 2, 0, 3, 1, 0, 9, 1, 1, 11, 2, 0x6B, 0x07, 12, 2, 0x21,
            0x30, 10, 4, 0, 0, 1, 0
        ]
    );
}

#[test]
fn properties_of_a_pin_pad() {
    let quirks = for_reader(0x08E6, 0x3478, 0x0100, 0).pin;
    let firmware = features_of(3, true);
    let mut facts = Facts {
        vendor: 0x08E6,
        product: 0x3478,
        features: Features(0x1_0230),
        lcd_layout: 0,
        quirks: &quirks,
        escapes: false,
        firmware_id: Some(b"GemTwRC6-V2.11"),
        firmware: None,
    };
    assert_eq!(pin_properties(&facts)[2], 2);
    let properties = tlv_properties(&facts);
    assert_eq!(properties[7..9], [8, 14]);
    assert_eq!(properties[23..32], [6, 1, 4, 7, 1, 8, 2, 1, 2]);
    facts.firmware = Some(&firmware);
    assert_eq!(pin_properties(&facts)[2], 3);
    assert_eq!(tlv_properties(&facts)[32..41], [6, 1, 4, 7, 1, 16, 2, 1, 3]);
    let long = [b'x'; 300];
    facts.firmware_id = Some(&long);
    assert_eq!(tlv_properties(&facts)[7..9], [8, 255]);
    assert_eq!(FirmwareFeatures::decode(&[0; 20]), None);
}

#[test]
fn escapes_are_off_but_for_a_few() {
    let plain = Quirks::default();
    assert!(!is_allowed(&[0x02], &plain, false));
    assert!(is_allowed(&[0x02], &plain, true));
    let gemalto = for_reader(0x08E6, 0x3437, 0x0200, 0);
    assert!(is_allowed(&[0x02], &gemalto, false));
    assert!(!is_allowed(&[0x02, 0x00], &gemalto, false));
    assert!(!is_allowed(&[0x1F, 0x02], &gemalto, false));
    assert!(!is_allowed(&[], &gemalto, false));
    let switch = [0x52, 0xF8, 0x04, 0x01, 0x00, 0x02];
    assert!(!is_allowed(&switch, &gemalto, false));
    let prox = for_reader(0x08E6, 0x5503, 0x0100, 1);
    assert!(is_allowed(&switch, &prox, false) && !is_allowed(&switch[..5], &prox, false));
    assert!(is_allowed(
        &[0xFF, 0x70],
        &for_reader(0x076B, 0x5427, 0x0100, 0),
        false
    ));
}

#[test]
fn only_secoder_commands_go_to_a_secoder() {
    assert!(is_secoder_command(&[0x20, 0x70, 0, 0, 0]));
    assert!(is_secoder_command(&[0x20, 0x74, 0, 0, 0, 1, 2]));
    assert!(!is_secoder_command(&[0x20, 0x75, 0, 0, 0]));
    assert!(!is_secoder_command(&[0x20, 0x70, 0, 0]));
    assert!(!is_secoder_command(&[0x20, 0x70, 0, 0, 1]));
    assert!(is_pseudo_apdu(&[0xFF, 0xC2, 0x01, 0x06, 0x00]));
    assert!(!is_pseudo_apdu(&[0xFF, 0xC2]));
}

#[test]
fn the_driver_answers_for_the_idtoken() {
    for (what, text) in [
        (1, &b"KOBIL systems\x90\x00"[..]),
        (3, b"IDToken\x90\x00"),
        (6, b"12.04\x90\x00"),
        (7, b"2012.2.7\x90\x00"),
    ] {
        let answer = info_answer(&[0xFF, 0x9A, 1, what, 0], 0x1204);
        assert_eq!(answer.as_deref(), Some(text));
    }
    assert_eq!(info_answer(&[0xFF, 0x9A, 1, 2, 0], 0), None);
    assert_eq!(info_answer(&[0xFF, 0x9A, 1, 1], 0), None);
}

#[test]
fn messages_fill_the_display() {
    for language in ["en_GB", "de", "fr_CH", "es", "it", "pt", "nl", "tr_TR.UTF-8"] {
        let escape = load_messages(language);
        assert_eq!(escape.len(), MESSAGES_SIZE);
        assert_eq!(escape[..5], [0xB2, 0xA0, 0x00, 0x4D, 0x4C]);
        let texts: Vec<&[u8]> = escape[5..].chunks(16).map(|text| text.trim_ascii()).collect();
        assert!(texts.iter().all(|text| text.is_ascii() && !text.is_empty()));
        // The number of tries takes the star's place.
        assert!(texts[6].contains(&b'*'));
        assert_eq!(language.starts_with("en"), escape == load_messages("C"));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_structure_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Verification::decode(&bytes);
        let _ = Modification::decode(&bytes);
        let _ = tpdu::answer(&bytes, Edc::Lrc, 0);
        let _ = FirmwareFeatures::decode(&bytes);
        let _ = NadRequest::decode(&bytes);
        let _ = (is_secoder_command(&bytes), is_pseudo_apdu(&bytes), info_answer(&bytes, 0));
    }

    #[test]
    fn what_is_sent_holds_what_was_asked(
        mut bytes in proptest::collection::vec(any::<u8>(), 12),
        digits in (0u8..20, 1u8..20),
        messages: u8,
        header: [u8; 4],
        data in proptest::collection::vec(any::<u8>(), 0..40),
        big_endian: bool,
    ) {
        let (most, least) = (digits.0.max(digits.1), digits.0.min(digits.1));
        bytes[5..7].copy_from_slice(&if big_endian { [least, most] } else { [most, least] });
        bytes[8] = messages;
        bytes.extend_from_slice(&[0; 3]);
        let mut apdu = header.to_vec();
        if !data.is_empty() {
            apdu.push(data.len() as u8);
            apdu.extend_from_slice(&data);
        }
        let size = apdu.len() as u32;
        bytes.extend_from_slice(&if big_endian { size.to_be_bytes() } else { size.to_le_bytes() });
        bytes.extend_from_slice(&apdu);
        let pin = Verification::decode(&bytes);
        prop_assert!(pin.is_some());
        if let Some(pin) = pin {
            let data = verification(&pin, &PinQuirks::default(), None, [0; 3]);
            let sent = data.bytes();
            prop_assert_eq!(sent.len(), 15 + apdu.len());
            prop_assert_eq!(&sent[15..], &apdu[..]);
            // `bPINOperation`, then the structure without its second timeout and its length.
            prop_assert_eq!(&sent[..2], &[0, bytes[0]]);
            prop_assert_eq!(&sent[2..5], &bytes[2..5]);
            let digits = if big_endian { [bytes[6], bytes[5]] } else { [bytes[5], bytes[6]] };
            prop_assert_eq!(&sent[5..7], &digits);
            prop_assert!((1..=7).contains(&sent[7]));
        }
    }

    #[test]
    fn one_wrong_field_is_found_or_does_no_harm(at in 0usize..45, value: u8) {
        let mut bytes = modify(3);
        bytes[at] = value;
        if let Some(pin) = Modification::decode(&bytes) {
            let data = modification(&pin, &PinQuirks::default(), None, [0; 3]);
            prop_assert_eq!(&data.bytes()[data.bytes().len() - 21..], pin.apdu.bytes());
        }
    }
}
