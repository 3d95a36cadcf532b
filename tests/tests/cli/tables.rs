//! What holds for every command with output: a pipe that is closed, a narrow terminal, colours, no readers,
//! and 64 of them.

use std::fs::File;

use pcsc_tests::scripted::{Script, Scripted};

use super::*;

/// A record of calls.
const CALLS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../pcsc-cli/tests/golden/calls.jsonl"
);

/// Every command that prints something of itself, as an argument of a shell.
fn commands() -> Vec<String> {
    let mut commands: Vec<String> = [
        "list",
        "watch --once",
        "apdu a4 b0 reset",
        "atr",
        "atr 3B00",
        "features",
        "doctor",
        "sim models",
    ]
    .iter()
    .flat_map(|command| [command.to_string(), format!("{command} --json")])
    .collect();
    let record = format!("spy --read {CALLS}");
    commands.extend([
        record.clone(),
        format!("{record} --json"),
        format!("{record} --format pcapng"),
    ]);
    commands.extend(["completions bash", "completions zsh", "man"].map(String::from));
    commands
}

/// The help of every command.
fn helps() -> Vec<String> {
    [
        "",
        "list",
        "apdu",
        "atr",
        "watch",
        "doctor",
        "features",
        "bench",
        "with",
        "share",
        "spy",
        "sim",
        "sim record",
        "sim replay",
        "sim models",
        "sim run",
        "sim insert",
        "sim remove",
        "sim unplug",
        "sim plug",
        "sim mute",
        "sim fail",
        "completions",
        "man",
    ]
    .iter()
    .map(|command| format!("{command} --help"))
    .collect()
}

/// A command of a shell on simulated readers.
fn shell(script: &str, environment: &[(&str, &str)]) -> pcsc_tests::Output {
    let program = artifacts::binary("pcsc-cli", "pcsc");
    let folder = program.parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = client("sh");
    command
        .args(["-c", script])
        .env("PATH", format!("{folder}:{path}"))
        .env("HOME", "/nonexistent")
        .env("PCSCLITE_BACKEND", "simulated")
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("NO_COLOR")
        .env_remove("COLUMNS")
        .envs(environment.iter().copied());
    run(&mut command, LIMIT)
}

/// The text of a command, with TIME in the place of each time of day.
fn text(output: &pcsc_tests::Output) -> String {
    let text = without_waits(&String::from_utf8_lossy(&output.stdout).replace('\r', ""));
    let is_time = |word: &str| word.ends_with('Z') && word.contains(':');
    let words = text.split_inclusive([' ', '\n', '"', '\x1B', 'm']);
    let words = words.map(|word| {
        let bare = word.trim_end_matches([' ', '\n', '"', '\x1B', 'm']);
        if is_time(bare) {
            word.replace(bare, "TIME")
        } else {
            word.to_owned()
        }
    });
    words.collect()
}

/// A command in a terminal of 40 columns.
fn in_terminal(arguments: &str, environment: &[(&str, &str)]) -> String {
    let script = format!("script -qec 'stty cols 40; pcsc {arguments}' /dev/null");
    text(&shell(&script, environment))
}

#[test]
fn a_pipe_that_is_closed_ends_a_command_without_a_word() {
    for command in commands()
        .into_iter()
        .chain(helps())
        .chain(["bench".into(), "bench --json".into()])
    {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        drop(reader);
        let mut pcsc = client(artifacts::binary("pcsc-cli", "pcsc"));
        pcsc.args(command.split(' ').filter(|word| !word.is_empty()))
            .env("PCSCLITE_BACKEND", "simulated")
            .env_remove("LD_LIBRARY_PATH")
            .stdout(File::from(writer))
            .stderr(Stdio::piped());
        let output = pcsc
            .spawn()
            .and_then(Child::wait_with_output)
            .expect("pcsc can be started");
        assert_eq!(output.status.code(), Some(0), "{command}: {output:?}");
        let text = without_waits(&String::from_utf8_lossy(&output.stderr));
        assert!(text.is_empty(), "{command}: {output:?}");
    }
}

