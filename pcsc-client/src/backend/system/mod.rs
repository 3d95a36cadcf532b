//! The platform's own PC/SC library, loaded at run time: winscard.dll of Windows, PCSC.framework of macOS, or
//! any libpcsclite.so.1.
//!
//! `platform` has what differs between them, `library` makes their functions safe, `calls` implements the
//! context on them. Waits for changes are the library's own; `waits` makes sure that a cancel ends them.
//! `time_limit` gives a time limit to calls that have none in the library, and `gate` makes sure that none is
//! sent after its time.

mod calls;
mod cards;
mod gate;
mod library;
mod platform;
mod time_limit;
mod waits;

pub use calls::SystemContext;
pub use platform::IS_PART_OF_SYSTEM;
