//! A reader with one slot and short APDU level that does everything itself, with a card that echoes commands.

use pcsc_guest_tests::usbip::{Stall, UsbFunction};
use std::collections::VecDeque;

/// The card's answer to reset: direct convention, T=0 alone, the historical bytes "echo".
pub const ATR: [u8; 6] = [0x3B, 0x04, b'e', b'c', b'h', b'o'];

const BULK_OUT: u8 = 0x01;
const BULK_IN: u8 = 0x82;
const INTERRUPT_IN: u8 = 0x83;

/// The class descriptor (CCID 1.1, table 5.1-1): one slot, 5 V, T=0, 4 MHz, 10753 bit/s, short APDU level,
/// 271 bytes a message.
const CLASS: [u8; 54] = [
    54, 0x21, 0x10, 0x01, 0, 0x01, 1, 0, 0, 0, 0xA0, 0x0F, 0, 0, 0xA0, 0x0F, 0, 0, 0, 0x01, 0x2A, 0, 0, 0x01,
    0x2A, 0, 0, 0, 254, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xBA, 0x04, 0x02, 0, 0x0F, 0x01, 0, 0, 0xFF, 0xFF,
    0, 0, 0, 1,
];

/// The reader.
#[derive(Debug, Default)]
pub struct EchoReader {
    /// A card is in the slot.
    present: bool,
    powered: bool,
    /// While set, the card does not answer a command.
    pub busy: bool,
    /// A busy card asks for time: libccid would give up a silent one after some seconds.
    pub asks_for_time: bool,
    /// Commands that the card has been given.
    pub commands: usize,
    answers: VecDeque<Vec<u8>>,
    notifications: VecDeque<Vec<u8>>,
}

impl EchoReader {
    /// With a card in its slot.
    pub fn with_card() -> Self {
        let mut reader = Self::default();
        reader.insert(true);
        reader
    }

    /// Puts the card in, or takes it out.
    pub fn insert(&mut self, present: bool) {
        self.present = present;
        self.powered = false;
        // RDR_to_PC_NotifySlotChange (CCID 1.1, clause 6.3.1): slot 0 has changed.
        self.notifications.push_back(vec![0x50, 0x02 | u8::from(present)]);
    }

    fn answer(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let (&[kind, .., slot, sequence, _, _, _], data) = message.split_first_chunk::<10>()?;
        let status = match (self.present, self.powered) {
            (false, _) => 2,
            (true, false) => 1,
            (true, true) => 0,
        };
        // RDR_to_PC_DataBlock 0x80, SlotStatus 0x81, Parameters 0x82 (clause 6.2); bit 6 of the status is
        // failure.
        let (kind, status, error, data) = match kind {
            0x62 if self.present => {
                self.powered = true;
                (0x80, 0, 0, ATR.to_vec())
            }
            0x63 => {
                self.powered = false;
                (
                    0x81,
                    u8::from(self.present).max(2 - 2 * u8::from(self.present)),
                    0,
                    Vec::new(),
                )
            }
            0x65 => (0x81, status, 0, Vec::new()),
            0x6F if self.powered => {
                self.commands += 1;
                match (self.busy, self.asks_for_time) {
                    (false, _) => (),
                    (true, false) => return None,
                    // For 255 times as much as it has (CCID 1.1, table 6.2-3).
                    (true, true) => return Some(message_of(0x80, slot, sequence, [0x80, 0xFF], &[])),
                }
                let mut response = data.to_vec();
                response.truncate(254);
                response.extend([0x90, 0x00]);
                (0x80, 0, 0, response)
            }
            0x61 | 0x6C | 0x6D if self.powered => (0x82, 0, 0, vec![0x11, 0x00, 0x00, 0x0A, 0x00]),
            // ICC_MUTE for what needs a card.
            0x62 | 0x6F | 0x61 | 0x6C | 0x6D => (0x80, 0x40 | status, 0xFE, Vec::new()),
            // Command not supported.
            _ => (0x81, 0x40 | status, 0, Vec::new()),
        };
        Some(message_of(kind, slot, sequence, [status, error], &data))
    }
}

/// A message of the reader's (clause 6.2).
fn message_of(kind: u8, slot: u8, sequence: u8, [status, error]: [u8; 2], data: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend((data.len() as u32).to_le_bytes());
    message.extend([slot, sequence, status, error, 0]);
    message.extend(data);
    message
}

impl UsbFunction for EchoReader {
    fn device_descriptor(&self) -> [u8; 18] {
        // USB 2.0, 64 bytes on the control endpoint, numbers for which libccid has no exception, and three
        // strings.
        [
            18, 1, 0x00, 0x02, 0, 0, 0, 64, 0x4B, 0x23, 0x00, 0x00, 0x00, 0x01, 1, 2, 3, 1,
        ]
    }

    fn configuration(&self) -> Vec<u8> {
        let mut bytes = vec![9, 2, 93, 0, 1, 1, 0, 0x80, 50];
        bytes.extend([9, 4, 0, 0, 3, 0x0B, 0, 0, 0]);
        bytes.extend(CLASS);
        bytes.extend([7, 5, BULK_OUT, 2, 64, 0, 0]);
        bytes.extend([7, 5, BULK_IN, 2, 64, 0, 0]);
        bytes.extend([7, 5, INTERRUPT_IN, 3, 8, 0, 16]);
        bytes
    }

    fn string(&self, index: u8) -> Option<String> {
        let text = match index {
            1 => "Echo & Söhne",
            2 => "Echo reader",
            3 => "0042",
            _ => return None,
        };
        Some(text.into())
    }

    fn control(&mut self, _setup: [u8; 8], _data: &[u8]) -> Result<Vec<u8>, Stall> {
        Err(Stall)
    }

    fn bulk_out(&mut self, _endpoint: u8, data: &[u8]) -> Result<(), Stall> {
        let answer = self.answer(data);
        self.answers.extend(answer);
        Ok(())
    }

    fn bulk_in(&mut self, _endpoint: u8, _max: usize) -> Option<Result<Vec<u8>, Stall>> {
        self.answers.pop_front().map(Ok)
    }

    fn interrupt_in(&mut self, _endpoint: u8) -> Option<Vec<u8>> {
        self.notifications.pop_front()
    }
}
