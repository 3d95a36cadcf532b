//! `pcsc.efi list` and `pcsc.efi apdu`: readers and cards from the UEFI shell.
#![no_main]
#![no_std]

extern crate alloc;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use pcsc_uefi::abi::*;
use pcsc_uefi::client::{self, SmartCardReader};
use uefi::boot;
use uefi::prelude::*;
use uefi::println;
use uefi::proto::loaded_image::LoadedImage;

const USAGE: &str = "\
pcsc.efi list
    Lists the readers: number, name, card, ATR.
pcsc.efi apdu [--reader NUMBER] APDU...
    Sends command APDUs, in hexadecimal, to the card in a reader (default: the first one with a card) after \
    a cold reset.
The driver must be loaded: load smartcard-driver.efi";

#[entry]
fn main() -> Status {
    let line = arguments();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    client::connect_controllers();
    let done = match *words.as_slice() {
        ["list"] => list(),
        ["apdu", "--reader", number, ref apdus @ ..] if !apdus.is_empty() => match number.parse() {
            Ok(number) => apdu(Some(number), apdus),
            Err(_) => usage(),
        },
        ["apdu", ref apdus @ ..] if !apdus.is_empty() => apdu(None, apdus),
        _ => usage(),
    };
    match done {
        Ok(()) => Status::SUCCESS,
        Err(error) => {
            println!("pcsc: {}", error.status());
            error.status()
        }
    }
}

fn usage() -> uefi::Result {
    println!("{USAGE}");
    Err(Status::INVALID_PARAMETER.into())
}

/// The command line, with the program's name first.
fn arguments() -> String {
    boot::open_protocol_exclusive::<LoadedImage>(boot::image_handle())
        .ok()
        .and_then(|image| image.load_options_as_cstr16().ok().map(ToString::to_string))
        .unwrap_or_default()
}

fn list() -> uefi::Result {
    let mut readers = client::readers()?;
    if readers.is_empty() {
        println!("there is no smart card reader, or no driver for it");
        return Err(Status::NOT_FOUND.into());
    }
    for (number, reader) in readers.iter_mut().enumerate() {
        let status = match reader.status() {
            Ok(status) => status,
            // The others are listed all the same.
            Err(error) => {
                println!("{number}: {}", error.status());
                continue;
            }
        };
        println!("{number}: {}: {}", status.name, card(status.state));
        // A card has no ATR before it is powered.
        if status.state != SCARD_ABSENT {
            match atr(reader) {
                Ok(atr) => println!("   ATR {}", Hex(&atr)),
                Err(error) => println!("   no ATR: {}", error.status()),
            }
        }
    }
    Ok(())
}

fn card(state: u32) -> &'static str {
    match state {
        SCARD_ABSENT => "no card",
        SCARD_INACTIVE => "a card without power",
        SCARD_ACTIVE => "a card",
        _ => "unknown",
    }
}

/// The ATR of the card, which is powered for it and left as it is.
fn atr(reader: &mut SmartCardReader) -> uefi::Result<Vec<u8>> {
    reader.connect(
        SCARD_AM_CARD,
        SCARD_CA_NORESET,
        SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1,
    )?;
    let atr = reader.status().map(|status| status.atr);
    reader.disconnect(SCARD_CA_NORESET)?;
    atr
}

fn apdu(number: Option<usize>, apdus: &[&str]) -> uefi::Result {
    let mut commands = Vec::new();
    for text in apdus {
        let Some(command) = parse(text) else {
            println!("{text} is no APDU: hexadecimal digits in pairs, please");
            return Err(Status::INVALID_PARAMETER.into());
        };
        commands.push(command);
    }
    let mut readers = client::readers()?;
    let chosen = match number {
        Some(number) => readers.get_mut(number),
        None => readers.iter_mut().find_map(|reader| {
            reader
                .status()
                .is_ok_and(|status| status.state != SCARD_ABSENT)
                .then_some(reader)
        }),
    };
    let Some(reader) = chosen else {
        println!("there is no such reader, or no card in any");
        return Err(Status::NOT_FOUND.into());
    };
    let protocol = reader.connect(
        SCARD_AM_CARD,
        SCARD_CA_COLDRESET,
        SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1,
    )?;
    let sent = send(reader, protocol, &commands);
    // Also after a failure: a connection that is not ended locks the reader for other programs.
    reader.disconnect(SCARD_CA_NORESET)?;
    sent
}

fn send(reader: &mut SmartCardReader, protocol: u32, commands: &[Vec<u8>]) -> uefi::Result {
    let protocol = match protocol {
        SCARD_PROTOCOL_T0 => "T=0",
        SCARD_PROTOCOL_T1 => "T=1",
        _ => "another protocol",
    };
    println!("{}, {protocol}", reader.status()?.name);
    for command in commands {
        println!("> {}", Hex(command));
        println!("< {}", Hex(&reader.transmit(command)?));
    }
    Ok(())
}

/// Bytes in hexadecimal.
fn parse(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    // A sign is no digit, but would be taken as a part of a number.
    let are_digits = digits.iter().all(u8::is_ascii_hexdigit);
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !are_digits {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Prints bytes in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl core::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}
