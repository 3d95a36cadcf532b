//! Smart card readers before the operating system starts: `pcsc-ccid` as a UEFI driver.
//!
//! ```text
//! program ── client ── EFI_SMART_CARD_READER_PROTOCOL ── entry ── slot ── device ── pcsc_ccid::reader
//! firmware ── EFI_DRIVER_BINDING_PROTOCOL ── binding ─────────────────┘     transport ── EFI_USB_IO_PROTOCOL
//! ```
//!
//! The image `smartcard-driver.efi` follows the UEFI driver model. It manages each USB interface that is a
//! CCID or ICCD reader and installs EFI_SMART_CARD_READER_PROTOCOL (UEFI specification 2.5 and later, section
//! "Smart Card Reader Protocol") for each slot: the first one on the handle of the USB interface, further
//! ones on child handles. `hello.efi` and `pcsc.efi` are programs that use the protocol of any driver.
//!
//! * [`abi`]: the protocol's types and constants.
//! * [`client`]: the protocol for programs.
//! * [`binding`], [`child`], [`firmware`], [`device`], [`slot`], [`entry`]: the driver.
//! * [`transport`], [`short`], [`clock`]: USB transfers and time for `pcsc-ccid`.
//!
//! All functions must be called at TPL_CALLBACK or below. The driver raises the level to TPL_CALLBACK during
//! each call. This keeps the firmware's hot-plug handler, which runs at that level, from removing the reader
//! under the call.
#![no_std]

extern crate alloc;

pub mod abi;
pub mod binding;
pub mod child;
pub mod client;
pub mod clock;
pub mod device;
pub mod entry;
pub mod firmware;
pub mod short;
pub mod slot;
pub mod transport;
