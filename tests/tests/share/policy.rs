//! Who may use which readers.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use pcsc_ccid::part10::GET_FEATURE_REQUEST;
use pcsc_constants::{SCARD_E_UNKNOWN_READER, SCARD_W_SECURITY_VIOLATION};
use pcsc_tests::{artifacts, client, copy_program, run, stock, Share, WireClient};
use pcsc_wire::{Body, ControlBody, Header, RequestCode as Request, VersionBody};
use rustix::net::{recv, RecvFlags};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(300);

/// A user of this machine who is neither root nor in a group.
const STRANGER: &str = "65534";

/// A program on Debian's library that another user runs.
struct Stranger {
    folder: TempDir,
}

impl Stranger {
    fn new() -> Stranger {
        let folder = tempfile::tempdir().expect("a folder");
        // The user may not look into the folder of the build.
        open_to_all(folder.path());
        copy_program(artifacts::binary("pcsc-tests", "winscard"), folder.path());
        Stranger { folder }
    }

    /// What the calls of these lines return, with the daemon at this socket.
    fn run(&self, socket: &Path, user: &str, groups: &str, lines: &[&str]) -> Vec<String> {
        open_to_all(socket.parent().expect("a folder"));
        let mut script = tempfile::tempfile().expect("a file");
        script
            .write_all((lines.join("\n") + "\n").as_bytes())
            .expect("a file");
        std::io::Seek::rewind(&mut script).expect("a file");
        let mut command = as_user(user, groups, self.folder.path().join("winscard"));
        command
            .arg(stock::library())
            .env("PCSCLITE_CSOCK_NAME", socket)
            .stdin(Stdio::from(script));
        let output = run(&mut command, LIMIT).stdout();
        output.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("our folder");
}

fn as_user(user: &str, groups: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = client("setpriv");
    command
        .args(["--reuid", user, "--regid", "65534", "--groups", groups])
        .arg(program);
    command
}

/// What SCardEstablishContext returns to a program of another user.
fn establish_as(share: &Share, user: &str, groups: &str) -> String {
    Stranger::new()
        .run(&share.socket(), user, groups, &["establish"])
        .concat()
}

/// pcscd closes the connection of a program that Polkit refuses, without an answer to its first request.
#[test]
fn a_refused_program_gets_the_code_that_it_gets_from_pcscd() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("pcscd.comm");
    let listener = UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("our socket");
    let refusing = thread::spawn(move || {
        let (connection, _) = listener.accept().expect("a client");
        // The request comes in two parts, and a part that follows would find the connection closed.
        let mut request = [0; Header::SIZE + VersionBody::SIZE];
        while recv(&connection, &mut request, RecvFlags::PEEK)
            .expect("a request")
            .0
            < request.len()
        {
            thread::yield_now();
        }
    });
    let stranger = Stranger::new();
    let with_pcscd = stranger.run(&socket, STRANGER, STRANGER, &["establish"]);
    refusing.join().expect("a client has come");
    let share = Share::start_with(&["--mode", "666", "sim:"]);
    let served = stranger.run(&share.socket(), STRANGER, STRANGER, &["establish"]);
    assert_eq!(with_pcscd, [format!("{SCARD_W_SECURITY_VIOLATION:08X}")]);
    assert_eq!(served, with_pcscd);
}

