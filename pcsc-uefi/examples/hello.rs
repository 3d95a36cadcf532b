//! Says hello through a smart card: selects the applet of the well-known "Hello world" sample and sends its
//! command.
#![no_main]
#![no_std]

use pcsc_uefi::abi::{
    SCARD_ABSENT, SCARD_AM_CARD, SCARD_CA_COLDRESET, SCARD_CA_NORESET, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1,
};
use pcsc_uefi::client::{self, SmartCardReader};
use uefi::prelude::*;
use uefi::println;

const SELECT: &[u8] = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
const COMMAND: &[u8] = b"\x00\x00\x00\x00";

#[entry]
fn main() -> Status {
    client::connect_controllers();
    match run() {
        Ok(()) => Status::SUCCESS,
        Err(error) => {
            println!("hello: {}", error.status());
            error.status()
        }
    }
}

fn run() -> uefi::Result {
    let mut readers = client::readers()?;
    if readers.is_empty() {
        println!("hello: there is no smart card reader, or no driver for it");
        return Err(Status::NOT_FOUND.into());
    }
    for reader in &mut readers {
        let status = reader.status()?;
        println!("{}", status.name);
        if status.state == SCARD_ABSENT {
            println!("no card");
        } else {
            greet(reader)?;
        }
    }
    Ok(())
}

fn greet(reader: &mut SmartCardReader) -> uefi::Result {
    reader.connect(
        SCARD_AM_CARD,
        SCARD_CA_COLDRESET,
        SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1,
    )?;
    let answered = reader.transmit(SELECT).and_then(|_| reader.transmit(COMMAND));
    reader.disconnect(SCARD_CA_NORESET)?;
    let answer = answered?;
    let (text, status_word) = answer.split_at(answer.len().saturating_sub(2));
    println!("{} {status_word:02X?}", text.escape_ascii());
    Ok(())
}
