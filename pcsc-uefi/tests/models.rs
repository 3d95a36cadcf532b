//! A test program: uses each reader as programs do, and prints what comes. The readers are simulated ones of
//! many models, whose cards the host (`tests/tests/uefi`) plays.
#![no_main]
#![no_std]

extern crate alloc;

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;

use pcsc_uefi::abi::*;
use pcsc_uefi::client::{self, SmartCardReader};
use uefi::prelude::*;
use uefi::println;

const ANY: u32 = SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1;
/// SCARD_ATTR_CURRENT_PROTOCOL_TYPE.
const CURRENT_PROTOCOL_TYPE: u32 = 0x0008_0201;
/// Tags of PC/SC part 10, clause 2.2.
const FEATURE_VERIFY_PIN_DIRECT: u8 = 0x06;
const FEATURE_GET_TLV_PROPERTIES: u8 = 0x12;
/// The host's cards: hello, and the echo, which takes 80 EC for its data and 80 EE for a number of bytes; 80
/// 07 is answered with a status word.
const SELECT_HELLO: &[u8] = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
const HELLO: &[u8] = b"\x00\x00\x00\x00";
/// The host exchanges the card for another one, after this command's answer.
const REPLACE: &[u8] = b"\x80\x05\x00\x00";
/// The time between two looks at a card that is to be exchanged, and how many there are: 20 s, which a reader
/// that never reports an exchange takes.
const LOOK: Duration = Duration::from_millis(10);
const MOST_LOOKS: u32 = 2000;
/// FEATURE_VERIFY_PIN_DIRECT for a PIN of 4 to 8 digits in ASCII and the command VERIFY with 8 bytes.
const VERIFY: &[u8] = b"\x00\x00\x82\x08\x00\x08\x04\x02\x01\x09\x04\x00\x00\x00\x00\x0D\x00\x00\x00\
    \x00\x20\x00\x81\x08\x30\x30\x30\x30\x00\x00\x00\x00";

#[entry]
fn main() -> Status {
    client::connect_controllers();
    let mut readers = client::readers().unwrap_or_default();
    for reader in &mut readers {
        match use_reader(reader) {
            Ok(()) => (),
            Err(error) => println!("# failed: {}", error.status()),
        }
    }
    println!("# end");
    Status::SUCCESS
}

fn use_reader(reader: &mut SmartCardReader) -> uefi::Result {
    let status = reader.status()?;
    println!("# == {}, state {}", status.name, status.state);
    if status.state == SCARD_ABSENT {
        say("connect", &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY));
        say("parameter without card", &reader.attribute(CURRENT_PROTOCOL_TYPE));
        return Ok(());
    }
    say(
        "parameter without power",
        &reader.attribute(CURRENT_PROTOCOL_TYPE),
    );
    let protocol = reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY)?;
    let status = reader.status()?;
    println!(
        "# protocol {protocol}, state {}, ATR {}",
        status.state,
        hexadecimal(&status.atr)
    );
    exchanges(reader);
    controls(reader);
    let replaced = reader.transmit(REPLACE);
    say("replaced", &replaced);
    let state = match replaced {
        Ok(_) => state_once_replaced(reader)?,
        Err(_) => reader.status()?.state,
    };
    println!("# state {state}");
    reader.disconnect(SCARD_CA_UNPOWER)?;
    println!("# state {}", reader.status()?.state);
    let protocol = reader.connect(SCARD_AM_CARD, SCARD_CA_WARMRESET, ANY)?;
    println!("# again: protocol {protocol}");
    reader.disconnect(SCARD_CA_UNPOWER)
}

/// Waits until the driver reports the new card, and returns the state. The host removes a card before it
/// inserts the other one. With a reader that does not report the exchange the state stays `SCARD_ACTIVE`.
fn state_once_replaced(reader: &mut SmartCardReader) -> uefi::Result<u32> {
    for _ in 0..MOST_LOOKS {
        let state = reader.status()?.state;
        if !matches!(state, SCARD_ACTIVE | SCARD_ABSENT) {
            return Ok(state);
        }
        uefi::boot::stall(LOOK);
    }
    Ok(reader.status()?.state)
}

fn exchanges(reader: &mut SmartCardReader) {
    for (name, command) in [
        ("case 1", &b"\x80\xEC\x00\x00"[..]),
        ("case 2", b"\x80\xEE\x00\x05\x05"),
        ("case 3", b"\x80\xEC\x00\x00\x03\x01\x02\x03"),
        ("case 4", b"\x80\xEC\x00\x00\x03\x01\x02\x03\x00"),
        ("select", SELECT_HELLO),
        ("hello", HELLO),
        ("bytes FF", b"\x80\xEC\x00\x00\x02\xFF\xFF\x00"),
        ("status 6CFF", b"\x80\x07\x6C\xFF"),
    ] {
        say(name, &reader.transmit(command));
    }
    let pattern = reader.transmit(b"\x80\xEE\x01\x00\x00");
    let is_whole = pattern.map(|answer| answer.len() == 258 && answer.ends_with(&[0x90, 0x00]));
    println!("# 256 bytes: {:?}", is_whole.map_err(|error| error.status()));
    let data: Vec<u8> = (0..600).map(|byte: u32| byte as u8).collect();
    let command = [b"\x80\xEC\x00\x00\x00\x02\x58", &data[..], b"\x00\x00"].concat();
    let echoed = reader.transmit(&command);
    let is_same = echoed.map(|answer| answer == [&data[..], b"\x90\x00"].concat());
    println!("# 600 bytes: {:?}", is_same.map_err(|error| error.status()));
}

/// As programs for other drivers do: they read the codes of features in the processor's byte order.
fn controls(reader: &mut SmartCardReader) {
    let features = reader
        .control(CM_IOCTL_GET_FEATURE_REQUEST, &[])
        .unwrap_or_default();
    let mut tags = vec![];
    for feature in features.chunks_exact(6) {
        let [tag, _, a, b, c, d] = *feature else {
            continue;
        };
        tags.push(tag);
        let code = u32::from_ne_bytes([a, b, c, d]);
        match tag {
            FEATURE_GET_TLV_PROPERTIES => {
                let codes = [code, u32::from_be_bytes([a, b, c, d])];
                let [native, standard] = codes.map(|code| reader.control(code, &[]).unwrap_or_default());
                println!("# properties: {}, {}", native.len() > 20, native == standard);
            }
            FEATURE_VERIFY_PIN_DIRECT => {
                say("no PIN structure", &reader.control(code, &[]));
                say("PIN", &reader.control(code, VERIFY));
            }
            _ => (),
        }
    }
    println!("# features {}", hexadecimal(&tags));
}

/// Prints an answer, or the code of the failure.
fn say(name: &str, result: &uefi::Result<impl Answer>) {
    match result {
        Ok(answer) => println!("# {name}: {}", answer.text()),
        Err(error) => println!("# {name}: {}", error.status()),
    }
}

/// What [`say`] prints.
trait Answer {
    fn text(&self) -> String;
}

impl Answer for Vec<u8> {
    fn text(&self) -> String {
        hexadecimal(self)
    }
}

impl Answer for u32 {
    fn text(&self) -> String {
        self.to_string()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        _ = write!(text, "{byte:02X}");
        text
    })
}
