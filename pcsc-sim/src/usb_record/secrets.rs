//! Where a PIN or a key is in what goes to a reader, so that no record shows it.

use std::ops::Range;

use pcsc_ccid::message::HEADER_SIZE;
use pcsc_ccid::secrets::shown_of_command;

/// PC_to_RDR_XfrBlock, and the request of the same name (ICCD 1.0, clause 6).
const XFR_BLOCK: u8 = 0x6F;
const ICCD_XFR_BLOCK: u8 = 0x65;
/// PC_to_RDR_Escape and PC_to_RDR_Secure.
const ESCAPE: u8 = 0x6B;
const SECURE: u8 = 0x69;
/// PC_to_RDR_IccPowerOn and PC_to_RDR_IccPowerOff, and the requests of the same names.
const POWER: [u8; 2] = [0x62, 0x63];
/// RDR_to_PC_DataBlock.
const DATA_BLOCK: u8 = 0x80;
/// Of an Escape, what the driver's own have.
const ESCAPE_SHOWN: usize = 4;
/// Where the command begins in the structures for PIN verification and modification (CCID 1.1, clause
/// 6.1.11). In the latter it may come two bytes later.
const VERIFY_COMMAND: usize = 15;
const MODIFY_COMMAND: usize = 18;
/// NAD, PCB and LEN of a T=1 block.
const PROLOGUE: usize = 3;
/// CLA, INS, P1, P2 and Lc.
const HEADER_AND_LC: usize = 5;

/// Follows what goes to a card, message by message.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    rest: Rest,
}

/// What is still to come of a command that has a PIN.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Rest {
    #[default]
    Nothing,
    /// T=0: this number of characters after the header.
    Characters(usize),
    /// T=1: blocks of a chain, and their repetitions, until the card answers.
    Blocks,
    /// Parts of an APDU (CCID 1.1, clause 6.1.4, extended APDU level).
    Parts,
}

/// Whether a command begins at `at` whose data may be secret.
fn is_pin(data: &[u8], at: usize) -> bool {
    match data.get(at..) {
        Some(command @ [cla, ins, p1, p2, ..]) => {
            !is_pps(command) && shown_of_command(&[*cla, *ins, *p1, *p2, 1, 0]) == HEADER_AND_LC
        }
        _ => false,
    }
}

/// PPS begins with FF, as commands to the reader do (ISO 7816-3, clause 9.2).
fn is_pps(data: &[u8]) -> bool {
    let [0xFF, pps0, ..] = data else { return false };
    let parameters = (pps0 & 0x70).count_ones() as usize;
    data.len() == 3 + parameters && data.iter().fold(0, |sum, byte| sum ^ byte) == 0
}

/// The information field of a T=1 block is as long as its LEN says, and LRC or CRC follow.
fn is_block(data: &[u8]) -> bool {
    data.get(2).is_some_and(|length| {
        let whole = 3 + usize::from(*length);
        data.len() == whole + 1 || data.len() == whole + 2
    })
}

impl Secrets {
    /// What must not be shown of a CCID message.
    pub(super) fn in_message(&mut self, message: &[u8]) -> Range<usize> {
        let Some((&[kind, .., low, high], data)) = message.split_at_checked(HEADER_SIZE) else {
            return 0..0;
        };
        let from = |start: usize| start.min(data.len())..data.len();
        let secret = match (kind, data) {
            (kind, _) if POWER.contains(&kind) => {
                self.rest = Rest::Nothing;
                0..0
            }
            (_, []) => 0..0,
            (XFR_BLOCK, _) => self.in_command(data, u16::from_le_bytes([low, high])),
            (ESCAPE, _) => from(ESCAPE_SHOWN),
            (SECURE, [0, ..]) => from(VERIFY_COMMAND + HEADER_AND_LC),
            (SECURE, _) => from(MODIFY_COMMAND + HEADER_AND_LC),
            _ => 0..0,
        };
        HEADER_SIZE + secret.start..HEADER_SIZE + secret.end
    }

