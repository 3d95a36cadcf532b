//! What stands for [`DaemonContext`](super::daemon) in a build without it: types that have no values.

use std::ffi::CStr;
use std::path::Path;
use std::time::{Duration, Instant};

use pcsc_wire::{Endian, ReaderStateRecord, Version};

use super::bytes::AttributeValue;
use super::calls::{for_each_forwarded_call, Calls};
use super::status_change::Watched;
use super::values::{Connected, ConnectionStatus, Pci, SessionOptions, Transmitted};
use crate::error::{Cause, Error, Failure, Outcome};
use crate::identity::ReaderIdentity;

/// Whether the build has this backend.
pub const IS_INCLUDED: bool = false;

/// There is none.
#[derive(Debug)]
pub enum DaemonContext {}

impl DaemonContext {
    /// Fails.
    pub fn establish(_options: &SessionOptions) -> Outcome<DaemonContext> {
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

    pub fn path(&self) -> &Path {
        match *self {}
    }

    pub fn version(&self) -> Version {
        match *self {}
    }

    pub fn endian(&self) -> Endian {
        match *self {}
    }

    pub(crate) fn identities(&self, _readers: &[(&CStr, bool)]) -> Vec<ReaderIdentity> {
        match *self {}
    }
}

macro_rules! implement {
    ($($(#[$doc:meta])* fn $name:ident($($parameter:ident: $type:ty),*) -> $result:ty;)+) => {
        impl Calls for DaemonContext {
            $(
                #[allow(unused_variables)]
                fn $name(&self, $($parameter: $type),*) -> Outcome<$result> {
                    match *self {}
                }
            )+

            fn cancel(&self) -> Outcome<()> {
                match *self {}
            }

            fn get_attribute(&self, _card: i32, _id: u32) -> Outcome<AttributeValue> {
                match *self {}
            }
        }
    };
}
for_each_forwarded_call!(implement);

/// There are none.
#[cfg(feature = "standalone")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listeners;

#[cfg(feature = "standalone")]
impl Listeners {
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

/// There is none.
#[derive(Debug)]
pub enum Waker {}

impl Waker {
    pub fn wake(&self) -> bool {
        match *self {}
    }
}
