//! The command `pcsc` with Debian's pcscd, beside the programs that people use today.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pcsc_tests::{artifacts, atr, client, copy_program, run, Pcscd, FRIENDLY_NAME, USB};

mod backends;
mod bench;
mod doctor;
mod doctor_usb;
mod foreign;
mod held;
mod signals;
mod tables;

const LIMIT: Duration = Duration::from_secs(300);
const SELECT: &str = "00A404000AA00000006203010C0601";

fn pcsc(pcscd: &Pcscd, arguments: &[&str]) -> Command {
    pcsc_at(&pcscd.socket(), arguments)
}

/// `pcsc` with the daemon at this socket.
fn pcsc_at(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = client(artifacts::binary("pcsc-cli", "pcsc"));
    command
        .args(arguments)
        .env("PCSCLITE_CSOCK_NAME", socket)
        .env("HOME", "/nonexistent")
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("XDG_CACHE_HOME");
    command
}

/// What a program of others prints with the stock library, the digits of it in capitals; `None` where it is
/// not installed.
fn others(pcscd: &Pcscd, program: &str, arguments: &[&str]) -> Option<String> {
    if !run(Command::new("which").arg(program), LIMIT).status.success() {
        println!("SKIPPED: no comparison with {program}, which is not installed");
        return None;
    }
    let mut command = client(program);
    command.args(arguments).env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    Some(run(&mut command, LIMIT).stdout())
}

/// The text without what a busy machine adds to it: commands say that they wait once a card has taken two
/// seconds.
fn without_waits(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| !line.contains("Waiting for the card"))
        .collect()
}

fn hex(bytes: &[u8], between: &str) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(between)
}

