//! Uses the first card through `card-backend-pcsc`, and lists the readers through `yubikey`.

use card_backend::{CardBackend, SmartcardError};
use card_backend_pcsc::PcscBackend;

/// SELECT of the master file (ISO 7816-4, clause 11.2.2).
const SELECT: &[u8] = &[0x00, 0xA4, 0x00, 0x0C, 0x02, 0x3F, 0x00];

fn select() -> Result<Vec<u8>, SmartcardError> {
    let mut cards = PcscBackend::cards(None)?;
    let mut card = cards.next().ok_or(SmartcardError::NoReaderFoundError)??;
    let mut transaction = card.transaction(None)?;
    transaction.transmit(SELECT, 256)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("answer {:02X?}", select()?);
    let mut context = yubikey::reader::Context::open()?;
    for reader in context.iter()? {
        println!("reader {}", reader.name());
        // The card is no YubiKey.
        println!("opened {}", reader.open().is_ok());
    }
    Ok(())
}
