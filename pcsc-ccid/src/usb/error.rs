//! Errors of opening a reader.

use crate::reader::ReaderError;
use crate::shared::SharedError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::string::{String, ToString};
use std::vec::Vec;

/// Why a reader cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The user may not open the device's node.
    #[error(
        "no permission for {}: put this line into /etc/udev/rules.d/70-pcsc-ccid.rules and plug the reader \
         in again: {rule}",
        node.display()
    )]
    Permission {
        /// The node, `/dev/bus/usb/BBB/DDD`.
        node: PathBuf,
        /// The udev rule that grants access to the user at the seat and to the group plugdev.
        rule: String,
    },
    /// Another process, or a driver of the kernel, has claimed the reader. This driver does not detach it.
    #[error("the reader is in use by {}", names(holders))]
    Busy {
        /// The processes or the driver that use it, as far as the user may see.
        holders: Vec<Holder>,
    },
    /// The reader was unplugged.
    #[error("the reader is gone")]
    Gone,
    /// The system refused for another reason.
    #[error("the system does not open the device: {0}")]
    System(io::Error),
    /// The device is open, but the reader does not answer, or is not supported.
    #[error(transparent)]
    Reader(#[from] ReaderError),
}

/// Why the system does not open a device, or does not let this process claim an interface.
pub(super) enum Refusal {
    Permission,
    Busy,
    Gone,
    Other(io::Error),
}

impl OpenError {
    /// What it means to those who share the reader.
    pub fn shared(&self) -> SharedError {
        match self {
            OpenError::Busy { .. } => SharedError::Busy,
            OpenError::Gone => SharedError::Gone,
            OpenError::Reader(error) => SharedError::opening(*error),
            // Not `Gone`, which takes the reader off the list: a permission may be granted while the program
            // runs.
            OpenError::Permission { .. } | OpenError::System(_) => SharedError::Failed,
        }
    }
}

fn names(holders: &[Holder]) -> String {
    match holders {
        [] => "another process".into(),
        _ => holders
            .iter()
            .map(Holder::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// A process or driver that uses a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// A process that has the device's node open.
    Process {
        /// Its id.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// A driver of the kernel.
    Driver(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Process { pid, name } => write!(f, "{name} (process {pid})"),
            Holder::Driver(name) => write!(f, "the kernel's driver {name}"),
        }
    }
}
