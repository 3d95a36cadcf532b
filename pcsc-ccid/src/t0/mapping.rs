//! Command APDUs as TPDUs (clause 12.2).

use super::{check_ins, DataDirection, T0Error, MAX_TPDU_RESPONSE};
use crate::apdu::{Case, CommandApdu};
use zeroize::Zeroizing;

/// Longest command TPDU: header and 255 bytes of data.
pub const MAX_TPDU: usize = 5 + 255;

const GET_RESPONSE: u8 = 0xC0;
const ENVELOPE: u8 = 0xC2;

/// What is done with the status words '61xx' and '6Cxx' (clause 12.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusWordPolicy {
    /// '61xx' is answered with GET RESPONSE in cases 2 and 4, '6Cxx' in case 2 by sending the command again
    /// with that length.
    #[default]
    Complete,
    /// They go to the application, as drivers of TPDU level readers commonly do.
    Transparent,
}

/// What the caller has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum T0Action {
    /// Exchange [`T0Exchange::tpdu`] with the card.
    Send,
    /// The response APDU has this many bytes.
    Done(usize),
    /// The exchange failed.
    Failed(T0Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MappingState {
    New,
    Command,
    Envelope,
    GetResponse,
    Over,
}

/// The exchange of one APDU as TPDUs.
#[derive(Debug)]
pub struct T0Exchange<'a> {
    apdu: &'a [u8],
    command: CommandApdu<'a>,
    policy: StatusWordPolicy,
    response: &'a mut [u8],
    state: MappingState,
    /// It may be a PIN.
    tpdu: Zeroizing<[u8; MAX_TPDU]>,
    tpdu_len: usize,
    from_card: bool,
    /// The present TPDU is a repetition after '6Cxx'.
    corrected: bool,
    /// Bytes of the APDU that ENVELOPE has carried.
    enveloped: usize,
    received: usize,
}

impl<'a> T0Exchange<'a> {
    /// Prepares the exchange of `command`, which is `apdu` decoded.
    ///
    /// # Errors
    /// [`T0Error::InvalidInstruction`].
    pub fn new(
        apdu: &'a [u8],
        command: CommandApdu<'a>,
        policy: StatusWordPolicy,
        response: &'a mut [u8],
    ) -> Result<Self, T0Error> {
        check_ins(command.header[1])?;
        Ok(T0Exchange {
            apdu,
            command,
            policy,
            response,
            state: MappingState::New,
            tpdu: Zeroizing::new([0; MAX_TPDU]),
            tpdu_len: 0,
            from_card: false,
            corrected: false,
            enveloped: 0,
            received: 0,
        })
    }

    /// The first action.
    pub fn start(&mut self) -> T0Action {
        if self.state != MappingState::New {
            return T0Action::Failed(T0Error::Over);
        }
        let (header, data) = (self.command.header, self.command.data);
        if data.len() > 255 {
            return self.envelope();
        }
        self.state = MappingState::Command;
        match self.command.case() {
            Case::Two => {
                let p3 = short_length(self.ne());
                self.send(header, p3, &[], true)
            }
            // Cases 1, 3 and 4: in case 4 the card announces its data by 61XX, and Le is not sent (clause
            // 12.2).
            _ => self.send(header, data.len() as u8, data, false),
        }
    }

    /// The TPDU to exchange: header and the data for the card.
    pub fn tpdu(&self) -> &[u8] {
        &self.tpdu[..self.tpdu_len]
    }

    /// The header of that TPDU and the direction of its data, as [`Character`](super::Character)
    /// takes them.
    pub fn parts(&self) -> ([u8; 5], DataDirection<'_>) {
        let [cla, ins, p1, p2, p3, ..] = *self.tpdu;
        let direction = if self.from_card {
            DataDirection::FromCard
        } else {
            DataDirection::ToCard(&self.tpdu[5..self.tpdu_len.max(5)])
        };
        ([cla, ins, p1, p2, p3], direction)
    }

    /// The response TPDU: data and SW1-SW2.
    pub fn on_response(&mut self, bytes: &[u8]) -> T0Action {
        if matches!(self.state, MappingState::New | MappingState::Over) {
            return self.fail(T0Error::Over);
        }
        let Some((data, &[sw1, sw2])) = bytes.split_last_chunk::<2>() else {
            return self.fail(T0Error::ResponseTooShort);
        };
        let room = match (self.from_card, self.tpdu[4]) {
            // P3 is 0 in a command of case 1, as it is in one of case 2 that expects 256 bytes. Readers whose
            // card is a program, QEMU's for one, cannot distinguish the two and return data.
            _ if self.may_take_case_1_for_2() => MAX_TPDU_RESPONSE - 2,
            (false, _) => 0,
            (true, 0) => MAX_TPDU_RESPONSE - 2,
            (true, p3) => usize::from(p3),
        };
        if data.len() > room {
            return self.fail(T0Error::UnexpectedData);
        }
        if self.state == MappingState::Envelope {
            return self.on_envelope(sw1, sw2);
        }
        // Once: a card that corrects its correction would keep this going for ever.
        if sw1 == 0x6C && self.from_card && self.policy == StatusWordPolicy::Complete && !self.corrected {
            self.corrected = true;
            self.tpdu[4] = sw2;
            return T0Action::Send;
        }
        if let Err(error) = self.store(data) {
            return self.fail(error);
        }
        self.after(sw1, sw2, !data.is_empty())
    }

