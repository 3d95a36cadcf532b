//! The opening of a reader that does not answer, or goes away meanwhile.

mod common;

use common::script::{In, Script};
use common::{message, plain_interface, too_long};
use pcsc_ccid::descriptor::Flavour;
use pcsc_ccid::reader::{DeviceInfo, Reader, ReaderError, ReaderOptions};
use pcsc_ccid::transport::TransportError;

fn status() -> In {
    In::Bytes(message(0x81, &[], [1, 0, 0]))
}

/// An answer that is none, and the end of what is in the pipe.
fn wrong() -> [In; 2] {
    [In::Bytes(too_long()), In::Nothing(TransportError::Timeout)]
}

fn open(incoming: impl IntoIterator<Item = In>) -> Result<(), ReaderError> {
    let script = Script {
        incoming: incoming.into_iter().collect(),
        ..Script::default()
    };
    Reader::open(
        script,
        DeviceInfo::default(),
        &plain_interface(0x2_00BA),
        ReaderOptions::default(),
    )
    .map(drop)
}

#[test]
fn the_first_command_is_sent_three_times() {
    let twice = wrong().into_iter().chain(wrong());
    assert_eq!(open(twice.chain([status()])), Ok(()));
    let three_times = wrong().into_iter().chain(wrong()).chain(wrong());
    assert_eq!(open(three_times.chain([status()])), Err(ReaderError::WrongReply));
}

#[test]
fn a_cancelled_opening_is_not_tried_again() {
    for error in [TransportError::Cancelled, TransportError::Gone] {
        let incoming = [In::Nothing(error), status(), status()];
        assert_eq!(open(incoming), Err(ReaderError::Transport(error)));
    }
}

#[test]
fn a_reader_without_a_card_is_opened() {
    for icc in [1, 2] {
        let failed = In::Bytes(message(0x81, &[], [0x40 | icc, 0xFB, 0]));
        assert_eq!(open([failed]), Ok(()));
        let mute = In::Bytes(message(0x81, &[], [0x40 | icc, 0xFE, 0]));
        assert_eq!(open([mute]), Ok(()));
    }
}

/// An ICCD token is powered on and off at opening. It answers as long as the list lasts.
#[test]
fn a_token_that_goes_while_it_is_powered_at_opening_is_gone() {
    let mut interface = plain_interface(0x840);
    interface.flavour = Flavour::IccdA;
    let open = |before: usize, then: TransportError| {
        let ready = std::iter::repeat_n(Ok(vec![0x00]), before);
        let script = Script {
            controls: ready.chain([Err(then)]).collect(),
            ..Script::default()
        };
        Reader::open(
            script,
            DeviceInfo::default(),
            &interface,
            ReaderOptions::default(),
        )
        .map(drop)
    };
    // GET_ICC_STATUS for the first command and at power-on, and the ATR.
    for before in 0..3 {
        let gone = TransportError::Gone;
        assert_eq!(open(before, gone), Err(ReaderError::Transport(gone)), "{before}");
    }
    // Any other failure at power-on is that of an empty slot.
    for before in 1..3 {
        assert_eq!(open(before, TransportError::Stall), Ok(()), "{before}");
    }
}
