//! What the resource manager asks of a reader's driver.

use std::sync::Arc;
use std::time::Instant;

/// One slot of a reader: a place for a card. Calls come one at a time, from any thread; each ends within a
/// time that the driver bounds. The first one opens the device, and dropping the slot gives it back.
pub trait Slot: Send {
    /// Whether a card is in the slot.
    fn presence(&mut self) -> Result<Presence, Fault>;
    /// Resets the card: cold, or warm where its power stays on.
    fn power_up(&mut self, warm: bool) -> Result<Powered, Fault>;
    /// Takes the card's power away.
    fn power_down(&mut self) -> Result<(), Fault>;
    /// Chooses the protocol, `SCARD_PROTOCOL_T0` or `SCARD_PROTOCOL_T1`, after a reset.
    fn set_protocol(&mut self, protocol: u32) -> Result<(), Fault>;
    /// Exchanges an APDU; gives the response's length.
    fn transmit(&mut self, command: &[u8], response: &mut [u8]) -> Result<usize, Fault>;
    /// Uses a function of the reader's own; gives the answer's length.
    fn control(&mut self, code: u32, data: &[u8], answer: &mut [u8]) -> Result<usize, Fault>;
    /// Gets an attribute (PC/SC part 3); gives its length.
    fn get_attribute(&mut self, id: u32, value: &mut [u8]) -> Result<usize, Fault>;
    /// Sets an attribute.
    fn set_attribute(&mut self, id: u32, value: &[u8]) -> Result<(), Fault>;
    /// What is asked from now on is to end by then, with [`Fault::TimedOut`]. A slot that ends soon anyhow need not heed
    /// it.
    fn set_deadline(&mut self, _deadline: Option<Instant>) {}
    /// Gives the device back to the system, so that other processes can use it. The next call opens it again. A slot that
    /// has no device of its own need not do anything.
    fn give_back(&mut self) {}
}

/// Whether a card is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// No card.
    Absent,
    /// A card.
    Present,
    /// A card that is not the one that had power. Told once.
    Replaced,
}

/// A card that answered to reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Powered {
    /// The ATR (ISO 7816-3, clause 8).
    pub atr: Vec<u8>,
    /// The protocols that it offers, `SCARD_PROTOCOL_*`.
    pub offered: u32,
    /// The one that it offers first.
    pub first: u32,
}

/// Tells when a slot's card may have come or gone.
pub trait Watch: Send + Sync {
    /// Blocks until there may be something new, or until [`Watch::stop`] was called.
    fn wait(&self) -> Sight;
    /// Makes the wait in progress, or the next one, return [`Sight::Card`].
    fn wake(&self);
    /// Ends the wait, now and for ever.
    fn stop(&self);
}

/// What a [`Watch`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// A card may have come or gone.
    Card,
    /// Something stirred, and the slot cannot tell a card from the next one.
    Unclear,
    /// The reader is gone.
    Gone,
    /// The watch was told to stop.
    Stopped,
}

/// A reader that a bus has found.
pub struct Found {
    /// Its name as pcscd would call it, without the numbers of reader and slot.
    pub name: String,
    /// Its slots, one at least, in their order.
    pub slots: Vec<(Box<dyn Slot>, Arc<dyn Watch>)>,
}

/// Why a driver could not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The reader is gone.
    NoDevice,
    /// There is no card in the slot.
    NoCard,
    /// The card does not answer to reset.
    Mute,
    /// The reader or the card does not offer the protocol.
    ProtocolUnsupported,
    /// The reader has no such function or attribute.
    Unsupported,
    /// The answer does not fit.
    BufferTooSmall,
    /// The caller's time is over.
    TimedOut,
    /// Another process has the reader.
    Busy,
    /// The driver had to reset the card, and what the last command did is unknown. The card has its power and its
    /// protocol as before.
    Reset,
    /// The exchange failed.
    Communication,
}

/// A slot, and room for what it answers.
pub struct Driver {
    slot: Box<dyn Slot>,
    room: Vec<u8>,
}

impl Driver {
    /// A slot's driver.
    pub fn new(slot: Box<dyn Slot>) -> Driver {
        Driver {
            slot,
            room: Vec::new(),
        }
    }

    /// The slot.
    pub fn driver(&mut self) -> &mut dyn Slot {
        &mut *self.slot
    }

    /// Asks for an answer that may be longer than the caller's room: its length is told all the same, and
    /// what does not fit, or fails, leaves the caller's room alone.
    pub fn with_room(
        &mut self,
        room: &mut [u8],
        ask: impl FnOnce(&mut dyn Slot, &mut [u8]) -> Result<usize, Fault>,
    ) -> Result<usize, Fault> {
        /// As much as pcscd has room for.
        const LONGEST: usize = 4 + 3 + 65_536 + 3 + 2;
        if room.len() >= LONGEST {
            return ask(&mut *self.slot, room);
        }
        self.room.resize(LONGEST, 0);
        let length = ask(&mut *self.slot, &mut self.room)?;
        if let (Some(room), Some(answer)) = (room.get_mut(..length), self.room.get(..length)) {
            room.copy_from_slice(answer);
        }
        Ok(length)
    }
}

/// A slot whose reader is gone, or was given back.
pub struct Vacant;

impl Slot for Vacant {
    fn presence(&mut self) -> Result<Presence, Fault> {
        Err(Fault::NoDevice)
    }

    fn power_up(&mut self, _warm: bool) -> Result<Powered, Fault> {
        Err(Fault::NoDevice)
    }

    fn power_down(&mut self) -> Result<(), Fault> {
        Err(Fault::NoDevice)
    }

    fn set_protocol(&mut self, _protocol: u32) -> Result<(), Fault> {
        Err(Fault::NoDevice)
    }

    fn transmit(&mut self, _command: &[u8], _response: &mut [u8]) -> Result<usize, Fault> {
        Err(Fault::NoDevice)
    }

    fn control(&mut self, _code: u32, _data: &[u8], _answer: &mut [u8]) -> Result<usize, Fault> {
        Err(Fault::NoDevice)
    }

    fn get_attribute(&mut self, _id: u32, _value: &mut [u8]) -> Result<usize, Fault> {
        Err(Fault::NoDevice)
    }

    fn set_attribute(&mut self, _id: u32, _value: &[u8]) -> Result<(), Fault> {
        Err(Fault::NoDevice)
    }
}
