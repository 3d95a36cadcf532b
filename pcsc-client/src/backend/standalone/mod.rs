//! No daemon: a context on the resource manager of this process ([`pcsc_manager`]).

mod current;
mod session;
#[cfg(test)]
mod tests;

pub use current::{current, Kind};
pub use session::Session;
