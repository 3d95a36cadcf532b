//! What a card's protocol gives commands to: one of the bundled applications, or a card that a test writes.

use pcsc_ccid::apdu::CommandApdu;

use super::apps::{execute, execute_apdu, App, ANY_NE};
use super::VirtualCard;

pub(super) enum Program {
    App(Box<dyn App>),
    Card(Box<dyn VirtualCard>),
}

impl Program {
    /// The ATR of a card that a test writes. An application has none: its card's profile has it.
    pub fn atr(&self) -> Option<Vec<u8>> {
        match self {
            Program::App(_) => None,
            Program::Card(card) => Some(card.atr()),
        }
    }

    /// The card was reset.
    pub fn reset(&mut self) {
        match self {
            Program::App(app) => app.reset(),
            Program::Card(card) => card.reset(),
        }
    }

    /// Executes a command APDU.
    pub fn apdu(&mut self, apdu: &[u8]) -> Vec<u8> {
        match self {
            Program::App(app) => execute_apdu(apdu, &mut **app),
            Program::Card(card) => card.transmit(apdu),
        }
    }

    /// Executes a command that came over T=0, with an Ne of [`ANY_NE`] where it has data.
    pub fn tpdu(&mut self, command: &CommandApdu<'_>) -> Vec<u8> {
        let card = match self {
            Program::App(app) => return execute(command, &mut **app),
            Program::Card(card) => card,
        };
        let mut apdu = command.header.to_vec();
        if !command.data.is_empty() {
            apdu.push(command.data.len() as u8);
            apdu.extend(command.data);
        } else if let Some(ne) = command.ne.filter(|ne| *ne < ANY_NE) {
            // 256 is coded as 0.
            apdu.push(ne as u8);
        }
        card.transmit(&apdu)
    }

    /// Whether commands with this header carry data.
    pub fn carries_data(&self, header: &[u8; 4]) -> bool {
        match self {
            Program::App(app) => app.carries_data(header),
            Program::Card(card) => card.carries_data(header),
        }
    }

    /// Whether it is a card that a test writes. GET RESPONSE reaches it if the protocol has stored nothing. A
    /// command that comes again with the Le of '6CXX' does not, since it may change the card; the bundled
    /// applications execute it again, because their status word depends on Le.
    pub fn is_virtual_card(&self) -> bool {
        matches!(self, Program::Card(_))
    }
}
