//! Which device a reader is.

use std::ffi::CStr;

use super::session::{Backend, Session};
use crate::identity::ReaderIdentity;

impl Session {
    /// The identities of the readers of these names, as far as they are known. Each name comes with whether
    /// another connection uses the reader.
    pub fn identities(&self, readers: &[(&CStr, bool)]) -> Vec<ReaderIdentity> {
        match &self.backend {
            Backend::Daemon(context) => context.identities(readers),
            #[cfg(feature = "standalone")]
            Backend::Standalone(_, context) => readers
                .iter()
                .map(|(name, _)| context.identity(name.to_bytes()))
                .collect(),
            #[cfg(feature = "system")]
            Backend::System(context) => readers
                .iter()
                .map(|(name, is_used)| context.identity(name, *is_used))
                .collect(),
        }
    }
}