    /// What must not be shown of the data of a class request.
    pub(super) fn in_request(&mut self, request: u8, value: u16, data: &[u8]) -> Range<usize> {
        match request {
            request if POWER.contains(&request) => {
                self.rest = Rest::Nothing;
                0..0
            }
            ICCD_XFR_BLOCK if !data.is_empty() => self.in_command(data, value >> 8),
            _ => 0..0,
        }
    }

    /// A CCID message from the reader.
    pub(super) fn on_reply(&mut self, message: &[u8]) {
        if let [DATA_BLOCK, rest @ ..] = message {
            self.on_answer(rest.get(HEADER_SIZE - 1..).unwrap_or_default());
        }
    }

    /// What must not be shown of data that go to the card; to the end, where a part of it is a PIN. `level`
    /// is wLevelParameter.
    fn in_command(&mut self, data: &[u8], level: u16) -> Range<usize> {
        let all = 0..data.len();
        match self.rest {
            Rest::Nothing => self.begin(data, level),
            Rest::Characters(left) => {
                let left = match left.saturating_sub(data.len()) {
                    0 => Rest::Nothing,
                    left => Rest::Characters(left),
                };
                // The card may have refused the command before: then this is the next header.
                self.begin(data, level);
                if self.rest == Rest::Nothing {
                    self.rest = left;
                }
                all
            }
            Rest::Parts => {
                if !matches!(level, 1 | 3) {
                    self.rest = Rest::Nothing;
                }
                all
            }
            Rest::Blocks => match *data {
                [_, pcb, ..] if is_block(data) && pcb & 0x80 != 0 => 0..0,
                _ if is_block(data) => 3..data.len(),
                _ => {
                    self.rest = Rest::Nothing;
                    self.begin(data, level)
                }
            },
        }
    }

    fn begin(&mut self, data: &[u8], level: u16) -> Range<usize> {
        let in_block = is_block(data) && is_pin(data, 3);
        let is_command = is_pin(data, 0);
        self.rest = match *data {
            [_, _, _, _, p3] if is_command && p3 > 0 => Rest::Characters(p3.into()),
            // An I-block with its M bit (ISO 7816-3, clause 11.3.2.2).
            [_, pcb, ..] if in_block && pcb & 0xA0 == 0x20 => Rest::Blocks,
            _ if is_command && level == 1 => Rest::Parts,
            _ => Rest::Nothing,
        };
        // Of a command that ends here the length is known to be right or wrong.
        let shown = |command: &[u8], is_whole: bool| match is_whole {
            true => shown_of_command(command).min(HEADER_AND_LC),
            false => command.len().min(HEADER_AND_LC),
        };
        match *data {
            _ if is_command => shown(data, level == 0 && data.len() > HEADER_AND_LC)..data.len(),
            [_, pcb, length, ref field @ ..] if in_block => {
                let field = &field[..usize::from(length)];
                PROLOGUE + shown(field, pcb & 0x20 == 0)..data.len()
            }
            _ => 0..0,
        }
    }

