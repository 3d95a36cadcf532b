//! What others make of a record: Wireshark, and pcsc-lite's own spy in front of our library.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use pcsc_tests::{artifacts, client, run};

use super::{lines, spy, winscard, with_input, LIMIT, READER};

pub fn is_installed(program: &str) -> bool {
    let found = run(Command::new("which").arg(program), LIMIT).status.success();
    if !found {
        println!("SKIPPED: {program} is not installed");
    }
    found
}

#[test]
fn wireshark_reads_the_apdus_and_the_atr() {
    if !is_installed("tshark") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("record.pcapng");
    let path = file.to_str().expect("UTF-8");
    let winscard = winscard();
    let mut command = spy(&["-o", path, "--format", "pcapng", &winscard, "libpcsclite.so.1"]);
    let long = format!("transmit 80EC0000010000{}0000", "AB".repeat(65_536));
    let calls = lines(&[
        "establish",
        &format!("connect 2 3 {READER}"),
        "status",
        "status",
        "transmit 00A404000AA00000006203010C0601",
        "transmit 002000800431323334",
        &long,
    ]);
    with_input(&mut command, &calls).stdout();

    let mut tshark = Command::new("tshark");
    tshark.env("HOME", folder.path()).arg("-r").arg(&file);
    let fields = [
        "_ws.col.Info",
        "frame.protocols",
        "frame.comment",
        "ip.checksum.status",
        "udp.length",
    ];
    tshark.args([
        "-o",
        "ip.check_checksum:TRUE",
        "-T",
        "fields",
        "-E",
        "separator=|",
    ]);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let text = run(&mut tshark, LIMIT).stdout();
    let packets: Vec<Vec<&str>> = text.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(packets.len(), 4, "{text}");
    // The ATR, once.
    assert!(packets[0][0].starts_with("ATR, TA(1)=False"), "{text}");
    for packet in &packets[1..] {
        assert_eq!(packet[1], "raw:ip:udp:gsmtap:gsm_sim", "{text}");
        assert_eq!(packet[3], "1", "the checksum of IP is good: {text}");
    }
    assert!(
        packets[1][0].contains("SELECT Application a00000006203010c0601"),
        "{text}"
    );
    assert!(
        packets[1][2].ends_with(&format!("{READER}, SCARD_S_SUCCESS")),
        "{text}"
    );
    assert!(
        packets[2][0].contains("VERIFY CHV") && packets[2][0].contains("Referenced data not found"),
        "{text}"
    );
    assert!(
        packets[2][2].ends_with("; 4 bytes that may be secret are hidden, as *"),
        "{text}"
    );
    assert!(
        packets[3][2].contains("; cut, ") && packets[3][4] == "65515",
        "{text}"
    );
}

#[test]
fn a_capture_file_is_not_written_to_a_terminal() {
    let output = run(&mut spy(&["--format", "pcapng", "true"]), LIMIT);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn the_spy_of_pcsc_lite_records_in_front_of_our_library() {
    if !is_installed("pcsc-spy") {
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let pipe = home.path().join("pcsc-spy");
    // pcsc-spy makes the pipe, and prints what comes out of it.
    let mut reader = Command::new("pcsc-spy");
    reader
        .arg("-n")
        .env("HOME", home.path())
        .stdout(Stdio::piped())
        .stdin(Stdio::null());
    let mut reader = reader.spawn().expect("pcsc-spy can be started");
    let record = BufReader::new(reader.stdout.take().expect("a pipe"));
    while !pipe.exists() {
        std::thread::yield_now();
    }
    for (delegate, is_there) in [("libpcscspy.so.0", true), ("libpcscspy.so.99", false)] {
        let mut command = client(artifacts::binary("pcsc-cli", "pcsc"));
        command
            .args(["with", "opensc-tool", "--list-readers"])
            .env("HOME", home.path())
            .env("LIBPCSCLITE_DELEGATE", delegate)
            .env("PCSCLITE_BACKEND", "simulated")
            .env_remove("LD_LIBRARY_PATH");
        let output = run(&mut command, LIMIT);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            said.contains("libpcscspy.so.99 is not installed"),
            !is_there,
            "{said}"
        );
        assert!(!said.contains("in the place of your"), "{said}");
        let text = output.stdout();
        assert!(text.contains(READER), "{text}");
    }
    let seen: Vec<String> = record
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.contains("ReleaseContext"))
        .collect();
    let _ = reader.kill();
    reader.wait().expect("our child");
    let seen = seen.join("\n");
    assert!(
        seen.contains("SCardListReaders") && seen.contains(READER),
        "{seen}"
    );
}
