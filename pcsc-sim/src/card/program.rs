//! What a card's protocol gives commands to: one of the bundled applications, or a card that a test writes.

use pcsc_ccid::apdu::CommandApdu;

use super::apps::{execute, execute_apdu, App, ANY_NE};
use super::VirtualCard;

pub(super) trait Program: Send {
    /// The ATR, where the program has one.
    fn atr(&self) -> Option<Vec<u8>> {
        None
    }
    /// The card was reset.
    fn reset(&mut self);
    /// Executes a command APDU.
    fn apdu(&mut self, apdu: &[u8]) -> Vec<u8>;
    /// Executes a command that came over T=0, with an Ne of [`ANY_NE`] where it has data.
    fn tpdu(&mut self, command: &CommandApdu<'_>) -> Vec<u8>;
    /// Whether commands with this header carry data.
    fn carries_data(&self, header: &[u8; 4]) -> bool;
    /// Whether it is a card that a test writes. GET RESPONSE reaches it if the protocol has stored nothing. A
    /// command that comes again with the Le of '6CXX' does not, since it may change the card; the bundled
    /// applications execute it again, because their status word depends on Le.
    fn is_virtual_card(&self) -> bool {
        false
    }
}

impl Program for Box<dyn App> {
    fn reset(&mut self) {
        (**self).reset();
    }

    fn apdu(&mut self, apdu: &[u8]) -> Vec<u8> {
        execute_apdu(apdu, &mut **self)
    }

    fn tpdu(&mut self, command: &CommandApdu<'_>) -> Vec<u8> {
        execute(command, &mut **self)
    }

    fn carries_data(&self, header: &[u8; 4]) -> bool {
        (**self).carries_data(header)
    }
}

impl Program for Box<dyn VirtualCard> {
    fn atr(&self) -> Option<Vec<u8>> {
        Some((**self).atr())
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn apdu(&mut self, apdu: &[u8]) -> Vec<u8> {
        self.transmit(apdu)
    }

    fn tpdu(&mut self, command: &CommandApdu<'_>) -> Vec<u8> {
        let mut apdu = command.header.to_vec();
        if !command.data.is_empty() {
            apdu.push(command.data.len() as u8);
            apdu.extend(command.data);
        } else if let Some(ne) = command.ne.filter(|ne| *ne < ANY_NE) {
            // 256 is coded as 0.
            apdu.push(ne as u8);
        }
        self.transmit(&apdu)
    }

    fn carries_data(&self, header: &[u8; 4]) -> bool {
        (**self).carries_data(header)
    }

    fn is_virtual_card(&self) -> bool {
        true
    }
}
