//! The simulation that tests of other programs use: their cards, faults and moves are seen by contexts as
//! real ones are, and at once.

use std::ffi::CStr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pcsc_client::sim::{Behaviour, KeypadEntry, SimDevice, Simulation, VirtualCard, VirtualReader, MODELS};
use pcsc_client::{ctl_code, Card, Context, Error, Protocols, ReaderState, ShareMode, State};

/// The commands that a card has received. A reset is an empty command.
type Log = Arc<Mutex<Vec<Vec<u8>>>>;

/// Answers with the bytes of the command in reverse, and a status word.
struct Mirror {
    atr: Vec<u8>,
    log: Log,
}

impl Mirror {
    fn new(atr: &[u8]) -> (Mirror, Log) {
        let log = Log::default();
        let card = Mirror {
            atr: atr.to_vec(),
            log: log.clone(),
        };
        (card, log)
    }
}

impl VirtualCard for Mirror {
    fn atr(&self) -> Vec<u8> {
        self.atr.clone()
    }

    fn reset(&mut self) {
        self.log.lock().unwrap().push(Vec::new());
    }

    fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
        self.log.lock().unwrap().push(command.to_vec());
        command.iter().rev().copied().chain([0x90, 0x00]).collect()
    }
}

/// The commands that a card got. The log also has its power-ups, and a card that has waited long for its
/// first connection has more than one.
fn commands(log: &Log) -> Vec<Vec<u8>> {
    let log = log.lock().unwrap();
    log.iter().filter(|entry| !entry.is_empty()).cloned().collect()
}

/// The plainest card.
struct Ok9000;

impl VirtualCard for Ok9000 {
    fn transmit(&mut self, _: &[u8]) -> Vec<u8> {
        vec![0x90, 0x00]
    }
}

const T0: &[u8] = b"\x3B\x00";
const T1: &[u8] = b"\x3B\x80\x01\x81";
const READ: &[u8] = b"\x00\xB0\x00\x00\x05";

fn start(model: &str) -> (Simulation, VirtualReader, Context) {
    let bus = Simulation::new();
    let reader = bus.plug(model).unwrap();
    let context = bus.context().unwrap();
    (bus, reader, context)
}

fn connect(context: &Context, reader: &VirtualReader) -> Result<Card, Error> {
    context.connect(reader.name(), ShareMode::Shared, Protocols::ANY)
}

fn exchange(card: &Card, command: &[u8]) -> Result<Vec<u8>, Error> {
    let mut response = vec![0; 70_000];
    Ok(card.transmit(command, &mut response)?.to_vec())
}

#[test]
fn the_card_gets_what_the_protocol_brings_it() {
    let (_bus, reader, context) = start("scr3310");
    let data: Vec<u8> = (0..200).collect();
    let write = [b"\x00\xD6\x00\x00\xC8", &data[..]].concat();
    let extended = [b"\x80\xF0\x00\x00\x00\x01\x00", &[7; 256][..], &[0, 0]].concat();

    let (card, log) = Mirror::new(T1);
    reader.insert(card);
    let card = connect(&context, &reader).unwrap();
    assert_eq!(card.status2_owned().unwrap().atr(), T1);
    // What is no APDU reaches the card all the same.
    for command in [
        READ,
        &write,
        &extended,
        b"\x00\xB0\x00\x00",
        b"\xFF\xB0\x00\x00\x05\x01",
    ] {
        let reversed: Vec<u8> = command.iter().rev().copied().collect();
        assert_eq!(
            exchange(&card, command).unwrap(),
            [&reversed[..], &[0x90, 0]].concat()
        );
        assert_eq!(log.lock().unwrap().last().unwrap(), command);
    }
    drop(card);

    let (card, log) = Mirror::new(T0);
    reader.insert(card);
    let card = connect(&context, &reader).unwrap();
    assert_eq!(
        exchange(&card, READ).unwrap(),
        b"\x05\x00\x00\xB0\x00\x90\x00"[..]
    );
    let mut reversed: Vec<u8> = write.iter().rev().copied().collect();
    reversed.extend([0x90, 0x00]);
    // The driver fetches the data of a case 4 command with GET RESPONSE.
    assert_eq!(exchange(&card, &[&write[..], &[0]].concat()).unwrap(), reversed);
    assert_eq!(commands(&log), [READ, &write]);
}

