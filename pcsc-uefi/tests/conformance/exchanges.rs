//! Commands to cards and readers, and attributes.

use alloc::vec;
use alloc::vec::Vec;
use core::ptr;

use pcsc_uefi::abi::*;
use pcsc_uefi::client::SmartCardReader;
use uefi::println;

use crate::raw::transmit;
use crate::report::{say, told};
use crate::{ANY, ATR_STRING, VENDOR_NAME};

pub fn exchanges(reader: &mut SmartCardReader) {
    // Case 1, 2, 3 and 4; the card echoes data of 80 12, and gives as many bytes as 80 10 asks for.
    for (name, command) in [
        ("case 1", &b"\x80\x11\x00\x00"[..]),
        ("case 2", b"\x80\x10\x00\x00\x05"),
        ("case 3", b"\x80\x11\x00\x00\x03\x01\x02\x03"),
        ("case 4", b"\x80\x12\x00\x00\x03\x01\x02\x03\x00"),
    ] {
        println!(
            "# {name}: {:02X?}",
            reader.transmit(command).map_err(|error| error.status())
        );
    }
    // 600 bytes there and back: ENVELOPE and GET RESPONSE of T=0.
    let data: Vec<u8> = (0..600).map(|byte: u32| byte as u8).collect();
    let mut command = vec![0x80, 0x12, 0x00, 0x00, 0x00, 0x02, 0x58];
    command.extend(&data);
    command.extend([0x00, 0x00]);
    let echoed = reader.transmit(&command).map(|response| {
        let (echo, status_word) = response.split_at(response.len().saturating_sub(2));
        echo == data && status_word == [0x90, 0x00]
    });
    println!("# extended: {:?}", echoed.map_err(|error| error.status()));
    let mut response = [0; 4];
    let mut length = response.len();
    say(
        "response too long",
        transmit(
            reader,
            b"\x80\x10\x00\x00\x05",
            response.as_mut_ptr(),
            &mut length,
        ),
    );
    println!("# needed: {length}");
    told("no APDU", &reader.transmit(b"\x80\x10"));
    let mut both = *b"\x80\x10\x00\x00\x02\x00\x00\x00";
    let mut length = both.len();
    let this = reader.raw();
    // SAFETY: one buffer for both, as C programs have it.
    let shared = unsafe {
        (this.transmit)(
            ptr::from_mut(this),
            both.as_ptr(),
            5,
            both.as_mut_ptr(),
            &mut length,
        )
    };
    println!("# one buffer: {shared}, {:02X?}", &both[..length]);
}

pub fn controls(reader: &mut SmartCardReader) {
    let features = reader.control(CM_IOCTL_GET_FEATURE_REQUEST, &[]);
    let features = features.unwrap_or_default();
    println!("# features: {:02X?}", features);
    let mut length = 0;
    let this = reader.raw();
    // SAFETY: variables of the lengths given, or NULL with length 0.
    let short = unsafe {
        (this.control)(
            ptr::from_mut(this),
            CM_IOCTL_GET_FEATURE_REQUEST,
            ptr::null(),
            0,
            ptr::null_mut(),
            &mut length,
        )
    };
    println!("# features without room: {short}, {}", length == features.len());
    told("control code 0", &reader.control(0, &[]));
    println!(
        "# vendor: {:?}",
        reader
            .attribute(VENDOR_NAME)
            .map(|name| name.escape_ascii().collect::<Vec<u8>>().len() > 1)
            .map_err(|error| error.status())
    );
    println!(
        "# ATR: {:02X?}",
        reader.attribute(ATR_STRING).map_err(|error| error.status())
    );
    told("attribute 0", &reader.attribute(0));
    let (mut byte, mut length) = ([0; 1], 1);
    let this = reader.raw();
    // SAFETY: a variable of the length given.
    let short = unsafe { (this.get_attrib)(ptr::from_mut(this), ATR_STRING, byte.as_mut_ptr(), &mut length) };
    println!("# ATR, short: {short}, {length}");
}

pub fn other_reader(reader: &mut SmartCardReader) {
    let connected = reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY);
    println!("# other reader: protocol {:?}", connected.ok());
    println!(
        "# other reader: {:02X?}",
        reader
            .transmit(b"\x80\x10\x00\x00\x01")
            .map_err(|error| error.status())
    );
    told("other reader", &reader.disconnect(SCARD_CA_UNPOWER));
}
