//! The decorators of a transport: faults, recording, replay.

use std::time::Duration;

use pcsc_ccid::descriptor::{interfaces, Interface};
use pcsc_ccid::reader::{Protocol, Reader, ReaderOptions, Reset};
use pcsc_ccid::transport::{Transport, TransportError};
use pcsc_sim::card::apps::{Echo, FileSystem, Hello, Several};
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::usb_record::{RecordedDevice, UsbRecord, UsbRecorder, UsbReplay};
use pcsc_sim::{Fault, FaultTransport, Model, SimDevice, SimHandle};

const SECOND: Duration = Duration::from_secs(1);
const STATUS: [u8; 10] = [0x65, 0, 0, 0, 0, 0, 7, 0, 0, 0];

fn handle(name: &str) -> SimHandle {
    let handle = SimHandle::new(SimDevice::named(name).unwrap());
    let mut profile = Profile::new(&[Offer::T1]);
    profile.ta1 = Some(0x95);
    let apps = Several(vec![
        Box::new(Hello::default()),
        Box::new(Echo),
        Box::new(FileSystem::example()),
    ]);
    handle.insert(0, SimCard::good(profile, Box::new(apps)));
    handle
}

fn interface(model: &Model) -> Interface {
    interfaces(&Model::configuration_descriptor(&[model], 0))
        .remove(0)
        .unwrap()
}

fn receive(transport: &mut impl Transport) -> Result<Vec<u8>, TransportError> {
    let mut buffer = [0; 300];
    let length = transport.receive(&mut buffer, SECOND)?;
    Ok(buffer[..length].to_vec())
}

/// The replies, as the host sees them, to two messages of which the first one's reply is struck.
fn with_fault(kinds: &'static [Fault]) -> (Vec<Result<Vec<u8>, TransportError>>, Vec<Fault>) {
    let handle = handle("gempc-express");
    let mut transport = FaultTransport::new(handle.transport(), 5, 1000, 1, kinds);
    let mut seen = Vec::new();
    for seq in [7, 8] {
        let mut message = STATUS;
        message[6] = seq;
        transport.send(&message, SECOND).unwrap();
        seen.push(receive(&mut transport));
        if seen.last() == Some(&Err(TransportError::Stall)) {
            assert_eq!(
                receive(&mut transport),
                Err(TransportError::Stall),
                "until it is cleared"
            );
            transport.clear_halt().unwrap();
            seen.push(receive(&mut transport));
        }
    }
    seen.push(receive(&mut transport));
    (seen, transport.struck().to_vec())
}

#[test]
fn each_fault_is_what_its_name_says() {
    let seven = Ok(vec![0x81, 0, 0, 0, 0, 0, 7, 0x01, 0x81, 0x01]);
    let eight = Ok(vec![0x81, 0, 0, 0, 0, 0, 8, 0x01, 0x81, 0x01]);
    let nothing = Err(TransportError::Timeout);
    let check = |kinds: &'static [Fault], wanted: &[&Result<Vec<u8>, TransportError>]| {
        let (seen, struck) = with_fault(kinds);
        assert_eq!(seen.iter().collect::<Vec<_>>(), wanted, "{kinds:?}");
        assert_eq!(struck, kinds);
    };
    check(&[Fault::Late], &[&nothing, &seven, &eight]);
    check(&[Fault::Duplicated], &[&seven, &seven, &eight]);
    check(&[Fault::Lost], &[&nothing, &eight, &nothing]);
    check(&[Fault::Unheard], &[&nothing, &eight, &nothing]);
    check(
        &[Fault::Stalled],
        &[&Err(TransportError::Stall), &seven, &eight, &nothing],
    );
    // Nothing follows the first reply before the host gives up: it comes then.
    check(&[Fault::Reordered], &[&seven, &eight, &nothing]);
    let first = |kinds| with_fault(kinds).0.remove(0).unwrap();
    assert!(first(&[Fault::Short]).len() < 10);
    assert!(first(&[Fault::Long]).len() > 10);
    let corrupted = first(&[Fault::Corrupted]);
    assert_eq!(corrupted.len(), 10);
    assert_ne!(Ok(corrupted), seven);
}

#[test]
fn two_replies_under_way_change_places() {
    let handle = handle("gempc-express");
    let mut transport = FaultTransport::new(handle.transport(), 1, 1000, 1, &[Fault::Reordered]);
    for seq in [7, 8] {
        let mut message = STATUS;
        message[6] = seq;
        transport.send(&message, SECOND).unwrap();
    }
    assert_eq!(receive(&mut transport).unwrap()[6], 8);
    assert_eq!(receive(&mut transport).unwrap()[6], 7);
}

