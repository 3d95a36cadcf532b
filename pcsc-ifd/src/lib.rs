//! The CCID driver as an IFD handler (IFDHandler 3.0): pcscd loads it in libccid's place.
//!
//! ```text
//! pcscd ── entry points ── units ── channel ── pcsc_ccid::shared ── device: USB, or simulated
//!          and event threads        absences
//! ```
//!
//! Response codes are libccid's for the same events (`codes.rs`).

pub mod abi;
mod absences;
mod channel;
mod codes;
mod device;
mod entry;
pub mod info_plist;
mod library_path;
mod log;
mod settings;
#[cfg(feature = "sim")]
mod sim;
mod units;

#[cfg(all(test, feature = "sim"))]
mod tests;
