//! Cards and readers that go and come, and the driver's end.

use alloc::string::ToString;
use alloc::vec;

use pcsc_uefi::abi::*;
use pcsc_uefi::client::{self, SmartCardReader};
use uefi::boot::MemoryType;
use uefi::mem::memory_map::MemoryMap;
use uefi::proto::driver::ComponentName2;
use uefi::{boot, println, Status};

use crate::report::told;
use crate::{ANY, ATR_STRING, INSERT, LEAVE, LOOK, LOOKS, PLUG, REMOVE, UNPLUG};

pub fn removal(reader: &mut SmartCardReader, other: &mut SmartCardReader) {
    told("card removed in an exchange", &reader.transmit(REMOVE));
    if let Ok(status) = reader.status() {
        println!(
            "# removed: state {}, {} bytes of ATR",
            status.state,
            status.atr.len()
        );
    }
    told("transmit without card", &reader.transmit(b"\x80\x10\x00\x00\x01"));
    told("ATR without card", &reader.attribute(ATR_STRING));
    told(
        "cold reset at disconnect without card",
        &reader.disconnect(SCARD_CA_COLDRESET),
    );
    told(
        "connect without card",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY),
    );
    told(
        "reader without card",
        &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0),
    );
    told("disconnect", &reader.disconnect(SCARD_CA_NORESET));
    told(
        "other reader",
        &other.connect(SCARD_AM_CARD, SCARD_CA_NORESET, ANY),
    );
    told("insert a card", &other.transmit(INSERT));
    told("other reader", &other.disconnect(SCARD_CA_UNPOWER));
    let is_back = (0..LOOKS).any(|_| {
        boot::stall(LOOK);
        reader.status().is_ok_and(|status| status.state != SCARD_ABSENT)
    });
    println!("# card is back: {is_back}");
    told("connect", &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY));
    println!(
        "# new card: {:02X?}",
        reader
            .transmit(b"\x80\x10\x00\x00\x01")
            .map_err(|error| error.status())
    );
}

pub fn unplugging(reader: &mut SmartCardReader) {
    let before = client::readers().map_or(0, |readers| readers.len());
    told("reader unplugged in an exchange", &reader.transmit(UNPLUG));
    let is_gone = (0..LOOKS).any(|_| {
        boot::stall(LOOK);
        client::readers().is_ok_and(|readers| readers.len() < before)
    });
    println!("# protocol is gone: {is_gone}");
    // The pointer of a reader that has gone still gives errors.
    told("status of a reader that has gone", &reader.status());
    told(
        "connect to a reader that has gone",
        &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0),
    );
    told(
        "transmit to a reader that has gone",
        &reader.transmit(b"\x80\x10\x00\x00\x01"),
    );
}

/// The driver's name, and that its image can be unloaded, with programs connected.
pub fn driver_image() {
    for mut reader in client::readers().unwrap_or_default() {
        told("connect", &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0));
    }
    for handle in boot::find_handles::<ComponentName2>().unwrap_or_default() {
        let is_ours = boot::open_protocol_exclusive::<ComponentName2>(handle).is_ok_and(|names| {
            names
                .driver_name("en")
                .is_ok_and(|name| name.to_string().contains("CCID"))
        });
        if is_ours {
            told("unload", &boot::unload_image(handle));
        }
    }
    println!(
        "# readers: {}",
        client::readers().map_or(0, |readers| readers.len())
    );
}

/// How often the reader with several slots is pulled out and plugged in, and after how many times the memory
/// is looked at first.
const ROUNDS: u32 = 20;
const FIRST_ROUNDS: u32 = 8;
/// How many pages may be in use for other reasons. Without reuse, the slots of the last rounds take 7.
const NOISE: u64 = 5;
/// The simulated reader's name.
const SEVERAL: &str = "OCTSIM";

/// Pulls the reader with several slots out under a command, and plugs it in again, which `other`'s card does.
pub fn replugging(other: &mut SmartCardReader) {
    told(
        "other reader",
        &other.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY),
    );
    let before = client::readers().map_or(0, |readers| readers.len());
    let mut memory = None;
    for round in 0..ROUNDS {
        // The firmware does not report the end of a transfer before its timeout: once is enough.
        let command = if round == 0 { UNPLUG } else { LEAVE };
        if let Err(what) = replug(other, before, command) {
            println!("# round {round}: {what}");
            return;
        }
        if round + 1 == FIRST_ROUNDS {
            memory = Some(free_pages());
        }
    }
    println!("# replugged: {ROUNDS} times");
    let lost = memory.unwrap_or_default().saturating_sub(free_pages());
    println!("# memory is steady: {}", lost <= NOISE);
    told("other reader", &other.disconnect(SCARD_CA_UNPOWER));
}

/// One round; says what went wrong.
fn replug(other: &mut SmartCardReader, count: usize, command: &[u8]) -> Result<(), &'static str> {
    let mut readers = client::readers().map_err(|_| "no readers")?;
    let slot = readers
        .iter_mut()
        .find_map(|reader| {
            let is_wanted = reader.status().is_ok_and(|status| status.name.contains(SEVERAL));
            is_wanted.then_some(reader)
        })
        .ok_or("no reader")?;
    slot.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY)
        .map_err(|_| "no connection")?;
    let answered = slot.transmit(command).map_err(|error| error.status());
    let expected = match command == UNPLUG {
        true => Err(Status::DEVICE_ERROR),
        false => Ok(vec![0x90, 0x00]),
    };
    if answered != expected {
        return Err("another answer");
    }
    let has = |wanted: &dyn Fn(usize) -> bool| {
        (0..LOOKS).any(|_| {
            boot::stall(LOOK);
            client::readers().is_ok_and(|readers| wanted(readers.len()))
        })
    };
    if !has(&|now| now < count) {
        return Err("the protocol stays");
    }
    other.transmit(PLUG).map_err(|_| "cannot be plugged in")?;
    match has(&|now| now == count) {
        true => Ok(()),
        false => Err("the protocol does not come back"),
    }
}

/// Pages that no one uses.
fn free_pages() -> u64 {
    let map = boot::memory_map(MemoryType::BOOT_SERVICES_DATA);
    map.map_or(0, |map| {
        map.entries()
            .filter(|entry| entry.ty == MemoryType::CONVENTIONAL)
            .map(|entry| entry.page_count)
            .sum()
    })
}
