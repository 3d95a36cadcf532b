//! Part 10: what an application sends with a control code, and what a reader says of its PIN pad. Whatever
//! the bytes, no panic; what is decoded goes to the reader whole, and no PIN gets into a log. The line of
//! the table of quirks, choices, then a structure.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_ccid::descriptor::Features;
use pcsc_ccid::message::SlotErrorCode;
use pcsc_ccid::part10::gemalto::{load_messages, FirmwareFeatures, MESSAGES_SIZE};
use pcsc_ccid::part10::pin::{Modification, PinEntry, Verification};
use pcsc_ccid::part10::properties::{pin_properties, tlv_properties, Facts};
use pcsc_ccid::part10::tpdu::{self, Answer, NadRequest};
use pcsc_ccid::part10::{self, escape, secure, ControlFunction};
use pcsc_ccid::quirks::{self, Quirks};
use pcsc_ccid::t1::{Block, Edc, MAX_BLOCK};
use pcsc_fuzz::device_of;

fn entry(entry: &PinEntry) {
    assert!((1..=7).contains(&entry.validation));
    let limit = secure::answer_limit(entry).as_secs();
    assert!((90..=265).contains(&limit));
}

fn verification(bytes: &[u8], quirks: &Quirks, firmware: Option<&FirmwareFeatures>, prologue: [u8; 3]) {
    let Some(pin) = Verification::decode(bytes) else {
        return;
    };
    entry(&pin.entry);
    let apdu = pin.apdu.bytes();
    assert!(apdu.len() >= 4 && bytes.ends_with(apdu));
    secure::escape_before(&pin, &quirks.pin);
    let data = secure::verification(&pin, &quirks.pin, firmware, prologue);
    let sent = data.bytes();
    assert_eq!((sent[0], sent.len()), (0, 15 + apdu.len()));
    assert_eq!((&sent[12..15], &sent[15..]), (&prologue[..], apdu));
    assert_eq!(format!("{data:?}"), format!("SecureData({} bytes)", sent.len()));
    assert_eq!(format!("{:?}", pin.apdu), format!("Apdu({} bytes)", apdu.len()));
}

fn modification(bytes: &[u8], quirks: &Quirks, firmware: Option<&FirmwareFeatures>, prologue: [u8; 3]) {
    let Some(pin) = Modification::decode(bytes) else {
        return;
    };
    entry(&pin.entry);
    let apdu = pin.apdu.bytes();
    assert!(apdu.len() >= 4 && bytes.ends_with(apdu));
    let data = secure::modification(&pin, &quirks.pin, firmware, prologue);
    let sent = data.bytes();
    let indices = sent.len() - 17 - apdu.len();
    assert!(sent[0] == 1 && (1..=3).contains(&indices));
    let (head, own) = sent.split_at(sent.len() - apdu.len());
    assert!(head.ends_with(&prologue) && own == apdu);
}

/// A card's block after the PIN was entered.
fn answer(bytes: &[u8], seq: u8, edc: Edc) {
    let check = edc.compute(bytes);
    let whole = [bytes, &check[..edc.size()]].concat();
    match tpdu::answer(&whole, edc, seq) {
        Ok(Answer::Apdu(apdu)) => assert_eq!(apdu, &bytes[3..]),
        Ok(Answer::Wtx(factor)) => {
            let mut out = [0; MAX_BLOCK];
            let length = tpdu::more_time(0, factor, edc, &mut out);
            let granted = Block::decode(&out[..length], edc).expect("a block");
            assert_eq!(granted.inf, [factor]);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn properties(facts: &Facts<'_>) {
    let [.., validation, timeout2] = pin_properties(facts);
    match facts.firmware {
        // As the reader has it.
        Some(firmware) => assert_eq!(validation, firmware.validation),
        None => assert!(matches!(validation, 2 | 7), "{validation}"),
    }
    assert_eq!(timeout2, 0);
    let tlv = tlv_properties(facts);
    let mut rest = &tlv[..];
    while let [tag, length, more @ ..] = rest {
        assert!((1..=12).contains(tag));
        rest = more
            .get(usize::from(*length)..)
            .expect("a value as long as its length says");
    }
    assert!(rest.is_empty());
}

fuzz_target!(|bytes: &[u8]| {
    let [line, choices, bytes @ ..] = bytes else {
        return;
    };
    let [vendor, product, release] = device_of(*line);
    let quirks = quirks::for_reader(vendor, product, release, 0);
    let reported = FirmwareFeatures::decode(bytes.get(..21).unwrap_or(bytes));
    let firmware = reported.as_ref().filter(|_| choices & 0x01 != 0);
    let prologue = match tpdu::prologue(0, choices >> 7, bytes.len()) {
        Some(prologue) if choices & 0x02 != 0 => prologue,
        _ => [0; 3],
    };
    verification(bytes, &quirks, firmware, prologue);
    modification(bytes, &quirks, firmware, prologue);
    let edc = if choices & 0x04 == 0 { Edc::Lrc } else { Edc::Crc };
    answer(bytes, choices >> 7, edc);
    let features = Features(u32::from(*choices) << 12);
    properties(&Facts {
        vendor,
        product,
        features,
        lcd_layout: u16::from_le_bytes([*line, *choices]),
        quirks: &quirks.pin,
        escapes: choices & 0x08 != 0,
        firmware_id: (choices & 0x10 != 0).then_some(bytes),
        firmware,
    });

    let listed = part10::features(choices >> 5, choices & 0x10 != 0, choices & 0x08 != 0);
    let reply = part10::features_reply(listed);
    assert!(reply.len() <= part10::FEATURES_ROOM);
    for record in reply.chunks(6) {
        let &[_, 4, a, b, c, d] = record else {
            panic!("a feature's record is tag, length and code");
        };
        assert!(ControlFunction::decode(u32::from_be_bytes([a, b, c, d])).is_some());
    }
    if let Some((&code, _)) = bytes.split_first_chunk::<4>() {
        ControlFunction::decode(u32::from_le_bytes(code));
    }
    if let Some(request) = NadRequest::decode(bytes) {
        let (reply, length) = request.reply(Some(*choices));
        assert!((4..=reply.len()).contains(&length));
    }
    // What the user forbids goes through for known readers only.
    if escape::is_allowed(bytes, &quirks, false) {
        assert!(escape::is_allowed(bytes, &quirks, true) && *line < u8::MAX);
        assert!(quirks.any_escape_allowed || quirks.allowed_escapes.iter().any(Option::is_some));
    }
    escape::is_secoder_command(bytes);
    escape::is_pseudo_apdu(bytes);
    if let Some(answer) = escape::info_answer(bytes, u16::from(*choices) << 4) {
        assert!(answer.ends_with(&[0x90, 0x00]));
    }
    assert_eq!(
        load_messages(&String::from_utf8_lossy(bytes)).len(),
        MESSAGES_SIZE
    );
    secure::status_word(SlotErrorCode::decode(*choices));
});
