//! The command `pcsc` with Debian's pcscd, beside the programs that people use today.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pcsc_tests::{artifacts, atr, client, in_namespace, run, Pcscd, FRIENDLY_NAME, USB};

const LIMIT: Duration = Duration::from_secs(60);
const SELECT: &str = "00A404000AA00000006203010C0601";

fn pcsc(pcscd: &Pcscd, arguments: &[&str]) -> Command {
    let mut command = client(artifacts::binary("pcsc-cli", "pcsc"));
    command
        .args(arguments)
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket())
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
         1: {FRIENDLY_NAME} 01 00\n   card  present\n   ATR   {}\n   USB   serial SN0001, device 000/001, slot 0\n",
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

/// `pcsc doctor` on a machine whose /run/pcscd is this folder and whose /sys has these folders; `prepare` is
/// a script that runs before. Gives its exit code and text.
fn doctor(run_pcscd: &Path, folders: &str, prepare: &str) -> (Option<i32>, String) {
    doctor_with(run_pcscd, folders, prepare, "")
}

/// [`doctor`] with options.
fn doctor_with(run_pcscd: &Path, folders: &str, prepare: &str, options: &str) -> (Option<i32>, String) {
    let mut command = in_namespace(run_pcscd, folders, "sh");
    command.args(["-c", &format!("{prepare}\nexec \"$0\" doctor {options}")]);
    command.arg(artifacts::binary("pcsc-cli", "pcsc"));
    for name in ["PCSCLITE_BACKEND", "PCSCLITE_CSOCK_NAME", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
    let output = run(&mut command, LIMIT);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.into_owned())
}

/// Asserts that a text has each of these parts.
#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn a_doctor_finds_what_keeps_a_daemon_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("pcscd.comm");
    let (code, text) = doctor(folder.path(), "", ":");
    assert_eq!(code, Some(6), "{text}");
    has(
        &text,
        &[
            "note daemon",
            "is installed",
            "systemctl enable --now pcscd.socket",
            "the USB is not visible",
        ],
    );
    has(
        &text,
        &["libpcsclite.so.1 is of pcsc-lite", "No reader can be used."],
    );

    drop(UnixListener::bind(&socket).expect("a socket"));
    let (code, text) = doctor(folder.path(), "", ":");
    assert_eq!(code, Some(6), "{text}");
    has(
        &text,
        &[
            "BAD  daemon",
            "a socket that a daemon left behind",
            "systemctl restart pcscd.socket",
        ],
    );

    // Where the library would not go, nothing is examined.
    let (code, text) = doctor_with(folder.path(), USB, ":", "--backend standalone");
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("/dev/bus/usb is missing") && !text.contains("daemon  "),
        "{text}"
    );
    let (code, text) = doctor_with(folder.path(), USB, ":", "--backend daemon");
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("BAD  daemon") && !text.contains("USB"), "{text}");

    // Listening, but not for this user.
    fs::remove_file(&socket).expect("our socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).expect("our socket");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
    let program = artifacts::binary("pcsc-cli", "pcsc");
    let copy = folder.path().join("pcsc");
    fs::copy(program, &copy).expect("a copy that others may run");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command
        .arg(&copy)
        .args(["doctor", "--backend", "daemon", "--socket"])
        .arg(&socket);
    let output = run(&mut command, LIMIT);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(6), "{text}");
    has(
        &text,
        &[
            "BAD  daemon",
            "may not be used",
            "has mode 0600",
            "Join the group",
        ],
    );
    assert!(!text.contains("USB"), "{text}");
}

#[test]
fn a_doctor_finds_that_a_daemon_refuses_its_clients() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("pcscd.comm");
    let listener = UnixListener::bind(&socket).expect("a socket");
    // As pcscd does when Polkit refuses: it closes the connection at once.
    let refusing = std::thread::spawn(move || drop(listener.accept()));
    let (code, text) = doctor(folder.path(), "", ":");
    assert_eq!(code, Some(6), "{text}");
    has(
        &text,
        &[
            "BAD  daemon",
            "access is refused",
            "Polkit",
            "org.debian.pcsc-lite.access_pcsc",
        ],
    );
    assert!(!text.contains("USB"), "{text}");
    refusing.join().expect("no panic");
}

#[test]
fn a_doctor_finds_what_is_wrong_with_the_usb() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, text) = doctor(folder.path(), USB, ":");
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "/dev/bus/usb is missing",
            "docker run --device /dev/bus/usb",
            "no reader is plugged in",
        ],
    );

    // A reader as /sys shows it, with a node for root alone.
    let model = pcsc_sim::model("au9540").expect("a model");
    let mut descriptors = vec![18, 1, 0, 2, 0, 0, 0, 64, 0x8F, 5, 0x40, 0x95, 0, 1, 1, 2, 0, 1];
    descriptors.extend(pcsc_sim::Model::configuration_descriptor(&[&model], 4));
    let file = folder.path().join("descriptors");
    fs::write(&file, descriptors).expect("a file");
    fs::copy(artifacts::binary("pcsc-cli", "pcsc"), folder.path().join("pcsc")).expect("a copy");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
    let script = |node: &str| {
        format!(
            "cd /sys/bus/usb/devices && mkdir 1-1 1-1:1.0
             put() {{ echo \"$2\" >$1; }}
             put 1-1/busnum 1; put 1-1/devnum 4; put 1-1/dev 189:3; put 1-1/idVendor 058f
             put 1-1/idProduct 9540; put 1-1/bcdDevice 0100; put 1-1/bConfigurationValue 1
             put 1-1/product 'EMV Smartcard Reader'; cp {} 1-1/descriptors
             put 1-1:1.0/bInterfaceClass 0b; put 1-1:1.0/bInterfaceNumber 00
             {node}
             exec setpriv --reuid 65534 --regid 65534 --clear-groups /run/pcscd/pcsc doctor",
            file.display()
        )
    };
    let (code, text) = doctor(folder.path(), USB, &script(":"));
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "BAD  USB",
            "058f:9540 EMV Smartcard Reader",
            "/dev/bus/usb/001/004 does not exist",
        ],
    );
    let node = "mkdir -p /dev/bus/usb/001; : >/dev/bus/usb/001/004; chmod 600 /dev/bus/usb/001/004";
    let node = format!("mount -t tmpfs none /mnt; mkdir -p /dev/bus; mount -t tmpfs none /dev/bus; {node}");
    let (code, text) = doctor(folder.path(), USB, &script(&node));
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "BAD  USB",
            "058f:9540 EMV Smartcard Reader at 1-1:1.0: no permission for /dev/bus/usb/001/004",
        ],
    );
    has(&text, &[r#"SUBSYSTEM=="usb", ATTR{idVendor}=="058f""#]);
}

#[test]
fn a_doctor_looks_at_cards() {
    let pcscd = Pcscd::start(1);
    let examine = || {
        let output = run(&mut pcsc(&pcscd, &["doctor"]), LIMIT);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The library would not go there.
        assert!(!text.contains("USB"), "{text}");
        text
    };
    let text = examine();
    has(
        &text,
        &[
            "ok   daemon",
            "speaks protocol",
            "works; no card is in it",
            "1 reader can be used. No card answers.",
        ],
    );
    pcscd.reader(0).insert(atr::T1);
    has(
        &examine(),
        &[
            "the card answers (T=1",
            "All is well: 1 reader can be used, and 1 card answers.",
        ],
    );
    pcscd.reader(0).remove();
    pcscd.reader(0).mute(true);
    pcscd.reader(0).insert(atr::T1);
    has(
        &examine(),
        &["BAD  card", "does not answer to reset", "No card answers."],
    );
}
