//! The driver image.
#![no_main]
#![no_std]

use uefi::prelude::*;

#[entry]
fn main() -> Status {
    match pcsc_uefi::binding::install() {
        Ok(()) => Status::SUCCESS,
        Err(error) => error.status(),
    }
}
