//! One reader: the card in it, its faults and delays, and what pcscd has asked of it.

#![forbid(unsafe_code)]

use crate::abi::{self, Dword, ResponseCode};
use crate::card;
use std::fmt;
use std::str::FromStr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The readers of one pcscd: `PCSCLITE_MAX_READERS_CONTEXTS` up to protocol 4.5.
pub const MAX_READERS: usize = 16;

static READERS: [Reader; MAX_READERS] = [const { Reader::new() }; MAX_READERS];

/// Reader `number` of this process.
pub fn reader(number: usize) -> Option<&'static Reader> {
    READERS.get(number)
}

/// How often pcscd has asked a reader for something, whether it succeeded or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cold power-ups.
    pub power_ups: u64,
    /// Warm resets.
    pub resets: u64,
    /// Power-downs.
    pub power_downs: u64,
    /// APDUs.
    pub transmits: u64,
    /// Control requests.
    pub controls: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            power_ups,
            resets,
            power_downs,
            transmits,
            controls,
        } = self;
        write!(f, "{power_ups} {resets} {power_downs} {transmits} {controls}")
    }
}

impl FromStr for Counts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[power_ups, resets, power_downs, transmits, controls]) => Ok(Self {
                power_ups,
                resets,
                power_downs,
                transmits,
                controls,
            }),
            _ => Err(format!("not five counts: {text:?}")),
        }
    }
}

#[derive(Debug)]
struct Card {
    atr: Vec<u8>,
    powered: bool,
    apdus: u32,
}

/// What a test may change at any moment.
#[derive(Debug, Default)]
pub struct Behaviour {
    /// Power-up and reset fail.
    pub mute: bool,
    /// Every exchange fails.
    pub fail: bool,
    /// Added to every exchange.
    pub transmit_delay: Duration,
    /// Added to every power-up and reset.
    pub power_delay: Duration,
}

#[derive(Debug)]
struct State {
    card: Option<Card>,
    unplugged: bool,
    behaviour: Behaviour,
    protocol: Option<Dword>,
    attribute: Vec<u8>,
    counts: Counts,
    /// Grows with every insertion, removal, unplugging and plugging.
    generation: u64,
    /// The generation that pcscd's event thread was last woken for.
    seen: u64,
    /// The event thread is back, waiting for the next generation.
    waiting: bool,
    /// The event thread is to come back at once.
    interrupted: bool,
    /// pcscd has the reader open.
    open: bool,
}

/// A reader, used by pcscd's threads and by the control socket at once.
#[derive(Debug)]
pub struct Reader {
    state: Mutex<State>,
    changed: Condvar,
}

impl Reader {
    /// An empty, closed reader.
    pub const fn new() -> Self {
        let behaviour = Behaviour {
            mute: false,
            fail: false,
            transmit_delay: Duration::ZERO,
            power_delay: Duration::ZERO,
        };
        let counts = Counts {
            power_ups: 0,
            resets: 0,
            power_downs: 0,
            transmits: 0,
            controls: 0,
        };
        let state = State {
            card: None,
            unplugged: false,
            behaviour,
            protocol: None,
            attribute: Vec::new(),
            counts,
            generation: 0,
            seen: 0,
            waiting: false,
            interrupted: false,
            open: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits up to `time` while `condition` holds. True if it still holds then.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        time: Duration,
        condition: impl Fn(&State) -> bool,
    ) -> (MutexGuard<'a, State>, bool) {
        let (state, result) = self
            .changed
            .wait_timeout_while(state, time, |state| condition(state))
            .unwrap_or_else(PoisonError::into_inner);
        (state, result.timed_out())
    }

    /// Lets `time` pass. False if the card was moved meanwhile.
    fn dwell<'a>(&'a self, state: MutexGuard<'a, State>, time: Duration) -> (MutexGuard<'a, State>, bool) {
        if time.is_zero() {
            return (state, true);
        }
        let generation = state.generation;
        self.wait(state, time, |state| state.generation == generation)
    }
}

/// For pcscd.
impl Reader {
    /// Opens the reader.
    pub fn open(&self) -> ResponseCode {
        let mut state = self.lock();
        if state.unplugged {
            return abi::NO_SUCH_DEVICE;
        }
        state.open = true;
        abi::SUCCESS
    }