#[test]
fn every_model_takes_a_card() {
    let bus = Simulation::new();
    let context = bus.context().unwrap();
    for (model, _) in MODELS {
        let reader = bus.plug(model).unwrap();
        assert_eq!(
            connect(&context, &reader).err(),
            Some(Error::NoSmartcard),
            "{model}"
        );
        for atr in [T0, T1] {
            let (card, _) = Mirror::new(atr);
            reader.insert(card);
            let Ok(card) = connect(&context, &reader) else {
                continue;
            };
            let answer = exchange(&card, READ).unwrap();
            assert_eq!(answer, b"\x05\x00\x00\xB0\x00\x90\x00"[..], "{model}");
        }
        assert!(
            context
                .list_readers_owned()
                .unwrap()
                .contains(&reader.name().to_owned()),
            "{model}"
        );
    }
    assert_eq!(bus.plug("none").err().unwrap().error(), Error::NoService);
}

#[test]
fn moves_are_seen_by_the_next_call() {
    let (bus, reader, context) = start("scr331-di");
    let second = reader.slot(1).unwrap();
    assert!(reader.slot(2).is_none());
    // Keeps the device open.
    let _direct = context.connect(second.name(), ShareMode::Direct, Protocols::UNDEFINED);
    let state = |reader: &VirtualReader| {
        let mut states = [ReaderState::new(reader.name(), State::UNAWARE)];
        context.get_status_change(Duration::ZERO, &mut states).unwrap();
        states[0].event_state() & (State::EMPTY | State::PRESENT)
    };
    for _ in 0..50 {
        reader.insert(Ok9000);
        let card = connect(&context, &reader).unwrap();
        assert_eq!((state(&reader), state(&second)), (State::PRESENT, State::EMPTY));
        // Another card in place of this one.
        reader.insert(Ok9000);
        assert_eq!(exchange(&card, READ), Err(Error::RemovedCard));
        let card = connect(&context, &reader).unwrap();
        reader.remove();
        assert_eq!(state(&reader), State::EMPTY);
        assert_eq!(exchange(&card, READ), Err(Error::RemovedCard));
    }
    let third = bus.plug("scr331-di").unwrap();
    assert_ne!(third.name(), reader.name());
    reader.unplug();
    let names = context.list_readers_owned().unwrap();
    let fourth = third.slot(1).unwrap();
    assert_eq!(names, [third.name(), fourth.name()].map(CStr::to_owned));
    assert_eq!(connect(&context, &reader).err(), Some(Error::UnknownReader));
}

#[test]
fn a_wait_for_a_card_ends_when_it_is_inserted() {
    let (_bus, reader, context) = start("rutoken-lite");
    let waiter = thread::spawn({
        let (name, context) = (reader.name().to_owned(), context.clone());
        move || {
            let mut states = [ReaderState::new(name, State::EMPTY)];
            let known = context.get_status_change(Duration::ZERO, &mut states);
            states[0].sync_current_state();
            known
                .or_else(|_| context.get_status_change(Duration::from_secs(60), &mut states))
                .map(|()| states[0].event_state().contains(State::PRESENT))
        }
    });
    reader.insert(Ok9000);
    assert_eq!(waiter.join().unwrap(), Ok(true));
}

/// Each protocol, with the reader that leaves most to the driver.
fn over_each_protocol(check: impl Fn(&VirtualReader, &Context)) {
    for atr in [T0, T1] {
        let (_bus, reader, context) = start("gempc-express");
        let (card, _) = Mirror::new(atr);
        reader.insert(card);
        check(&reader, &context);
    }
}

#[test]
fn a_mute_card_does_not_answer_a_reset() {
    over_each_protocol(|reader, context| {
        reader.set_behaviour(Behaviour {
            mute: true,
            ..Behaviour::default()
        });
        reader.insert(Ok9000);
        assert_eq!(connect(context, reader).err(), Some(Error::UnpoweredCard));
        reader.set_behaviour(Behaviour::default());
        assert!(connect(context, reader).is_ok());
    });
}

