//! The test harness itself, with Debian's library and programs as clients.

mod client;
mod processes;

use client::{event, Client};
use pcsc_tests::{abi, atr, client, run, Pcscd};
use std::time::{Duration, Instant};

const SUCCESS: u32 = 0;
const NO_SERVICE: u32 = 0x8010_001D;
const NO_SMARTCARD: u32 = 0x8010_000C;
const PROTO_MISMATCH: u32 = 0x8010_000F;
const NOT_TRANSACTED: u32 = 0x8010_0016;
const READER_UNAVAILABLE: u32 = 0x8010_0017;
const UNSUPPORTED_FEATURE: u32 = 0x8010_001F;
const NO_READERS: u32 = 0x8010_002E;
const UNPOWERED_CARD: u32 = 0x8010_0067;
const RESET_CARD: u32 = 0x8010_0068;
const REMOVED_CARD: u32 = 0x8010_0069;

const STATE_UNAVAILABLE: u32 = 0x8;
const STATE_EMPTY: u32 = 0x10;
const STATE_PRESENT: u32 = 0x20;
const STATE_MUTE: u32 = 0x200;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[test]
fn sixteen_readers_are_listed_in_order() {
    let pcscd = Pcscd::start(16);
    let names = pcscd.names();
    assert_eq!(names[15], "pcsc-tests 0F 00");
    assert_eq!(Client::new(&pcscd).ok("list"), names.join("|"));
}

#[test]
fn no_reader_at_all() {
    let pcscd = Pcscd::start(0);
    assert_eq!(Client::new(&pcscd).call("list").0, NO_READERS);
}

#[test]
fn each_card_is_seen_as_what_it_is() {
    let pcscd = Pcscd::start(4);
    let mut client = Client::new(&pcscd);
    for (number, card, protocol) in [
        (0, atr::T0, 1),
        (1, atr::T1, 2),
        (2, atr::T0_T1, 2),
        (3, atr::CONTACTLESS, 2),
    ] {
        let reader = pcscd.reader(number);
        assert_eq!(client.state(&reader.name()).0, STATE_EMPTY);
        reader.insert(card);
        let (state, atr) = client.state(&reader.name());
        assert_eq!((state & STATE_PRESENT, atr), (STATE_PRESENT, hex(card)));

        assert_eq!(client.connect(&reader.name()), protocol.to_string());
        assert_eq!(reader.protocol(), protocol);
        assert!(client.ok("status").ends_with(&hex(card)));
        assert_eq!(client.ok("disconnect 0"), "");
        reader.remove();
        assert_eq!(client.state(&reader.name()).0, STATE_EMPTY);
    }
    pcscd.reader(0).insert(atr::T0);
    let t1_only = format!("connect 2 2 {}", pcscd.reader(0).name());
    assert_eq!(client.call(&t1_only).0, PROTO_MISMATCH);
}

/// pcscd polls every 400 ms; the handler's event reaches a waiting client earlier. Each move begins when a
/// wait has ended, so that without events every move would take about 400 ms.
#[test]
fn moves_wake_a_waiting_client_at_once() {
    let pcscd = Pcscd::start(1);
    let (reader, mut client) = (pcscd.reader(0), Client::new(&pcscd));
    // Of insertions and of removals.
    let mut fastest = [Duration::MAX; 2];
    for round in 0..100 {
        let current = client.state(&reader.name()).0;
        client.send(&format!("watch 120000 {current:x} {}", reader.name()));
        let start = Instant::now();
        if round % 2 == 0 {
            reader.insert_nowait(atr::T1);
        } else {
            reader.remove_nowait();
        }
        let (code, text) = client.receive();
        let its_fastest = &mut fastest[round % 2];
        *its_fastest = start.elapsed().min(*its_fastest);
        let expected = if round % 2 == 0 {
            STATE_PRESENT
        } else {
            STATE_EMPTY
        };
        assert_eq!((code, event(&text).0 & 0x30), (SUCCESS, expected));
        // On a busy machine some moves are late.
        if round >= 8 && fastest.iter().all(|time| *time < Duration::from_millis(200)) {
            return;
        }
    }
    panic!("the fastest insertion and removal take {fastest:?}");
}

#[test]
fn the_card_answers() {
    let pcscd = Pcscd::start(1);
    let (reader, mut client) = (pcscd.reader(0), Client::new(&pcscd));
    reader.insert(atr::T0_T1);
    client.connect(&reader.name());
    assert_eq!(client.ok("transmit 00A404000AA00000006203010C0601"), "9000");
    assert_eq!(client.ok("transmit 00A4040003A00000"), "6A82");
    assert_eq!(
        client.ok("transmit 00000000"),
        format!("{}9000", hex(b"Hello world!"))
    );
    assert_eq!(client.ok("transmit 80EC000004DEADBEEF"), "DEADBEEF9000");
    assert_eq!(client.ok("transmit 80C00000"), "000000059000");
    assert_eq!(reader.counts().transmits, 5);

    let data: String = "5A".repeat(65_535);
    assert_eq!(
        client.ok(&format!("transmit 80EC000000FFFF{data}0000")),
        data + "9000"
    );
    for (p1, length) in [("00", 65_536), ("01", 65_538), ("02", 65_548)] {
        let response = client.ok(&format!("transmit 80E2{p1}00"));
        assert_eq!(response.len(), 2 * length);
        let pattern: Vec<u8> = (0..length - 2).map(|i| i as u8).collect();
        assert!(
            response == hex(&pattern) + "9000",
            "{length} bytes, but the wrong ones"
        );
    }
}

