//! What stands for [`daemon`](super::daemon) in a build without it.

use super::calls::Calls;
use super::values::SessionOptions;
use crate::error::{Cause, Error, Failure, Outcome};

/// Whether the build has this backend.
pub const IS_INCLUDED: bool = false;

/// Fails.
pub fn establish(_options: &SessionOptions) -> Outcome<Box<dyn Calls>> {
    Err(if cfg!(unix) {
        Failure::because(
            Error::UnsupportedFeature,
            Cause::NotIncluded { feature: "daemon" },
        )
    } else {
        let reason = "pcscd listens on a Unix socket, which this library has on Unix alone";
        Failure::because(Error::NoService, Cause::NotOnThisSystem { reason })
    })
}

/// There are none.
#[cfg(feature = "standalone")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listeners;

#[cfg(feature = "standalone")]
impl Listeners {
    pub const NONE: Listeners = Listeners;

    pub fn now() -> Listeners {
        Listeners
    }

    pub fn user_socket() -> Option<std::path::PathBuf> {
        None
    }

    pub fn has_come_since(&self, _before: &Listeners) -> bool {
        false
    }
}
