//! Records of readers, out of recordings that are whole, cut or damaged.

use super::*;

const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/calls.jsonl");

/// A record without the part of a line at its end.
fn golden() -> &'static [u8] {
    let part = br#"{"event":"call","process":4711,"thr"#;
    GOLDEN
        .strip_suffix(b"\n")
        .and_then(|text| text.strip_suffix(part))
        .unwrap()
}

#[test]
fn steps_are_those_of_the_reader_with_what_is_hidden() {
    let mut readers = readers(golden()).unwrap();
    let reader = readers.remove("pcsc-rs Simulated Reader 00 00").unwrap();
    assert_eq!(reader.hidden, 4);
    let record = reader.into_record("pcsc-rs Simulated Reader 00 00");
    assert_eq!(record.name, "pcsc-rs Simulated Reader");
    let shown: Vec<String> = record
        .steps
        .iter()
        .map(|step| format!("{:02X?}", step.kind))
        .collect();
    let has = |part: &str| {
        let all = shown.join("\n");
        assert!(all.contains(part), "{part} is not in\n{all}");
    };
    has("Card(Present([3B");
    has("Transmit([Some(00), Some(20), Some(00), Some(80), Some(04), None, None, None, None], Ok([6A, 88]))");
    has("Reset");
    has("Card(Absent)");
}

#[test]
fn a_part_of_a_line_is_forgiven_where_the_next_one_counts_it() {
    let text = String::from_utf8(golden().to_vec()).unwrap();
    let with_part = |after: &str| text.replacen(after, &format!("{{\"event\":\"ca\n{after}"), 1);
    let counted = text.lines().find(|line| line.contains("\"lost\":3")).unwrap();
    assert!(readers(with_part(counted).as_bytes()).is_ok());
    let other = text.lines().nth(3).unwrap();
    assert_eq!(readers(with_part(other).as_bytes()).unwrap_err().line, 4);
}

/// The first line of a record.
const PROCESS: &str = concat!(
    r#"{"event":"process","process":1,"thread":1,"microseconds":2,"#,
    r#""format":1,"program":null,"version":"0.1.0","pins":"hidden"}"#
);