#[test]
fn controls_and_attributes() {
    let pcscd = Pcscd::start(2);
    let (reader, mut client) = (pcscd.reader(1), Client::new(&pcscd));
    reader.insert(atr::T1);
    client.connect(&reader.name());
    assert_eq!(
        client.ok(&format!("control {:x} 010203", abi::CTL_ECHO)),
        "010203"
    );
    assert_eq!(client.ok(&format!("control {:x} -", abi::CTL_ECHO)), "");
    assert_eq!(
        client.ok(&format!("control {:x} -", abi::CTL_GET_FEATURE_REQUEST)),
        "130442000001"
    );
    assert_eq!(client.call("control 42000002 -").0, UNSUPPORTED_FEATURE);
    assert_eq!(reader.counts().controls, 4);

    let mut attribute = |id: abi::Dword| client.ok(&format!("attribute {id:x}"));
    assert_eq!(attribute(abi::ATTR_ATR_STRING), hex(atr::T1));
    assert_eq!(attribute(abi::ATTR_VENDOR_NAME), hex(b"pcsc-tests"));
    assert_eq!(attribute(abi::ATTR_VENDOR_IFD_SERIAL_NO), hex(b"SN0001"));
    assert_eq!(attribute(abi::ATTR_ICC_PRESENCE), "02");
    assert_eq!(
        attribute(abi::ATTR_CURRENT_PROTOCOL_TYPE),
        hex(&2_u32.to_ne_bytes())
    );
    assert_eq!(attribute(abi::ATTR_WRITABLE), "");
    let value = "A5".repeat(264);
    assert_eq!(client.ok(&format!("set {:x} {value}", abi::ATTR_WRITABLE)), "");
    assert_eq!(client.ok(&format!("attribute {:x}", abi::ATTR_WRITABLE)), value);
    assert_eq!(
        client.call(&format!("set {:x} 00", abi::ATTR_VENDOR_NAME)).0,
        NOT_TRANSACTED
    );
    assert_eq!(client.call("set 7FFFF 00").0, UNSUPPORTED_FEATURE);
    assert_eq!(client.call("attribute 7FFFF").0, UNSUPPORTED_FEATURE);
}

#[test]
fn a_mute_card_and_a_failing_one() {
    let pcscd = Pcscd::start(1);
    let (reader, mut client) = (pcscd.reader(0), Client::new(&pcscd));
    reader.mute(true);
    reader.insert(atr::T1);
    assert_eq!(client.state(&reader.name()).0, STATE_PRESENT | STATE_MUTE);
    assert_eq!(
        client.call(&format!("connect 2 3 {}", reader.name())).0,
        UNPOWERED_CARD
    );

    reader.mute(false);
    client.connect(&reader.name());
    reader.fail(true);
    assert_eq!(client.call("transmit 00000000").0, NOT_TRANSACTED);
    reader.fail(false);
    assert_eq!(client.ok("transmit 80C00000"), "000000019000");
}

#[test]
fn delays_last_as_set_and_end_with_a_removal() {
    let pcscd = Pcscd::start(2);
    let (reader, mut client) = (pcscd.reader(0), Client::new(&pcscd));
    reader.slow(Duration::from_millis(150));
    let start = Instant::now();
    reader.insert(atr::T0);
    assert!(start.elapsed() >= Duration::from_millis(150));
    client.connect(&reader.name());

    let mut timed = |apdu: &str| {
        let start = Instant::now();
        assert_eq!(client.ok(apdu), "9000");
        start.elapsed()
    };
    assert!(timed("transmit 80DE0064") >= Duration::from_millis(100));
    reader.delay(Duration::from_millis(100));
    assert!(timed("transmit 80EC0000") >= Duration::from_millis(100));

    // A second reader does not wait: each has its own lock in pcscd.
    reader.delay(Duration::from_secs(600));
    client.send("transmit 80EC0000");
    let start = Instant::now();
    pcscd.reader(1).insert(atr::T1);
    let mut other = Client::new(&pcscd);
    other.connect(&pcscd.reader(1).name());
    assert_eq!(other.ok("transmit 80EC0000"), "9000");
    // The removal of the card ends the long exchange.
    while reader.counts().transmits < 3 {
        assert!(
            start.elapsed() < Duration::from_secs(300),
            "the third APDU has not come"
        );
    }
    reader.remove();
    assert_eq!(client.receive().0, NO_SMARTCARD);
    assert!(start.elapsed() < Duration::from_secs(600));
    assert_eq!(client.call("transmit 80EC0000").0, REMOVED_CARD);
}

