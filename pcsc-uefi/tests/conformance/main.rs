//! A test program: calls every function of the protocol in every way that the specification names, and prints
//! what comes. Its cards and its hot plug are the host's (`tests/tests/uefi`), which act on the command APDUs
//! of class 80.
//!
//! Two readers of one slot each come first, then one with several.
#![no_main]
#![no_std]

extern crate alloc;

mod cards;
mod exchanges;
mod hotplug;
mod raw;
mod report;
mod slots;

use core::time::Duration;

use pcsc_uefi::abi::*;
use pcsc_uefi::client;
use uefi::prelude::*;
use uefi::println;

const ANY: u32 = SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1;
/// SCARD_ATTR_ATR_STRING and SCARD_ATTR_VENDOR_NAME.
const ATR_STRING: u32 = 0x0009_0303;
const VENDOR_NAME: u32 = 0x0001_0100;

/// The host takes the card out and answers nothing; puts one into the first reader; unplugs the card's reader
/// and answers nothing; plugs in the reader with several slots; unplugs the card's reader after the answer.
const REMOVE: &[u8] = b"\x80\x01\x00\x00";
const INSERT: &[u8] = b"\x80\x02\x00\x00";
const UNPLUG: &[u8] = b"\x80\x03\x00\x00";
const PLUG: &[u8] = b"\x80\x04\x00\x00";
const LEAVE: &[u8] = b"\x80\x06\x00\x00";
/// How often to look for a card or reader to come or go, and how long to wait each time.
const LOOKS: u32 = 3000;
const LOOK: Duration = Duration::from_millis(20);

#[entry]
fn main() -> Status {
    client::connect_controllers();
    let mut readers = client::readers().unwrap_or_default();
    println!("# readers: {}", readers.len());
    let [first, second, several @ ..] = readers.as_mut_slice() else {
        return Status::NOT_FOUND;
    };
    for reader in [&mut *first, &mut *second] {
        if let Ok(status) = reader.status() {
            println!("# name: {}", status.name);
        }
    }
    raw::null_pointers(first);
    cards::without_connection(first);
    cards::connections(first);
    cards::statuses(first);
    exchanges::exchanges(first);
    exchanges::controls(first);
    exchanges::other_reader(second);
    slots::several(several);
    slots::restarted(several);
    hotplug::removal(first, second);
    hotplug::replugging(second);
    hotplug::unplugging(first);
    drop(readers);
    hotplug::driver_image();
    println!("# end");
    Status::SUCCESS
}
