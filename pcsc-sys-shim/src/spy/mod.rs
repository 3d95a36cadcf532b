//! The recording of all calls in the file that `PCSCLITE_SPY` names. `RECORDING.md` describes what is
//! written.
//!
//! A call is two lines of JSON: one before it, and one when it returns. Nothing here may disturb the program:
//! no lock is taken, which a fork could leave locked; a line that cannot be written is left out and counted;
//! [`file`] keeps off signals. Short lines need no memory, and `SCardCancel` has no others, so that it stays
//! safe in signal handlers.

#[cfg(feature = "spy")]
mod fields;
#[cfg(feature = "spy")]
mod file;
#[cfg(feature = "spy")]
mod line;
#[cfg(feature = "spy")]
mod recorder;

#[cfg(feature = "spy")]
pub use fields::Fields;
#[cfg(feature = "spy")]
pub use recorder::Call;

#[cfg(not(feature = "spy"))]
mod nothing;
#[cfg(not(feature = "spy"))]
pub use nothing::{Call, Fields};
