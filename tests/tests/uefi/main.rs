//! The UEFI driver and its programs, in a virtual machine with Debian's firmware and QEMU's CCID readers.

mod card;
mod foreign;
mod machine;
mod redir;
mod simulated;

use std::fs;
use std::path::{Path, PathBuf};

use machine::Readers;
use pcsc_tests::assert_same;
use simulated::{Simulated, Special};
use tempfile::TempDir;

/// The most bytes of the driver's image.
const MAX_IMAGE: u64 = 300 * 1024;
/// QEMU's own readers.
const READERS: usize = 2;

/// The images; `None`, and why, where there can be no virtual machine.
fn images() -> Option<Vec<PathBuf>> {
    match machine::missing() {
        Some(reason) => {
            println!("SKIPPED: {reason}");
            None
        }
        None => Some(machine::images()),
    }
}

#[test]
fn programs_use_readers_through_the_driver() {
    let Some(images) = images() else {
        return;
    };
    let driver = images.iter().find(|path| path.ends_with("smartcard-driver.efi"));
    let size = fs::metadata(driver.expect("the driver")).expect("an image").len();
    assert!(size < MAX_IMAGE, "{size}");

    let script = [
        "load smartcard-driver.efi",
        "pcsc.efi list",
        "pcsc.efi apdu 00A4040000 8010000003",
        "pcsc.efi apdu --reader 1 8010000002",
        "pcsc.efi apdu --reader 17 8010000002",
        "pcsc.efi apdu 801",
        "hello.efi",
        "conformance.efi",
        "pcsc.efi list",
        "load smartcard-driver.efi",
        "pcsc.efi list",
    ];
    let readers = Readers {
        passthru: READERS,
        simulated: vec![Simulated::with("octsim", Special::Slots(&[0, 3, 7]))],
    };
    let console = machine::boot(&images, &script, readers);
    check_programs(&console);
    check_lines("conformance.txt", &console);
}

/// Readers of many models.
fn models() -> Readers {
    Readers {
        passthru: 0,
        simulated: vec![
            Simulated::new("gempc-express"),
            Simulated::with("gempc-express", Special::T0),
            Simulated::with("gempc-express", Special::Slow),
            Simulated::new("scr3310"),
            Simulated::new("omnikey-3x21"),
            Simulated::new("omnikey-5321"),
            Simulated::new("au9540"),
            Simulated::new("oz776"),
            Simulated::with("octsim", Special::Slots(&[0, 3, 7])),
            Simulated::new("gempc-pinpad"),
            Simulated::new("yubikey"),
            Simulated::new("rutoken-lite"),
            Simulated::new("starsign"),
            Simulated::new("ibank2key"),
            Simulated::with("scr3310", Special::LongName),
        ],
    }
}

#[test]
fn readers_of_many_models_work() {
    let Some(images) = images() else {
        return;
    };
    let script = ["load smartcard-driver.efi", "models.efi"];
    let console = machine::boot(&images, &script, models());
    check_lines("models.txt", &console);
}

#[test]
fn a_foreign_program_works() {
    let Some(mut images) = images() else {
        return;
    };
    if let Some(reason) = foreign::missing() {
        println!("SKIPPED: {reason}");
        return;
    }
    let folder = TempDir::new().expect("a folder");
    images.push(foreign::program(folder.path()));
    // The firmware starts the driver on the readers where a program does not.
    let script = ["load smartcard-driver.efi", "connect -r", "program.efi"];
    let console = machine::boot(&images, &script, models());
    check_lines("program.txt", &console);
}

/// What the programs printed.
fn check_programs(console: &str) {
    let lines: Vec<&str> = console.lines().map(str::trim_end).collect();
    let has = |wanted: &str| {
        assert!(
            lines.contains(&wanted),
            "no line {wanted:?} in\n{}",
            machine::end_of(console)
        )
    };
    for number in 0..READERS {
        let atr: String = card::atr(number)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        has(&format!("   ATR {atr}"));
    }
    for wanted in [
        "> 8010000003",
        "< 0102039000",
        "< 01029000",
        "there is no such reader, or no card in any",
        "801 is no APDU: hexadecimal digits in pairs, please",
        "Hello world! [90, 00]",
        "there is no smart card reader, or no driver for it",
    ] {
        has(wanted);
    }
    // The driver that was loaded after the readers were plugged in.
    let list = console.rsplit("loaded at").next().unwrap_or_default();
    assert_eq!(list.matches(": a card without power").count(), 4, "{list}");
    assert_eq!(list.matches(": no card").count(), 5, "{list}");
}

/// Compares what a test program printed with the expected lines.
fn check_lines(file: &str, console: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/uefi")
        .join(file);
    let expected = fs::read_to_string(path).expect("the expected lines");
    let printed: String = console
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("# "))
        .flat_map(|line| [line, "\n"])
        .collect();
    // Shown where the comparison fails.
    println!("the console's end:\n{}", machine::end_of(console));
    assert_same("the test program", (file, &expected), ("the console", &printed));
}
