//! What `pcsc doctor` finds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use pcsc_constants::SCARD_W_UNPOWERED_CARD;
use pcsc_tests::scripted::{Answer, Script, Scripted};
use pcsc_tests::{in_namespace, Share};

use super::*;

/// `pcsc doctor` on a machine whose /run/pcscd is this folder and whose /sys has these folders; `prepare` is
/// a script that runs before. Gives its exit code and text.
pub fn doctor(run_pcscd: &Path, folders: &str, prepare: &str) -> (Option<i32>, String) {
    doctor_with(run_pcscd, folders, prepare, "")
}

/// [`doctor`] with options.
fn doctor_with(run_pcscd: &Path, folders: &str, prepare: &str, options: &str) -> (Option<i32>, String) {
    let mut command = in_namespace(run_pcscd, folders, "sh");
    command.args(["-c", &format!("{prepare}\nexec \"$0\" doctor {options}")]);
    command.arg(artifacts::binary("pcsc-cli", "pcsc"));
    for name in [
        "PCSCLITE_BACKEND",
        "PCSCLITE_CSOCK_NAME",
        "LD_LIBRARY_PATH",
        "XDG_RUNTIME_DIR",
    ] {
        command.env_remove(name);
    }
    let output = run(&mut command, LIMIT);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.into_owned())
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
            "BAD  reader   there is no way to readers: no daemon runs, and the USB is not visible",
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
    copy_program(program, &copy);
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
    // As pcscd does when Polkit refuses: it closes each connection at once. The thread ends with the process.
    std::thread::spawn(move || listener.incoming().for_each(drop));
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
    assert!(!text.contains("USB") && !text.contains("hidepid"), "{text}");

    fs::remove_file(&socket).expect("our socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let (code, text) = doctor(folder.path(), "", "mount -t proc -o hidepid=2 none /proc");
    assert_eq!(code, Some(6), "{text}");
    has(
        &text,
        &[
            "access is refused",
            "/proc is mounted with hidepid",
            "mount -o remount,hidepid=0 /proc",
        ],
    );
}

#[test]
fn a_doctor_finds_the_users_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let (system, user) = (folder.path().join("system"), folder.path().join("user"));
    let own = user.join("pcsc");
    fs::create_dir_all(&own).expect("a folder");
    fs::create_dir(&system).expect("a folder");
    let socket = own.join("pcscd.comm");
    let at = socket.display();
    let prepare = format!("export XDG_RUNTIME_DIR={}", user.display());
    let examine = || doctor(&system, USB, &prepare);

    let (code, text) = examine();
    assert_eq!(code, Some(3), "{text}");
    assert!(!text.contains("server"), "{text}");

    // Left behind: the library goes on to the USB.
    drop(UnixListener::bind(&socket).expect("a socket"));
    let (code, text) = examine();
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            &format!("note server   {at} is a socket that a server left behind; programs do not use it"),
            "-> pcsc share replaces it.",
            "/dev/bus/usb is missing",
        ],
    );

    // Another user's.
    fs::remove_file(&socket).expect("our socket");
    let share = Share::start_with(&["sim:"]);
    fs::hard_link(share.socket(), &socket).expect("a link in our folder");
    std::os::unix::fs::chown(&own, Some(65534), None).expect("our folder");
    let (code, text) = examine();
    assert_eq!(code, Some(3), "{text}");
    has(&text, &[&format!("note server   {at} is not used")]);
    std::os::unix::fs::chown(&own, Some(0), None).expect("our folder");

    let (code, text) = examine();
    assert_eq!(code, Some(0), "{text}");
    has(
        &text,
        &[
            "note daemon ",
            &format!("ok   server   pcsc share answers at {at} and speaks protocol 4.6"),
            "programs on this project's library use it",
            &format!("-> Those on other libraries need PCSCLITE_CSOCK_NAME={at}."),
            "pcsc-rs Simulated Reader 00 00: the card answers",
            "All is well: 1 reader can be used",
        ],
    );
    assert!(!text.contains("/dev/bus/usb"), "{text}");

    // The system's daemon comes first.
    let daemon = Scripted::start_at(&system.join("pcscd.comm"), Script::new(4));
    let (code, text) = examine();
    assert_eq!(code, Some(0), "{text}");
    has(
        &text,
        &[
            "ok   daemon   a daemon answers at /run/pcscd/pcscd.comm",
            "note server   pcsc share answers at ",
            "programs use the system's daemon, whose socket comes first",
            &format!("-> PCSCLITE_CSOCK_NAME={at} leads a program to this server."),
            "Scripted 00",
        ],
    );
    // Where the user names a socket, or a daemon, the library does not look at the user's.
    let (_, text) = doctor_with(&system, USB, &prepare, "--backend daemon");
    assert!(!text.contains("server   "), "{text}");
    drop(daemon);
}

#[test]
fn a_doctor_finds_that_pcscd_is_not_installed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, text) = doctor(folder.path(), "", "mount -t tmpfs none /usr/sbin");
    assert_eq!(code, Some(6), "{text}");
    has(
        &text,
        &["note daemon   pcscd is not installed", "apt install pcscd"],
    );
}

#[test]
fn a_doctor_finds_a_library_that_the_daemon_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    // Stock libraries speak 4.4 or later, this daemon 4.3 alone.
    for (minor, is_refused) in [(3, true), (4, false)] {
        let script = Script {
            takes_older: true,
            ..Script::new(minor)
        };
        let _daemon = Scripted::start_at(&folder.path().join("pcscd.comm"), script);
        let (code, text) = doctor(folder.path(), "", "");
        assert_eq!(code, Some(0), "{text}");
        has(
            &text,
            &["libpcsclite.so.1 is of pcsc-lite ", ", which speaks protocol 4."],
        );
        if is_refused {
            has(
                &text,
                &[
                    "BAD  library",
                    "; the daemon, which speaks 4.3, refuses it: its programs find no service",
                    "-> pcsc with COMMAND",
                ],
            );
        } else if text.contains("which speaks protocol 4.4\n") {
            assert!(!text.contains("BAD  library"), "{text}");
        }
    }
}

#[test]
fn a_doctor_finds_a_card_without_power() {
    let daemon = Scripted::with(4, |call, mut answer, _| {
        if call == pcsc_wire::RequestCode::Connect {
            // The return code is the last field.
            let at = answer.len() - 4;
            answer[at..].copy_from_slice(&SCARD_W_UNPOWERED_CARD.to_ne_bytes());
        }
        Answer::Send(answer)
    });
    let output = run(&mut pcsc_at(daemon.path(), &["doctor"]), LIMIT);
    // The reader can be used.
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    has(
        &text,
        &[
            "BAD  card     Scripted 00: the card has no power",
            "-> Take the card out and insert it again.",
            "1 reader can be used. No card answers.",
        ],
    );
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
