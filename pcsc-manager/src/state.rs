//! What is known of a reader's slot: bookkeeping without I/O. The rules are pcscd's.

use std::time::{Duration, Instant};

use crate::card_state::{Connections, Handle, DIRECT, RAW};
use crate::error::CallError as Error;
use crate::slot::{Fault, Powered};

pub const UNKNOWN: u32 = 0x01;
pub const ABSENT: u32 = 0x02;
pub const PRESENT: u32 = 0x04;
pub const SWALLOWED: u32 = 0x08;
pub const POWERED: u32 = 0x10;
const NEGOTIABLE: u32 = 0x20;
const UP: u32 = PRESENT | POWERED | NEGOTIABLE;

/// How long a card that nobody uses keeps its power.
const POWER_GRACE: Duration = Duration::from_secs(5);
/// How long a device stays open that has neither a connection nor a wait for its card events.
const OPEN_GRACE: Duration = Duration::from_secs(1);
/// When to look again at a reader that failed, or that another process has; pcscd's rate of polling.
pub const LOOK_AGAIN: Duration = Duration::from_millis(400);
/// The longest pause between two looks at a reader that goes on failing.
const LOOK_AGAIN_AT_LAST: Duration = Duration::from_secs(6);

/// What is known of a slot.
pub struct State {
    pub connections: Connections,
    /// `SCARD_PRESENT` and its like, as clients see it.
    pub status: u32,
    pub event_counter: u32,
    pub card: Option<Powered>,
    pub protocol: u32,
    pub has_power: bool,
    pub power_down_at: Option<Instant>,
    /// Some connection is, or was since there were none, for the card and not the reader alone: it keeps its power.
    pub is_used: bool,
    pub reach: Reach,
    pub seen: Seen,
    pub look_again: Option<(Instant, Duration)>,
    pub changes: u64,
    /// How many calls need the device open: waits for card events, and connections being made.
    pub interests: usize,
    /// When the device is given back, because nothing needs it.
    pub give_back_at: Option<Instant>,
    /// What was in the slot when the device was given back.
    before: Option<Contents>,
}

/// Whether the driver reaches the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The device is not open: nothing has needed it yet, or it was given back. What is in the slot is not known.
    Closed,
    Reached,
    /// Another process has it.
    Claimed,
    Gone,
}

/// What the last look at the slot saw. A failed exchange changes the status at once; the next look then
/// finds the change, and tells the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Card,
    Trouble,
}

/// What a slot holds, as far as two cards can be told apart: `SCARD_PRESENT` or `SCARD_ABSENT`, and the ATR.
type Contents = (u32, Option<Vec<u8>>);

impl State {
    /// A slot that nobody has looked at.
    pub fn new() -> State {
        State {
            connections: Connections::default(),
            status: ABSENT,
            event_counter: 0,
            card: None,
            protocol: 0,
            has_power: false,
            power_down_at: None,
            is_used: false,
            reach: Reach::Closed,
            seen: Seen::Nothing,
            look_again: None,
            changes: 0,
            interests: 0,
            give_back_at: None,
            before: None,
        }
    }

    /// Whether the reader works.
    pub fn check_reader(&self) -> Result<(), Error> {
        if self.status & UNKNOWN != 0 {
            return Err(Error::ReaderUnavailable);
        }
        Ok(())
    }

    /// Whether the reader is still listed.
    pub fn check_there(&self) -> Result<(), Error> {
        if self.reach == Reach::Gone {
            return Err(Error::ReaderUnavailable);
        }
        Ok(())
    }

    /// Whether one of these protocols is in use, or none at all.
    pub fn check_protocol(&self, protocols: u32) -> Result<(), Error> {
        if self.protocol != 0 && protocols & self.protocol == 0 {
            return Err(Error::ProtoMismatch);
        }
        Ok(())
    }

    /// Leaves the protocol to the connections, if they ask for that.
    pub fn choose_raw(&mut self, protocols: u32) {
        if protocols & RAW != 0 {
            self.protocol = RAW;
        }
    }

