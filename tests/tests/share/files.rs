//! The server's socket, its end, and systemd.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pcsc_tests::{artifacts, run, Output, Share, WireClient};
use rustix::event::{PollFd, PollFlags};

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn a_second_server_does_not_replace_the_first() {
    let share = Share::start_with(&["sim:"]);
    let second = run(&mut share.command(), LIMIT);
    let log = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(5), "{log}");
    assert!(log.contains("Another server listens at"), "{log}");
    WireClient::connect(&share.socket(), 4).establish();
}

#[test]
fn a_server_is_not_its_own_source() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("pcscd.comm");
    let mut command = Command::new(artifacts::binary("pcsc-cli", "pcsc"));
    command.arg("--socket").arg(&socket).arg("share");
    command.arg(format!("daemon:{}", folder.path().join("./pcscd.comm").display()));
    let output = run(&mut command, LIMIT);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(log.contains("this server's own socket"), "{log}");
    assert!(!socket.exists());
}

#[test]
fn a_server_that_was_killed_is_replaced() {
    let mut share = Share::start_with(&["sim:"]);
    share.kill();
    assert!(share.socket().exists());
    assert!(UnixStream::connect(share.socket()).is_err());
    share.restart();
    WireClient::connect(&share.socket(), 4).establish();
}

#[test]
fn a_server_that_is_told_to_end_tells_its_clients_and_removes_its_socket() {
    let mut share = Share::start_with(&["sim:"]);
    assert_eq!(
        fs::metadata(share.socket()).expect("the socket").mode() & 0o777,
        0o600
    );
    let mut idle = WireClient::connect(&share.socket(), 4);
    let mut waiting = WireClient::connect(&share.socket(), 4);
    waiting.wait();
    let status = share.terminate();
    assert!(status.success(), "{status}");
    assert!(!share.socket().exists());
    assert!(idle.is_closed() && waiting.is_closed());
}

#[test]
fn a_server_ends_by_itself_when_it_has_no_client() {
    let mut share = Share::start_with(&["--auto-exit", "5", "sim:"]);
    // The server looks for clients while one is there, and after it.
    let mut client = WireClient::connect(&share.socket(), 4);
    client.wait();
    client.is_in_step();
    drop(client);
    let status = share.wait();
    assert!(status.success(), "{status}");
    assert!(
        share.log().contains("there was no client for 5s"),
        "{}",
        share.log()
    );
    assert!(!share.socket().exists());
}

/// Runs a server as systemd does: descriptor 3 is the socket, and the process learns so from its environment.
fn run_with_socket(socket: impl Into<OwnedFd>, sockets: u32) -> Output {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "LISTEN_PID=$$ exec \"$0\" -v share --auto-exit 0.1 sim: 3<&0 </dev/null",
        ])
        .arg(artifacts::binary("pcsc-cli", "pcsc"))
        .env("LISTEN_FDS", sockets.to_string())
        .stdin(Stdio::from(socket.into()));
    run(&mut command, LIMIT)
}

#[test]
fn a_server_takes_the_socket_that_systemd_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pcscd.comm");
    let listener = UnixListener::bind(&path).expect("a socket");
    // The client comes first, and starts the service.
    let socket = path.clone();
    let client = std::thread::spawn(move || {
        let mut client = WireClient::connect(&socket, 4);
        client.establish();
    });
    let mut connected = [PollFd::new(&listener, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut connected, None), Ok(1));
    let output = run_with_socket(listener, 1);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    assert!(!log.contains("sockets"), "{log}");
    client.join().expect("the client is served");
    assert!(path.exists(), "the socket's file is systemd's");
}

#[test]
fn a_server_takes_one_unix_socket_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let datagrams = UnixDatagram::bind(folder.path().join("datagrams")).expect("a socket");
    let file = File::create(folder.path().join("file")).expect("a file");
    let refused: [(OwnedFd, &str); 3] = [
        (tcp.into(), "fd 3 is not a valid unix stream socket"),
        (datagrams.into(), "fd 3 is not a valid unix stream socket"),
        (file.into(), "fd 3 is not a socket"),
    ];
    for (socket, why) in refused {
        let output = run_with_socket(socket, 1);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(7), "{why}: {log}");
        let expected = format!("pcsc: The socket that systemd passes cannot be used: {why}.\n");
        assert_eq!(log, expected);
    }
    let path = folder.path().join("pcscd.comm");
    let output = run_with_socket(UnixListener::bind(&path).expect("a socket"), 2);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    let expected = "pcsc: warn: systemd passes 2 sockets, and the first one is served alone\n";
    assert!(log.contains(expected), "{log}");
    assert!(log.contains(&format!("listening at {}", path.display())), "{log}");
}

#[test]
fn the_units_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    for (kind, files) in [
        (
            "system",
            &["/etc/default/pcsc-share", "/etc/sysconfig/pcsc-share"][..],
        ),
        ("user", &["%E/pcsc-share"]),
    ] {
        let unit = fs::read_to_string(folder.join(kind).join("pcsc-share.service")).expect("a unit");
        let read = unit
            .lines()
            .filter_map(|line| line.strip_prefix("EnvironmentFile=-"));
        assert_eq!(read.collect::<Vec<_>>(), files, "{kind}");
        let start = unit.lines().find(|line| line.starts_with("ExecStart="));
        assert!(
            start.is_some_and(|line| line.ends_with(" $PCSC_SHARE_OPTIONS usb")),
            "{kind}: {start:?}"
        );
    }
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("SKIPPED: systemd-analyze is not installed");
        return;
    }
    for kind in ["system", "user"] {
        let text = fs::read_to_string(folder.join(kind).join("pcsc-share.service")).expect("a unit");
        let copy = tempfile::tempdir().expect("a folder");
        let binary = artifacts::binary("pcsc-cli", "pcsc");
        let text = text.replace("/usr/bin/pcsc", &binary.to_string_lossy());
        fs::write(copy.path().join("pcsc-share.service"), text).expect("a copy");
        fs::copy(
            folder.join(kind).join("pcsc-share.socket"),
            copy.path().join("pcsc-share.socket"),
        )
        .expect("a copy");
        let mut verify = Command::new("systemd-analyze");
        verify
            .arg("verify")
            .arg("--man=no")
            .args((kind == "user").then_some("--user"));
        verify
            .arg(copy.path().join("pcsc-share.service"))
            .arg(copy.path().join("pcsc-share.socket"));
        verify
            .env("SYSTEMD_LOG_LEVEL", "warning")
            .env("XDG_RUNTIME_DIR", copy.path());
        let output = run(&mut verify, LIMIT);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let about_ours: Vec<&str> = text.lines().filter(|line| line.contains("pcsc-share")).collect();
        assert!(about_ours.is_empty(), "{kind}:\n{}", about_ours.join("\n"));
    }
}
