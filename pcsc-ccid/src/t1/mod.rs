//! Protocol T=1, half-duplex transmission of blocks (ISO/IEC 7816-3 clause 11).
//!
//! [`Block`] is the codec. [`Engine`] is the interface device's side of the protocol without I/O: its
//! [`T1Exchange`] returns which block to send and how long to wait, and is passed what the card answers.

mod block;
mod engine;
mod exchange;

pub use block::{Block, Edc, Invalid, Pcb, Supervisory, MAX_BLOCK, MAX_INF};
pub use engine::{Config, Engine, T1Action, T1Error};
pub use exchange::T1Exchange;
