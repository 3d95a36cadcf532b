//! `pcsc bench`, beside Debian's library.

use super::*;
use pcsc_tests::stock;

/// A number of a call in what `pcsc bench --json` prints.
fn number(json: &str, call: &str, field: &str) -> Option<f64> {
    let (_, rest) = json.split_once(&format!("\"call\": \"{call}\"")).expect(call);
    let (_, rest) = rest.split_once(&format!("\"{field}\": ")).expect(field);
    rest.split(['\n', ',']).next()?.parse().ok()
}

#[test]
fn a_bench_compares_with_the_installed_library() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let json = run(&mut pcsc(&pcscd, &["bench", "--json"]), LIMIT).stdout();
    let library = stock::library();
    let folder = library.parent().expect("a folder").file_name().expect("a name");
    has(
        &json,
        &[
            &format!("{}/libpcsclite.so.1\"", folder.to_string_lossy()),
            r#""apdu": "00CA000000""#,
        ],
    );
    for (call, ours) in [
        ("list readers", 1.0),
        ("status", 1.0),
        ("transaction", 2.0),
        ("attribute", 1.0),
        ("transmit", 1.0),
    ] {
        assert_eq!(number(&json, call, "round_trips"), Some(ours), "{call}: {json}");
        let theirs = number(&json, call, "library_round_trips").expect(call);
        assert!(theirs >= ours, "{call}: {json}");
    }
    for call in [
        "establish + release",
        "status change, at once",
        "connect + disconnect",
        "transmit",
    ] {
        for field in ["median_us", "library_median_us"] {
            assert!(
                number(&json, call, field).is_some_and(|time| time > 0.0),
                "{call}: {json}"
            );
        }
    }

    pcscd.reader(0).remove();
    let output = run(
        &mut pcsc(&pcscd, &["bench", "--against", "/nonexistent.so"]),
        LIMIT,
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    has(
        &String::from_utf8_lossy(&output.stderr),
        &[
            "pcsc: /nonexistent.so is not compared. ",
            "There is no card in the reader: calls to a card are left out.",
        ],
    );
    let text = String::from_utf8_lossy(&output.stdout);
    has(
        &text,
        &["pcsc-tests 00 00, through the daemon at ", "list readers"],
    );
    assert!(!text.contains("transmit") && !text.contains("library"), "{text}");
}

#[test]
fn commands_work_on_the_systems_library() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let through = |library: &Path, arguments: &[&str]| {
        let mut command = pcsc(&pcscd, &[&["--backend", "system"], arguments].concat());
        run(command.env("PCSCLITE_SYSTEM_LIBRARY", library), LIMIT).stdout()
    };
    for library in [stock::library(), artifacts::library()] {
        let json = through(&library, &["list", "--json"]);
        let named = format!(r#""library": "{}""#, library.display());
        has(
            &json,
            &[
                r#""kind": "system""#,
                &named,
                &hex(atr::T1, ""),
                r#""card": "present""#,
            ],
        );
        has(
            &through(&library, &["apdu", SELECT, "00000000="]),
            &["\"Hello world!\"\n< 90 00"],
        );
        has(
            &through(&library, &["doctor"]),
            &["All is well: 1 reader can be used, and 1 card answers."],
        );
    }
    drop(pcscd);
    let mut command = pcsc_at(
        Path::new("/nonexistent/pcscd.comm"),
        &["doctor", "--backend", "system"],
    );
    let output = run(command.env("PCSCLITE_SYSTEM_LIBRARY", stock::library()), LIMIT);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    has(
        &String::from_utf8_lossy(&output.stdout),
        &[
            "finds no resource manager that runs",
            "-> pcsc doctor --backend daemon finds out what keeps the daemon away.",
        ],
    );
}
