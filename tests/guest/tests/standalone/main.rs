//! Readers without a daemon, in the guest: it is booted once; each test looks at what one scenario of
//! `guest-agent` has seen.

mod commands;
mod served;

use pcsc_guest_tests::facts::{keep, Facts, Kept};
use pcsc_guest_tests::lab::{Error, Lab};
use pcsc_tests::{artifacts, assert_same, run, stock};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// The agent's scenarios, and how many seconds each may take in the guest, on a machine that is slow.
const SCENARIOS: &[(&str, u64)] = &[
    ("clients", 2400),
    ("idle", 480),
    ("two-processes", 1200),
    ("served", 900),
    ("versions", 480),
    ("cards", 480),
    ("daemon-comes", 480),
    ("permission", 240),
    ("fork", 480),
    ("descriptor", 240),
    ("descriptor-alone", 240),
    ("reset", 480),
    ("foreign", 900),
    ("identical", 900),
    ("doctor", 480),
    ("commands", 900),
    // Last: its events keep udev busy for long.
    ("hotplug", 1600),
];

/// What the scenario has seen.
#[track_caller]
fn facts(scenario: &'static str) -> Option<Facts> {
    Facts::of(scenario, booted())
}

fn booted() -> &'static Result<Kept, Error> {
    static BOOTED: OnceLock<Result<Kept, Error>> = OnceLock::new();
    BOOTED.get_or_init(|| {
        let classes = tempfile::tempdir()?;
        compile(classes.path());
        let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let arguments = [
            artifacts::library_folder().display().to_string(),
            classes.path().display().to_string(),
            format!("{tests}/python/client.py"),
            stock::library().display().to_string(),
            artifacts::card("usbip").display().to_string(),
            artifacts::binary("pcsc-cli", "pcsc").display().to_string(),
            format!("{tests}/../target/guest-kernel/modules"),
            artifacts::binary("pcsc-examples", "android")
                .display()
                .to_string(),
            artifacts::binary("pcsc-tests", "winscard").display().to_string(),
        ];
        let mut lab = Lab::new();
        lab.card_reader();
        for (scenario, seconds) in SCENARIOS {
            let mut words = vec![env!("CARGO_BIN_EXE_guest-agent"), scenario];
            words.extend(arguments.iter().map(String::as_str));
            lab.command(scenario, &words, Duration::from_secs(*seconds));
        }
        keep(
            lab.boot()?,
            &Path::new(env!("CARGO_TARGET_TMPDIR")).join("standalone"),
        )
    })
}

/// Compiles the client in Java.
fn compile(folder: &Path) {
    let mut compiler = Command::new("javac");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../java/Client.java");
    compiler.arg("-d").arg(folder).arg(source);
    run(&mut compiler, Duration::from_secs(300)).stdout();
}

#[test]
fn clients_see_the_same_without_a_daemon_as_with_debians() {
    let Some(facts) = facts("clients") else { return };
    let stock = facts
        .facts
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("stock/")?, value)));
    let mut compared = 0;
    for (name, stock) in stock {
        let [expected, actual] =
            [stock, facts.get(&format!("ours/{name}"))].map(|text| text.replace(" | ", "\n"));
        assert_same(name, ("stock", &expected), ("ours", &actual));
        assert!(stock.starts_with("Some(0) "), "{name}: {stock}");
        compared += 1;
    }
    // Three that list, four with opensc-tool, five with scriptor, Python and Java.
    assert_eq!(compared, 14);
    for name in ["pyscard", "java", "opensc-2", "opensc-4"] {
        let text = facts.get(&format!("ours/{name}"));
        assert!(text.contains("Hello world!"), "{name}: {text}");
    }
    let scan = facts.get("ours/pcsc-scan-cards");
    assert_eq!(scan.matches("Card inserted").count(), 5, "{scan}");
    let qemus = facts.get("ours/opensc-0");
    assert!(qemus.contains("Received (SW1=0x6A, SW2=0x82)"), "{qemus}");
}

