//! A card that was recorded is replayed to an unmodified program.

use std::path::Path;

use pcsc_tests::{artifacts, client};

use super::{lines, winscard, with_input, READER};

/// The name of the reader of a replay.
const VIRTUAL: &str = "Virtual PCD 00 00";
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
    let (replayed, said, code) = sim("replay", &record, &program, &calls(VIRTUAL, &again));
    assert_eq!((said.as_str(), code), ("", Some(0)));
    assert_eq!(replayed, recorded);

    let path = record.display();
    for (commands, said, last) in [
        (
            &[SELECT, "transmit 00B0000000"][..],
            "exchange 2: 00000000 was recorded, 00B0000000 came",
            "6F00",
        ),
        (
            &[SELECT],
            "exchange 2: 00000000 was recorded, no command came",
            "9000",
        ),
        (
            &[&again[..], &["transmit 0020008004FEDCBA98"]].concat(),
            "exchange 4: no command was recorded, 0020008004******** came",
            "6F00",
        ),
    ] {
        let (replayed, err, code) = sim("replay", &record, &program, &calls(VIRTUAL, commands));
        assert_eq!((err, code), (format!("pcsc: {path}: {said}.\n"), Some(1)));
        assert!(
            replayed.contains(&format!("00000000 {last}\n00000000 \n")),
            "{replayed}"
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
    let (replayed, said, code) = shell("replay", &script(VIRTUAL, "transmit 80EC0000020102"));
    assert_eq!((replayed, said.as_str(), code), (recorded, "", Some(7)));
    let (_, said, code) = shell("replay", &script(VIRTUAL, SELECT));
    assert!(
        said.contains("exchange 2: 80EC0000020102 was recorded, 00A4"),
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
