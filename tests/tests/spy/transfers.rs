//! The transfers of a reader are recorded and replayed below the driver, with unmodified programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pcsc_tests::{artifacts, client};

use super::{lines, winscard, with_input};

const READER: &str = "Gemalto GemPC Express 00 00";
const SELECT: &str = "transmit 00A404000AA00000006203010C0601";

/// The program, which then says that it has ended.
const PROGRAM: &str = "\"$0\" libpcsclite.so.1; echo ended >&2";

/// What the calls give, what is written to stderr, and the exit code.
fn pcsc(arguments: &[&str], record: &Path, pin: &str) -> (String, String, Option<i32>) {
    artifacts::library();
    let mut pcsc = client(artifacts::binary("pcsc-cli", "pcsc"));
    pcsc.args(arguments)
        .arg(record)
        .args(["sh", "-c", PROGRAM, winscard().as_str()])
        .env_remove("LD_LIBRARY_PATH");
    let output = with_input(&mut pcsc, &calls(pin));
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (out, err, output.status.code())
}

fn calls(pin: &str) -> Vec<String> {
    let connect = format!("connect 2 3 {READER}");
    let verify = format!("transmit 0020008108{pin}");
    lines(&[
        "establish",
        &connect,
        "status",
        SELECT,
        &verify,
        "reconnect 2 1 1",
        SELECT,
        "release",
    ])
}

const RECORD: [&str; 5] = ["--backend", "simulated", "sim", "record", "--usb"];

#[test]
fn a_recorded_reader_does_what_it_did_below_the_driver() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("reader.usb");
    // A file that everybody may read.
    fs::write(&record, "an older record").expect("a file");
    fs::set_permissions(&record, fs::Permissions::from_mode(0o644)).expect("our file");
    let (recorded, said, code) = pcsc(&RECORD, &record, "3132333435363738");
    assert_eq!((said.as_str(), code), ("ended\n", Some(0)));
    let mode = fs::metadata(&record).expect("our file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(recorded.contains("63C2"), "{recorded}");
    let text = fs::read_to_string(&record).expect("a record");
    assert!(!text.contains("3132333435363738"), "{text}");

    let (replayed, said, code) = pcsc(&["sim", "replay"], &record, "3938373635343332");
    assert_eq!(
        (replayed.as_str(), said.as_str(), code),
        (recorded.as_str(), "ended\n", Some(0))
    );

    // In the program's own process.
    let mut program = client(winscard());
    program
        .arg(artifacts::library())
        .env("PCSCLITE_BACKEND", "simulated")
        .env("PCSCLITE_SIMULATED", format!("replay:{}", record.display()));
    let output = with_input(&mut program, &calls("3938373635343332"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), recorded);
}

#[test]
fn what_differs_from_the_record_is_reported_and_hides_the_pin() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("reader.usb");
    let (_, _, code) = pcsc(&RECORD, &record, "3132333435363738");
    assert_eq!(code, Some(0));
    // A PIN of another length.
    let (replayed, said, code) = pcsc(&["sim", "replay"], &record, "31323334");
    assert_eq!(code, Some(1), "{replayed}");
    let (place, texts) = said.split_once("): ").expect("a line");
    let (expected, found) = texts.split_once(" was recorded, ").expect("two messages");
    // When it came, and once.
    assert!(found.ends_with(" came.\nended\n"), "{said}");
    assert!(
        place.contains(": exchange ") && place.contains(" (line "),
        "{said}"
    );
    // The Lc of the second one is wrong, and may be a digit.
    assert!(
        expected.contains("0020008108**") && found.contains("00200081**"),
        "{said}"
    );
    assert!(!said.contains("31323334"), "{said}");

    let mut program = client(winscard());
    program
        .arg(artifacts::library())
        .env("PCSCLITE_BACKEND", "simulated")
        .env("PCSCLITE_SIMULATED", format!("replay:{}", record.display()));
    let output = with_input(&mut program, &calls("31323334"));
    let logged = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(logged.contains(&format!("{expected} was recorded")), "{logged}");

    // The record is cut in a line.
    let text = fs::read_to_string(&record).expect("a record");
    fs::write(&record, &text[..text.len() - 3]).expect("a file");
    let last = text.lines().count();
    let cut = format!("line {last}: the line has no end: the file is cut");
    let (_, said, code) = pcsc(&["sim", "replay"], &record, "31323334");
    assert_eq!(
        (said, code),
        (format!("pcsc: {}: {cut}.\n", record.display()), Some(2))
    );
    let output = with_input(&mut program, &lines(&["establish"]));
    let logged = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(logged.contains(&cut), "{logged}");
}