    /// Closes the reader.
    pub fn close(&self) {
        self.lock().open = false;
        self.changed.notify_all();
    }

    /// Is a card in the reader?
    pub fn presence(&self) -> ResponseCode {
        let state = self.lock();
        match state.card {
            _ if state.unplugged => abi::NO_SUCH_DEVICE,
            Some(_) => abi::ICC_PRESENT,
            None => abi::ICC_NOT_PRESENT,
        }
    }

    /// The event thread's wait: ends when the card has moved since the last wait ended, after `timeout`, or
    /// when interrupted.
    ///
    /// It must not end early without cause: pcscd takes the end of the wait for the moment to power an unused
    /// card down.
    pub fn poll(&self, timeout: Duration) {
        let mut state = self.lock();
        state.waiting = true;
        self.changed.notify_all();
        let (mut state, _) = self.wait(state, timeout, |state| {
            !state.interrupted && state.generation == state.seen
        });
        state.seen = state.generation;
        state.waiting = false;
        state.interrupted = false;
    }

    /// Ends the event thread's wait, or its next one: pcscd does so before it joins the thread, and after the
    /// last disconnection from a card, to have another timeout.
    pub fn interrupt(&self) {
        self.lock().interrupted = true;
        self.changed.notify_all();
    }

    /// Powers the card up (cold or warm) or down. Gives the ATR, empty after a power-down.
    pub fn power(&self, action: Dword) -> Result<Vec<u8>, ResponseCode> {
        let mut state = self.lock();
        match action {
            abi::POWER_UP => state.counts.power_ups += 1,
            abi::RESET => state.counts.resets += 1,
            abi::POWER_DOWN => state.counts.power_downs += 1,
            _ => return Err(abi::NOT_SUPPORTED),
        }
        if state.unplugged {
            return Err(abi::NO_SUCH_DEVICE);
        }
        state.protocol = None;
        if action == abi::POWER_DOWN {
            if let Some(card) = &mut state.card {
                card.powered = false;
            }
            return Ok(Vec::new());
        }
        let delay = state.behaviour.power_delay;
        let (mut state, undisturbed) = self.dwell(state, delay);
        let mute = state.behaviour.mute;
        match &mut state.card {
            Some(card) if undisturbed => {
                (card.powered, card.apdus) = (!mute, 0);
                if mute {
                    Err(abi::ERROR_POWER_ACTION)
                } else {
                    Ok(card.atr.clone())
                }
            }
            _ => Err(abi::ERROR_POWER_ACTION),
        }
    }

    /// Selects a protocol, which must be one that the ATR offers.
    pub fn set_protocol(&self, protocol: Dword) -> ResponseCode {
        let mut state = self.lock();
        let Some(card) = &state.card else {
            return abi::COMMUNICATION_ERROR;
        };
        if !protocol.is_power_of_two() || card::protocols(&card.atr) & protocol == 0 {
            return abi::PROTOCOL_NOT_SUPPORTED;
        }
        state.protocol = Some(protocol);
        abi::SUCCESS
    }

    /// Gives an APDU to the card.
    pub fn transmit(&self, command: &[u8]) -> Result<Vec<u8>, ResponseCode> {
        let mut state = self.lock();
        state.counts.transmits += 1;
        if state.unplugged {
            return Err(abi::NO_SUCH_DEVICE);
        }
        let (fail, delay) = (state.behaviour.fail, state.behaviour.transmit_delay);
        let Some(card) = &mut state.card else {
            return Err(abi::ICC_NOT_PRESENT);
        };
        if !card.powered || fail {
            return Err(abi::COMMUNICATION_ERROR);
        }
        card.apdus += 1;
        let answer = card::answer(command, card.apdus);
        let (state, undisturbed) = self.dwell(state, delay + answer.after);
        match state.card {
            _ if undisturbed => Ok(answer.response),
            _ if state.unplugged => Err(abi::NO_SUCH_DEVICE),
            Some(_) => Err(abi::COMMUNICATION_ERROR),
            None => Err(abi::ICC_NOT_PRESENT),
        }
    }

