//! The UEFI driver and its programs, in a virtual machine with Debian's firmware and QEMU's CCID readers.

mod card;
mod machine;

use std::fs;
use std::path::Path;

/// The most bytes of the driver's image.
const MAX_IMAGE: u64 = 300 * 1024;

#[test]
fn programs_use_readers_through_the_driver() {
    if let Some(reason) = machine::missing() {
        println!("SKIPPED: {reason}");
        return;
    }
    let images = machine::images();
    let size = |name: &str| fs::metadata(images.join(name)).expect("an image").len();
    assert!(
        size("smartcard-driver.efi") < MAX_IMAGE,
        "{}",
        size("smartcard-driver.efi")
    );

    let script = [
        "@echo -off",
        "fs0:",
        "load smartcard-driver.efi",
        "pcsc.efi list",
        "pcsc.efi apdu 00A4040000 8010000003",
        "pcsc.efi apdu --reader 1 8010000002",
        "pcsc.efi apdu --reader 7 8010000002",
        "pcsc.efi apdu 801",
        "hello.efi",
        "conformance.efi",
        "pcsc.efi list",
        "reset -s",
    ]
    .join("\r\n");
    let console = machine::boot(&images, &script);
    check_programs(&console);
    check_conformance(&console);
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
    for number in 0..machine::READERS {
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
}

/// What the test program printed, line by line.
fn check_conformance(console: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/uefi/conformance.txt");
    let expected = fs::read_to_string(file).expect("the expected lines");
    let expected: Vec<&str> = expected.lines().collect();
    let printed: Vec<&str> = console
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("# "))
        .collect();
    for (number, expected) in expected.iter().enumerate() {
        let printed = printed.get(number).copied().unwrap_or("(nothing more)");
        assert_eq!(
            printed,
            *expected,
            "line {}; the console's end:\n{}",
            number + 1,
            machine::end_of(console)
        );
    }
    assert_eq!(printed.len(), expected.len(), "{:?}", printed.last());
}
