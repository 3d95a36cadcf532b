//! Which device a reader is, as far as its driver says.

use std::ffi::CStr;

use super::calls::SystemContext;
use crate::backend::driver_facts::{ask, slot_of};
use crate::identity::ReaderIdentity;
use pcsc_wire::Endian;

impl SystemContext {
    /// The identity of a reader; less of one that another connection keeps.
    pub fn identity(&self, name: &CStr, is_used: bool) -> ReaderIdentity {
        let identity = ReaderIdentity {
            slot: slot_of(name),
            ..ReaderIdentity::default()
        };
        ask(self, name, is_used, Endian::NATIVE, identity.clone()).unwrap_or(identity)
    }
}