    /// Answers a control request.
    pub fn control(&self, code: Dword, input: &[u8]) -> Result<Vec<u8>, ResponseCode> {
        let mut state = self.lock();
        state.counts.controls += 1;
        if state.unplugged {
            return Err(abi::NO_SUCH_DEVICE);
        }
        match code {
            abi::CTL_ECHO => Ok(input.to_vec()),
            abi::CTL_GET_FEATURE_REQUEST => {
                // PC/SC part 10, 2.2: tag, length, the control code in big-endian order.
                let mut tlv = vec![abi::FEATURE_CCID_ESC_COMMAND, 4];
                tlv.extend((abi::CTL_ECHO as u32).to_be_bytes());
                Ok(tlv)
            }
            _ => Err(abi::ERROR_NOT_SUPPORTED),
        }
    }

    /// The value of an attribute of reader `number`. Integers have four bytes in the machine's order.
    pub fn attribute(&self, number: usize, tag: Dword) -> Option<Vec<u8>> {
        let state = self.lock();
        let card = state.card.as_ref();
        let powered = card.is_some_and(|card| card.powered);
        Some(match tag {
            abi::ATTR_VENDOR_NAME => b"pcsc-tests".to_vec(),
            abi::ATTR_VENDOR_IFD_TYPE => b"Reader without hardware".to_vec(),
            abi::ATTR_VENDOR_IFD_VERSION => 0x0001_0002_u32.to_ne_bytes().to_vec(),
            abi::ATTR_VENDOR_IFD_SERIAL_NO => format!("SN{number:04}").into_bytes(),
            abi::ATTR_CHANNEL_ID => (0x0020_0000 | number as u32).to_ne_bytes().to_vec(),
            // CLA INS P1 P2, extended Lc, data, extended Le.
            abi::ATTR_MAXINPUT => (4 + 3 + 65_535 + 2_u32).to_ne_bytes().to_vec(),
            abi::ATTR_CURRENT_PROTOCOL_TYPE => (state.protocol? as u32).to_ne_bytes().to_vec(),
            abi::ATTR_ICC_PRESENCE => vec![if card.is_some() { 2 } else { 0 }],
            abi::ATTR_ICC_INTERFACE_STATUS => vec![if powered { 0xFF } else { 0 }],
            abi::TAG_ATR | abi::ATTR_ATR_STRING => card.filter(|card| card.powered)?.atr.clone(),
            abi::ATTR_WRITABLE => state.attribute.clone(),
            _ => return None,
        })
    }

    /// Sets an attribute.
    pub fn set_attribute(&self, number: usize, tag: Dword, value: &[u8]) -> ResponseCode {
        if tag == abi::ATTR_WRITABLE {
            self.lock().attribute = value.to_vec();
            abi::SUCCESS
        } else if self.attribute(number, tag).is_some() {
            abi::ERROR_VALUE_READ_ONLY
        } else {
            abi::ERROR_TAG
        }
    }
}

/// For the test.
impl Reader {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.generation += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Puts a card in, in place of any other.
    pub fn insert(&self, atr: Vec<u8>) {
        self.change(|state| {
            state.protocol = None;
            state.card = Some(Card {
                atr,
                powered: false,
                apdus: 0,
            });
        });
    }

    /// Takes the card out. An exchange or power-up in progress fails.
    pub fn remove(&self) {
        self.change(|state| {
            state.protocol = None;
            state.card = None;
        });
    }

    /// Takes the reader away, or brings it back empty.
    pub fn set_unplugged(&self, unplugged: bool) {
        self.change(|state| {
            state.unplugged = unplugged;
            state.protocol = None;
            state.card = None;
        });
    }

    /// Changes the behaviour from the next request on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.lock().behaviour);
    }

    /// Waits until pcscd has dealt with the last change of card or reader, and with an interruption. False if
    /// it has not by `deadline`.
    pub fn settle(&self, deadline: Duration) -> bool {
        let unsettled = |state: &State| {
            let settled = state.waiting && !state.interrupted && state.seen == state.generation;
            state.open && !settled
        };
        !self.wait(self.lock(), deadline, unsettled).1
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// The protocol selected since the last power-up, as a `SCARD_PROTOCOL_*` bit.
    pub fn protocol(&self) -> Option<Dword> {
        self.lock().protocol
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}
