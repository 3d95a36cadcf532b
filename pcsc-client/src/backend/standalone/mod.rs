//! No daemon: a context on the resource manager of this process ([`pcsc_manager`]).

mod calls;
mod current;
mod identity;

pub use calls::StandaloneContext;
pub use current::USB;
pub use identity::identity;
