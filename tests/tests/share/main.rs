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

use std::ffi::CString;
use std::time::Duration;

use pcsc_client::{Card, Context, Error, Protocols, ShareMode};

/// The test's first reader.
const NAME: &str = "pcsc-tests 00 00";
const PATIENCE: Duration = Duration::from_secs(120);

fn list(context: &Context) -> Vec<String> {
    let names = context.list_readers_owned().unwrap();
    names
        .iter()
        .map(|name| name.to_str().unwrap().to_owned())
        .collect()
}

fn connect(context: &Context) -> Card {
    let name = CString::new(NAME).unwrap();
    context.connect(&name, ShareMode::Shared, Protocols::ANY).unwrap()
}

fn transmit(card: &Card) -> Result<Vec<u8>, Error> {
    let mut response = [0; 258];
    card.transmit(&[0, 0, 0, 0], &mut response).map(<[u8]>::to_vec)
}