    /// A connection for the card keeps it powered.
    pub fn use_card(&mut self, share: u32) {
        if share != DIRECT {
            self.is_used = true;
            self.power_down_at = None;
        }
    }

    /// After the last connection the power goes, some time later.
    pub fn leave_card(&mut self) {
        if self.connections.is_idle() {
            self.is_used = false;
            if self.has_power {
                self.power_down_at = Some(Instant::now() + POWER_GRACE);
            }
        }
    }

    /// Whether another process has the reader.
    pub fn is_claimed(&self) -> bool {
        self.reach == Reach::Claimed
    }

    pub fn check_access(&self, handle: Handle) -> Result<(), Error> {
        if self.connections.may_use(handle) {
            Ok(())
        } else {
            Err(Error::SharingViolation)
        }
    }

    /// Notes what a look saw. The first one is no event.
    pub fn see(&mut self, seen: Seen) {
        if self.reach == Reach::Reached {
            self.count_event();
        }
        self.reach = Reach::Reached;
        self.seen = seen;
        self.look_again = None;
    }

    pub fn count_event(&mut self) {
        self.event_counter = (self.event_counter + 1) & 0xFFFF;
    }

    pub fn look_again_later(&mut self, fault: Fault) {
        let pause = match (fault, self.look_again) {
            // The bus knows when a reader is gone for good, and the watch tells it.
            (Fault::NoDevice, _) => return,
            (Fault::Busy, _) | (_, None) => LOOK_AGAIN,
            (_, Some((_, pause))) => (pause * 2).min(LOOK_AGAIN_AT_LAST),
        };
        self.look_again = Some((Instant::now() + pause, pause));
    }

    /// Notes how a power-up, or a reset, went.
    pub fn set_power_up(&mut self, powered: Result<Powered, Fault>) {
        self.protocol = 0;
        self.has_power = powered.is_ok();
        // A reset can find a card, mute or not, before any look does: it is what the next look goes by.
        if self.seen != Seen::Card && powered != Err(Fault::NoCard) {
            self.see(Seen::Card);
        }
        match powered {
            Ok(card) => {
                self.status = UP;
                self.card = Some(card);
                if !self.is_used {
                    self.power_down_at = Some(Instant::now() + POWER_GRACE);
                }
            }
            Err(Fault::NoCard) => {
                self.status = ABSENT;
                self.forget_card();
            }
            Err(_) => {
                self.status = PRESENT | SWALLOWED;
                self.forget_card();
            }
        }
    }

    /// Whether a connection or a call needs the device.
    pub fn is_needed(&self) -> bool {
        self.interests > 0 || !self.connections.is_idle()
    }

    /// Plans to give the device back if nothing needs it. Returns whether the plan is new.
    pub fn plan_to_give_back(&mut self) -> bool {
        let is_open = matches!(self.reach, Reach::Reached | Reach::Claimed);
        if self.is_needed() || !is_open || self.give_back_at.is_some() {
            return false;
        }
        self.give_back_at = Some(Instant::now() + OPEN_GRACE);
        true
    }

    /// Notes that the device is about to be given back. Status and ATR stay, as what was last seen.
    pub fn close(&mut self) {
        self.before = Some(self.contents());
        self.reach = Reach::Closed;
        self.seen = Seen::Nothing;
        self.has_power = false;
        self.protocol = 0;
        self.is_used = false;
        self.power_down_at = None;
        self.look_again = None;
    }

    fn contents(&self) -> Contents {
        let atr = self.card.as_ref().map(|card| card.atr.clone());
        (self.status & (PRESENT | ABSENT), atr)
    }

    /// Counts an event if the first look after the device was given back finds something else than before. A card of
    /// the same ATR counts as the same: a program that polls must not see an event at each poll.
    pub fn compare_with_before(&mut self) {
        if self.before.take().is_some_and(|before| before != self.contents()) {
            self.count_event();
        }
    }

    pub fn forget_card(&mut self) {
        self.card = None;
        self.protocol = 0;
        self.has_power = false;
        self.power_down_at = None;
    }
}
