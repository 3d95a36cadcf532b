//! A driver for USB smart card readers: CCID 1.1 and ICCD 1.0, with ISO/IEC 7816-3's protocols where a reader
//! leaves them to the host. No daemon, no C library; an application opens a reader and talks to its card.
//!
//! # The field in a few words
//!
//! A *reader* (interface device) has one or more *slots*. A card that gets power answers with its *ATR*, which says
//! which *protocols* it speaks, T=0 (characters) or T=1 (blocks), and how fast. An application sends *command APDUs*
//! and gets *response APDUs*, whose last two bytes, SW1 and SW2, tell the outcome: 90 00 is success. How much of this
//! a reader does by itself is in its class descriptor's *exchange level*: some take whole APDUs, others *TPDUs* (one
//! T=0 command or one T=1 block), a few single characters. This driver does the rest, whatever it is.
//!
//! # A reader, a card, an APDU
//!
//! ```
//! use pcsc_ccid::descriptor::interfaces;
//! use pcsc_ccid::reader::{DeviceInfo, Options, Protocol, Reader, Reset};
//! use pcsc_sim::card::{apps::Several, Offer, Profile, SimCard};
//! use pcsc_sim::{Handle, Model};
//!
//! // A simulated reader here (crate `pcsc-sim`). A real one comes from `usb::list()`: its
//! // `Candidate` gives the transport by `open()`, and `device()` and `interface`.
//! let model = pcsc_sim::model("scr3310").expect("one of pcsc_sim::NAMES");
//! let configuration = Model::configuration_descriptor(&[&model], 4);
//! let interface = interfaces(&configuration).remove(0)?;
//! let handle = Handle::new(pcsc_sim::Device::new(model));
//! handle.insert(0, SimCard::good(Profile::new(&[Offer::T1]), Box::new(Several::demo())));
//!
//! let mut reader = Reader::open(handle.transport(), DeviceInfo::default(), &interface, Options::default())?;
//! println!("ATR: {:02X?}", reader.power_on(0, Reset::Cold)?);
//! reader.set_protocol(0, Protocol::T1)?;
//! let mut response = [0; 258];
//! let select = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
//! let length = reader.transmit(0, select, &mut response)?;
//! assert_eq!(response[..length], [0x90, 0x00]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does not do
//!
//! A reader does one thing at a time, also where it could serve several slots at once (`bMaxCCIDBusySlots` of its class
//! descriptor): its cards take turns, and a slow one keeps the others waiting.
//!
//! # What is where
//!
//! * [`reader`]: the driver. It takes its [`transport`] as a trait, and needs no `std`.
//! * [`descriptor`], [`message`], [`atr`], [`pps`], [`parameters`], [`apdu`], [`part10`]: codecs, which do no I/O and take
//!   any bytes: a value or an error comes out.
//! * [`t0`], [`t1`]: protocol engines, which say what to send and are told what came.
//! * [`speed`], [`waiting`]: what card and reader can do, and how long to wait.
//! * [`quirks`], [`names`], [`attributes`]: what single products need, what readers are called, what they tell.
//! * `usb` (feature `usb`, on by default): readers on real USB ports.
//!
//! Simulated readers and cards, for tests, are in crate `pcsc-sim`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "usb")]
extern crate std;

pub mod apdu;
pub mod atr;
pub mod attributes;
pub mod descriptor;
pub mod message;
pub mod names;
pub mod parameters;
pub mod part10;
pub mod pps;
pub mod quirks;
pub mod reader;
pub mod speed;
pub mod t0;
pub mod t1;
pub mod transport;
#[cfg(all(
    feature = "usb",
    any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "windows"
    )
))]
pub mod usb;
pub mod waiting;

/// Compiles and runs the examples of the README.
#[cfg(all(doctest, feature = "usb"))]
#[doc = include_str!("../README.md")]
struct Readme;
