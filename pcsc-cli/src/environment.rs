//! Environment variables.

use std::ffi::OsString;

/// A variable's value, if it is not empty. As for the library, programs with more rights than their caller
/// have none.
pub fn variable(name: &str) -> Option<OsString> {
    pcsc_client::internals::environment(name).filter(|value| !value.is_empty())
}