#[test]
fn a_second_process_waits_for_its_turn() {
    let Some(facts) = facts("two-processes") else {
        return;
    };
    let echo = "80ec00000401020304009000";
    for end in ["released", "killed", "killed-in-mid-apdu"] {
        for (name, value) in [
            ("first", "yes"),
            ("first-transmit", echo),
            ("second-lists", "true"),
            ("second-connects", "SharingViolation"),
            ("second-then", "yes"),
            ("second-transmit", echo),
        ] {
            facts.are(&[(&format!("{end}/{name}"), value)]);
        }
    }
    // A client in C is refused too, and its log names the process that has the reader.
    let log = facts.get("log");
    let holder =
        "WARN: 234b:0000 Echo & Söhne Echo reader: the reader is in use by guest-agent (process FIRST)";
    assert!(log.contains(holder), "{log}");
    facts.are(&[("mid-apdu", "true")]);
    for reader in ["oz776", "scr3310", "omnikey-3x21", "yubikey"] {
        facts.are(&[
            (&format!("{reader}/mid-apdu"), "true"),
            (&format!("{reader}/after"), "010203049000"),
            (&format!("{reader}/again"), "010203049000"),
        ]);
    }
}

#[test]
fn cards_that_come_and_go_are_seen_whether_a_reader_tells_or_is_asked() {
    let Some(facts) = facts("cards") else { return };
    for model in ["scr3310", "rutoken-lite"] {
        for round in 0..3 {
            facts.are(&[(&format!("{model}/{round}"), "in and out")]);
        }
    }
}

#[test]
fn a_daemon_comes_and_goes() {
    let Some(facts) = facts("daemon-comes") else {
        return;
    };
    let echo = "80ec00000401020304009000";
    facts.are(&[
        ("without-daemon", "standalone"),
        ("without-socket", "standalone"),
        ("without-socket-old-context", "Ok(())"),
        ("without-daemon-transmit", echo),
        ("card-in-use", "standalone"),
        ("card-in-use-transmit", echo),
        ("card-in-use-other", echo),
        ("card-not-in-use", "daemon"),
        ("old-context", "Err(InvalidHandle)"),
        ("old-context-connects", "NoService"),
        ("with-daemon", "daemon"),
        ("with-daemon-transmit", echo),
        ("claimed-by-daemon-connects", "SharingViolation"),
        ("daemon-undisturbed", echo),
        ("daemon-gone", "Err(InvalidHandle)"),
        ("forced-after-daemon", echo),
        ("after-daemon", "standalone"),
        ("after-daemon-transmit", echo),
    ]);
}

#[test]
fn readers_are_plugged_in_and_pulled_out_200_times() {
    let Some(facts) = facts("hotplug") else { return };
    let mut rounds = 0;
    for (name, count) in facts.facts.iter().filter(|(name, _)| name.contains('/')) {
        let right = match name.split_once('/').expect("what happened, and what was seen") {
            // The reader is there and not usable, or not there any more.
            ("idle", seen) => [
                "unavailable+changed",
                "unknown+unavailable+changed",
                "unknown+changed",
            ]
            .contains(&seen),
            // A handle of a reader that is gone is good for no more than to be given back.
            ("mid-apdu", seen) => seen == "ReaderUnavailable+ReaderUnavailable",
            ("connected", seen) => seen == "answered+ReaderUnavailable",
            ("looked-at", seen) => seen == "gone",
            _ => false,
        };
        assert!(right, "{count} times {name}");
        rounds += count.parse::<usize>().expect("a number");
    }
    assert_eq!(rounds, 200);
    facts.are(&[
        ("files-left", "0"),
        ("threads-left", "0"),
        ("threads-at-the-end", "1"),
    ]);
}

#[test]
fn nothing_wakes_while_nothing_happens() {
    let Some(facts) = facts("idle") else { return };
    facts.are(&[
        ("threads-before", "1"),
        ("connects", "yes"),
        ("powered-down", "true"),
        ("same-threads", "true"),
        ("woken", ""),
        ("transfers", "0"),
        ("told", "gone"),
        ("threads-after", "1"),
    ]);
}

