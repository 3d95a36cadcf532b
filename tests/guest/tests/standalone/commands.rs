//! What the command `pcsc` prints of a reader on the bus, by each way to it.

use pcsc_guest_tests::facts::Facts;

use crate::facts;

/// The reader, behind QEMU's.
const NAME: &str = "SCM Microsystems Inc. SCR 3310 [CCID Interface] (SN-0001) 01 00";

#[test]
fn the_command_works_on_a_bus() {
    let Some(facts) = facts("commands") else { return };
    let port = facts.get("port");
    let has = |fact: &str, parts: &[&str]| {
        let text = facts.get(fact);
        for part in parts {
            assert!(text.contains(part), "{fact} without {part:?}: {text}");
        }
    };
    let atr = "3B 85 81 31 FE 45 68 65 6C 6C 6F EC";
    let compact = atr.replace(' ', "");
    let name = NAME;
    for way in ["standalone", "daemon", "share"] {
        let fact = |name: &str| format!("{way}/{name}");
        let usb = format!("USB   04e6:5116, serial SN-0001, port {port}, device 003/");
        has(&fact("list"), &["Some(0) ", name, "card  present", atr, &usb]);
        has(
            &fact("list/json"),
            &[
                "Some(0) ",
                &format!(r#""reader": "{name}""#),
                &format!(r#""atr": "{compact}""#),
                &format!(r#""port": "{port}""#),
                r#""serial": "SN-0001""#,
            ],
        );
        let hello = r#"< 48 65 6C 6C 6F 20 77 6F 72 6C 64 21  "Hello world!" | < 90 00 (success)"#;
        has(&fact("apdu"), &["Some(0) > 00 A4 04 00", hello]);
        has(
            &fact("features"),
            &[
                "Some(0) ",
                "VENDOR_IFD_SERIAL_NO: SN-0001",
                "a card is in it",
                atr,
            ],
        );
        if way == "share" {
            continue;
        }
        has(&fact("apdu"), &["> reset | < ATR ", atr]);
        let exchange =
            format!(r#"{{"event":"exchange","reader":"{name}","command":"00000000","data":"48656C6C6F"#);
        let reset = format!(r#"{{"event":"reset","reader":"{name}","atr":"{compact}"}}"#);
        has(&fact("apdu/json"), &["Some(0) ", &exchange, &reset]);
        let inserted = format!(": card inserted |   ATR {atr} |   T=1, \"hello\"");
        has(&fact("watch"), &["Some(0) ", ": reader added", &inserted]);
        let inserted =
            format!(r#""event":"card_inserted","reader":"{name}","card":"present","atr":"{compact}""#);
        has(&fact("watch/json"), &["Some(0) ", &inserted]);
        has(
            &fact("atr"),
            &[
                "Some(0) ",
                "historical bytes \"hello\"",
                name,
                "protocol in use: T=1",
            ],
        );
        has(&fact("atr/json"), &["Some(0) ", name, r#""protocol": "T=1""#]);
        has(
            &fact("features/json"),
            &["Some(0) ", r#""name": "VENDOR_IFD_SERIAL_NO""#],
        );
        let answers = format!("{name}: the card answers (T=1, ");
        has(
            &fact("doctor"),
            &["Some(0) ", &answers, "All is well: 2 readers can be used"],
        );
        has(
            &fact("doctor/json"),
            &["Some(0) ", &answers, r#""usable_readers": 2"#],
        );
    }
    // libccid has no attributes for the speed.
    has(
        "standalone/atr",
        &["speed in use: 10752 bit/s (F 372, D 1, 4000 kHz)"],
    );
    has("standalone/atr/json", &[r#""bits_per_second": 10752"#]);
    programs_run(&facts);
    it_waits(&facts, port);
}

/// The programs of `pcsc with`, `pcsc spy` and `pcsc share`.
fn programs_run(facts: &Facts) {
    let name = NAME;
    for (fact, parts) in [
        ("with", &["Some(0) ", name][..]),
        (
            "spy/json",
            &[
                "Some(0) ",
                "48 65 6C 6C 6F 20 77 6F 72 6C 64 21 90 00 : Normal processing.",
            ],
        ),
        (
            "spy/calls",
            &[
                r#""function":"SCardTransmit""#,
                r#""response":"48656C6C6F20776F726C64219000""#,
                name,
            ],
        ),
        (
            "spy/read",
            &[
                "SCardConnect = SCARD_S_SUCCESS",
                "< response 48 65 6C 6C 6F",
                name,
            ],
        ),
        ("share/stock-list", &[name]),
        ("share/stock-scan", &[name]),
        ("share/end", &["exit status: 0"]),
        ("share/socket-left", &["false"]),
    ] {
        let text = facts.get(fact);
        for part in parts {
            assert!(text.contains(part), "{fact} without {part:?}: {text}");
        }
    }
}

/// `pcsc watch` and `pcsc list --wait`, while cards and readers come and go.
fn it_waits(facts: &Facts, port: &str) {
    let events = |fact: &str, words: [&str; 3]| {
        let text = facts.all(fact);
        let mut places = Vec::new();
        for word in words {
            places.extend(text.match_indices(word).map(|(at, _)| (at, word)));
        }
        places.sort_unstable();
        let seen: Vec<&str> = places.into_iter().map(|(_, word)| word).collect();
        let [added, inserted, removed] = words;
        assert_eq!(seen, [added, inserted, removed, inserted], "{text}");
    };
    events("watched", ["reader added", "card inserted", "card removed"]);
    events("watched--json", ["reader_added", "card_inserted", "card_removed"]);
    for fact in ["watched/end", "watched--json/end"] {
        facts.are(&[(fact, "signal: 15 (SIGTERM)")]);
    }
    facts.are(&[("waited/end", "exit status: 0")]);
    let waited = facts.get("waited");
    assert!(
        waited.contains(r#""serial": "SN-0002""#) && !waited.contains(port),
        "{waited}"
    );
}

/// What each call costs on a bus, to which no simulated reader gives an answer.
#[test]
fn a_bench_shows_its_figures_on_a_bus() {
    let Some(facts) = facts("commands") else { return };
    let calls = [
        "establish + release",
        "list readers",
        "status change, at once",
        "connect + disconnect",
        "status",
        "transaction",
        "attribute",
        "transmit",
    ];
    for (fact, columns) in [("standalone/bench", 1), ("daemon/bench", 2)] {
        let text = facts.get(fact);
        println!("{fact}: {}", text.replace(" | ", "\n"));
        assert!(
            text.starts_with("Some(0) SCM Microsystems Inc. SCR 3310"),
            "{text}"
        );
        for call in calls {
            let row = text
                .split(" | ")
                .find_map(|row| row.strip_prefix(&format!("{call:<24}")));
            let row = row.unwrap_or_else(|| panic!("no {call} in {text}"));
            let times = row
                .split(" µs")
                .filter_map(|part| part.split_whitespace().last()?.parse::<f64>().ok());
            let times: Vec<f64> = times.collect();
            // The last one is of round trips.
            let medians = &times[..columns.min(times.len())];
            assert!(
                medians.len() == columns && medians.iter().all(|time| *time > 0.0),
                "{call}: {row}"
            );
        }
    }
    let daemon = facts.get("daemon/bench");
    assert!(
        daemon.contains("library: /") && daemon.contains("through the daemon at "),
        "{daemon}"
    );
    let json = facts.get("standalone/bench/json");
    let medians = json.matches(r#""median_us": "#).count();
    assert_eq!(medians, calls.len(), "{json}");
    assert!(
        json.contains(r#""apdu": "00B0000010""#) && !json.contains(r#""median_us": null"#),
        "{json}"
    );
}