#[test]
fn a_slow_card_takes_its_time_and_none_of_the_tests() {
    over_each_protocol(|reader, context| {
        let card = connect(context, reader).unwrap();
        let time = Duration::from_secs(40);
        reader.set_behaviour(Behaviour {
            time,
            ..Behaviour::default()
        });
        let began = Instant::now();
        let mut response = [0; 300];
        let failure = card.transmit_timeout(READ, &mut response, time / 2).unwrap_err();
        assert_eq!(failure.error(), Error::Timeout);
        let card = connect(context, reader).unwrap();
        let answer = card.transmit_timeout(READ, &mut response, time * 2);
        assert!(answer.is_ok(), "{answer:?}");
        assert!(exchange(&card, READ).is_ok());
        assert!(began.elapsed() < time / 2, "{:?}", began.elapsed());
        reader.set_behaviour(Behaviour::default());
        assert!(card.transmit_timeout(READ, &mut response, time / 2).is_ok());
    });
}

#[test]
fn a_card_is_pulled_out_in_the_middle_of_a_command() {
    over_each_protocol(|reader, context| {
        let card = connect(context, reader).unwrap();
        assert!(exchange(&card, READ).is_ok());
        reader.set_behaviour(Behaviour {
            removed_after: Some(3),
            ..Behaviour::default()
        });
        let failed = exchange(&card, READ).unwrap_err();
        assert!(
            [Error::NoSmartcard, Error::RemovedCard, Error::NotTransacted].contains(&failed),
            "{failed:?}"
        );
        assert_eq!(connect(context, reader).err(), Some(Error::NoSmartcard));
        reader.set_behaviour(Behaviour::default());
        reader.insert(Ok9000);
        assert_eq!(
            exchange(&connect(context, reader).unwrap(), READ),
            Ok(vec![0x90, 0x00])
        );
    });
}

#[test]
fn blocks_that_are_damaged_are_sent_again_until_too_many_are() {
    let (_bus, reader, context) = start("gempc-express");
    let (card, log) = Mirror::new(T1);
    reader.insert(card);
    let card = connect(&context, &reader).unwrap();
    let damage = |every| {
        reader.set_behaviour(Behaviour {
            corrupt_every: Some(every),
            ..Behaviour::default()
        });
    };
    damage(2);
    for _ in 0..10 {
        assert!(exchange(&card, READ).is_ok());
    }
    // The card executes each command once.
    assert_eq!(commands(&log), [READ; 10]);
    damage(1);
    assert!(exchange(&card, READ).is_err());
}

#[test]
fn what_is_typed_on_the_pin_pad_reaches_the_card() {
    let (_bus, reader, context) = start("gempc-pinpad");
    let (card, log) = Mirror::new(T1);
    reader.insert(card);
    reader.will_type(KeypadEntry::pin("1234"));
    let card = connect(&context, &reader).unwrap();
    // Part 10, clause 2.5.2: PIN_VERIFY_STRUCTURE for an ASCII PIN of 4 to 8 digits, left justified.
    let mut verify = vec![30, 30, 0x82, 0x00, 0x00, 8, 4, 0x02, 1, 0x09, 0x04, 0, 0, 0, 0];
    let apdu = b"\x00\x20\x00\x81\x00";
    verify.extend(u32::to_ne_bytes(apdu.len() as u32));
    verify.extend(apdu);
    let mut features = [0; 256];
    let features = card.control(ctl_code(3400), &[], &mut features).unwrap();
    let feature = features
        .chunks_exact(6)
        .find(|feature| feature[0] == 0x06)
        .expect("FEATURE_VERIFY_PIN_DIRECT");
    let code = u32::from_be_bytes(feature[2..].try_into().unwrap());
    let mut response = [0; 64];
    let answer = card.control(code.into(), &verify, &mut response).unwrap();
    assert!(answer.ends_with(&[0x90, 0x00]), "{answer:02X?}");
    assert_eq!(log.lock().unwrap().last().unwrap(), b"\x00\x20\x00\x81\x041234");
}

#[test]
fn simulations_do_not_see_each_other() {
    let threads = (0..8).map(|number: u8| {
        thread::spawn(move || {
            let (_bus, reader, context) = start("scr3310");
            for round in 0..20_u8 {
                let (card, log) = Mirror::new(T1);
                reader.insert(card);
                let names = context.list_readers_owned().unwrap();
                assert_eq!(names, [reader.name().to_owned()]);
                let card = connect(&context, &reader).unwrap();
                let command = [0, 0xB0, number, round, 0];
                exchange(&card, &command).unwrap();
                assert_eq!(commands(&log), [command]);
            }
        })
    });
    for thread in Vec::from_iter(threads) {
        thread.join().unwrap();
    }
}

