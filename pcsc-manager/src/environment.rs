//! The environment variables that set up pcscd and its driver, for processes that drive readers themselves.
//!
//! The caller looks the variables up: setuid and setgid programs ignore them. An unset variable is an empty
//! text.

use pcsc_ccid::reader::options::{self, ReaderOptions};

use crate::manager::Settings;

/// The driver's options: `PCSC_IFD_DRIVER_OPTIONS` as libccid's `ifdDriverOptions`, and `LANG` for the
/// display of a PIN pad.
pub fn options(variable: impl Fn(&str) -> String) -> ReaderOptions {
    let bits = options::number(&variable("PCSC_IFD_DRIVER_OPTIONS")).unwrap_or(0);
    ReaderOptions::default()
        .with_driver_options(bits)
        .with_locale(&variable("LANG"))
}

/// How readers are named: `PCSCLITE_FILTER_IGNORE_READER_NAMES` and `PCSCLITE_FILTER_EXTEND_READER_NAMES`.
pub fn settings(variable: impl Fn(&str) -> String) -> Settings {
    Settings {
        ignored_names: variable("PCSCLITE_FILTER_IGNORE_READER_NAMES"),
        name_extension: variable("PCSCLITE_FILTER_EXTEND_READER_NAMES"),
    }
}
