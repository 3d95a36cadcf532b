//! Which device a reader is, as far as its driver says.

use std::ffi::CStr;

use super::calls::SystemContext;
use crate::backend::driver_facts::{ask, of_name};
use crate::identity::ReaderIdentity;
use pcsc_wire::Endian;

impl SystemContext {
    /// See [`Session::identities`](crate::backend::Session::identities). Gives less of a reader that another
    /// connection keeps.
    pub(crate) fn identities(&self, readers: &[(&CStr, bool)]) -> Vec<ReaderIdentity> {
        let identity = |(name, is_used): &(&CStr, bool)| {
            let known = of_name(name);
            ask(self, name, *is_used, Endian::NATIVE, known.clone()).unwrap_or(known)
        };
        readers.iter().map(identity).collect()
    }
}
