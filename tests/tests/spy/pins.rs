//! PINs and keys are in no form of a record, unless the user asks for them.

use std::fs::Permissions;
use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
use std::process::Command;

use pcsc_tests::artifacts;

use super::{lines, spy, winscard, with_input};

/// A PIN that occurs nowhere else.
const PIN: [u8; 4] = [0x9B, 0xE7, 0x9D, 0xEB];
const DIGITS: &str = "9BE79DEB";

/// Calls that carry the PIN.
fn calls() -> Vec<String> {
    let mut calls = lines(&[
        "establish",
        "connect 2 3 Gemalto USB GemPCPinpad SmartCard Reader 00 00",
    ]);
    let transmits = [
        // Short, with Le, extended, without Lc, chained, with secure messaging, on a channel, of a SIM.
        "0020008004PIN",
        "0020008004PIN00",
        "00200080000004PIN",
        "00200080PIN",
        "1020008004PIN",
        "0C20008004PIN",
        "0320008004PIN",
        "A020000104PIN",
        // CHANGE, RESET RETRY COUNTER, DISABLE, ENABLE.
        "0024008008PINPIN",
        "002C008008PINPIN",
        "0026008004PIN",
        "0028008004PIN",
        // PUT DATA, PUT KEY, ENVELOPE, LOAD KEYS.
        "00DA00D304PIN",
        "80D8010004PIN",
        "00C20000090020008004PIN",
        "FF82000004PIN",
    ];
    calls.extend(
        transmits
            .iter()
            .map(|command| format!("transmit {}", command.replace("PIN", DIGITS))),
    );
    let verify = format!("{}0D0000000020008008{DIGITS}FFFFFFFF", "00".repeat(15));
    let modify = format!("{}0D0000000024008008{DIGITS}{DIGITS}", "00".repeat(20));
    for (code, data) in [
        ("42330006", verify),
        ("42330007", modify),
        ("42000001", DIGITS.into()),
    ] {
        calls.push(format!("control {code} {data}"));
    }
    calls
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether a record has the PIN in any form.
fn has_pin(record: &[u8]) -> bool {
    let text = String::from_utf8_lossy(record).replace(' ', "").to_uppercase();
    has(record, &PIN) || text.contains(DIGITS)
}

#[test]
fn pins_are_in_no_form_of_a_record_unless_they_are_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("record");
    for format in ["text", "json", "pcapng"] {
        for shows_pins in [false, true] {
            let path = file.to_str().expect("UTF-8");
            let mut arguments = vec!["-o", path, "--format", format];
            arguments.extend(shows_pins.then_some("--show-pins"));
            let winscard = winscard();
            arguments.extend([winscard.as_str(), "libpcsclite.so.1"]);
            let mut command = spy(&arguments);
            command.env("PCSCLITE_SIMULATED", "gempc-pinpad");
            // Only the option counts.
            command.env("PCSCLITE_SPY_SHOW_PINS", "1");
            let output = with_input(&mut command, &calls());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let codes = output.stdout();
            assert_eq!(codes.lines().count(), calls().len(), "{codes}\n{said}");
            assert!(codes.starts_with("00000000 \n00000000 "), "{codes}");
            let record = std::fs::read(&file).expect("a record");
            assert!(!record.is_empty());
            assert_eq!(
                has_pin(&record),
                shows_pins,
                "{format}:\n{}",
                String::from_utf8_lossy(&record)
            );
            let is_warned = said.contains("warning: PINs AND KEYS ARE RECORDED.");
            assert_eq!(is_warned, shows_pins, "{said}");
            if format != "pcapng" {
                let state = if shows_pins { "shown" } else { "hidden" };
                assert!(String::from_utf8_lossy(&record).contains(state));
            }
        }
    }
}

#[test]
fn a_file_that_others_can_read_gets_no_pins() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("record");
    let path = file.to_str().expect("UTF-8");
    let winscard = winscard();
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("SKIPPED: files of another user, which only root can make");
    }
    // The library, and pcsc.
    for is_spied in [false, true] {
        for is_own in [true, false] {
            if !is_own && !is_root {
                continue;
            }
            let _ = std::fs::remove_file(&file);
            std::fs::write(&file, "before\n").expect("a file");
            std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("our file");
            if !is_own {
                chown(&file, Some(12_345), None).expect("root");
            }
            let mut command = match is_spied {
                true => spy(&["-o", path, "--show-pins", &winscard, "libpcsclite.so.1"]),
                false => {
                    let mut command = Command::new(&winscard);
                    command
                        .arg(artifacts::library())
                        .env("PCSCLITE_BACKEND", "simulated")
                        .env("PCSCLITE_SPY", path)
                        .env("PCSCLITE_SPY_SHOW_PINS", "1");
                    command
                }
            };
            let output = with_input(&mut command, &lines(&["establish"]));
            let case = format!("spied {is_spied}, own {is_own}: {output:?}");
            // The library records nothing, and pcsc runs nothing.
            assert_eq!(output.status.success(), is_own || !is_spied, "{case}");
            let text = std::fs::read_to_string(&file).expect("a file");
            let mode = file.metadata().expect("a file").mode() & 0o777;
            if is_own {
                assert!(text.contains("SCardEstablishContext"), "{case}\n{text}");
                assert_eq!(text.starts_with("before"), !is_spied, "{case}\n{text}");
                assert_eq!(mode, 0o600, "{case}");
            } else {
                assert_eq!((&text[..], mode), ("before\n", 0o644), "{case}");
            }
        }
    }
}