#[test]
fn readers_are_those_that_others_list() {
    let pcscd = Pcscd::start(2);
    pcscd.reader(1).insert(atr::T1);
    let text = run(&mut pcsc(&pcscd, &["list"]), LIMIT).stdout();
    let expected = format!(
        "0: {FRIENDLY_NAME} 00 00\n   card  none\n   USB   serial SN0000, device 000/000, slot 0\n\
         1: {FRIENDLY_NAME} 01 00\n   card  present\n   ATR   {}\n   USB   serial SN0001, device 000/001, \
         slot 0\n",
        hex(atr::T1, " ")
    );
    assert_eq!(text, expected);
    let json = run(&mut pcsc(&pcscd, &["list", "--json"]), LIMIT).stdout();
    assert!(
        json.contains(r#""kind": "daemon""#) && json.contains(r#""used": "free""#),
        "{json}"
    );

    if let Some(scan) = others(&pcscd, "pcsc_scan", &["-r"]) {
        for index in 0..2 {
            let line = format!("{index}: {FRIENDLY_NAME} 0{index} 00");
            assert!(scan.contains(&line) && text.contains(&line), "{scan}\n{text}");
        }
    }
    if let Some(tool) = others(&pcscd, "opensc-tool", &["--reader", "1", "--atr"]) {
        assert_eq!(tool.trim().to_uppercase(), hex(atr::T1, ":"));
    }
}

#[test]
fn another_program_is_seen_and_not_disturbed() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let context = pcsc_client::Context::builder()
        .socket_path(pcscd.socket())
        .establish()
        .expect("pcscd answers");
    let name = context.list_readers_owned().expect("a list").remove(0);
    let protocols = pcsc_client::Protocols::ANY;
    let list = |word: &str| {
        let json = run(&mut pcsc(&pcscd, &["list", "--json"]), LIMIT).stdout();
        assert!(json.contains(&format!(r#""used": "{word}""#)), "{json}");
        json
    };
    let mut card = context
        .connect(&name, pcsc_client::ShareMode::Shared, protocols)
        .expect("a card");
    list("shared");
    let transaction = card.transaction().expect("a transaction");
    // The driver cannot be asked meanwhile, and nothing waits for it.
    let json = list("shared");
    assert!(
        json.contains(r#""bus": null"#) && json.contains(r#""slot": 0"#),
        "{json}"
    );
    drop(transaction);
    card.status2_owned().expect("the card was not reset");
    card.disconnect(pcsc_client::Disposition::LeaveCard)
        .expect("a disconnect");

    let card = context
        .connect(&name, pcsc_client::ShareMode::Exclusive, protocols)
        .expect("a card");
    list("exclusive");
    let output = run(&mut pcsc(&pcscd, &["doctor"]), LIMIT);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    has(
        &String::from_utf8_lossy(&output.stdout),
        &["a program uses the card exclusively", "No reader can be used."],
    );
    let output = run(&mut pcsc(&pcscd, &["apdu", SELECT]), LIMIT);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    drop(card);
    list("free");
}

#[test]
fn a_transaction_of_another_program_ends_commands_and_is_named() {
    let pcscd = Pcscd::start(2);
    pcscd.reader(0).insert(atr::T1);
    pcscd.reader(1).insert(atr::T1);
    let context = pcsc_client::Context::builder()
        .socket_path(pcscd.socket())
        .establish()
        .expect("pcscd answers");
    let name = context.list_readers_owned().expect("a list").remove(0);
    let mut card = context
        .connect(&name, pcsc_client::ShareMode::Shared, pcsc_client::Protocols::ANY)
        .expect("a card");
    let transaction = card.transaction().expect("a transaction");
    // At the same time, since each waits until its time limit.
    let output = std::thread::scope(|threads| {
        for command in [&["atr"][..], &["features"], &["apdu", SELECT]] {
            let mut waiting = pcsc(&pcscd, &[command, &["-r", "0"]].concat());
            threads.spawn(move || {
                let output = run(&mut waiting, LIMIT);
                let text = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(5), "{command:?}: {output:?}");
                has(&text, &["Another program holds the card in a transaction"]);
                has(
                    &text,
                    &["pcsc: Waiting for the card, or for another program's transaction to end."],
                );
            });
        }
        run(&mut pcsc(&pcscd, &["doctor"]), LIMIT)
    });
    // The other reader is examined all the same.
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    has(
        &text,
        &[
            "00 00: another program holds the card in a transaction",
            "01 00: the card answers",
            "\n1 reader can be used, and 1 card answers.",
        ],
    );
    pcscd.reader(1).remove();
    drop(transaction);
    let output = run(&mut pcsc(&pcscd, &["atr", "-r", "0"]), LIMIT);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn an_atr_that_keeps_the_card_from_being_used_is_shown() {
    let pcscd = Pcscd::start(1);
    let explained = |bytes: &[u8]| {
        pcscd.reader(0).insert(bytes);
        let output = run(&mut pcsc(&pcscd, &["atr", "-r", "0"]), LIMIT);
        pcscd.reader(0).remove();
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("--protocol"), "{text}");
        text.into_owned()
    };
    has(
        &explained(&[0x3C, 0x00]),
        &["The card's ATR 3C 00 is faulty: an ATR begins with 3B or 3F, not 3C."],
    );
    let other = explained(&[0x3B, 0x80, 0x02, 0x82]);
    has(
        &other,
        &[
            "ATR 3B 80 02 82",
            "Protocols: ",
            "Reader: ",
            "does not offer any of the protocols",
        ],
    );
    pcscd.reader(0).insert(atr::T0);
    let output = run(&mut pcsc(&pcscd, &["apdu", "--protocol", "t1", SELECT]), LIMIT);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    has(&String::from_utf8_lossy(&output.stderr), &["Try --protocol any."]);
}

#[test]
fn any_reader_without_a_card_is_one_error() {
    let pcscd = Pcscd::start(1);
    for command in [
        &["atr"][..],
        &["features"],
        &["list"],
        &["apdu", "00"],
        &["watch", "--once"],
    ] {
        let output = run(&mut pcsc(&pcscd, &[command, &["-r", "any"]].concat()), LIMIT);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{command:?}: {output:?}");
        has(&text, &["pcsc: No reader has a card.\n      Insert a card.\n"]);
    }
    // A watch waits for one.
    let mut watch = Watch::start(&pcscd, &["-r", "any"]);
    pcscd.reader(0).insert(atr::T1);
    let mut line = watch.next();
    if line.contains("reader_added") {
        // The card was there first.
        line = watch.next();
    }
    has(&line, &[r#""event":"card_inserted""#, r#""card":"present""#]);
    pcscd.reader(0).remove();
    let end = r#""card":"absent","atr":null,"summary":null,"names":null}"#;
    has(&watch.next(), &[end]);
}

#[test]
fn apdus_get_the_answers_that_others_get() {
    let pcscd = Pcscd::start(1);
    let empty = run(&mut pcsc(&pcscd, &["apdu", SELECT]), LIMIT);
    assert_eq!(empty.status.code(), Some(4), "{empty:?}");
    pcscd.reader(0).insert(atr::T1);
    for options in [&[][..], &["--transaction", "--exclusive", "--warm-reset"]] {
        let arguments = [&["apdu"], options, &[SELECT, "00000000="]].concat();
        let text = run(&mut pcsc(&pcscd, &arguments), LIMIT).stdout();
        assert!(text.contains("\"Hello world!\"\n< 90 00 (success)\n"), "{text}");
        let answer = hex(b"Hello world!", " ");
        assert!(text.contains(&answer), "{text}");
        let sends = ["-r", "0", "-s", SELECT, "-s", "00000000"];
        if let Some(tool) = others(&pcscd, "opensc-tool", &sends) {
            assert!(
                tool.contains(&answer) && tool.contains("SW1=0x90, SW2=0x00"),
                "{tool}"
            );
        }
    }
    pcscd.reader(0).mute(true);
    let mute = run(&mut pcsc(&pcscd, &["apdu", "--warm-reset", SELECT]), LIMIT);
    assert_eq!(mute.status.code(), Some(4), "{mute:?}");
}

/// A `pcsc watch`, killed at the end.
struct Watch(Child, BufReader<std::process::ChildStdout>);

impl Watch {
    fn start(pcscd: &Pcscd, options: &[&str]) -> Watch {
        let mut command = pcsc(pcscd, &[&["watch", "--json"], options].concat());
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("pcsc can be started");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Watch(child, output)
    }

    /// The next line. It comes when something has happened.
    fn next(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("a line");
        line
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_watch_sees_cards_come_and_go() {
    let pcscd = Pcscd::start(1);
    let mut watch = Watch::start(&pcscd, &[]);
    assert!(watch.next().contains("reader_added"));
    for _ in 0..2 {
        pcscd.reader(0).insert(atr::T1);
        let line = watch.next();
        assert!(
            line.contains("card_inserted") && line.contains(&hex(atr::T1, "")),
            "{line}"
        );
        pcscd.reader(0).remove();
        assert!(watch.next().contains("card_removed"));
    }
}

#[test]
fn an_atr_is_explained_with_what_the_driver_says() {
    let pcscd = Pcscd::start_driver(&["gempc-pinpad:card=t1"]);
    let text = run(&mut pcsc(&pcscd, &["atr"]), LIMIT).stdout();
    assert!(
        text.contains("protocol in use: T=1") && text.contains("Reader: "),
        "{text}"
    );
}

/// Asserts that a text has each of these parts.
#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn without_a_reader_each_command_says_so() {
    let script = pcsc_tests::scripted::Script {
        readers: 0,
        ..pcsc_tests::scripted::Script::new(4)
    };
    let daemon = pcsc_tests::scripted::Scripted::start(script);
    for command in [
        &["list"][..],
        &["apdu", "00"],
        &["atr"],
        &["features"],
        &["bench"],
        &["watch", "--once"],
    ] {
        for options in [&[][..], &["--json"], &["-r", "any"], &["-r", "0"]] {
            let command = [command, options].concat();
            let output = run(&mut pcsc_at(daemon.path(), &command), LIMIT);
            assert_eq!(output.status.code(), Some(3), "{command:?}: {output:?}");
            has(
                &String::from_utf8_lossy(&output.stderr),
                &["pcsc: No reader is connected.\n      Plug one in, wait with pcsc list --wait, or see what \
                   pcsc doctor finds.\n"],
            );
            // An empty list is a list.
            let has_answer = command[0] == "list" && options == ["--json"];
            assert_eq!(!output.stdout.is_empty(), has_answer, "{command:?}: {output:?}");
        }
    }
    let doctor = run(&mut pcsc_at(daemon.path(), &["doctor"]), LIMIT);
    assert_eq!(doctor.status.code(), Some(3), "{doctor:?}");
    has(
        &String::from_utf8_lossy(&doctor.stdout),
        &[
            "BAD  reader   the daemon runs, and lists no reader\n",
            "\nNo reader can be used.\n",
        ],
    );
    let list = run(
        &mut pcsc_at(daemon.path(), &["list", "--wait", "--timeout", "0"]),
        LIMIT,
    );
    assert_eq!(list.status.code(), Some(3), "{list:?}");
    has(
        &String::from_utf8_lossy(&list.stderr),
        &["pcsc: No reader came in time.\n"],
    );
    let watch = run(&mut pcsc_at(daemon.path(), &["watch", "--timeout", "0"]), LIMIT);
    assert_eq!(watch.status.code(), Some(0), "{watch:?}");
    has(
        &String::from_utf8_lossy(&watch.stderr),
        &["No reader is connected; waiting."],
    );
}
