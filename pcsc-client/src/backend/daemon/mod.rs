//! pcscd over its socket.
//!
//! `stream` moves bytes, `connect` and `handshake` make a connection, `link` has a request and its answer,
//! `calls` the calls of a context, `watch` its wait for changes, and `identity` finds out which device a
//! reader is. Each uses those before it.

mod calls;
pub mod connect;
mod handshake;
mod identity;
mod link;
#[cfg(feature = "standalone")]
mod listener;
mod stream;
mod waker;
mod watch;

#[cfg(feature = "standalone")]
mod usb_survey;
#[cfg(feature = "standalone")]
use usb_survey::Survey;

#[cfg(not(feature = "standalone"))]
mod no_survey;
#[cfg(not(feature = "standalone"))]
use no_survey::Survey;

pub use calls::DaemonContext;
pub use identity::identities;
#[cfg(feature = "standalone")]
pub use listener::Listeners;

use super::calls::Calls;
use super::values::SessionOptions;
use crate::error::Outcome;

/// Whether the build has this backend.
pub const IS_INCLUDED: bool = true;

/// Establishes a context.
pub fn establish(options: &SessionOptions) -> Outcome<Box<dyn Calls>> {
    Ok(Box::new(DaemonContext::establish(options)?))
}
