//! Debian's pcscd with our driver as its IFD handler, and simulated readers: every level of exchange, cards
//! that come and go, readers that are pulled out, and hostile ones.

use std::ffi::CString;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use pcsc_client::{
    ctl_code, Attribute, Card, Context, Disposition, Error, Protocol, Protocols, ReaderState, ShareMode,
    State, MAX_BUFFER_SIZE_EXTENDED,
};
use pcsc_tests::{atr, client, run, Pcscd, Reader};

const LIMIT: Duration = Duration::from_secs(120);
const SELECT_HELLO: &[u8] = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
/// With Le, which T=0 needs.
const HELLO: &[u8] = b"\x00\x00\x00\x00\x0C";
/// Answers after 65.535 s, with success.
const SLOW: &[u8] = b"\x80\xDE\xFF\xFF";

fn context(pcscd: &Pcscd) -> Context {
    Context::builder()
        .socket_path(pcscd.socket())
        .establish()
        .unwrap()
}

fn name(reader: &Reader) -> CString {
    CString::new(reader.name()).unwrap()
}

#[track_caller]
fn connect(context: &Context, reader: &Reader) -> Card {
    context
        .connect(&name(reader), ShareMode::Shared, Protocols::ANY)
        .unwrap_or_else(|error| panic!("{}: {error}", reader.name()))
}

/// Sends an APDU, and GET RESPONSE if T=0 needs it. Returns the whole response.
fn exchange(card: &Card, command: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = vec![0; MAX_BUFFER_SIZE_EXTENDED];
    let mut response = card.transmit(command, &mut buffer)?.to_vec();
    while let [.., 0x61, length] = response[..] {
        response.truncate(response.len() - 2);
        response.extend(card.transmit(&[0, 0xC0, 0, 0, length], &mut buffer)?);
    }
    Ok(response)
}

#[track_caller]
fn expect(card: &Card, command: &[u8], data: &[u8]) {
    let response = exchange(card, command);
    assert_eq!(response, Ok([data, &[0x90, 0]].concat()), "{command:02X?}");
}

/// Waits until a reader's state has all these bits.
#[track_caller]
fn wait_for(context: &Context, reader: &Reader, bits: State) -> Vec<u8> {
    wait_past(context, reader, bits, None)
}

/// Waits for a state that is not the one with this count of events.
fn wait_past(context: &Context, reader: &Reader, bits: State, count: Option<u32>) -> Vec<u8> {
    let mut states = [ReaderState::new(name(reader), State::UNAWARE)];
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        context
            .get_status_change(left, &mut states)
            .unwrap_or_else(|error| panic!("waiting for {bits:?}: {error}"));
        let is_news = count.is_none_or(|count| states[0].event_count() != count);
        if is_news && states[0].event_state().contains(bits) {
            return states[0].atr().to_vec();
        }
        states[0].sync_current_state();
    }
}

/// A model with a card, and whether it carries extended APDUs.
const READERS: [(&str, Protocol, bool); 15] = [
    // TPDU level, the driver negotiates.
    ("gempc-express:card=t0", Protocol::T0, true),
    ("gempc-express:card=both", Protocol::T1, true),
    ("gempc-express:card=fast", Protocol::T1, true),
    ("gempc-express:card=crc", Protocol::T1, true),
    // TPDU level, the reader negotiates.
    ("scr3310:card=inverse", Protocol::T0, true),
    ("scr3310:card=t1", Protocol::T1, true),
    // Short APDU level.
    ("omnikey-5321:card=t1", Protocol::T1, false),
    // Extended APDU level.
    ("omnikey-3x21:card=fast", Protocol::T1, true),
    ("au9540:card=acos-id", Protocol::T1, true),
    ("acr1252-picc:card=t1", Protocol::T1, true),
    ("yubikey:card=t1", Protocol::T1, true),
    // Character level.
    ("oz776:card=t0", Protocol::T0, true),
    // ICCD versions A and B.
    ("ibank2key:card=t0", Protocol::T0, true),
    ("starsign:card=t1", Protocol::T1, false),
    // No interrupt endpoint.
    ("rutoken-lite:card=t1", Protocol::T1, false),
];

