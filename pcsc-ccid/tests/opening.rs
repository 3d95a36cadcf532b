//! The opening of a reader that does not answer, or goes away meanwhile.

mod common;

use common::script::{In, Script};
use common::{message, plain_interface};
use pcsc_ccid::descriptor::Flavour;
use pcsc_ccid::reader::{DeviceInfo, Error, Options, Reader};
use pcsc_ccid::transport;

fn status() -> In {
    In::Bytes(message(0x81, &[], [1, 0, 0]))
}

/// An answer that belongs to no command, and the end of what is in the pipe.
fn wrong() -> [In; 2] {
    [
        In::Bytes(message(0x82, &[0x11, 0, 0, 10, 0], [1, 0, 0])),
        In::Nothing(transport::Error::Timeout),
    ]
}

fn open(incoming: impl IntoIterator<Item = In>) -> Result<(), Error> {
    let script = Script {
        incoming: incoming.into_iter().collect(),
        ..Script::default()
    };
    Reader::open(
        script,
        DeviceInfo::default(),
        &plain_interface(0x2_00BA),
        Options::default(),
    )
    .map(drop)
}

#[test]
fn the_first_command_is_sent_three_times() {
    let twice = wrong().into_iter().chain(wrong());
    assert_eq!(open(twice.chain([status()])), Ok(()));
    let three_times = wrong().into_iter().chain(wrong()).chain(wrong());
    assert_eq!(open(three_times.chain([status()])), Err(Error::WrongReply));
}

#[test]
fn a_cancelled_opening_is_not_tried_again() {
    for error in [transport::Error::Cancelled, transport::Error::Gone] {
        let incoming = [In::Nothing(error), status(), status()];
        assert_eq!(open(incoming), Err(Error::Transport(error)));
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
    let open = |before: usize, then: transport::Error| {
        let ready = std::iter::repeat_n(Ok(vec![0x00]), before);
        let script = Script {
            controls: ready.chain([Err(then)]).collect(),
            ..Script::default()
        };
        Reader::open(script, DeviceInfo::default(), &interface, Options::default()).map(drop)
    };
    // GET_ICC_STATUS for the first command and at power-on, and the ATR.
    for before in 0..3 {
        let gone = transport::Error::Gone;
        assert_eq!(open(before, gone), Err(Error::Transport(gone)), "{before}");
    }
    // Any other failure at power-on is that of an empty slot.
    for before in 1..3 {
        assert_eq!(open(before, transport::Error::Stall), Ok(()), "{before}");
    }
}
