//! What every command prints with Debian's pcscd, beside what it prints on simulated readers: the same models
//! with the same cards, by the same driver.
//!
//! `backends.txt` is a transcript: after `$ ` a command, then its lines and, after `? `, its exit code. A
//! line that only simulated readers have begins with `-`, one that only pcscd has with `+`. `UPDATE_GOLDEN=1`
//! writes it anew; read the difference.

use std::fs;

use pcsc_tests::{assert_same, Live};

use super::*;

const MODELS: &str = "gempc-pinpad,scr3310,scr3310";

/// Arguments for a shell. NAME is the name of reader 1.
const COMMANDS: &[&str] = &[
    "list",
    "list --json",
    "watch --once",
    "watch --once --json",
    "watch --once --no-atr --only cards --json",
    "apdu -r 0 a40400:a00000006203010c0601= 00=",
    "apdu -r 0 a40400:a00000006203010c0601= 00=6a82 00 --json",
    "apdu -r 0 reset 00 --transaction --json",
    "apdu -r 1 00",
    "apdu -r 0 --protocol t0 00",
    "apdu -r 0 80ec:0102/0000",
    "atr",
    "atr -r 0 --json",
    "atr -r 2",
    "features -r 0",
    "features -r 0 --json",
    "features -r 1",
    "doctor",
    "doctor --json",
    "bench -r 0",
    "bench -r 1 --json",
    "with opensc-tool --list-readers",
    // Each way to choose a reader.
    "list -r 1",
    "list -r 'NAME'",
    "list -r '01 00'",
    "list -r any",
    "watch --once -r any",
    "list -r 3",
    "list -r 00",
    "list -r nobody --json",
    "apdu -r '00' a4",
    "list --wait -t 0 -r nobody",
];

