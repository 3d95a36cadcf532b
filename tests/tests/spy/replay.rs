//! A card that was recorded is replayed to an unmodified program.

use std::path::Path;

use pcsc_tests::{artifacts, client, run};

use super::{lines, winscard, with_input, READER};

const SELECT: &str = "transmit 00A404000AA00000006203010C0601";

/// The codes and the results of these calls, and what `pcsc sim` says and ends with.
fn sim(how: &str, record: &Path, command: &[&str], calls: &[String]) -> (String, String, Option<i32>) {
    artifacts::library();
    let mut sim = client(artifacts::binary("pcsc-cli", "pcsc"));
    sim.args(["sim", how])
        .arg(record)
        .args(command)
        .env_remove("LD_LIBRARY_PATH");
    if how == "record" {
        sim.env("PCSCLITE_BACKEND", "simulated");
    }
    let output = with_input(&mut sim, calls);
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (out, err, output.status.code())
}

/// A text without the number of the line in the record.
fn without_line(text: &str) -> String {
    match text
        .split_once(" (line ")
        .and_then(|(before, rest)| Some((before, rest.split_once(')')?.1)))
    {
        Some((before, after)) => format!("{before}{after}"),
        None => text.to_owned(),
    }
}

fn calls(reader: &str, commands: &[&str]) -> Vec<String> {
    let connect = format!("connect 2 3 {reader}");
    lines(&[&["establish", &connect, "status"], commands, &["release"]].concat())
}

#[test]
fn a_recorded_card_answers_as_it_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let winscard = winscard();
    let program = [winscard.as_str(), "libpcsclite.so.1"];
    let commands = [SELECT, "transmit 00000000", "transmit 002000800431323334"];
    let (recorded, said, code) = sim("record", &record, &program, &calls(READER, &commands));
    assert_eq!((said.as_str(), code), ("", Some(0)));
    assert!(recorded.contains("48656C6C6F20776F726C64219000"), "{recorded}");

    // With another PIN, which is not in the record.
    let again = [SELECT, "transmit 00000000", "transmit 002000800439383736"];
    let (replayed, said, code) = sim("replay", &record, &program, &calls(READER, &again));
    assert_eq!((said.as_str(), code), ("", Some(0)));
    assert_eq!(replayed, recorded);

    let path = record.display();
    for (commands, said, last) in [
        (
            &[SELECT, "transmit 00B0000000"][..],
            "exchange 2: 00000000 was recorded, 00B0000000 came",
            "80100016 ",
        ),
        (
            &[SELECT],
            "exchange 2: 00000000 was recorded, no command came",
            "00000000 9000",
        ),
        (
            &[&again[..], &["transmit 0020008004FEDCBA98"]].concat(),
            "exchange 4: no command was recorded, 0020008004******** came",
            "80100016 ",
        ),
    ] {
        let (replayed, err, code) = sim("replay", &record, &program, &calls(READER, commands));
        assert_eq!(
            (without_line(&err), code),
            (format!("pcsc: {path}: {said}.\n"), Some(1))
        );
        assert!(replayed.ends_with(&format!("{last}\n00000000 \n")), "{replayed}");
    }
}

#[test]
fn a_command_that_differs_is_reported_when_it_comes_and_a_missing_one_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let winscard = winscard();
    let commands = [SELECT, "transmit 00000000"];
    let (_, said, code) = sim(
        "record",
        &record,
        &[&winscard, "libpcsclite.so.1"],
        &calls(READER, &commands),
    );
    assert_eq!((said.as_str(), code), ("", Some(0)));
    let program = ["sh", "-c", "\"$0\" libpcsclite.so.1; echo ended >&2", &winscard];
    let path = record.display();
    let differs = format!("pcsc: {path}: exchange 2: 00000000 was recorded, 00B0000000 came.\nended\n");
    let missing = format!("ended\npcsc: {path}: exchange 2: 00000000 was recorded, no command came.\n");
    for (commands, expected) in [
        (
            &[SELECT, "transmit 00B0000000", "transmit 00B0000001"][..],
            differs,
        ),
        (&[SELECT], missing),
    ] {
        let (_, said, code) = sim("replay", &record, &program, &calls(READER, commands));
        assert_eq!((without_line(&said), code), (expected, Some(1)));
    }
}