    /// A block with data from the card is the answer to the whole chain.
    fn on_answer(&mut self, data: &[u8]) {
        if self.rest == Rest::Blocks && matches!(data, [_, 0x00..=0x7F, _, ..]) {
            self.rest = Rest::Nothing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: [u8; 5] = [0x00, 0x24, 0x00, 0x01, 0x20];

    /// The bytes that are shown of each of these messages.
    fn shown(messages: &[(&[u8], u16)]) -> Vec<Vec<u8>> {
        let mut secrets = Secrets::default();
        let show = |(data, level): &(&[u8], u16)| {
            let secret = secrets.in_command(data, *level);
            let shown = data.iter().enumerate().filter(|(at, _)| !secret.contains(at));
            shown.map(|(_, byte)| *byte).collect()
        };
        messages.iter().map(show).collect()
    }

    #[test]
    fn the_characters_after_a_header_are_hidden_however_they_are_parted() {
        let next = [0x00, 0xB0, 0x00, 0x00, 0x08];
        let messages: [(&[u8], u16); 4] = [(&CHANGE, 1), (&[0x31], 1), (&[0x31; 31], 1), (&next, 1)];
        assert_eq!(shown(&messages), [&CHANGE[..], &[], &[], &next]);
    }

    #[test]
    fn the_data_of_all_commands_with_a_pin_are_hidden() {
        for ins in [0x20, 0x21, 0x24, 0x25, 0x26, 0x28, 0x2C, 0x2D] {
            let command = [0x00, ins, 0x00, 0x01, 0x04, 0x31, 0x32, 0x33, 0x34];
            assert_eq!(shown(&[(&command, 0)]), [&command[..5]], "INS {ins:02X}");
        }
    }

    #[test]
    fn a_command_without_its_length_is_hidden_after_p2() {
        let command = [0x00, 0x20, 0x00, 0x80, 0x31, 0x32, 0x33, 0x34];
        assert_eq!(shown(&[(&command, 0)]), [&command[..4]]);
        let block = [&[0x00, 0x00, 8][..], &command, &[0x55]].concat();
        assert_eq!(shown(&[(&block, 0)]), [&block[..3 + 4]]);
    }

    #[test]
    fn a_header_that_the_card_refuses_hides_the_next_command_and_its_data() {
        let [refused, next] = [4, 8].map(|p3| [0x00, 0x20, 0x00, 0x80, p3]);
        let messages: [(&[u8], u16); 4] = [(&refused, 1), (&next, 1), (&[0x31; 8], 1), (&refused, 1)];
        assert_eq!(shown(&messages), [&refused[..], &[], &[], &refused]);
        let begin = [&CHANGE[..], &[0x31; 10]].concat();
        let messages: [(&[u8], u16); 4] = [(&refused, 0), (&begin, 1), (&[0x31; 15], 3), (&[0x31; 7], 2)];
        assert_eq!(shown(&messages), [&refused[..], &[], &[], &[]]);
    }

    #[test]
    fn characters_that_do_not_come_are_not_waited_for_after_a_reset() {
        for power in [0x62, 0x63] {
            let mut secrets = Secrets::default();
            assert_eq!(secrets.in_command(&CHANGE, 1), 5..5);
            secrets.in_message(&[power, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(secrets.in_command(&CHANGE, 1), 5..5);
            secrets.in_request(power, 0, &[]);
            assert_eq!(secrets.in_command(&CHANGE, 1), 5..5);
        }
    }

    #[test]
    fn a_header_without_data_hides_nothing() {
        let query = [0x00, 0x20, 0x00, 0x81, 0x00];
        assert_eq!(shown(&[(&query, 0), (&query, 0)]), [query, query]);
    }

    #[test]
    fn all_blocks_of_a_chain_are_hidden_until_the_card_answers() {
        let first = [&[0x00, 0x20, 7][..], &CHANGE, &[0x31, 0x31, 0x55]].concat();
        let last = [0x00, 0x40, 2, 0x31, 0x31, 0x55];
        let resynch = [0x00, 0xC0, 0, 0xC0];
        let mut secrets = Secrets::default();
        // PCB could be the INS of a command as well, whose length is wrong.
        assert_eq!(secrets.in_command(&first, 0), 4..11);
        for _ in 0..2 {
            assert_eq!(secrets.in_command(&last, 0), 3..6);
            assert_eq!(secrets.in_command(&resynch, 0), 0..0);
            secrets.on_answer(&[0x00, 0x92, 0x00, 0x92]);
        }
        secrets.on_answer(&[0x00, 0x00, 2, 0x90, 0x00, 0x92]);
        assert_eq!(secrets.in_command(&last, 0), 0..0);
    }

    #[test]
    fn all_parts_of_an_apdu_are_hidden() {
        let begin = [&CHANGE[..], &[0x31; 10]].concat();
        let messages: [(&[u8], u16); 4] =
            [(&begin, 1), (&[0x31; 15], 3), (&[0x31; 7], 2), (&[0x00, 0xB0], 0)];
        assert_eq!(shown(&messages), [&CHANGE[..], &[], &[], &[0x00, 0xB0]]);
    }
}
