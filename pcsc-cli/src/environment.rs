//! Environment variables.

use std::ffi::OsString;

/// A variable's value, if it is not empty. As in the library, a setuid program ignores all variables.
pub fn variable(name: &str) -> Option<OsString> {
    pcsc_client::internals::environment(name).filter(|value| !value.is_empty())
}
