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

/// The port and the interface of a name such as `1-4.2:1.0`.
pub fn port_and_interface(name: &str) -> (Option<String>, Option<u8>) {
    let (port, interface) = name.split_once(':').unwrap_or((name, ""));
    let number = interface
        .rsplit('.')
        .next()
        .and_then(|number| number.parse().ok());
    (Some(port.to_owned()).filter(|port| !port.is_empty()), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces_give_port_and_number() {
        assert_eq!(port_and_interface("1-4.2:1.3"), (Some("1-4.2".into()), Some(3)));
        assert_eq!(port_and_interface("1-4.2"), (Some("1-4.2".into()), None));
        assert_eq!(port_and_interface(""), (None, None));
    }
}