/// The line of a call that begins.
fn call_line(time: u32, call: u32, function: &str, arguments: &str) -> String {
    let head = format!(r#"{{"event":"call","process":1,"thread":1,"microseconds":{time},"call":{call},"#);
    head + &format!(r#""function":"{function}","arguments":{{{arguments}}}}}"#)
}

/// The line of a call that returns.
fn return_line(time: u32, call: u32, function: &str, result: &str, results: &str) -> String {
    let head = format!(r#"{{"event":"return","process":1,"thread":1,"microseconds":{time},"call":{call},"#);
    head + &format!(r#""function":"{function}","result":"{result}","results":{{{results}}}}}"#)
}

/// The record of a program with these lines.
fn damage(lines: &[&str]) -> String {
    let mut text = PROCESS.to_owned() + "\n";
    for line in lines {
        text += &line.replace("HEAD", r#""process":1,"thread":1,"microseconds":3"#);
        text += "\n";
    }
    readers(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn damage_is_told_with_its_line() {
    assert_eq!(readers(b"").unwrap_err().to_string(), "line 1: the file is empty");
    let cut = &golden()[..golden().len() - 9];
    let line = golden().split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(
        readers(cut).unwrap_err(),
        RecordError::new(line, "the line has no end: the file is cut")
    );
    let begun = r#"{"event":"call",HEAD,"call":1,"function":"SCardReleaseContext","arguments":{}}"#;
    let ended = |result: &str| {
        let function = r#""function":"SCardReleaseContext""#;
        format!(r#"{{"event":"return",HEAD,"call":1,{function},"result":{result},"results":{{}}}}"#)
    };
    for (lines, expected) in [
        (
            vec![ended("\"0x00000000\"")],
            "line 2: call 1 ends, and has not begun: lines are missing",
        ),
        (
            vec![begun.to_owned(), ended("\"0x0000000G\"")],
            "line 3: \"0x0000000G\" is no return code",
        ),
        (
            vec![begun.to_owned(), ended("7")],
            "line 3: this is no line of a record: invalid type: integer `7`",
        ),
        (
            vec!["{".to_owned()],
            "line 2: this is no line of a record: EOF while parsing an object at byte 1",
        ),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let found = damage(&lines);
        assert!(found.starts_with(expected), "{found}");
    }
    let newer = String::from_utf8(golden().to_vec())
        .unwrap()
        .replace("\"format\":1", "\"format\":2");
    assert_eq!(
        readers(newer.as_bytes()).unwrap_err().to_string(),
        "line 1: the record has format 2, and this program reads format 1"
    );
}

#[test]
fn no_damage_is_a_panic() {
    // A byte of each line is replaced, removed, or the end of the file.
    let lines: Vec<&[u8]> = golden().split_inclusive(|byte| *byte == b'\n').collect();
    let mut at = 0;
    for (number, line) in lines.iter().enumerate() {
        let place = at + (number * 37) % line.len();
        at += line.len();
        let mut text = golden().to_vec();
        text[place] ^= 0x01;
        let _ = readers(&text).map(|readers| {
            readers
                .into_iter()
                .for_each(|(name, reader)| drop(reader.into_record(&name)));
        });
        text.remove(place);
        let _ = readers(&text);
        let _ = readers(&text[..place]);
    }
}

/// A recording of calls to `R 00 00`, to which connection 7 was made: each a function, its arguments, its
/// result and its results. Each begins 10 microseconds after the one before it, and takes 5.
fn recorded(calls: &[(&str, &str, &str, &str)]) -> ReaderCalls {
    let mut text = PROCESS.to_owned() + "\n";
    for ((function, arguments, result, results), number) in calls.iter().zip(1..) {
        let time = 10 * number;
        text += &call_line(time, number, function, arguments);
        text += "\n";
        text += &return_line(time + 5, number, function, result, results);
        text += "\n";
    }
    let mut readers = readers(text.as_bytes()).expect("a recording");
    readers.remove("R 00 00").unwrap_or_default()
}

const OK: &str = "0x00000000";
const CONNECT: &str = r#""context":1,"reader":"R 00 00","share_mode":2,"protocols":3"#;
const CARD: &str = r#""card":7"#;

/// A connection with this protocol.
fn connect(results: &'static str) -> (&'static str, &'static str, &'static str, &'static str) {
    ("SCardConnect", CONNECT, OK, results)
}

/// The steps of a record, without lines and delays.
fn kinds(reader: ReaderCalls) -> Vec<StepKind> {
    let record = reader.into_record("R 00 00");
    record.steps.into_iter().map(|step| step.kind).collect()
}

#[test]
fn a_card_has_the_atr_of_the_first_call_that_shows_it() {
    let card = |atr: &[u8]| StepKind::Card(RecordedCard::Present(atr.to_vec()));
    let status = |atr| ("SCardStatus", CARD, OK, atr);
    // Only the protocol is known.
    let t0 = connect(r#""card":7,"protocol":1"#);
    let t1 = connect(r#""card":7,"protocol":2"#);
    assert_eq!(kinds(recorded(&[t0])), [card(&T0_ATR)]);
    assert_eq!(kinds(recorded(&[t1, t1])), [card(&T1_ATR)]);
    let known = status(r#""state":"0x00000034","atr":"3B01""#);
    assert_eq!(kinds(recorded(&[t1, known, t0])), [card(&[0x3B, 1])]);
    // Another card, whose removal no call has shown.
    let other = status(r#""state":"0x00000034","atr":"3B02""#);
    assert_eq!(
        kinds(recorded(&[t1, known, known, other])),
        [card(&[0x3B, 1]), card(&[0x3B, 2])]
    );
    let gone = status(r#""state":"0x00000002","atr":"""#);
    assert_eq!(
        kinds(recorded(&[t1, known, gone, gone])),
        [card(&[0x3B, 1]), StepKind::Card(RecordedCard::Absent)]
    );
    // A connection to the reader alone shows no card.
    assert_eq!(kinds(recorded(&[connect(r#""card":7,"protocol":0"#)])), []);
}

#[test]
fn codes_and_states_say_what_is_in_the_slot() {
    let absent = [StepKind::Card(RecordedCard::Absent)];
    let mute = [StepKind::Card(RecordedCard::Mute)];
    for (code, expected) in [
        ("0x8010000C", &absent[..]),
        ("0x80100069", &absent),
        ("0x80100066", &mute),
        ("0x8010000B", &[]),
    ] {
        let call = ("SCardConnect", CONNECT, code, "");
        assert_eq!(kinds(recorded(&[call])), expected, "{code}");
    }
    let present = [StepKind::Card(RecordedCard::Present(vec![0x3B, 0]))];
    for (state, expected) in [
        ("0x00000012", &absent[..]),
        ("0x00000222", &mute),
        ("0x00000022", &present),
        ("0x00000006", &[]),
    ] {
        let results = format!(r#""readers":[{{"event_state":"{state}","atr":"3B00"}}]"#);
        let call = (
            "SCardGetStatusChange",
            r#""context":1,"timeout":0,"readers":[{"reader":"R 00 00","current_state":"0x00000000"}]"#,
            OK,
            &*results,
        );
        assert_eq!(kinds(recorded(&[call])), expected, "{state}");
    }
}

#[test]
fn a_reset_is_one_that_succeeded_with_a_card() {
    let card = connect(r#""card":7,"protocol":2"#);
    for (function, field) in [
        ("SCardReconnect", "initialization"),
        ("SCardDisconnect", "disposition"),
        ("SCardEndTransaction", "disposition"),
    ] {
        let resets = |connected, what: u32, result| {
            let arguments = format!(r#""card":7,"{field}":{what}"#);
            let steps = kinds(recorded(&[connected, (function, &arguments, result, "")]));
            steps.iter().filter(|kind| **kind == StepKind::Reset).count()
        };
        assert_eq!(resets(card, 1, OK), 1, "{function}");
        assert_eq!(resets(card, 0, OK), 0, "{function}");
        assert_eq!(resets(card, 1, "0x8010000B"), 0, "{function}");
        assert_eq!(
            resets(connect(r#""card":7,"protocol":0"#), 1, OK),
            0,
            "{function}"
        );
    }
}

#[test]
fn answers_are_those_that_reached_the_reader() {
    let card = connect(r#""card":7,"protocol":2"#);
    let step = |function, arguments: &str, result, results| {
        let reader = recorded(&[card, (function, &format!("{CARD},{arguments}"), result, results)]);
        let (exchanges, hidden) = (reader.exchanges(), reader.hidden);
        (kinds(reader).into_iter().nth(1), exchanges, hidden)
    };
    let transmit = |result, results| step("SCardTransmit", r#""command":"00B0""#, result, results);
    let command = vec![Some(0), Some(0xB0)];
    let sent = |answer| Some(StepKind::Transmit(command.clone(), answer));
    assert_eq!(
        transmit(OK, r#""response":"9000""#),
        (sent(Ok(vec![0x90, 0])), 1, 0)
    );
    // A hidden byte is 0, and counted.
    assert_eq!(
        transmit(OK, r#""response":"**9000""#),
        (sent(Ok(vec![0, 0x90, 0])), 1, 1)
    );
    // Too long for the caller's buffer.
    assert_eq!(
        transmit("0x80100008", r#""response":"9000""#),
        (sent(Ok(vec![0x90, 0])), 1, 0)
    );
    assert_eq!(transmit(OK, ""), (sent(Ok(Vec::new())), 1, 0));
    assert_eq!(
        transmit("0x80100016", ""),
        (sent(Err(SlotError::Communication)), 1, 0)
    );
    assert_eq!(transmit("0x8010000B", ""), (None, 0, 0));
    assert_eq!(
        step(
            "SCardControl",
            r#""control_code":"0x42000D48","data":"01""#,
            "0x8010001F",
            ""
        ),
        (
            Some(StepKind::Control(
                0x4200_0D48,
                vec![Some(1)],
                Err(SlotError::Unsupported)
            )),
            1,
            0
        )
    );
    assert_eq!(
        step(
            "SCardGetAttrib",
            r#""attribute":"0x00090303""#,
            OK,
            r#""value":"3B""#
        ),
        (Some(StepKind::GetAttribute(0x0009_0303, Ok(vec![0x3B]))), 0, 0)
    );
    assert_eq!(
        step("SCardSetAttrib", r#""attribute":5,"value":"**""#, OK, ""),
        (Some(StepKind::SetAttribute(5, vec![None], Ok(()))), 0, 0)
    );
}

#[test]
fn steps_come_in_the_order_in_which_they_began() {
    let transmit = |line, command: &str| {
        let arguments = format!(r#"{CARD},"command":"{command}""#);
        call_line(line, line, "SCardTransmit", &arguments)
    };
    let end = |line, time| return_line(time, line, "SCardTransmit", OK, r#""response":"9000""#);
    let begun = call_line(3, 3, "SCardConnect", CONNECT);
    let ended = return_line(4, 3, "SCardConnect", OK, r#""card":7,"protocol":2"#);
    // Of two threads, whose calls return in the other order.
    let lines = [
        PROCESS.to_owned(),
        begun,
        ended,
        transmit(10, "01"),
        transmit(25, "02"),
        end(25, 30),
        end(10, 40),
    ];
    let mut readers = readers((lines.join("\n") + "\n").as_bytes()).expect("a recording");
    let record = readers
        .remove("R 00 00")
        .expect("the reader")
        .into_record("R 00 00");
    assert_eq!(record.name, "R");
    let steps: Vec<(usize, u128)> = record
        .steps
        .iter()
        .map(|step| (step.line, step.delay.as_micros()))
        .collect();
    assert_eq!(steps, [(3, 0), (7, 6), (6, 15)]);
    for (name, base) in [
        ("R 0A 1f", "R"),
        ("R 0 00", "R 0 00"),
        ("R 00 0G", "R 00 0G"),
        ("R 00", "R 00"),
    ] {
        assert_eq!(base_name(name), base);
    }
}
