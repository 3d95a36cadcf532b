//! Decorators of a [`Transport`](pcsc_ccid::transport::Transport): faults, records and replays.

mod fault;
mod secrets;
mod session;

pub use fault::{Fault, FaultTransport};
pub use session::{RecordTransport, ReplayTransport};