#[test]
fn a_reader_without_permission_is_not_listed_and_the_log_says_why() {
    let Some(facts) = facts("permission") else {
        return;
    };
    facts.are(&[("nobody-lists", "No smart card readers found.")]);
    let log = facts.get("nobody-logs");
    for part in [
        "reader 234b:0000 Echo & Söhne Echo reader: no permission for /dev/bus/usb/",
        "/etc/udev/rules.d/",
        r#"ATTR{idVendor}=="234b", ATTR{idProduct}=="0000""#,
    ] {
        assert!(log.contains(part), "{log}");
    }
    assert!(facts.get("root-lists").contains("Gnuk (0042)"));
}

#[test]
fn a_forked_child_starts_afresh_and_a_library_is_unloaded() {
    let Some(facts) = facts("fork") else { return };
    facts.are(&[
        ("daemon/parent-establishes", "0"),
        ("daemon/parent-connects", "0x0"),
        ("daemon/establishes", "0"),
        ("daemon/connects", "0x0"),
        ("daemon/transmits", "801000009000"),
        ("daemon/releases", "0x0"),
        ("parent-connects", "0x0"),
        ("parent-transmits", "801000009000"),
        ("child-of-user/parents-card", "0x80100003"),
        ("child-of-user/parents-context", "0x80100003"),
        ("child-of-user/establishes", "0"),
        ("child-of-user/lists", "1"),
        ("child-of-user/connects", "0x8010000b"),
        ("child-of-user/releases", "0x0"),
        ("parent-transmits-again", "801000009000"),
        ("parent-releases", "0x0"),
        ("child-of-idle/establishes", "0"),
        ("child-of-idle/connects", "0x0"),
        ("child-of-idle/transmits", "801000009000"),
        ("child-of-idle/releases", "0x0"),
        ("threads", "1"),
        ("threads-unloaded", "1"),
        ("threads-at-the-end", "1"),
        ("files-left", "0"),
        ("status", "Some(0)"),
    ]);
}

#[test]
fn a_file_descriptor_is_enough() {
    let Some(facts) = facts("descriptor") else {
        return;
    };
    facts.are(&[
        ("readers", "1"),
        ("unusable", "0"),
        ("identity", "true"),
        ("place", "true"),
        ("atr", "3b046563686f"),
        ("answer", "801000009000"),
        ("others", "SharingViolation"),
        ("others-then", "80ec00000401020304009000"),
        ("context-lists", "1"),
        ("context-transmits", "80ec00000401020304009000"),
    ]);
    let name = facts.get("name");
    assert_eq!(name, "Free Software Initiative of Japan Gnuk (0042)");
}

/// As on Android.
#[test]
fn a_file_descriptor_is_enough_without_nodes_sys_and_udev() {
    let Some(facts) = facts("descriptor-alone") else {
        return;
    };
    facts.are(&[("hidden", "true"), ("status", "exit status: 0"), ("errors", "")]);
    let printed = facts.get("printed");
    assert_eq!(
        printed,
        "SCM Microsystems Inc. SCR 3310 [CCID Interface] 00 00: Hello world!"
    );
}

#[test]
fn a_reader_that_was_reset_is_found_again() {
    let Some(facts) = facts("reset") else { return };
    let echo = "80ec00000401020304009000";
    facts.are(&[
        ("polled/before", "010203049000"),
        ("polled/reset", "Err(RemovedCard)"),
        ("polled/then", "010203049000"),
        ("notifies/before", echo),
        ("notifies/reset", "Err(RemovedCard)"),
        ("notifies/then", echo),
        ("next", "yes"),
        ("next-transmits", "801000009000"),
        ("plugged-again", echo),
    ]);
}

