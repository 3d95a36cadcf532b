//! What the other crates of this workspace need below the safe API. **Not covered by semantic versioning**:
//! any release may change it.
//!
//! A [`Session`] is a context on any backend, with the numbers of the C interface. A [`Watched`] is a reader
//! that [`Session::status_change`] waits for.

#[cfg(all(feature = "daemon", unix))]
pub use crate::backend::daemon::{connect::Connector, DaemonContext};
#[cfg(feature = "standalone")]
pub use crate::backend::standalone::StandaloneContext;
pub use crate::backend::status_change::{Watched, PNP_NAME};
#[cfg(feature = "standalone")]
pub use crate::backend::user_socket;
pub use crate::backend::{
    AtrBytes, AttributeValue, Bytes, Calls, Connected, ConnectionStatus, Pci, Session, SessionOptions,
    Transmitted,
};
pub use crate::env::var as environment;
pub use crate::error::{Outcome, SETTING_LOG};
