//! What the other crates of this workspace, their tests and the fuzz targets need beside the driver's API.
//! **Not covered by semantic versioning**: any release may change it.

#[cfg(feature = "std")]
pub use crate::shared::sync::{lock, wait_until, TimedMutex, TimedMutexGuard};

/// The structures of the messages about protocol parameters (CCID 1.1, clause 6.1.7).
pub mod parameters {
    pub use crate::parameters::*;
}

/// Protocol and parameters selection (ISO/IEC 7816-3, clause 9).
pub mod pps {
    pub use crate::pps::*;
}

/// The choice of a card's speed.
pub mod speed {
    pub use crate::speed::*;
}

/// How long the driver waits for a card and for a reader.
pub mod waiting {
    pub use crate::waiting::*;
}
