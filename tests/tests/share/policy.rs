//! Who may use which readers.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use pcsc_tests::{artifacts, client, run, stock, Share, WireClient};
use pcsc_wire::{Command as Request, Control};

const LIMIT: Duration = Duration::from_secs(60);
const UNKNOWN_READER: u32 = 0x8010_0009;
const SECURITY_VIOLATION: u32 = 0x8010_006A;

/// What SCardEstablishContext returns to a program of another user, with Debian's library.
fn establish_as(share: &Share, user: &str, groups: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    // The user may not look into the folder of the build, nor into that of the server.
    for folder in [folder.path(), share.socket().parent().expect("a folder")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("our folder");
    }
    let program = folder.path().join("winscard");
    fs::copy(artifacts::binary("pcsc-tests", "winscard"), &program).expect("a copy");
    let mut script = tempfile::tempfile().expect("a file");
    script.write_all(b"establish\n").expect("a file");
    std::io::Seek::rewind(&mut script).expect("a file");
    let mut command: Command = client("setpriv");
    command
        .args(["--reuid", user, "--regid", "65534", "--groups", groups])
        .arg(program)
        .arg(stock::library());
    command
        .env("PCSCLITE_CSOCK_NAME", share.socket())
        .stdin(Stdio::from(script));
    run(&mut command, LIMIT).stdout().trim().to_owned()
}

#[test]
fn other_users_are_refused_unless_they_are_allowed() {
    let violation = format!("{SECURITY_VIOLATION:08X}");
    let share = Share::start_with(&["--mode", "666", "sim:"]);
    assert_eq!(establish_as(&share, "65534", "65534"), violation);
    assert!(share.log().contains("user 65534 (process"), "{}", share.log());
    assert_eq!(establish_as(&share, "0", "65534"), "00000000");

    let share = Share::start_with(&["--allow-user", "nobody", "--allow-group", "54321", "sim:"]);
    assert_eq!(establish_as(&share, "65534", "65534"), "00000000");
    assert_eq!(establish_as(&share, "1234", "5,54321"), "00000000");
    assert_eq!(establish_as(&share, "1234", "5"), violation);
}

#[test]
fn hidden_readers_are_not_there() {
    let share = Share::start_with(&[
        "--hide",
        "*02 00",
        "--hide",
        "*01 00",
        "--reader",
        "Gemalto*",
        "sim:gempc-express,gempc-express,octsim",
    ]);
    let mut client = WireClient::connect(&share.socket(), 6);
    let states = client.states();
    let states = pcsc_wire::ReaderStates::new(&states, client.endian());
    let names: Vec<_> = states
        .readers()
        .map(|reader| String::from_utf8_lossy(reader.name))
        .collect();
    assert_eq!(names, ["Gemalto GemPC Express 00 00"]);
    let context = client.establish();
    for hidden in [
        "Gemalto GemPC Express 01 00",
        "sysmocom - s.f.m.c. GmbH sysmoOCTSIM [CCID] 02 00",
    ] {
        assert_eq!(
            client.connect_card(context, hidden, 2).rv,
            UNKNOWN_READER,
            "{hidden}"
        );
    }
    assert_eq!(
        client.connect_card(context, "Gemalto GemPC Express 00 00", 2).rv,
        0
    );
}

#[test]
fn control_requests_can_be_refused() {
    /// `CM_IOCTL_GET_FEATURE_REQUEST`.
    const GET_FEATURES: u32 = 0x4200_0D48;
    for (arguments, expected) in [
        (&["sim:"][..], 0),
        (&["--no-control", "sim:"], SECURITY_VIOLATION),
    ] {
        let share = Share::start_with(arguments);
        let mut client = WireClient::connect(&share.socket(), 4);
        let context = client.establish();
        let card = client
            .connect_card(context, "pcsc-rs Simulated Reader 00 00", 2)
            .card;
        let body = Control {
            card,
            code: GET_FEATURES,
            send_length: 0,
            receive_length: 300,
            returned: 0,
            rv: 0,
        };
        assert_eq!(client.call(Request::Control, body).rv, expected);
    }
}