    /// Decides between the end and GET RESPONSE.
    fn after(&mut self, sw1: u8, sw2: u8, moved: bool) -> T0Action {
        let wanted = self.ne().saturating_sub(self.received);
        // GET RESPONSE answered by '61xx' and no data would go on without end.
        let progress = self.state != MappingState::GetResponse || moved;
        // The clause asks a case 4 command for GET RESPONSE after '9000' too. A card that has no data would
        // turn a success into an error by it.
        let more = match sw1 {
            0x61 if self.policy == StatusWordPolicy::Complete => {
                Some(if sw2 == 0 { 256 } else { sw2.into() })
            }
            _ => None,
        };
        match more {
            Some(available) if wanted > 0 && progress => {
                self.state = MappingState::GetResponse;
                self.corrected = false;
                let header = [self.own_class(), GET_RESPONSE, 0, 0];
                self.send(header, short_length(wanted.min(available)), &[], true)
            }
            _ => self.finish([sw1, sw2]),
        }
    }

    /// The next part of the APDU in an ENVELOPE command (ISO 7816-4 clause 11.8.2).
    fn envelope(&mut self) -> T0Action {
        self.state = MappingState::Envelope;
        // The APDU as a whole, with header and lengths: the card puts it together again.
        let rest = &self.apdu[self.enveloped..];
        let part = &rest[..rest.len().min(255)];
        self.enveloped += part.len();
        self.send([self.own_class(), ENVELOPE, 0, 0], part.len() as u8, part, false)
    }

    fn on_envelope(&mut self, sw1: u8, sw2: u8) -> T0Action {
        match (sw1, sw2) {
            // An error of the driver and not of the card: the status would be taken for the command's own.
            (0x6D | 0x6E, 0x00) => self.fail(T0Error::EnvelopeUnsupported),
            (0x90, 0x00) if self.enveloped < self.apdu.len() => self.envelope(),
            _ if self.enveloped < self.apdu.len() => self.finish([sw1, sw2]),
            _ => self.after(sw1, sw2, false),
        }
    }

    fn may_take_case_1_for_2(&self) -> bool {
        self.state == MappingState::Command && self.command.case() == Case::One
    }

    fn ne(&self) -> usize {
        self.command.ne.unwrap_or(0)
    }

    /// The class of the commands that are added. Of an interindustry class only the logical channel is kept:
    /// secure messaging and chaining concern the command itself (ISO 7816-4, clause 5.4.1).
    fn own_class(&self) -> u8 {
        match self.command.header[0] {
            cla @ 0x00..=0x3F => cla & 0x03,
            cla @ 0x40..=0x7F => cla & 0x4F,
            cla => cla,
        }
    }

    fn send(&mut self, header: [u8; 4], p3: u8, data: &[u8], from_card: bool) -> T0Action {
        self.tpdu[..4].copy_from_slice(&header);
        self.tpdu[4] = p3;
        self.tpdu[5..5 + data.len()].copy_from_slice(data);
        self.tpdu_len = 5 + data.len();
        self.from_card = from_card;
        T0Action::Send
    }

    /// Takes response data, up to Ne: a card may have more than was asked for (clause 12.2.3).
    fn store(&mut self, data: &[u8]) -> Result<(), T0Error> {
        let wanted = match self.may_take_case_1_for_2() {
            true => data.len(),
            false => self.ne() - self.received,
        };
        let data = &data[..data.len().min(wanted)];
        let end = self.received + data.len();
        let room = self
            .response
            .get_mut(self.received..end)
            .ok_or(T0Error::ResponseTooLong)?;
        room.copy_from_slice(data);
        self.received = end;
        Ok(())
    }

    fn finish(&mut self, status: [u8; 2]) -> T0Action {
        let end = self.received + 2;
        let Some(room) = self.response.get_mut(self.received..end) else {
            return self.fail(T0Error::ResponseTooLong);
        };
        room.copy_from_slice(&status);
        self.state = MappingState::Over;
        T0Action::Done(end)
    }

    fn fail(&mut self, error: T0Error) -> T0Action {
        self.state = MappingState::Over;
        T0Action::Failed(error)
    }
}

fn short_length(n: usize) -> u8 {
    match n {
        0..=255 => n as u8,
        _ => 0,
    }
}