#[test]
fn every_kind_of_reader_serves_its_card() {
    let pcscd = Pcscd::start_driver(&READERS.map(|(model, _, _)| model));
    let context = context(&pcscd);
    let listed = context.list_readers_owned().unwrap();
    let names: Vec<CString> = (0..READERS.len()).map(|n| name(&pcscd.reader(n))).collect();
    assert_eq!(listed, names);

    for (number, (model, protocol, is_extended)) in READERS.into_iter().enumerate() {
        let reader = pcscd.reader(number);
        let card = connect(&context, &reader);
        assert_eq!(card.active_protocol(), Some(protocol), "{model}");
        assert_eq!(exchange(&card, SELECT_HELLO), Ok(vec![0x90, 0]), "{model}");
        assert_eq!(
            exchange(&card, HELLO).as_deref(),
            Ok(&b"Hello world!\x90\x00"[..]),
            "{model}"
        );
        // The file system: EF 2F02 of ten bytes.
        expect(&card, b"\x00\xA4\x00\x0C\x02\x2F\x02", b"");
        expect(&card, b"\x00\xB0\x00\x00\x0A", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        // The echo, of all lengths that matter.
        for length in [1, 0xFE, 0xFF] {
            let data: Vec<u8> = (0..length).map(|i| i as u8 ^ 0x5A).collect();
            expect(
                &card,
                &[b"\x80\xEC\x00\x00", &[length as u8][..], &data, &[0]].concat(),
                &data,
            );
        }
        let data: Vec<u8> = (0..2000_u16).map(|i| (i % 253) as u8).collect();
        let command = [b"\x80\xEC\x00\x00\x00\x07\xD0", &data[..], &[0, 0]].concat();
        if is_extended {
            expect(&card, &command, &data);
        } else {
            assert_eq!(exchange(&card, &command), Err(Error::NotTransacted), "{model}");
            expect(&card, SELECT_HELLO, b"");
        }
        card.disconnect(Disposition::ResetCard)
            .map_err(|(_, error)| error)
            .unwrap();
    }
}

#[test]
fn opensc_tool_lists_reads_and_exchanges() {
    let pcscd = Pcscd::start_driver(&["gempc-express", "octsim:card=none:card=t0"]);
    pcscd.reader(0).insert(atr::T0_T1);
    let tool = |arguments: &[&str]| {
        let mut command = client("opensc-tool");
        command.args(arguments).env("PCSCLITE_CSOCK_NAME", pcscd.socket());
        run(&mut command, LIMIT).stdout()
    };
    let list = tool(&["--list-readers"]);
    let lines: Vec<String> = list
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert!(lines.contains(&"0 Yes pcsc-tests 00 00".to_owned()), "{list}");
    assert!(lines.contains(&"1 No pcsc-tests 01 00".to_owned()), "{list}");
    assert!(lines.contains(&"2 Yes pcsc-tests 01 01".to_owned()), "{list}");
    assert!(lines.contains(&"8 No pcsc-tests 01 07".to_owned()), "{list}");
    let colons: Vec<String> = atr::T0_T1.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(tool(&["--reader", "0", "--atr"]).trim(), colons.join(":"));
    let hello = tool(&[
        "-r",
        "0",
        "-s",
        "00A404000AA00000006203010C0601",
        "-s",
        "00000000",
    ]);
    assert!(hello.contains("Hello world!"), "{hello}");
}

#[test]
fn pcsc_scan_lists_the_readers() {
    let pcscd = Pcscd::start_driver(&["omnikey-3x21:card=t1", "scr331-di"]);
    let mut scan = client("pcsc_scan");
    scan.arg("-r").env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    let text = run(&mut scan, LIMIT).stdout();
    for name in ["pcsc-tests 00 00", "pcsc-tests 01 00", "pcsc-tests 01 01"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn cards_that_come_and_go_are_seen_at_once() {
    let pcscd = Pcscd::start_driver(&["gempc-express"]);
    let (context, reader) = (context(&pcscd), pcscd.reader(0));
    wait_for(&context, &reader, State::EMPTY);
    // Of insertions and of removals.
    let mut fastest = [Duration::MAX; 2];
    for round in 0..50 {
        let begin = Instant::now();
        reader.insert_nowait(atr::T1);
        assert_eq!(wait_for(&context, &reader, State::PRESENT), atr::T1);
        fastest[0] = fastest[0].min(begin.elapsed());
        let begin = Instant::now();
        reader.remove_nowait();
        wait_for(&context, &reader, State::EMPTY);
        fastest[1] = fastest[1].min(begin.elapsed());
        // pcscd polls every 400 ms. Each move begins when a wait has ended, so that without events every move
        // would take about 400 ms. On a busy machine some moves are late.
        if round >= 4 && fastest.iter().all(|time| *time < Duration::from_millis(200)) {
            return;
        }
    }
    panic!("the fastest insertion and removal take {fastest:?}");
}

#[test]
fn a_reader_without_an_interrupt_pipe_is_polled() {
    let pcscd = Pcscd::start_driver(&["rutoken-lite"]);
    let (context, reader) = (context(&pcscd), pcscd.reader(0));
    wait_for(&context, &reader, State::EMPTY);
    reader.insert_named_nowait("t1");
    let found = wait_for(&context, &reader, State::PRESENT);
    assert!(found.starts_with(&[0x3B]), "{found:02X?}");
    reader.remove_nowait();
    wait_for(&context, &reader, State::EMPTY);
}

#[test]
fn a_replaced_card_is_reported() {
    let pcscd = Pcscd::start_driver(&["omnikey-3x21"]);
    let (context, reader) = (context(&pcscd), pcscd.reader(0));
    reader.insert(atr::T1);
    let card = connect(&context, &reader);
    // In one step, so that no poll finds an empty slot.
    reader.insert(atr::T0);
    assert_eq!(exchange(&card, SELECT_HELLO), Err(Error::RemovedCard));
    assert_eq!(wait_for(&context, &reader, State::PRESENT), atr::T0);
    expect(&connect(&context, &reader), SELECT_HELLO, b"");
}

#[test]
fn a_card_taken_out_and_put_back_is_another_card() {
    // The last one does not notify: pcscd polls it.
    let models = ["omnikey-3x21", "gempc-express", "rutoken-lite"];
    let pcscd = Pcscd::start_driver(&models);
    for (number, model) in (0..).zip(models) {
        let (context, reader) = (context(&pcscd), pcscd.reader(number));
        // A count of 0 events is none to SCardGetStatusChange, which then sees no change of it.
        reader.insert_named_nowait("t1");
        wait_for(&context, &reader, State::PRESENT);
        let card = connect(&context, &reader);
        expect(&card, SELECT_HELLO, b"");
        let mut seen = [ReaderState::new(name(&reader), State::UNAWARE)];
        context.get_status_change(Duration::ZERO, &mut seen).unwrap();
        // In one step: no client sees an empty slot.
        reader.insert_named_nowait("t1");
        wait_past(&context, &reader, State::PRESENT, Some(seen[0].event_count()));
        assert_eq!(exchange(&card, SELECT_HELLO), Err(Error::RemovedCard), "{model}");
        expect(&connect(&context, &reader), SELECT_HELLO, b"");
    }
}

#[test]
fn a_card_that_the_driver_resets_is_another_one_to_every_client() {
    let pcscd = Pcscd::start_driver(&["gempc-express:card=frail"]);
    let (one, other) = (context(&pcscd), context(&pcscd));
    let reader = pcscd.reader(0);
    let (mut first, second) = (connect(&one, &reader), connect(&other, &reader));
    let mut seen = [ReaderState::new(name(&reader), State::UNAWARE)];
    one.get_status_change(Duration::ZERO, &mut seen).unwrap();
    // The card is mute at the speed that it announces. The driver resets it to use a lower speed.
    assert_eq!(exchange(&first, SELECT_HELLO), Err(Error::NotTransacted));
    let deadline = Instant::now() + LIMIT;
    let told = loop {
        match exchange(&second, SELECT_HELLO) {
            // pcscd has not polled yet. No command is sent to a card that has not been reported to its
            // clients.
            Err(Error::NotTransacted) if Instant::now() < deadline => thread::yield_now(),
            result => break result,
        }
    };
    assert_eq!(told, Err(Error::RemovedCard));
    // The first call of each handle reports it.
    wait_past(&one, &reader, State::PRESENT, Some(seen[0].event_count()));
    first
        .reconnect(ShareMode::Shared, Protocols::ANY, Disposition::LeaveCard)
        .unwrap();
    expect(&first, SELECT_HELLO, b"");
    expect(&first, HELLO, b"Hello world!");
}

#[test]
fn a_card_or_reader_pulled_out_ends_the_command_in_progress() {
    let pcscd = Pcscd::start_driver(&["gempc-express:card=t1", "omnikey-3x21:card=t1"]);
    for (number, expected) in [(0, Error::NoSmartcard), (1, Error::ReaderUnavailable)] {
        let (context, reader) = (context(&pcscd), pcscd.reader(number));
        let card = connect(&context, &reader);
        let result = thread::scope(|scope| {
            let exchange = scope.spawn(|| exchange(&card, SLOW));
            reader.wait_busy();
            match number {
                0 => reader.remove_nowait(),
                _ => reader.unplug_nowait(),
            }
            exchange.join().unwrap()
        });
        assert_eq!(result, Err(expected));
        wait_for(&context, &reader, State::EMPTY);
    }
}

#[test]
fn slots_of_one_reader_are_used_at_the_same_time() {
    let pcscd = Pcscd::start_driver(&["octsim:card=t0:card=t0"]);
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        for slot in 0..2_u8 {
            let (barrier, pcscd) = (&barrier, &pcscd);
            scope.spawn(move || {
                let context = context(pcscd);
                let card = connect(&context, &pcscd.reader(0).slot(slot.into()));
                barrier.wait();
                for round in 0..50 {
                    let data = [slot, round, 0xA5];
                    expect(&card, &[b"\x80\xEC\x00\x00\x03", &data[..], &[0]].concat(), &data);
                }
            });
        }
    });
    // A removal concerns only the card's own slot.
    let context = context(&pcscd);
    let third = pcscd.reader(0).slot(2);
    third.insert_named("t0");
    let card = connect(&context, &third);
    pcscd.reader(0).remove();
    expect(&card, SELECT_HELLO, b"");
    let empty = context.connect(&name(&pcscd.reader(0)), ShareMode::Shared, Protocols::ANY);
    assert_eq!(empty.map(drop).err(), Some(Error::NoSmartcard));
}

#[test]
fn attributes_and_controls_are_the_readers() {
    let pcscd = Pcscd::start_driver(&["gempc-pinpad:card=t0", "omnikey-3x21"]);
    let context = context(&pcscd);
    let card = connect(&context, &pcscd.reader(0));
    let attribute = |id| card.get_attribute_owned(id);
    assert!(attribute(Attribute::VendorName).unwrap().starts_with(b"Gemplus"));
    assert_eq!(attribute(Attribute::IccPresence), Ok(vec![2]));
    assert_eq!(
        attribute(Attribute::ChannelId),
        Ok(0x0020_0000_u32.to_ne_bytes().to_vec())
    );
    assert_eq!(
        attribute(Attribute::CurrentProtocolType),
        Ok(1_u32.to_ne_bytes().to_vec())
    );
    assert_eq!(
        attribute(Attribute::AtrString).unwrap(),
        card.status2_owned().unwrap().atr()
    );
    assert_eq!(
        attribute(Attribute::Characteristics),
        Err(Error::UnsupportedFeature)
    );

    let mut answer = [0; 300];
    let features = card.control(ctl_code(3400), &[], &mut answer).unwrap();
    let tags: Vec<u8> = features.chunks(6).map(|tlv| tlv[0]).collect();
    // Verify, modify, PIN properties, TLV properties; Escapes are not allowed.
    assert_eq!(tags, [0x06, 0x07, 0x0A, 0x12]);
    assert_eq!(
        card.control(ctl_code(1), &[0], &mut answer),
        Err(Error::NotTransacted)
    );
    assert_eq!(
        card.control(ctl_code(9), &[], &mut answer),
        Err(Error::UnsupportedFeature)
    );
    // An invalid PIN structure.
    let verify = card.control(ctl_code(0x330 + 0x06), &[0; 5], &mut answer);
    assert_eq!(verify, Err(Error::UnsupportedFeature));
}

#[test]
fn hostile_readers_and_cards_do_not_affect_others() {
    let models = [
        "gempc-express:card=both:fuzz=1",
        "gempc-express:card=t0:fuzz=2",
        "omnikey-3x21:card=fast:fuzz=3",
        "omnikey-5321:card=t1:fuzz=4",
        "oz776:card=t0:fuzz=5",
        "starsign:card=t1:fuzz=6",
        "ibank2key:card=t0:fuzz=7",
        "rutoken-lite:card=t1:fuzz=8",
        "gempc-express:card=noise",
        "gempc-express:card=wtx",
        "gempc-express:card=vanishing",
        "gempc-express:card=mute",
        "omnikey-3x21:card=wtx",
        "omnikey-3x21:card=vanishing",
        "omnikey-3x21:card=t1",
    ];
    let pcscd = Pcscd::start_driver(&models);
    // A reader that cannot even be opened is not listed.
    let context = context(&pcscd);
    let listed = context.list_readers_owned().unwrap();
    assert!(listed.len() > 8, "{listed:?}");
    thread::scope(|scope| {
        for name in &listed[..listed.len() - 1] {
            let pcscd = &pcscd;
            scope.spawn(move || {
                let context = self::context(pcscd);
                for round in 0..20 {
                    let card = context.connect(name, ShareMode::Shared, Protocols::ANY);
                    if let Ok(card) = card {
                        // Any answer or error is right.
                        let _ = exchange(&card, SELECT_HELLO);
                        let _ = exchange(&card, HELLO);
                        let _ = card.control(ctl_code(3400), &[], &mut [0; 100]);
                        let disposition = [
                            Disposition::LeaveCard,
                            Disposition::ResetCard,
                            Disposition::UnpowerCard,
                        ];
                        let _ = card.disconnect(disposition[round % 3]);
                    }
                }
            });
        }
    });
    let good = context
        .connect(&listed[listed.len() - 1], ShareMode::Shared, Protocols::ANY)
        .unwrap();
    expect(&good, SELECT_HELLO, b"");
    expect(&good, HELLO, b"Hello world!");
    let log = pcscd.log();
    assert!(!log.contains("panicked"), "{log}");
    // The driver's log has neither commands nor answers.
    let driver: Vec<&str> = log.lines().filter(|line| line.contains("pcsc-ccid:")).collect();
    assert!(!driver.is_empty(), "{log}");
    for line in driver {
        // In any notation of bytes.
        let mut digits = line.replace("0x", "").to_uppercase();
        digits.retain(|letter| letter.is_ascii_hexdigit());
        let is_told = ["A000000062", "48656C6C6F"]
            .iter()
            .any(|bytes| digits.contains(bytes));
        assert!(!is_told && !line.contains("Hello"), "{line}");
    }
}

#[test]
fn pcscd_ends_and_starts_again_with_the_driver() {
    let mut pcscd = Pcscd::start_driver(&["gempc-express:card=t1", "octsim:card=t0"]);
    for _ in 0..2 {
        let context = context(&pcscd);
        expect(&connect(&context, &pcscd.reader(0)), SELECT_HELLO, b"");
        drop(context);
        assert!(pcscd.stop().code().is_some(), "{}", pcscd.log());
        pcscd.restart();
    }
}
