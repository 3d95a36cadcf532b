//! A driver for USB smart card readers: CCID 1.1 and ICCD 1.0, with the protocols of ISO/IEC 7816-3 where a
//! reader leaves them to the host. It needs no daemon and no C library: an application opens a reader and
//! talks to its card.
//!
//! # Terms
//!
//! A *reader* (interface device) has one or more *slots*. A card that is powered up answers with its *ATR*,
//! which lists its *protocols*, T=0 (characters) or T=1 (blocks), and its speeds. An application sends
//! *command APDUs* and gets *response APDUs*, which end with the status words SW1 and SW2: 90 00 is success.
//! The *exchange level* in a reader's class descriptor says how much of this it does itself: some readers
//! take whole APDUs, others *TPDUs* (one T=0 command or one T=1 block), a few single characters. This driver
//! does the rest.
//!
//! # Use a reader
//!
//! ```no_run
//! # #[cfg(feature = "usb")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pcsc_ccid::reader::{ReaderOptions, Protocol, Reader, Reset};
//! use pcsc_ccid::usb;
//!
//! let listing = usb::list()?;
//! let candidate = listing.readers.first().ok_or("no reader is plugged in")?;
//! println!("{}", candidate.name_identity().base_name());
//!
//! // Claims the interface: no other process has the reader now.
//! let opened = candidate.open()?;
//! let options = ReaderOptions::default();
//! let mut reader = Reader::open(opened.transport, candidate.device(), &candidate.interface, options)?;
//! println!("ATR: {:02X?}", reader.power_on(0, Reset::Cold)?);
//! reader.set_protocol(0, Protocol::T1)?;
//! let mut response = [0; 258];
//! let select = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
//! let length = reader.transmit(0, select, &mut response)?;
//! println!("{:02X?}", &response[..length]);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "usb"))]
//! # fn main() {}
//! ```
//!
//! On Linux the user needs the right to open the device's node; [`usb::udev_rule`] makes the rule that grants
//! it. [`usb::Hotplug`] waits for readers that come and go, and [`shared::InterruptSource`] for cards.
//!
//! # Use a simulated reader
//!
//! Crate `pcsc-sim` has readers and cards at the level of USB transfers, in virtual time. The driver
//! works with them as with real ones:
//!
//! ```
//! use pcsc_ccid::descriptor::interfaces;
//! use pcsc_ccid::reader::{DeviceInfo, ReaderOptions, Protocol, Reader, Reset};
//! use pcsc_sim::card::{apps::Several, Offer, Profile, SimCard};
//! use pcsc_sim::{Model, SimHandle};
//!
//! let model = pcsc_sim::model("scr3310").expect("one of pcsc_sim::NAMES");
//! let configuration = Model::configuration_descriptor(&[&model], 4);
//! let interface = interfaces(&configuration).remove(0)?;
//! let handle = SimHandle::new(pcsc_sim::SimDevice::new(model));
//! handle.insert(0, SimCard::good(Profile::new(&[Offer::T1]), Box::new(Several::demo())));
//!
//! let mut reader =
//!     Reader::open(handle.transport(), DeviceInfo::default(), &interface, ReaderOptions::default())?;
//! println!("ATR: {:02X?}", reader.power_on(0, Reset::Cold)?);
//! reader.set_protocol(0, Protocol::T1)?;
//! let mut response = [0; 258];
//! let select = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
//! let length = reader.transmit(0, select, &mut response)?;
//! assert_eq!(response[..length], [0x90, 0x00]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Threads
//!
//! A [`Reader`](reader::Reader) executes one command at a time. A `shared::SharedReader` lets threads share
//! it; slots that the device can serve at the same time (`bMaxCCIDBusySlots` of its class descriptor) then
//! work in parallel, on Linux and Android. nusb opens an endpoint once, so that on other systems slots take
//! turns.
//!
//! # Modules
//!
//! * [`reader`]: the driver. It takes its [`transport`] as a trait, and needs no `std`.
//! * `shared` (feature `std`, on by default): a reader that threads share, with its card events and its
//!   recovery after a loss.
//! * `usb` (feature `usb`, on by default): readers on real USB ports, on Linux, Android, macOS and Windows.
//!   On other systems it has no reader.
//! * [`descriptor`], [`message`], [`atr`], [`apdu`], [`part10`]: codecs. They do no I/O and accept any bytes:
//!   the result is a value or an error.
//! * [`t0`], [`t1`]: protocol engines without I/O. The caller sends what they return and passes in what the
//!   card answers.
//! * [`quirks`], [`names`], [`attributes`]: what single products need, the readers' names, their attributes.
//! * [`internals`]: what the crates of this workspace need beside these. It is not covered by semantic
//!   versioning.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod apdu;
pub mod atr;
pub mod attributes;
pub mod descriptor;
pub mod internals;
pub mod message;
pub mod names;
mod parameters;
pub mod part10;
mod pps;
pub mod quirks;
pub mod reader;
pub mod secrets;
#[cfg(feature = "std")]
pub mod shared;
mod speed;
pub mod t0;
pub mod t1;
pub mod transport;
#[cfg(feature = "usb")]
#[cfg_attr(
    not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "windows"
    )),
    allow(
        dead_code,
        reason = "these systems have no reader, so that nothing fails or wakes"
    )
)]
pub mod usb;
mod waiting;

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "usb"))]
#[doc = include_str!("../README.md")]
struct Readme;
