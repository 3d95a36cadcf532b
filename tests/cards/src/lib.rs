//! Published card applications as virtual cards. Keys and files are in memory; the random numbers come from a
//! constant seed, so that a card answers the same in each run.

pub mod dispatch;
pub mod vpcd;

use dispatch::Dispatch;
use trussed::virt::{self, StoreConfig};

/// An application's access to its storage and cryptography.
pub type Client<'a> = virt::Client<'a, Dispatch>;

/// Runs `card` with a client whose storage is empty.
pub fn with_client(name: &str, card: impl FnOnce(Client<'_>)) {
    virt::with_platform(StoreConfig::ram(), |platform| {
        platform.run_client_with_backends(name, Dispatch::new(), dispatch::BACKENDS, card)
    });
}