/// As where Polkit allows the action access_pcsc and refuses access_card: pcscd looks at nothing else of a
/// request to connect.
#[test]
fn users_that_watch_see_cards_and_connect_to_none() {
    let share = Share::start_with(&["--watch-user", STRANGER, "--watch-group", "54321", "sim:"]);
    let reader = "pcsc-rs Simulated Reader 00 00";
    let violation = format!("{SCARD_W_SECURITY_VIOLATION:08X}");
    let lines = [
        "establish",
        "list",
        &format!("connect 2 3 {reader}"),
        &format!("connect 3 0 {reader}"),
        "connect 2 3 no such reader",
        &format!("watch 0 0 {reader}"),
        "release",
    ];
    for (user, groups) in [(STRANGER, STRANGER), ("1234", "5,54321")] {
        let seen = Stranger::new().run(&share.socket(), user, groups, &lines);
        let codes: Vec<&str> = seen.iter().map(|line| &line[..8]).collect();
        let expected = [
            "00000000", "00000000", &violation, &violation, &violation, "00000000", "00000000",
        ];
        assert_eq!(codes, expected, "{seen:?}");
        assert!(seen[1].contains(reader), "{seen:?}");
        // SCARD_STATE_CHANGED, SCARD_STATE_PRESENT, and the ATR.
        assert!(seen[5].contains("22 3B"), "{seen:?}");
    }
    assert_eq!(establish_as(&share, "1234", "5"), violation);
    for user in [STRANGER, "1234"] {
        let who = format!(" of user {user} (process ");
        let is_refusal = |line: &str| line.contains(&who) && line.ends_with(") may not connect to readers");
        let count = share.log().lines().filter(|line| is_refusal(line)).count();
        assert_eq!(count, 3, "refusals of {user}:\n{}", share.log());
    }
    // root connects meanwhile.
    let own = Stranger::new().run(&share.socket(), "0", "0", &lines);
    assert!(own[2].starts_with("00000000"), "{own:?}");
    assert!(
        share.log().contains("may watch, and connect to none"),
        "{}",
        share.log()
    );

    let mut list = as_user(STRANGER, STRANGER, "opensc-tool");
    list.arg("--list-readers")
        .env("PCSCLITE_CSOCK_NAME", share.socket());
    let list = run(&mut list, LIMIT).stdout();
    assert!(list.contains("Yes") && list.contains(reader), "{list}");
}

#[test]
fn other_users_are_refused_unless_they_are_allowed() {
    let violation = format!("{SCARD_W_SECURITY_VIOLATION:08X}");
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
fn root_gives_the_socket_an_owner_and_a_group() {
    let share = Share::start_with(&["--owner", "nobody", "--group", "54321", "sim:"]);
    let socket = fs::symlink_metadata(share.socket()).expect("the socket");
    assert_eq!((socket.uid(), socket.gid()), (65534, 54321));
    assert_eq!(socket.mode() & 0o777, 0o600);

    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::chown(folder.path(), Some(65534), None).expect("root");
    copy_program(artifacts::binary("pcsc-cli", "pcsc"), folder.path());
    let place = folder.path().join("pcscd.comm").display().to_string();
    // /etc is no folder of this user's.
    for (arguments, said) in [
        (
            &["--socket", &place, "--owner", "root"][..],
            "root alone may set another owner",
        ),
        (
            &["--socket", &place, "--group", "54321"],
            "root alone may set another owner",
        ),
        (
            &["--socket", "/etc/pcscd.comm"],
            "--socket PATH names another place",
        ),
    ] {
        let mut command = as_user(STRANGER, STRANGER, folder.path().join("pcsc"));
        command.args(["share", "sim:"]).args(arguments);
        let output = run(&mut command, LIMIT);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{text}");
        assert!(text.contains(said), "{said:?} in {text}");
    }
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
    let states = pcsc_wire::ReaderStateRecords::new(&states, client.endian());
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
            SCARD_E_UNKNOWN_READER,
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
    for (arguments, expected) in [
        (&["sim:"][..], 0),
        (&["--no-control", "sim:"], SCARD_W_SECURITY_VIOLATION),
    ] {
        let share = Share::start_with(arguments);
        let mut client = WireClient::connect(&share.socket(), 4);
        let context = client.establish();
        let card = client
            .connect_card(context, "pcsc-rs Simulated Reader 00 00", 2)
            .card;
        let body = ControlBody {
            card,
            code: GET_FEATURE_REQUEST,
            send_length: 0,
            receive_length: 300,
            returned: 0,
            rv: 0,
        };
        assert_eq!(client.call(Request::Control, body).rv, expected);
        // With the number of the client's user and process: those of this test.
        let who = format!(
            " of user {} (process {}): the control request 0x42000D48 is refused by the policy",
            rustix::process::geteuid().as_raw(),
            std::process::id()
        );
        let is_logged = share.log().contains(&who);
        assert_eq!(is_logged, expected != 0, "{who:?} in\n{}", share.log());
    }
}
