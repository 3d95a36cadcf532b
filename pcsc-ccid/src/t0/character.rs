//! One TPDU, character by character (clause 10.3).

use super::{check_ins, is_sw1, DataDirection, T0Error};

/// What the caller has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CharacterAction {
    /// Send [`Character::outgoing`], if there is any, then receive `expect` bytes, each within the
    /// waiting time. Fewer may be reported as they come; the card will not send more.
    Transfer {
        /// 1 to 258.
        expect: usize,
    },
    /// The response, data and SW1-SW2, has this many bytes.
    Done(usize),
    /// The exchange failed.
    Failed(T0Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CharacterState {
    New,
    Procedure,
    /// So many bytes of the answer come before the next procedure byte.
    Data(usize),
    Sw2(u8),
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outgoing {
    Nothing,
    Header,
    Data(usize, usize),
}

/// The exchange of one TPDU, character by character.
#[derive(Debug)]
pub struct Character<'a> {
    header: [u8; 5],
    data: &'a [u8],
    response: &'a mut [u8],
    state: CharacterState,
    outgoing: Outgoing,
    /// Data bytes still to go, in the command's direction.
    left: usize,
    received: usize,
    nulls_left: u16,
}

impl<'a> Character<'a> {
    /// NULL bytes that a card may send in one TPDU. Some cards send thousands. Each one restarts the waiting
    /// time, so that the caller, which has a clock, bounds the time.
    pub const MAX_NULLS: u16 = u16::MAX;

    /// Prepares the TPDU with this header (CLA INS P1 P2 P3). `response` should have room for
    /// [`MAX_TPDU_RESPONSE`](super::MAX_TPDU_RESPONSE) bytes.
    ///
    /// # Errors
    /// [`T0Error::InvalidInstruction`], and [`T0Error::InvalidLength`] if P3 is not the length of the data.
    pub fn new(
        header: [u8; 5],
        direction: DataDirection<'a>,
        response: &'a mut [u8],
    ) -> Result<Self, T0Error> {
        check_ins(header[1])?;
        let p3 = usize::from(header[4]);
        let (data, left) = match direction {
            DataDirection::ToCard(data) if data.len() == p3 => (data, p3),
            DataDirection::ToCard(_) => return Err(T0Error::InvalidLength),
            // P3 0 means 256 from the card, and nothing to it (clause 10.3.2).
            DataDirection::FromCard => (&[][..], if p3 == 0 { 256 } else { p3 }),
        };
        Ok(Character {
            header,
            data,
            response,
            state: CharacterState::New,
            outgoing: Outgoing::Nothing,
            left,
            received: 0,
            nulls_left: Self::MAX_NULLS,
        })
    }

    /// The first step: the header.
    pub fn start(&mut self) -> CharacterAction {
        if self.state != CharacterState::New {
            return CharacterAction::Failed(T0Error::Over);
        }
        self.state = CharacterState::Procedure;
        self.outgoing = Outgoing::Header;
        self.transfer()
    }

    /// The bytes to send for the last [`CharacterAction::Transfer`].
    pub fn outgoing(&self) -> &[u8] {
        match self.outgoing {
            Outgoing::Nothing => &[],
            Outgoing::Header => &self.header,
            Outgoing::Data(from, to) => &self.data[from..to],
        }
    }

    /// No byte was received within the waiting time.
    pub fn on_timeout(&mut self) -> CharacterAction {
        self.fail(T0Error::Timeout)
    }

    /// A character had a parity error, and so had its repetitions.
    pub fn on_parity_error(&mut self) -> CharacterAction {
        self.fail(T0Error::Parity)
    }

    /// These bytes were received.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> CharacterAction {
        if matches!(self.state, CharacterState::New | CharacterState::Over) {
            return CharacterAction::Failed(T0Error::Over);
        }
        if bytes.is_empty() {
            return self.on_timeout();
        }
        self.outgoing = Outgoing::Nothing;
        for (i, &byte) in bytes.iter().enumerate() {
            if let Err(error) = self.on_byte(byte) {
                return self.fail(error);
            }
            // The card has to wait for the host here. What it sends beyond would be taken for the next
            // procedure byte.
            let must_be_last = self.state == CharacterState::Over || self.outgoing != Outgoing::Nothing;
            if must_be_last && i + 1 < bytes.len() {
                return self.fail(T0Error::UnexpectedData);
            }
        }
        match self.state {
            CharacterState::Over => CharacterAction::Done(self.received),
            _ => self.transfer(),
        }
    }

    fn on_byte(&mut self, byte: u8) -> Result<(), T0Error> {
        match self.state {
            CharacterState::Data(n) => {
                self.store(byte)?;
                self.left -= 1;
                self.state = if n > 1 {
                    CharacterState::Data(n - 1)
                } else {
                    CharacterState::Procedure
                };
            }
            CharacterState::Sw2(sw1) => {
                self.store(sw1)?;
                self.store(byte)?;
                self.state = CharacterState::Over;
            }
            // Before SW1, whose range 6X it is in (clause 10.3.3).
            _ if byte == 0x60 => {
                self.nulls_left = self.nulls_left.checked_sub(1).ok_or(T0Error::NullLimit)?;
            }
            _ if is_sw1(byte) => self.state = CharacterState::Sw2(byte),
            // INS asks for all the data that are left, its complement for one byte of them (clause 10.3.3).
            _ if self.left > 0 && byte == self.header[1] => self.go(self.left),
            _ if self.left > 0 && byte == !self.header[1] => self.go(1),
            _ => return Err(T0Error::InvalidProcedure(byte)),
        }
        Ok(())
    }

    /// The card acknowledged the transfer of the next `n` bytes.
    fn go(&mut self, n: usize) {
        if self.data.is_empty() {
            self.state = CharacterState::Data(n);
        } else {
            let from = self.data.len() - self.left;
            self.outgoing = Outgoing::Data(from, from + n);
            self.left -= n;
        }
    }

    fn store(&mut self, byte: u8) -> Result<(), T0Error> {
        *self
            .response
            .get_mut(self.received)
            .ok_or(T0Error::ResponseTooLong)? = byte;
        self.received += 1;
        Ok(())
    }

    /// The largest number of bytes that the card is sure to send before it waits for us.
    fn transfer(&self) -> CharacterAction {
        // After the last data SW1 and SW2 are sure to come; before that a procedure byte alone. A reader that
        // is asked for more waits for characters that the card does not send.
        let tail = |left| if left == 0 { 2 } else { 1 };
        let expect = match self.state {
            CharacterState::Sw2(_) => 1,
            CharacterState::Data(n) => n + tail(self.left - n),
            _ => tail(self.left),
        };
        CharacterAction::Transfer { expect }
    }

    fn fail(&mut self, error: T0Error) -> CharacterAction {
        self.state = CharacterState::Over;
        self.outgoing = Outgoing::Nothing;
        CharacterAction::Failed(error)
    }
}
