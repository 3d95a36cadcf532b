//! Real programs, on Debian's library and on ours.

use std::process::Command;
use std::time::Duration;

use pcsc_tests::{artifacts, atr, client, run, Share};

const LIMIT: Duration = Duration::from_secs(300);

/// A program on each library in turn.
fn on_each_library(share: &Share, program: &str, arguments: &[&str], check: impl Fn(&str)) {
    for is_ours in [false, true] {
        let mut command: Command = client(program);
        command.args(arguments).env("PCSCLITE_CSOCK_NAME", share.socket());
        if is_ours {
            command.env("LD_LIBRARY_PATH", artifacts::library_folder());
        }
        check(&run(&mut command, LIMIT).stdout());
    }
}

#[test]
fn opensc_tool_lists_readers_and_sends_apdus() {
    let share = Share::start(2);
    share.reader(1).insert(atr::T1);
    on_each_library(&share, "opensc-tool", &["--list-readers"], |list| {
        assert!(
            list.contains("pcsc-tests 00 00") && list.contains("pcsc-tests 01 00"),
            "{list}"
        );
    });
    let select = "00:A4:04:00:0A:A0:00:00:00:62:03:01:0C:06:01";
    on_each_library(
        &share,
        "opensc-tool",
        &["-r", "1", "--send-apdu", select],
        |answer| {
            assert!(answer.contains("SW1=0x90, SW2=0x00"), "{answer}");
        },
    );
}

#[test]
fn pcsc_scan_lists_more_readers_than_pcscd_has_room_for() {
    let share = Share::start_with(&["sim:octsim,octsim,octsim"]);
    // Debian's library reads 16 states, whatever the number of readers.
    on_each_library(&share, "pcsc_scan", &["-r"], |list| {
        let readers = list.lines().filter(|line| line.contains("sysmoOCTSIM")).count();
        assert!(readers == 16 || readers == 24, "{list}");
    });
}
