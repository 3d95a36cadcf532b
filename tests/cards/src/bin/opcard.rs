//! An OpenPGP card.

fn main() {
    virtual_cards::with_client("opcard", |client| {
        virtual_cards::vpcd::serve(opcard::Card::new(client, opcard::Options::default()));
    });
}