/// Where commands find readers.
struct Place<'a> {
    environment: [(&'static str, String); 2],
    name: String,
    /// What differs from run to run, and what stands for it.
    volatile: Vec<(String, &'a str)>,
}

/// The transcript of a command.
fn transcribe(place: &Place<'_>, command: &str) -> String {
    let program = artifacts::binary("pcsc-cli", "pcsc");
    let arguments = command.replace("NAME", &place.name);
    let mut shell = client("sh");
    shell
        .args(["-c", &format!("exec 2>&1; '{}' {arguments}", program.display())])
        .envs(place.environment.iter().map(|(name, value)| (name, value)))
        .env("HOME", "/nonexistent")
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("XDG_CACHE_HOME");
    let output = run(&mut shell, LIMIT);
    let mut text = without_waits(&String::from_utf8_lossy(&output.stdout));
    if command.starts_with("doctor --json") {
        text = without_libraries(&text);
    }
    let mut lines: Vec<String> = text.lines().filter_map(steady).collect();
    if !output.status.success() {
        lines.push(format!("? {}", output.status.code().unwrap_or(-1)));
    }
    let mut text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    // Behind `steady`: a time of 104.4 µs has a version in it.
    for (found, shown) in &place.volatile {
        text = text.replace(found, shown);
    }
    text
}

/// What doctor finds, but for this machine's libraries.
fn without_libraries(json: &str) -> String {
    let mut report: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let findings = report["findings"].as_array_mut().expect("findings");
    findings.retain(|finding| finding["subject"] != "library");
    serde_json::to_string_pretty(&report).expect("JSON")
}

/// A line without what a clock or this machine's packages say. `None` for one that is about these alone.
fn steady(line: &str) -> Option<String> {
    // A row of pcsc bench: its call.
    if let Some((row, _)) = line.split_once(" µs") {
        return Some(
            row.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
                .to_owned()
                + " N µs",
        );
    }
    let field = line.split_once("\": ");
    if let Some((name, value)) =
        field.filter(|(name, _)| name.ends_with("median_us") || name.ends_with("round_trips"))
    {
        let is_null = value.starts_with("null");
        return Some(format!("{name}\": {}", if is_null { "null" } else { "N" }));
    }
    if line.contains("library") {
        return None;
    }
    let is_time = |text: &str| text.ends_with('Z') && text.contains(':');
    let without = |text: &str, separator: &str| -> String {
        let words = text.split(separator);
        let words: Vec<&str> = words
            .map(|word| if is_time(word) { "TIME" } else { word })
            .collect();
        words.join(separator)
    };
    Some(without(&without(line, " "), "\""))
}

/// The lines of both, as the transcript has them.
fn merged(folder: &Path, simulated: &str, pcscd: &str) -> String {
    let files = [folder.join("simulated"), folder.join("pcscd")];
    fs::write(&files[0], simulated).expect("a file");
    fs::write(&files[1], pcscd).expect("a file");
    let mut diff = Command::new("diff");
    diff.args([
        "--old-line-format=-%L",
        "--new-line-format=+%L",
        "--unchanged-line-format= %L",
    ])
    .args(&files);
    String::from_utf8(run(&mut diff, LIMIT).stdout).expect("UTF-8")
}

#[test]
fn commands_print_the_same_with_pcscd_as_on_simulated_readers() {
    let folder = tempfile::tempdir().expect("a folder");
    artifacts::library();
    let socket = folder.path().join("sim.socket").display().to_string();
    let mut played = client(artifacts::binary("pcsc-cli", "pcsc"));
    played
        .args([
            "sim", "run", "--models", MODELS, "--cards", "t1", "--socket", &socket,
        ])
        .env_remove("LD_LIBRARY_PATH");
    let mut played = Live::start(played);
    played.until("export ");
    let simulated = Place {
        environment: [
            ("PCSCLITE_BACKEND", "simulated".into()),
            ("PCSCLITE_SIMULATED", socket.clone()),
        ],
        name: "SCM Microsystems Inc. SCR 3310 [CCID Interface] 01 00".into(),
        volatile: vec![(socket, "SOCKET")],
    };

    let pcscd = Pcscd::start_driver(&["gempc-pinpad:card=t1", "scr3310", "scr3310"]);
    let version = match pcscd.context().backend() {
        pcsc_client::BackendKind::Daemon { version, .. } => version.to_string(),
        other => panic!("{other}"),
    };
    let socket = pcscd.socket().display().to_string();
    let daemon = Place {
        environment: [
            ("PCSCLITE_BACKEND", "daemon".into()),
            ("PCSCLITE_CSOCK_NAME", socket.clone()),
        ],
        name: pcscd.reader(1).name(),
        volatile: vec![(socket, "SOCKET"), (version, "VERSION")],
    };

    let mut found = String::new();
    for command in COMMANDS {
        let [simulated, daemon] = [&simulated, &daemon].map(|place| transcribe(place, command));
        found += &format!("$ pcsc {command}\n{}", merged(folder.path(), &simulated, &daemon));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/backends.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &found).expect("the transcript");
    }
    let expected = fs::read_to_string(&golden).expect("the transcript");
    assert_same("pcsc", ("backends.txt", &expected), ("found", &found));
}

/// The choice by a USB port needs a device on a bus: `tests/guest/tests/standalone/commands.rs`.
#[test]
fn a_reader_of_pcscd_is_chosen_by_its_serial_number() {
    let pcscd = Pcscd::start(2);
    pcscd.reader(1).insert(atr::T1);
    for number in 0..2 {
        let output = run(
            &mut pcsc(&pcscd, &["list", "-r", &format!("SN000{number}")]),
            LIMIT,
        )
        .stdout();
        let name = format!("{number}: {FRIENDLY_NAME} 0{number} 00\n");
        assert!(
            output.starts_with(&name) && output.matches("card").count() == 1,
            "{output}"
        );
    }
    let output = run(&mut pcsc(&pcscd, &["atr", "-r", "SN0001"]), LIMIT).stdout();
    has(&output, &[&format!("Reader: {FRIENDLY_NAME} 01 00\n")]);
    // A part of a serial number is none.
    let output = run(&mut pcsc(&pcscd, &["list", "-r", "SN000"]), LIMIT);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    has(
        &String::from_utf8_lossy(&output.stderr),
        &[&format!(
            "pcsc: No reader matches \"SN000\".\n      The readers are:\n        0: {FRIENDLY_NAME} 00 00\n\
             \x20       1: {FRIENDLY_NAME} 01 00, with a card\n"
        )],
    );
}
