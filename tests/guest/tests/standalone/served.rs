//! Our server with the readers on the USB: Debian's clients, and clients of all protocol versions.

use super::facts;
use pcsc_tests::assert_same;

/// What differs on purpose: pcscd, and our server. A connection whose reader was pulled out gets the code
/// that says so.
const PULLED_OUT: [(&str, &str); 3] = [
    ("gone-transmit: 80100011", "gone-transmit: 80100017"),
    ("gone-reconnect: 80100011 0", "gone-reconnect: 80100017 0"),
    ("unplugged-transmit: 80100011", "unplugged-transmit: 80100017"),
];

#[test]
fn stock_clients_get_from_our_server_what_they_get_from_pcscd() {
    let Some(facts) = facts("served") else { return };
    let of = |side: &str| {
        let own = facts.facts.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(side)?.strip_prefix('/')?;
            Some(format!("{name}: {value}"))
        });
        own.collect::<Vec<_>>()
    };
    let (served, mut with_pcscd) = (of("server"), of("pcscd"));
    for (theirs, ours) in PULLED_OUT {
        let line = with_pcscd.iter_mut().find(|line| *line == theirs);
        *line.unwrap_or_else(|| panic!("no {theirs:?}")) = ours.into();
    }
    let [served, with_pcscd] = [served, with_pcscd].map(|lines| lines.join("\n"));
    assert_same(
        "stock clients",
        ("with pcscd", &with_pcscd),
        ("with our server", &served),
    );
    facts.are(&[
        ("server/transmit", "00000000 000102039000"),
        // SCARD_W_REMOVED_CARD, until the connection is made anew.
        ("server/card-out-transmit", "80100069"),
        ("server/card-in-transmit", "80100069"),
        ("server/card-in-then", "00000000 000102039000"),
        // SCARD_E_READER_UNAVAILABLE.
        ("server/mid-apdu", "true"),
        ("server/mid-apdu-transmit", "80100017"),
        ("server/again-told", "00000000"),
        ("server/again-transmit", "00000000 000102039000"),
        ("server/unplugged", "told"),
        ("server/tool-mid-apdu", "true"),
        // With a card in the reader, in which case pcscd may hang.
        ("server-alone/unplugged", "told"),
        ("server-alone/unplugged-transmit", "80100017"),
    ]);
}

#[test]
fn clients_of_all_versions_are_served() {
    let Some(facts) = facts("versions") else {
        return;
    };
    for minor in 2..=6 {
        let are = |expected: &[(&str, &str)]| {
            let names = expected.iter().map(|(name, _)| format!("4.{minor}/{name}"));
            let names: Vec<_> = names.collect();
            let values = expected.iter().map(|(_, value)| *value);
            facts.are(&names.iter().map(String::as_str).zip(values).collect::<Vec<_>>());
        };
        if minor >= 5 {
            are(&[("counts-readers", "true")]);
        }
        // They disconnect one after another.
        let removed = format!("2 {} 0 ", 7 - minor);
        are(&[
            ("slots", "16"),
            ("list", "true"),
            ("present", "true"),
            ("connect", "00000000 2"),
            ("transmit", "00000000 010203049000"),
            ("status", "00000000"),
            // With power and a protocol, five connections, T=1, the ATR.
            ("connected", "34 5 2 3b808131fe458b"),
            ("removed", &removed),
            ("events-of-the-card", "1"),
            ("stop", "00000000"),
            // SCARD_W_REMOVED_CARD.
            ("removed-transmit", "80100069 "),
            ("removed-status", "80100069"),
            // SCARD_E_CANCELLED.
            ("cancel", "00000000 80100002"),
            ("disconnect", "00000000"),
            ("release", "00000000"),
        ]);
    }
}
