//! The name `pcsc` for [`pcsc-client`](pcsc_client), so that `[patch.crates-io]` moves programs and libraries
//! that depend on `pcsc` 2 to it, unchanged:
//!
//! ```toml
//! [patch.crates-io]
//! pcsc = { path = "../pcsc-rs/pcsc" }
//! ```

#![forbid(unsafe_code)]

pub use pcsc_client::*;
