//! The decorators of a transport: faults, recording, replay.

use std::time::Duration;

use pcsc_ccid::descriptor::{interfaces, Interface};
use pcsc_ccid::reader::{DeviceInfo as Identity, Options, Protocol, Reader, Reset};
use pcsc_ccid::transport::{Error, Transport};
use pcsc_sim::card::apps::{Echo, FileSystem, Hello, Several};
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::transport::{Fault, FaultTransport, RecordTransport, ReplayTransport};
use pcsc_sim::{Device, Handle, Model};

const SECOND: Duration = Duration::from_secs(1);
const STATUS: [u8; 10] = [0x65, 0, 0, 0, 0, 0, 7, 0, 0, 0];

fn handle(name: &str) -> Handle {
    let handle = Handle::new(Device::named(name).unwrap());
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

fn receive(transport: &mut impl Transport) -> Result<Vec<u8>, Error> {
    let mut buffer = [0; 300];
    let length = transport.receive(&mut buffer, SECOND)?;
    Ok(buffer[..length].to_vec())
}

/// The replies, as the host sees them, to two messages of which the first one's reply is struck.
fn with_fault(kinds: &'static [Fault]) -> (Vec<Result<Vec<u8>, Error>>, Vec<Fault>) {
    let handle = handle("gempc-express");
    let mut transport = FaultTransport::new(handle.transport(), 5, 1000, 1, kinds);
    let mut seen = Vec::new();
    for seq in [7, 8] {
        let mut message = STATUS;
        message[6] = seq;
        transport.send(&message, SECOND).unwrap();
        seen.push(receive(&mut transport));
        if seen.last() == Some(&Err(Error::Stall)) {
            assert_eq!(receive(&mut transport), Err(Error::Stall), "until it is cleared");
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
    let nothing = Err(Error::Timeout);
    let check = |kinds: &'static [Fault], wanted: &[&Result<Vec<u8>, Error>]| {
        let (seen, struck) = with_fault(kinds);
        assert_eq!(seen.iter().collect::<Vec<_>>(), wanted, "{kinds:?}");
        assert_eq!(struck, kinds);
    };
    check(&[Fault::Late], &[&nothing, &seven, &eight]);
    check(&[Fault::Duplicated], &[&seven, &seven, &eight]);
    check(&[Fault::Lost], &[&nothing, &eight, &nothing]);
    check(&[Fault::Unheard], &[&nothing, &eight, &nothing]);
    check(&[Fault::Stalled], &[&Err(Error::Stall), &seven, &eight, &nothing]);
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

/// The answers to some commands, and what `look` sees of the transport afterwards.
fn drive<T: Transport, R>(
    transport: T,
    model: &Model,
    look: impl FnOnce(&mut T) -> R,
) -> Result<(Vec<Vec<u8>>, R), String> {
    let identity = Identity {
        vendor: model.vendor_id,
        product: model.product_id,
        release: model.release,
        ..Identity::default()
    };
    let failed = |error| format!("{error:?}");
    let mut reader =
        Reader::open(transport, identity, &interface(model), Options::default()).map_err(failed)?;
    reader.power_on(0, Reset::Cold).map_err(failed)?;
    reader.set_protocol(0, Protocol::T1).map_err(failed)?;
    let mut answers = Vec::new();
    for command in [
        &b"\x80\xEC\x00\x00\x05hello\x00"[..],
        b"\x00\x20\x00\x81\x08\x39\x37\x35\x33\x31\x30\xFF\xFF",
        b"\x80\xEE\x01\x00\x00",
    ] {
        let mut response = [0; 300];
        let length = reader.transmit(0, command, &mut response).map_err(failed)?;
        answers.push(response[..length].to_vec());
    }
    Ok((answers, look(reader.transport())))
}

#[test]
fn a_session_is_written_and_played() {
    for name in ["gempc-express", "omnikey-3x21", "starsign", "au9540"] {
        let model = pcsc_sim::model(name).unwrap();
        let recorder = RecordTransport::new(handle(name).transport(), String::new());
        let (answers, session) = drive(recorder, &model, |recorder| recorder.output().clone()).unwrap();
        assert!(!session.contains("39373533"), "a PIN is in no record:\n{session}");
        assert!(session.contains(".."));
        let replay = ReplayTransport::new(&session);
        let (replayed, left) = drive(replay, &model, |replay| replay.left()).unwrap();
        assert_eq!((replayed, left), (answers, 0), "{name}");
    }
}

#[test]
fn a_replay_tells_where_the_host_departs() {
    let session =
        "# a comment\n\n5 out 65000000000000000000 ok\n9 in 300 !timeout\n10 in 300 81\n11 pause 1000 ok\n";
    let mut replay = ReplayTransport::new(session);
    replay.send(&[0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0], SECOND).unwrap();
    assert_eq!(replay.now(), Duration::from_micros(5));
    assert_eq!(receive(&mut replay), Err(Error::Timeout));
    assert_eq!(receive(&mut replay), Ok(vec![0x81]));
    assert_eq!(replay.clear_halt(), Err(Error::Fault));
    assert_eq!(
        replay.departure(),
        Some("at \"11 pause 1000 ok\" the host did \"clear-halt\"")
    );
    assert_eq!(replay.pause(Duration::from_millis(1)), Err(Error::Fault));
    let mut odd = ReplayTransport::new("1 in 300 8");
    assert_eq!(receive(&mut odd), Ok(vec![8]));
    let mut bad = ReplayTransport::new("1 in 300 8X");
    assert_eq!(receive(&mut bad), Err(Error::Fault));
    assert!(bad.departure().is_some());
    assert_eq!(ReplayTransport::new("").pause(SECOND), Err(Error::Fault));
}
