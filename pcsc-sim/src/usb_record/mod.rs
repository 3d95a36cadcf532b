//! The transfers of a reader as a text file: [`UsbRecorder`] writes one, [`UsbReplay`] plays the reader in
//! it.
//!
//! ```text
//! driver ── RecordTransport ── transport of a reader        driver ── ReplayTransport ── UsbReplay
//!                 └── UsbRecorder ── file ── UsbRecord ───────────────────────────────────────┘
//! ```
//!
//! # The file
//!
//! Lines of UTF-8, whose fields are separated by spaces. A `#` at the beginning of a line, or after a space,
//! begins a comment; lines with strings have none. The first line is `pcsc-usb-record 1`: the format and its
//! version. Lines about the reader follow, and then one line for each transfer.
//!
//! ```text
//! pcsc-usb-record 1
//! device 08e6:3437 1.00                # idVendor:idProduct, bcdDevice
//! # The strings of the device and of the interface, up to the end of the line.
//! manufacturer Gemplus
//! product GemPC Twin
//! interface-name CCID Interface
//! descriptors 0904000003...            # the interface's descriptors (USB 2.0, clause 9.6)
//! 0 in 00 03 0000 !stall
//! 35 out 02 65000000000000000000
//! 812 in 81 81000000000000018101
//! 5012 in 83 5003
//! ```
//!
//! | transfer | fields after the time, which is in microseconds since the first line |
//! |---|---|
//! | on a bulk or the interrupt pipe | `out` or `in`, the endpoint's address, the data |
//! | class request on the control pipe | `out` or `in`, `00`, `bRequest`, `wValue`, the data |
//! | the end of a halt | `clear-halt` |
//!
//! Data are hexadecimal digits, `-` if there are none, with `**` for a byte that is hidden. `!` and an error
//! (`!timeout`, `!cancelled`, `!stall`, `!gone`, `!fault`) is in the place of the data of a transfer that
//! failed, and after the data of one to the reader. The device's serial number is not recorded.
//!
//! # What is hidden
//!
//! Of commands to the card, what [`pcsc_ccid::secrets`] hides, also in T=1 blocks, in parts and in single
//! characters; of PC_to_RDR_Secure, the command after its Lc; of PC_to_RDR_Escape, all but four bytes.
//! Answers are not hidden: a replay needs the checksums in them. Treat the record of a real card as
//! confidential.

mod line;
mod matching;
mod parse;
mod recorder;
mod replay;
mod replay_state;
mod secrets;
#[cfg(test)]
mod tests;

pub use parse::UsbRecord;
pub use recorder::{RecordTransport, UsbRecorder};
pub use replay::{ReplayTransport, ReplayWatch, UsbReplay};

use pcsc_ccid::descriptor::Interface;

use crate::UsbIdentity;

/// The reader in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedDevice {
    /// Its identity.
    pub identity: UsbIdentity,
    /// The interface.
    pub interface: Interface,
}

impl RecordedDevice {
    /// A simulated reader. `None` if its descriptors are no reader's.
    pub fn of_model(model: &crate::Model) -> Option<RecordedDevice> {
        Some(RecordedDevice {
            identity: model.identity.clone(),
            interface: model.interface()?,
        })
    }

    /// The interface's descriptors, from what the driver has read of them.
    fn descriptors(&self) -> Vec<u8> {
        let interface = &self.interface;
        let pipes = [interface.bulk_out, interface.bulk_in].into_iter().flatten();
        let count = pipes.clone().count() + usize::from(interface.interrupt_in.is_some());
        let mut bytes = vec![9, 4, interface.number, interface.alternate, count as u8];
        bytes.extend([
            interface.class,
            0,
            interface.flavour.protocol(),
            interface.name_index,
        ]);
        bytes.extend(interface.descriptor.to_bytes());
        for address in pipes {
            bytes.extend([7, 5, address, 2, 64, 0, 0]);
        }
        if let Some(interrupt) = interface.interrupt_in {
            let [low, high] = interrupt.max_packet_size.to_le_bytes();
            bytes.extend([7, 5, interrupt.address, 3, low, high, interrupt.interval]);
        }
        bytes
    }
}
