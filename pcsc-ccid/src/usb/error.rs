//! Why a reader cannot be opened, in words that help.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::string::String;
use std::vec::Vec;

/// Why a reader cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The user may not open the device's node.
    Permission {
        /// The node, /dev/bus/usb/BBB/DDD.
        node: PathBuf,
        /// The udev rule that grants access to the user at the seat and to the group plugdev.
        rule: String,
    },
    /// Another process, or a driver of the kernel, has the reader. It is not taken from it.
    Busy {
        /// Who, as far as the user may know.
        holders: Vec<Holder>,
    },
    /// The reader was unplugged.
    Gone,
    /// The system refused for another reason.
    System(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Permission { node, rule } => write!(
                f,
                "no permission for {}: put this line into /etc/udev/rules.d/70-pcsc-ccid.rules and plug the reader \
                 in again: {rule}",
                node.display()
            ),
            OpenError::Busy { holders } if holders.is_empty() => {
                f.write_str("the reader is in use by another process")
            }
            OpenError::Busy { holders } => {
                f.write_str("the reader is in use by ")?;
                for (index, holder) in holders.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{holder}")?;
                }
                Ok(())
            }
            OpenError::Gone => f.write_str("the reader is gone"),
            OpenError::System(error) => write!(f, "the reader cannot be opened: {error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::System(error) => Some(error),
            _ => None,
        }
    }
}

/// Who has a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
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
