//! What a smart card reader's driver must know: command APDUs, the transmission protocols T=0 and T=1
//! (ISO/IEC 7816-3), and, behind the feature `sim`, simulated cards to try it on.
//!
//! Nothing here does I/O: the engines say what to send and are told what came. It builds without `std`,
//! with `alloc`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod apdu;
pub mod atr;
pub mod attributes;
#[cfg(feature = "sim")]
pub mod card;
pub mod descriptor;
pub mod message;
pub mod names;
pub mod parameters;
pub mod part10;
pub mod pps;
pub mod quirks;
pub mod reader;
#[cfg(feature = "sim")]
pub mod sim;
pub mod speed;
pub mod t0;
pub mod t1;
pub mod transport;
#[cfg(feature = "usb")]
pub mod usb;
pub mod waiting;
