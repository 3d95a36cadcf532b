//! Our server, `pcsc share`, with clients of all kinds.
//!
//! `tests/differential` compares it with pcscd.

mod clients;
mod files;
mod idle;
mod limits;
mod many;
mod memory;
mod policy;
mod rules;
mod stress;
mod tls;
mod together;
mod upstream;
mod versions;