#[test]
fn resets_and_powers_are_counted() {
    let pcscd = Pcscd::start(1);
    let (reader, mut client) = (pcscd.reader(0), Client::new(&pcscd));
    reader.insert(atr::T1);
    let mut other = Client::new(&pcscd);
    client.connect(&reader.name());
    other.connect(&reader.name());
    let before = reader.counts();
    assert_eq!((before.power_ups, before.resets, before.power_downs), (1, 0, 0));

    assert_eq!(client.ok("disconnect 0"), "");
    assert_eq!(reader.counts(), before);
    client.connect(&reader.name());
    assert_eq!(client.ok("reconnect 2 3 1"), "2");
    assert_eq!(reader.counts().resets, 1);
    assert_eq!(other.call("transmit 80C00000").0, RESET_CARD);
    assert_eq!(client.ok("reconnect 2 3 2"), "2");
    let after = reader.counts();
    assert_eq!((after.power_ups, after.resets, after.power_downs), (2, 1, 1));
    assert_eq!(client.ok("transmit 80C00000"), "000000019000");
    assert_eq!(client.ok("disconnect 1"), "");
    assert_eq!(reader.counts().resets, 2);
}

#[test]
fn an_unplugged_reader_is_unavailable_until_it_is_back() {
    let pcscd = Pcscd::start(1);
    let (reader, mut client) = (pcscd.reader(0), Client::new(&pcscd));
    reader.insert(atr::T1);
    client.connect(&reader.name());
    reader.unplug();
    assert_eq!(client.state(&reader.name()).0, STATE_UNAVAILABLE);
    assert_eq!(client.ok("list"), reader.name());
    assert_eq!(client.call("transmit 00000000").0, READER_UNAVAILABLE);
    reader.plug();
    assert_eq!(client.state(&reader.name()).0, STATE_EMPTY);
    reader.insert(atr::T1);
    client.connect(&reader.name());
    assert_eq!(client.ok("transmit 80EC0000"), "9000");
}

#[test]
fn a_daemon_killed_stopped_and_restarted() {
    let mut pcscd = Pcscd::start(1);
    let (socket, reader) = (pcscd.socket(), pcscd.reader(0));
    reader.insert(atr::T1);
    let mut client = Client::new(&pcscd);
    client.connect(&reader.name());
    let first = pcscd.pid();

    pcscd.kill();
    assert_ne!(client.call("transmit 00000000").0, SUCCESS);
    assert_eq!(Client::unconnected(&pcscd).call("establish").0, NO_SERVICE);

    pcscd.restart();
    assert_ne!(pcscd.pid(), first);
    assert_eq!(pcscd.socket(), socket);
    let mut client = Client::new(&pcscd);
    assert_eq!(client.state(&reader.name()).0, STATE_EMPTY);
    reader.insert(atr::T0);
    client.connect(&reader.name());
    assert_eq!(client.ok("transmit 80EC0000"), "9000");

    // pcscd closes every reader, which ends its event thread, and then unloads the library.
    assert!(pcscd.stop().code().is_some(), "{}", pcscd.log());
    let unloaded = |pcscd: &Pcscd| pcscd.log().matches("Unloading reader driver").count();
    assert_eq!(unloaded(&pcscd), 1, "{}", pcscd.log());
    assert!(!socket.exists());
    pcscd.restart();
    assert!(pcscd.terminate().success(), "{}", pcscd.log());
    assert_eq!(unloaded(&pcscd), 1, "{}", pcscd.log());
    assert!(!socket.exists());
    pcscd.restart_with(3);
    assert_eq!(Client::new(&pcscd).ok("list"), pcscd.names().join("|"));
}

#[test]
fn two_daemons_do_not_see_each_other() {
    let (one, two) = (Pcscd::start(1), Pcscd::start(2));
    one.reader(0).insert(atr::T1);
    two.reader(1).insert(atr::T0);
    let (mut first, mut second) = (Client::new(&one), Client::new(&two));
    assert_eq!(first.ok("list").split('|').count(), 1);
    assert_eq!(second.ok("list").split('|').count(), 2);
    assert_eq!(first.state(&one.reader(0).name()).1, hex(atr::T1));
    assert_eq!(second.state(&two.reader(0).name()).0, STATE_EMPTY);
    assert_eq!(second.state(&two.reader(1).name()).1, hex(atr::T0));
}

#[test]
fn a_stock_program_reads_the_card() {
    let pcscd = Pcscd::start(2);
    pcscd.reader(1).insert(atr::CONTACTLESS);
    let mut tool = client("opensc-tool");
    tool.args(["--reader", "1", "--atr"])
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    let printed = run(&mut tool, Duration::from_secs(300)).stdout();
    assert_eq!(
        printed.trim().replace(':', "").to_uppercase(),
        hex(atr::CONTACTLESS)
    );
}