/// A program that uses all that a reader has: features, a PIN pad, attributes, resets.
#[test]
fn a_recorded_reader_answers_as_it_did() {
    const PAD: &str = "Gemalto USB GemPCPinpad SmartCard Reader 00 00";
    const FEATURES: &str = "control 42000D48 -";
    // PIN_VERIFY (PC/SC part 10) with a PIN in its command, which no program should put there.
    const VERIFY: &str = "control 42330006 1E1E82040004040201090400000000090000000020008104";
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let program = format!(
        "PCSCLITE_SIMULATED=${{MODEL-$PCSCLITE_SIMULATED}} exec {} libpcsclite.so.1",
        winscard()
    );
    let play = |how: &str, verify: &str, reset: &str| {
        let calls = calls(
            PAD,
            &[
                FEATURES,
                verify,
                "attribute 90303",
                SELECT,
                "begin",
                "end 0",
                reset,
                "status",
                SELECT,
                "attribute 1",
                "disconnect 1",
            ],
        );
        let model = if how == "record" {
            "export MODEL=gempc-pinpad; "
        } else {
            ""
        };
        let (out, said, code) = sim(how, &record, &["sh", "-c", &format!("{model}{program}")], &calls);
        (out, without_line(&said), code)
    };
    let verify = format!("{VERIFY}31323334");
    let (recorded, said, code) = play("record", &verify, "reconnect 2 3 1");
    assert_eq!((said.as_str(), code), ("", Some(0)));
    // Nothing was typed. The attribute 1 does not exist.
    let codes: Vec<&str> = recorded.lines().map(|line| &line[..8]).collect();
    assert_eq!(
        (recorded.lines().nth(4), codes[12]),
        (Some("00000000 6400"), "8010001F"),
        "{recorded}"
    );
    let text = std::fs::read_to_string(&record).expect("a record");
    assert!(!text.contains("31323334"), "{text}");
    let other_pin = format!("{VERIFY}39383736");
    let (replayed, said, code) = play("replay", &other_pin, "reconnect 2 3 1");
    assert_eq!((replayed, said.as_str(), code), (recorded, "", Some(0)));

    let path = record.display();
    let shown = format!("{VERIFY}********");
    let slower = verify.replace("1E1E", "1F1E");
    let shown_slower = shown.replace("1E1E", "1F1E");
    for (verify, reset, expected) in [
        (
            &verify,
            "reconnect 2 3 0",
            "exchange 4: a reset was recorded, 00A404000AA00000006203010C0601 came".to_owned(),
        ),
        (
            &slower,
            "reconnect 2 3 1",
            format!("exchange 2: {shown} was recorded, {shown_slower} came"),
        ),
    ] {
        let (_, said, code) = play("replay", verify, reset);
        assert_eq!((said, code), (format!("pcsc: {path}: {expected}.\n"), Some(1)));
    }
}

/// A card that is inserted and removed while the program waits for it.
#[test]
fn a_recorded_card_comes_and_goes() {
    const CALLS: &str = r#"
        coproc W { exec "$1" libpcsclite.so.1; }
        call() { echo "$1" >&"${W[1]}"; read -r line <&"${W[0]}"; echo "$line"; }
        call establish
        call "watch 0 0 $2"
        $3
        call "watch 60000 10 $2"
        call "connect 2 3 $2"
        call "transmit 00A404000AA00000006203010C0601"
        $4
        call "watch 60000 10020 $2"
        call "transmit 00A404000AA00000006203010C0601"
        call release"#;
    const SCR3310: &str = "SCM Microsystems Inc. SCR 3310 [CCID Interface] 00 00";
    artifacts::library();
    let folder = tempfile::tempdir().expect("a folder");
    let [record, socket] = ["record", "socket"].map(|name| folder.path().join(name));
    let pcsc = artifacts::binary("pcsc-cli", "pcsc");
    let bash = |insert: &str, remove: &str| {
        ["bash", "-c", CALLS, "bash", &winscard(), SCR3310, insert, remove].map(str::to_owned)
    };
    let order = |order: &str| format!("{} sim {order}", pcsc.display());
    let mut recording = client(&pcsc);
    recording
        .args(["sim", "run", "--models", "scr3310", "--socket"])
        .arg(&socket);
    recording
        .arg("--")
        .arg(&pcsc)
        .args(["sim", "record"])
        .arg(&record);
    recording.args(bash(&order("insert 0 t1"), &order("remove 0")));
    let recorded = run(recording.env_remove("LD_LIBRARY_PATH"), super::LIMIT).stdout();
    let last: Vec<&str> = recorded.lines().skip(4).collect();
    assert_eq!(
        last,
        ["00000000 9000", "00000000 20012", "80100069", "00000000"],
        "{recorded}"
    );

    let bash = bash(":", ":");
    let bash: Vec<&str> = bash.iter().map(String::as_str).collect();
    let (replayed, said, code) = sim("replay", &record, &bash, &[]);
    assert_eq!((replayed, said.as_str(), code), (recorded, "", Some(0)));
}

