//! A caller's deadline cancels the command that goes on, at every level of exchange.

mod common;

use std::time::Duration;

use common::liar::Liar;
use common::{card, named, now, open, open_through, power_up, transmit};
use pcsc_ccid::reader::{Protocol, Reader, ReaderError};
use pcsc_ccid::transport::TransportError;
use pcsc_sim::card::{Behaviour, Offer};
use pcsc_sim::{MessageDirection, SimHandle, SimTransport};

const CANCELLED: Result<Vec<u8>, ReaderError> = Err(ReaderError::Transport(TransportError::Cancelled));
const SECOND: Duration = Duration::from_secs(1);
const PC_TO_RDR_XFR_BLOCK: u8 = 0x6F;
const PC_TO_RDR_ABORT: u8 = 0x72;

fn aborts(handle: &SimHandle) -> usize {
    handle.with(|device| {
        let is_abort = |transfer: &&pcsc_sim::Logged| {
            transfer.direction == MessageDirection::ToReader
                && transfer.bytes.first() == Some(&PC_TO_RDR_ABORT)
        };
        device.log().filter(is_abort).count()
    })
}

/// A reader whose card asks for more time for ever.
fn busy(model: &str) -> (SimHandle, Reader<SimTransport>) {
    let (handle, mut reader) = open(named(model));
    handle.insert(0, card(None, &[Offer::T1], Behaviour::wtx_for_ever()));
    power_up(&mut reader, Protocol::T1).unwrap();
    (handle, reader)
}

#[test]
fn a_deadline_cancels_a_command_and_aborts_it() {
    // Extended APDUs, short APDUs, TPDUs, characters.
    for model in ["au9540", "omnikey-5321", "scr3310", "oz776"] {
        let (handle, mut reader) = busy(model);
        let deadline = now(&handle) + 5 * SECOND;
        let result = reader.with_deadline(Some(deadline), |reader| transmit(reader, &[0; 5]));
        assert_eq!(result, CANCELLED, "{model}");
        // The abort takes a time of its own.
        let end = now(&handle);
        assert!(deadline <= end && end < deadline + 2 * SECOND, "{model}: {end:?}");
        assert_eq!(aborts(&handle), 1, "{model}");
        // The deadline was the one call's.
        handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
        power_up(&mut reader, Protocol::T1).unwrap();
        assert_eq!(
            transmit(&mut reader, &[0x80, 0x01, 0, 0]),
            Ok(vec![0x6D, 0]),
            "{model}"
        );
    }
}

#[test]
fn a_deadline_ends_the_wait_for_a_token() {
    let (handle, mut reader) = busy("starsign");
    let deadline = now(&handle) + 5 * SECOND;
    let result = reader.with_deadline(Some(deadline), |reader| transmit(reader, &[0; 5]));
    assert_eq!(result, CANCELLED);
    assert!(now(&handle) < deadline + SECOND, "{:?}", now(&handle));
}

#[test]
fn a_deadline_ends_the_sending_of_a_command() {
    let (handle, reader) = open_through(named("scr3310"), |transport| {
        Liar::new(transport, |_, reply| Ok(reply)).refusing(PC_TO_RDR_XFR_BLOCK)
    });
    let mut reader = reader.unwrap();
    handle.insert(0, card(None, &[Offer::T0], Behaviour::default()));
    power_up(&mut reader, Protocol::T0).unwrap();
    let deadline = now(&handle) + SECOND;
    let result = reader.with_deadline(Some(deadline), |reader| transmit(reader, &[0; 5]));
    assert_eq!(result, CANCELLED);
    assert!(now(&handle) < deadline + SECOND, "{:?}", now(&handle));
}

#[test]
fn a_deadline_that_has_passed_lets_no_command_wait() {
    let (handle, mut reader) = busy("scr3310");
    let begin = now(&handle);
    let result = reader.with_deadline(Some(begin), |reader| transmit(reader, &[0; 5]));
    assert_eq!(result, CANCELLED);
    assert!(now(&handle) < begin + 2 * SECOND);
}

#[test]
fn a_deadline_ends_with_its_call() {
    let (handle, mut reader) = open(named("scr3310"));
    handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
    power_up(&mut reader, Protocol::T1).unwrap();
    let deadline = now(&handle) + SECOND;
    let unknown = Ok(vec![0x6D, 0]);
    let in_time = reader.with_deadline(Some(deadline), |reader| transmit(reader, &[0x80, 0x01, 0, 0]));
    assert_eq!(in_time, unknown);
    handle.with(|device| device.advance(2 * SECOND));
    assert!(now(&handle) > deadline);
    assert_eq!(transmit(&mut reader, &[0x80, 0x01, 0, 0]), unknown);
}