#[test]
fn faults_of_the_control_pipe_are_those_of_one_answer() {
    const GET_DATA_RATES: u8 = 3;
    let asked = |kind: &'static [Fault]| {
        let handle = handle("gempc-express");
        let mut transport = FaultTransport::new(handle.transport(), 5, 1000, 1, kind);
        let mut ask = || {
            let mut buffer = [0; 300];
            let length = transport.control_in(GET_DATA_RATES, 0, &mut buffer, SECOND)?;
            Ok(buffer[..length].to_vec())
        };
        let answers = [ask(), ask()];
        (answers, transport.now())
    };
    let ([sound, _], _) = asked(&[]);
    let sound = sound.unwrap();
    assert!(sound.len() > 8, "{sound:02X?}");
    for kind in [&[Fault::Short][..], &[Fault::Long], &[Fault::Corrupted]] {
        let ([damaged, next], _) = asked(kind);
        let damaged = damaged.unwrap();
        match kind[0] {
            Fault::Short => assert!(damaged.len() < sound.len() && sound.starts_with(&damaged)),
            Fault::Long => assert!(damaged.len() > sound.len() && damaged.starts_with(&sound)),
            _ => {
                let differing = damaged.iter().zip(&sound).filter(|(a, b)| a != b).count();
                assert_eq!((damaged.len(), differing), (sound.len(), 1));
            }
        }
        assert_eq!(next, Ok(sound.clone()), "one fault at most");
    }
    let ([garbage, _], _) = asked(&[Fault::Garbage]);
    let garbage = garbage.unwrap();
    assert_eq!(garbage[0], sound[0]);
    assert_ne!(garbage[1..9], sound[1..9]);
    assert!(garbage[9..].iter().any(|byte| *byte != 0), "{garbage:02X?}");
    for kind in [&[Fault::Late][..], &[Fault::Lost]] {
        let (answers, now) = asked(kind);
        assert_eq!(
            (answers, now),
            ([Err(TransportError::Timeout), Ok(sound.clone())], SECOND)
        );
    }
    let ([stalled, _], _) = asked(&[Fault::Stalled]);
    assert_eq!(stalled, Err(TransportError::Stall));
    // The request never reaches a device that does not support it.
    let handle = handle("gempc-express");
    let mut transport = FaultTransport::new(handle.transport(), 5, 1000, 1, &[Fault::Unheard]);
    assert_eq!(transport.control_out(0x7F, 0, &[], SECOND), Ok(()));
    assert_eq!(
        transport.control_out(0x7F, 0, &[], SECOND),
        Err(TransportError::Stall)
    );
}

/// The answers to some commands, of which one has this PIN.
fn drive(transport: impl Transport, model: &Model, pin: &[u8; 8]) -> Result<Vec<Vec<u8>>, String> {
    let identity = model.identity.device_info();
    let failed = |error| format!("{error:?}");
    let mut reader =
        Reader::open(transport, identity, &interface(model), ReaderOptions::default()).map_err(failed)?;
    reader.power_on(0, Reset::Cold).map_err(failed)?;
    reader.set_protocol(0, Protocol::T1).map_err(failed)?;
    let mut answers = Vec::new();
    for command in [
        &b"\x80\xEC\x00\x00\x05hello\x00"[..],
        &[&[0x00, 0x20, 0x00, 0x81, 0x08][..], pin].concat(),
        b"\x80\xEE\x01\x00\x00",
    ] {
        let mut response = [0; 300];
        let length = reader.transmit(0, command, &mut response).map_err(failed)?;
        answers.push(response[..length].to_vec());
    }
    Ok(answers)
}

/// The record of some commands to a reader of this model, and their answers.
fn record(name: &str) -> (Model, String, Vec<Vec<u8>>) {
    let model = pcsc_sim::model(name).unwrap();
    let recorder = UsbRecorder::new(&RecordedDevice::of_model(&model).unwrap(), Vec::new()).unwrap();
    let answers = drive(recorder.transport(handle(name).transport()), &model, b"97531086").unwrap();
    recorder.finish().unwrap();
    (model, String::from_utf8(recorder.output()).unwrap(), answers)
}

#[test]
fn a_record_is_played_as_it_was_with_any_pin() {
    for name in ["gempc-express", "omnikey-3x21", "starsign", "au9540"] {
        let (model, text, answers) = record(name);
        assert!(!text.contains("39373533"), "a PIN is in no record:\n{text}");
        assert!(text.contains("**"));
        let replay = UsbReplay::new(UsbRecord::parse(text.as_bytes()).unwrap());
        assert!(replay.outcome().is_err(), "{name}");
        let replayed = drive(replay.transport(), &model, b"12345678").unwrap();
        assert_eq!((replayed, replay.outcome()), (answers, Ok(())), "{name}");
    }
}

#[test]
fn a_replay_tells_where_the_host_departs_without_its_pin() {
    let (model, text, _) = record("omnikey-3x21");
    // Another command was recorded in the place of the PIN's.
    let other = text.replace("0020008108****************", "0084000008****************");
    assert_ne!(other, text);
    let line = other
        .lines()
        .position(|line| line.contains("0084000008"))
        .unwrap();
    let replay = UsbReplay::new(UsbRecord::parse(other.as_bytes()).unwrap());
    assert!(drive(replay.transport(), &model, b"12345678").is_err());
    let mismatch = replay.outcome().unwrap_err();
    assert_eq!(mismatch.line, Some(line + 1));
    let sent = |text: &str, header: &str| {
        let line = text.lines().find(|line| line.contains(header)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(
        mismatch.to_string(),
        format!(
            "exchange {} (line {}): {} was recorded, {} came",
            mismatch.number,
            line + 1,
            sent(&other, "0084000008"),
            sent(&text, "0020008108")
        )
    );
}
