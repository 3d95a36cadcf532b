//! The recording of all calls in the file that `PCSCLITE_SPY` names. `RECORDING.md` describes what is
//! written.
//!
//! A call is two lines of JSON: one before it, and one when it returns. Nothing here may disturb the program:
//! no lock is taken, which a fork could leave locked; a line that cannot be written is left out and counted;
//! [`crate::without_signals`] keeps off signals. Short lines need no memory, and `SCardCancel` has no others,
//! so that it stays safe in signal handlers.

#[cfg(all(feature = "spy", target_os = "linux"))]
mod fields;
#[cfg(all(feature = "spy", target_os = "linux"))]
mod file;
#[cfg(all(feature = "spy", target_os = "linux"))]
mod line;
#[cfg(all(feature = "spy", target_os = "linux"))]
mod recorder;

#[cfg(all(feature = "spy", target_os = "linux"))]
pub use fields::Fields;
#[cfg(all(feature = "spy", target_os = "linux"))]
pub use recorder::Call;

#[cfg(not(all(feature = "spy", target_os = "linux")))]
mod nothing;
#[cfg(not(all(feature = "spy", target_os = "linux")))]
pub use nothing::{Call, Fields};
