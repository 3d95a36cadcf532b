//! A PIV card.

use piv_authenticator::{Authenticator, Options};

fn main() {
    virtual_cards::with_client("piv", |client| {
        virtual_cards::vpcd::serve(Authenticator::new(client, Options::default()));
    });
}
