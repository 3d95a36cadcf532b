//! The driver image.
#![no_main]
#![no_std]

use uefi::prelude::*;

#[entry]
fn main() -> Status {
    pcsc_uefi::binding::install().status()
}
