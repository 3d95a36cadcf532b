//! A client in Rust on the published crates `pcsc`, `card-backend-pcsc` and `openpgp-card`: what it finds on
//! the OpenPGP cards that are there, and what they take.

use card_backend_pcsc::PcscBackend;
use openpgp_card::ocard::algorithm::AlgoSimple;
use openpgp_card::ocard::KeyType;
use openpgp_card::{Card, Error};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for backend in PcscBackend::cards(None)? {
        let mut card = Card::new(backend?)?;
        let mut card = card.transaction()?;
        println!("{}", card.application_identifier()?.ident());
        println!("{:?}", card.extended_length_information()?);
        println!("{:?}", card.pw_status_bytes()?);
        match card.verify_user_pin("000000".to_string().into()) {
            Err(Error::CardStatus(status)) => println!("wrong PIN: {status}"),
            other => println!("wrong PIN: {other:?}"),
        }
        let mut admin = card.to_admin_card(Some("12345678".to_string().into()))?;
        admin.set_cardholder_name("Name")?;
        admin.set_algorithm(KeyType::Signing, AlgoSimple::NIST256)?;
        let (key, _) = admin.generate_key(|_, _, _| Ok([0x11; 20].into()), KeyType::Signing)?;
        println!("{key:?}");
        println!("{}", card.cardholder_name()?);
        println!("{:?}", card.fingerprint(KeyType::Signing)?);
    }
    Ok(())
}
