//! Connections and the state of cards.

use alloc::vec;
use core::ptr;

use pcsc_uefi::abi::*;
use pcsc_uefi::client::SmartCardReader;
use uefi::println;

use crate::raw::status;
use crate::report::{say, told};
use crate::{ANY, ATR_STRING};

pub fn without_connection(reader: &mut SmartCardReader) {
    // Whoever came before may have left the card powered.
    told("connect", &reader.connect(SCARD_AM_CARD, SCARD_CA_NORESET, ANY));
    told("unpower", &reader.disconnect(SCARD_CA_UNPOWER));
    told("disconnect without connect", &reader.disconnect(SCARD_CA_NORESET));
    told("disconnect, unknown action", &reader.disconnect(5));
    told(
        "transmit without power",
        &reader.transmit(b"\x80\x10\x00\x00\x00"),
    );
    told("ATR without power", &reader.attribute(ATR_STRING));
}

pub fn connections(reader: &mut SmartCardReader) {
    told("connect mode 0", &reader.connect(0, 0, 0));
    told("connect mode 3", &reader.connect(3, 0, ANY));
    told(
        "reader with reset",
        &reader.connect(SCARD_AM_READER, SCARD_CA_COLDRESET, 0),
    );
    told(
        "reader with protocol",
        &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, ANY),
    );
    told(
        "card, unpower",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_UNPOWER, ANY),
    );
    told("card, eject", &reader.connect(SCARD_AM_CARD, SCARD_CA_EJECT, ANY));
    told(
        "card, T=1 only",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, SCARD_PROTOCOL_T1),
    );
    told(
        "card, raw only",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, SCARD_PROTOCOL_RAW),
    );
    told("reader", &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0));
    told(
        "reader again",
        &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0),
    );
    told(
        "card as well",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY),
    );
    told("eject", &reader.disconnect(SCARD_CA_EJECT));
    told(
        "still locked",
        &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0),
    );
    told("disconnect", &reader.disconnect(SCARD_CA_NORESET));
    for action in [SCARD_CA_NORESET, SCARD_CA_COLDRESET, SCARD_CA_WARMRESET] {
        let connected = reader.connect(SCARD_AM_CARD, action, ANY);
        println!("# card, action {action}: protocol {:?}", connected.ok());
        told("disconnect", &reader.disconnect(action));
    }
    told(
        "card, no reset",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_NORESET, ANY),
    );
    told("unpower", &reader.disconnect(SCARD_CA_UNPOWER));
    if let Ok(status) = reader.status() {
        println!(
            "# unpowered: state {}, {} bytes of ATR",
            status.state,
            status.atr.len()
        );
    }
    told("connect", &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY));
}

pub fn statuses(reader: &mut SmartCardReader) {
    if let Ok(status) = reader.status() {
        println!(
            "# powered: state {}, protocol {}, ATR {:02X?}",
            status.state, status.protocol, status.atr
        );
    }
    let null = ptr::null_mut();
    say(
        "status, nothing wanted",
        status(reader, ptr::null_mut(), ptr::null_mut(), null, ptr::null_mut()),
    );
    let (mut name_length, mut atr_length) = (0, 0);
    say(
        "status, lengths",
        status(reader, ptr::null_mut(), &mut name_length, null, &mut atr_length),
    );
    println!("# lengths: {name_length}, {atr_length}");
    let mut name = vec![0xFFFF; name_length / 2];
    let mut atr = vec![0; atr_length];
    let (mut shorter, mut shorter_atr) = (name_length - 1, atr_length - 1);
    say(
        "status, short name",
        status(
            reader,
            name.as_mut_ptr(),
            &mut shorter,
            atr.as_mut_ptr(),
            &mut atr_length,
        ),
    );
    println!("# needed: {shorter}");
    say(
        "status, short ATR",
        status(
            reader,
            name.as_mut_ptr(),
            &mut name_length,
            atr.as_mut_ptr(),
            &mut shorter_atr,
        ),
    );
    println!("# needed: {shorter_atr}");
    say(
        "status, just enough",
        status(
            reader,
            name.as_mut_ptr(),
            &mut name_length,
            atr.as_mut_ptr(),
            &mut atr_length,
        ),
    );
    println!("# ends with NUL: {}", name.last() == Some(&0));
}