/// The line of a damaged record is named, and the program is not run.
#[test]
fn a_damaged_record_is_refused_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let winscard = winscard();
    let program = [winscard.as_str(), "libpcsclite.so.1"];
    let (_, _, code) = sim("record", &record, &program, &calls(READER, &[SELECT]));
    assert_eq!(code, Some(0));
    let text = std::fs::read_to_string(&record).expect("a record");
    let lines = text.lines().count();
    let connect = |line: &str| line.contains("\"call\"") && line.contains("SCardConnect");
    let at = text.lines().position(connect).expect("a call");
    let others = text.lines().enumerate().filter(|(other, _)| *other != at);
    let without_connect: String = others.map(|(_, line)| format!("{line}\n")).collect();
    for (damaged, reason) in [
        (
            text[..text.len() - 5].to_owned(),
            format!("line {lines}: the line has no end: the file is cut"),
        ),
        (
            without_connect,
            format!(
                "line {}: call 2 ends, and has not begun: lines are missing",
                at + 1
            ),
        ),
        (
            "pcsc-usb-record 2\n".to_owned(),
            "line 1: the record has version 2, and this program reads version 1".to_owned(),
        ),
    ] {
        std::fs::write(&record, damaged).expect("a file");
        let (out, said, code) = sim("replay", &record, &program, &calls(READER, &[SELECT]));
        let path = record.display();
        assert_eq!(
            (out.as_str(), said, code),
            ("", format!("pcsc: {path}: {reason}.\n"), Some(2))
        );
    }
}

#[test]
fn processes_that_follow_each_other_go_on_with_the_same_card() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let script = |reader: &str, last: &str| {
        let run = |command: &str| {
            let calls = calls(reader, &[command]).join("\\n");
            format!("printf '{calls}\\n' | {} libpcsclite.so.1; ", winscard())
        };
        run(SELECT) + &run(last) + "exit 7"
    };
    let shell = |how: &str, script: &str| sim(how, &record, &["sh", "-c", script], &[]);
    let (recorded, _, code) = shell("record", &script(READER, "transmit 80EC0000020102"));
    assert_eq!(code, Some(7));
    let (replayed, said, code) = shell("replay", &script(READER, "transmit 80EC0000020102"));
    assert_eq!((replayed, said.as_str(), code), (recorded, "", Some(7)));
    let (_, said, code) = shell("replay", &script(READER, SELECT));
    assert!(
        without_line(&said).contains("exchange 2: 80EC0000020102 was recorded, 00A4"),
        "{said}"
    );
    assert_eq!(code, Some(7), "the command has failed itself");
}

#[test]
fn opensc_tool_gets_the_recorded_answers() {
    if !super::forms::is_installed("opensc-tool") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let command = [
        "opensc-tool",
        "-s",
        "00A404000AA00000006203010C0601",
        "-s",
        "00000000",
    ];
    let (recorded, said, code) = sim("record", &record, &command, &[]);
    assert_eq!(code, Some(0), "{said}");
    let (replayed, said, code) = sim("replay", &record, &command, &[]);
    assert_eq!((replayed, code), (recorded, Some(0)), "{said}");
}