#[test]
fn a_reader_has_the_descriptors_that_it_is_given() {
    let bus = Simulation::new();
    let mut model = SimDevice::named("scr3310").unwrap().model().clone();
    model.identity.manufacturer = Some("Example".into());
    model.identity.product = Some("Example Reader".into());
    (model.identity.vendor_id, model.identity.product_id) = (0x1209, 0x0001);
    let reader = bus.plug_device(SimDevice::new(model)).unwrap();
    reader.insert(Ok9000);
    assert!(
        reader.name().to_str().unwrap().starts_with("Example"),
        "{:?}",
        reader.name()
    );
    let context = bus.context().unwrap();
    assert!(connect(&context, &reader).is_ok());
}

#[test]
fn bytes_that_are_no_atr_are_sent_as_they_are() {
    for (atr, connects) in [
        (&b"\x00\x01"[..], false),
        (b"\x3B", false),
        (&[0x3B; 33], true),
        (b"", false),
    ] {
        let (_bus, reader, context) = start("scr3310");
        let (card, _) = Mirror::new(atr);
        reader.insert(card);
        let connected = connect(&context, &reader);
        assert_eq!(connected.is_ok(), connects, "{atr:02X?}: {:?}", connected.err());
    }
}

const SELECT: [u8; 15] = [
    0x00, 0xA4, 0x04, 0x00, 0x0A, 0xA0, 0x00, 0x00, 0x00, 0x62, 0x03, 0x01, 0x0C, 0x06, 0x01,
];

/// The record of a reader whose card was selected.
fn record() -> String {
    use pcsc_ccid::reader::{DeviceInfo, Protocol, Reader, ReaderOptions, Reset};
    use pcsc_sim::card::{apps::Several, Offer, Profile, SimCard};
    use pcsc_sim::usb_record::{RecordedDevice, UsbRecorder};

    let device = SimDevice::named("scr3310").unwrap();
    let recorded = RecordedDevice::of_model(device.model()).unwrap();
    let recorder = UsbRecorder::new(&recorded, Vec::new()).unwrap();
    let handle = pcsc_sim::SimHandle::new(device);
    handle.insert(
        0,
        SimCard::good(Profile::new(&[Offer::T1]), Box::new(Several::demo())),
    );
    let transport = recorder.transport(handle.transport());
    let (info, options) = (DeviceInfo::default(), ReaderOptions::default());
    let mut reader = Reader::open(transport, info, &recorded.interface, options).unwrap();
    reader.power_on(0, Reset::Cold).unwrap();
    reader.set_protocol(0, Protocol::T1).unwrap();
    reader.transmit(0, &SELECT, &mut [0; 300]).unwrap();
    String::from_utf8(recorder.output()).unwrap()
}

#[test]
fn a_recorded_reader_is_plugged_in_and_tells_what_differs() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("reader.usb");
    std::fs::write(&path, record()).unwrap();
    for (command, outcome) in [
        (&SELECT[..], "Ok"),
        (
            &[0x00, 0x20, 0x00, 0x80, 0x02, 0x31, 0x32],
            "0020008002****** came",
        ),
    ] {
        let bus = Simulation::new();
        let reader = bus.replay(&path).unwrap();
        let context = bus.context().unwrap();
        let card = context
            .connect(reader.name(), ShareMode::Shared, Protocols::ANY)
            .unwrap();
        let mut response = [0; 300];
        let answer = card.transmit(command, &mut response).map(<[u8]>::to_vec);
        match reader.outcome() {
            Ok(()) => assert_eq!((outcome, answer), ("Ok", Ok(vec![0x90, 0x00]))),
            Err(mismatch) => {
                assert!(mismatch.to_string().ends_with(outcome), "{mismatch}");
                assert!(answer.is_err());
            }
        }
    }
    std::fs::write(&path, record().replacen("out", "off", 1)).unwrap();
    let Err(failure) = Simulation::new().replay(&path).map(drop) else {
        panic!("the record is damaged")
    };
    let text = failure.to_string();
    assert!(
        text.contains("line ") && text.contains("\"off\" is no direction"),
        "{text}"
    );
}