#[test]
fn a_narrow_terminal_gets_all_and_colours_are_no_text() {
    for command in commands() {
        let plain = text(&shell(&format!("pcsc {command}"), &[]));
        assert!(
            !plain.is_empty() && !plain.contains('\x1B') || command.contains("pcapng"),
            "{command}: {plain}"
        );
        if command.contains("pcapng") {
            continue;
        }
        // Names, bytes and JSON are not broken: a terminal wraps them, and a copy of them is whole.
        let without = in_terminal(&command, &[("TERM", "xterm"), ("NO_COLOR", "1")]);
        pcsc_tests::assert_same(&command, ("in a pipe", &plain), ("NO_COLOR", &without));
        let dumb = in_terminal(&command, &[("TERM", "dumb")]);
        pcsc_tests::assert_same(&command, ("in a pipe", &plain), ("TERM=dumb", &dumb));
        let coloured = in_terminal(&command, &[("TERM", "xterm")]);
        pcsc_tests::assert_same(&command, ("in a pipe", &plain), ("in colours", &bare(&coloured)));
    }
}

/// The text without colours.
fn bare(text: &str) -> String {
    let mut parts = text.split("\x1B[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('m').map_or("", |(_, rest)| rest)
    })
}

#[test]
fn help_fits_into_40_columns_and_loses_no_word() {
    for command in helps() {
        let wide = bare(&text(&shell(&format!("pcsc {command}"), &[("COLUMNS", "100")])));
        let narrow = bare(&in_terminal(&command, &[("TERM", "xterm"), ("COLUMNS", "40")]));
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join("\n");
        pcsc_tests::assert_same(
            &command,
            ("100 columns", &words(&wide)),
            ("40 columns", &words(&narrow)),
        );
        for line in narrow.lines().filter(|line| line.chars().count() > 40) {
            // A usage, an example, or a word that is longer than what the indentation leaves.
            let words = line.split_whitespace().count();
            assert!(
                words == 1 || line.starts_with("  ") || line.starts_with("Usage:"),
                "{command}: {line:?}"
            );
        }
    }
}

#[test]
fn each_command_works_with_64_readers() {
    let models = ["octsim"; 8].join(",");
    let all = [("PCSCLITE_SIMULATED", models.as_str())];
    // The first slot of the last device has a card.
    for (command, expected) in [
        (
            "list -r 56",
            "56: sysmocom - s.f.m.c. GmbH sysmoOCTSIM [CCID] 07 00\n   card  present",
        ),
        ("list -r '07 00'", "56: sysmocom"),
        ("watch --once -r 56 --only cards", "07 00: card inserted"),
        (
            "apdu -r 56 a4",
            "< 61 09 (9 more bytes are available: GET RESPONSE)",
        ),
        (
            "atr -r 56",
            "Reader: sysmocom - s.f.m.c. GmbH sysmoOCTSIM [CCID] 07 00\n",
        ),
        ("features -r 63", "sysmoOCTSIM [CCID] 07 07\n"),
        ("bench -r 63 2>&1", "calls to a card are left out"),
        (
            "doctor",
            "All is well: 64 readers can be used, and 8 cards answer.\n",
        ),
    ] {
        let output = shell(&format!("pcsc {command}"), &all);
        assert!(output.status.success(), "{command}: {output:?}");
        has(&String::from_utf8_lossy(&output.stdout), &[expected]);
    }
    for command in ["apdu a4", "atr", "features", "bench"] {
        for (choice, readers) in [("-r octsim", 64), ("-r nobody", 64), ("-r '[CCID] 03'", 8)] {
            let output = shell(&format!("pcsc {command} {choice}"), &all);
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{command} {choice}: {output:?}");
            assert_eq!(
                text.matches("sysmoOCTSIM [CCID] ").count(),
                readers,
                "{command} {choice}: {text}"
            );
        }
    }
}

#[test]
fn each_command_works_with_64_readers_of_a_daemon() {
    let script = Script {
        readers: 64,
        ..Script::new(6)
    };
    let daemon = Scripted::start(script);
    for (command, expected) in [
        (&["list"][..], "63: Scripted 63\n"),
        (&["list", "-r", "Scripted 40"], "40: Scripted 40\n"),
        (&["watch", "--once"], "Scripted 63: card inserted\n"),
        (&["apdu", "-r", "63", "00A400009000"], "90 00 (success)"),
        (&["atr", "-r", "63"], "Reader: Scripted 63\n"),
        (&["features", "-r", "63"], "Scripted 63\n"),
        (&["doctor"], "64 readers can be used, and 64 cards answer.\n"),
    ] {
        let output = run(&mut pcsc_at(daemon.path(), command), LIMIT);
        assert!(output.status.success(), "{command:?}: {output:?}");
        has(&String::from_utf8_lossy(&output.stdout), &[expected]);
    }
}