#[test]
fn devices_and_cards_of_others_make_keys_and_signatures() {
    let Some(facts) = facts("foreign") else { return };
    assert!(facts.get("openpgp/reader").starts_with("Nitrokey Nitrokey 3 "));
    for fact in ["openpgp/card", "openpgp/key", "openpgp/sign", "openpgp/verify"] {
        let text = facts.get(fact);
        assert!(text.starts_with("Some(0) "), "{fact}: {text}");
    }
    let has = |fact: &str, part: &str| {
        let text = facts.get(fact);
        assert!(text.contains(part), "{fact} without {part}: {text}");
    };
    has("openpgp/card", "d2:76:00:01:24:01");
    let key = facts.get("openpgp/key");
    assert_eq!(key.matches("Received (SW1=0x90, SW2=0x00)").count(), 6, "{key}");
    has("openpgp/verify", "Signature is valid");
}

#[test]
fn a_card_of_others_signs_in_qemus_reader() {
    let Some(facts) = facts("foreign") else { return };
    let test = facts.get("cac/test");
    assert!(test.starts_with("Some(0) "), "{test}");
    for (mechanism, times) in [
        ("RSA-X-509: OK", 9),
        ("SHA256-RSA-PKCS: OK", 1),
        ("RSA-PKCS-OAEP: ", 6),
    ] {
        assert_eq!(test.matches(mechanism).count(), times, "{mechanism}: {test}");
    }
    // The card makes no random numbers.
    for part in ["ERR: C_GenerateRandom failed", "1 errors"] {
        assert!(test.contains(part), "no {part}: {test}");
    }
}

#[test]
fn four_readers_of_one_model_are_told_apart() {
    let Some(facts) = facts("identical") else { return };
    let serials: Vec<String> = (0..4)
        .map(|number| format!("SN-000{number}=card-{number}"))
        .collect();
    for (round, ways) in [
        ("first", &["readers"][..]),
        ("again", &["readers", "list", "by-port"]),
        ("serials", &["list", "by-serial"]),
        ("daemon", &["readers", "list", "by-serial"]),
    ] {
        let plugged = facts.get(&format!("{round}/plugged"));
        assert_eq!(plugged.matches("=card-").count(), 4, "{plugged}");
        for way in ways {
            let by_serial = serials.join(" ");
            let expected = if *way == "by-serial" { &by_serial } else { plugged };
            assert_eq!(facts.get(&format!("{round}/{way}")), expected, "{round}/{way}");
        }
    }
    // The order was another one.
    assert_ne!(facts.get("first/plugged"), facts.get("again/plugged"));
}

#[test]
fn the_command_says_who_keeps_a_reader() {
    let Some(facts) = facts("doctor") else { return };
    let has = |fact: &str, parts: &[&str]| {
        let text = facts.get(fact);
        for part in parts {
            assert!(text.contains(part), "{fact} without {part:?}: {text}");
        }
    };
    let reader = "234b:0000 Echo & Söhne Echo reader at ";
    has(
        "free",
        &[
            "Some(0) ",
            &format!("ok   USB      {reader}"),
            ":1.0 can be opened",
            "the card answers (T=0",
        ],
    );
    has(
        "held",
        &[
            &format!("BAD  USB      {reader}"),
            "the reader is in use by guest-agent (process HOLDER) | ",
            "-> End that program. To share readers between programs, run pcsc share or pcscd.",
            "cannot be used: something else has it",
        ],
    );
    has(
        "served",
        &[
            "Some(0) ok   daemon   a daemon answers",
            "is there; the daemon drives it",
            "All is well: ",
        ],
    );
    has(
        "served-by-daemon-alone",
        &[
            "in use by pcscd (process ",
            "-> Go through pcscd: leave out --backend standalone",
        ],
    );
    has(
        "driver",
        &[
            "BAD  USB      072f:2200 ",
            "the reader is in use by the kernel's driver pn533_usb | ",
            "-> As root: modprobe -r pn533_usb;",
        ],
    );
    has("no-driver", &["ok   USB      072f:2200 ", "can be opened"]);
}
