//! What the manager asks of a reader's driver.

use std::sync::Arc;
#[cfg(all(unix, feature = "sim"))]
use std::time::Duration;
use std::time::Instant;

use pcsc_ccid::reader::DeviceInfo;
pub use pcsc_ccid::reader::Presence;

/// One slot of a reader: a place for a card. Calls come one at a time, from any thread; each ends within a
/// time that the driver bounds. The first one opens the device, and [`Slot::give_back`] closes it.
///
/// A `deadline` is the caller's: the call ends by then with [`SlotError::TimedOut`] or
/// [`SlotError::NotStarted`]. A slot whose calls are short may ignore it.
pub trait Slot: Send {
    /// Whether a card is in the slot.
    fn presence(&mut self) -> Result<Presence, SlotError>;
    /// Resets the card: cold, or warm where its power stays on.
    fn power_up(&mut self, warm: bool, deadline: Option<Instant>) -> Result<Powered, SlotError>;
    /// Takes the card's power away.
    fn power_down(&mut self) -> Result<(), SlotError>;
    /// Chooses the protocol, `SCARD_PROTOCOL_T0` or `SCARD_PROTOCOL_T1`, after a reset.
    fn set_protocol(&mut self, protocol: u32, deadline: Option<Instant>) -> Result<(), SlotError>;
    /// Exchanges an APDU. Returns the response's length.
    fn transmit(
        &mut self,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, SlotError>;
    /// Uses a function of the reader's own (`SCardControl`). Returns the answer's length. By default there is
    /// none.
    fn control(
        &mut self,
        _code: u32,
        _data: &[u8],
        _answer: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        Err(SlotError::Unsupported)
    }
    /// Whether [`Slot::presence`] asks no device, so that a new connection asks rather than relies on the
    /// last event. By default it does not.
    fn knows_presence(&self) -> bool {
        false
    }
    /// Whether the command of another slot keeps the reader busy, so that a call would wait. By default it is
    /// free.
    fn is_busy(&self) -> bool {
        false
    }
    /// Gets an attribute (PC/SC part 3). Returns its length. By default there is none.
    fn get_attribute(&mut self, _id: u32, _value: &mut [u8]) -> Result<usize, SlotError> {
        Err(SlotError::Unsupported)
    }
    /// Sets an attribute. By default there is none.
    fn set_attribute(&mut self, _id: u32, _value: &[u8]) -> Result<(), SlotError> {
        Err(SlotError::Unsupported)
    }
    /// Gives the device back to the system, so that other processes can use it. The next call opens it again.
    /// A slot that has no device of its own need not do anything.
    fn give_back(&mut self) {}
}

/// The earlier of the caller's deadline and a limit from now on, and whether it is the caller's.
#[cfg(all(unix, feature = "sim"))]
pub(crate) fn earlier(deadline: Option<Instant>, limit: Duration) -> (Instant, bool) {
    let own = Instant::now() + limit;
    match deadline {
        Some(deadline) if deadline < own => (deadline, true),
        _ => (own, false),
    }
}

/// A card that answered to reset.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Powered {
    /// The ATR (ISO 7816-3, clause 8).
    pub atr: Arc<[u8]>,
    /// The protocols that it offers, `SCARD_PROTOCOL_*`.
    pub offered: u32,
    /// The one that it offers first.
    pub first: u32,
}

impl Powered {
    /// A card with this ATR: the protocols that it offers, and the first of them.
    pub fn new(atr: impl Into<Arc<[u8]>>, offered: u32, first: u32) -> Powered {
        Powered {
            atr: atr.into(),
            offered,
            first,
        }
    }
}

/// Reports when a slot's card may have come or gone. A thread of the manager sleeps in it.
pub trait Watch: Send + Sync {
    /// Blocks until there may be something new, or until [`Watch::stop`] was called.
    fn wait(&self) -> WatchEvent;
    /// Makes the wait in progress, or the next one, return [`WatchEvent::Card`].
    fn wake(&self);
    /// Ends the wait in progress and every later one.
    fn stop(&self);
}

/// What a [`Watch`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// A card may have come or gone.
    Card,
    /// The same, in a slot that cannot distinguish two cards.
    Unclear,
    /// The reader is gone.
    Gone,
    /// The watch was stopped.
    Stopped,
}

/// A reader that a bus has found.
#[non_exhaustive]
pub struct FoundReader {
    /// Its name as pcscd would call it, without the numbers of reader and slot.
    pub name: String,
    /// Its device on the USB. `None` where that is not known.
    pub device: Option<DeviceInfo>,
    /// Its slots, one at least, in their order.
    pub slots: Vec<FoundSlot>,
}

/// A slot, and what waits for its card.
pub type FoundSlot = (Box<dyn Slot>, Arc<dyn Watch>);

impl FoundReader {
    /// A reader of this name with these slots, one at least. Its device is not known.
    pub fn new(name: impl Into<String>, slots: Vec<FoundSlot>) -> FoundReader {
        FoundReader {
            name: name.into(),
            device: None,
            slots,
        }
    }
}

/// Why a driver could not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// The reader is gone.
    #[error("the reader is gone")]
    NoDevice,
    /// There is no card in the slot.
    #[error("there is no card in the slot")]
    NoCard,
    /// The card does not answer to reset.
    #[error("the card does not answer to reset")]
    Mute,
    /// The reader or the card does not offer the protocol.
    #[error("the reader or the card does not offer the protocol")]
    ProtocolUnsupported,
    /// The reader has no such function or attribute.
    #[error("the reader has no such function or attribute")]
    Unsupported,
    /// The answer does not fit.
    #[error("the answer does not fit into the buffer")]
    BufferTooSmall,
    /// The caller's deadline has passed, and what the command did is unknown.
    #[error("the deadline has passed, and what the command did is unknown")]
    TimedOut,
    /// The caller's deadline has passed before the reader was free. Nothing was sent.
    #[error("the deadline has passed before the reader was free")]
    NotStarted,
    /// Another process has the reader.
    #[error("another process uses the reader")]
    Busy,
    /// The driver had to reset the card, and what the last command did is unknown. The card has its power and
    /// its protocol as before.
    #[error("the card was reset, and what the command did is unknown")]
    Reset,
    /// The exchange failed.
    #[error("the exchange failed")]
    Communication,
}

/// A slot's driver, with a buffer for answers that are longer than the caller's.
pub(crate) struct Driver {
    slot: Box<dyn Slot>,
    buffer: Vec<u8>,
}

impl Driver {
    /// A slot's driver.
    pub fn new(slot: Box<dyn Slot>) -> Driver {
        Driver {
            slot,
            buffer: Vec::new(),
        }
    }

    /// The slot.
    pub fn slot(&mut self) -> &mut dyn Slot {
        &mut *self.slot
    }

    /// See [`Slot::is_busy`].
    pub fn is_busy(&self) -> bool {
        self.slot.is_busy()
    }

    /// Gets an answer that may be longer than the caller's buffer. Returns its length in any case. An answer
    /// that does not fit, and an error, leave the caller's buffer as it was.
    pub fn answer_into(
        &mut self,
        target: &mut [u8],
        ask: impl FnOnce(&mut dyn Slot, &mut [u8]) -> Result<usize, SlotError>,
    ) -> Result<usize, SlotError> {
        /// As much as pcscd has room for: an extended APDU.
        const LONGEST: usize = pcsc_constants::MAX_BUFFER_SIZE_EXTENDED;
        if target.len() >= LONGEST {
            return ask(&mut *self.slot, target);
        }
        // Allocates once: a transmit after the first one allocates nothing.
        // A driver that had the caller's small buffer could not tell how long the answer is, and the card has
        // carried out the command already.
        self.buffer.resize(LONGEST, 0);
        let length = ask(&mut *self.slot, &mut self.buffer)?;
        if let (Some(target), Some(answer)) = (target.get_mut(..length), self.buffer.get(..length)) {
            target.copy_from_slice(answer);
        }
        Ok(length)
    }
}

/// The slot of a reader that is gone, or that was closed at the end of the manager. The reader's state
/// refuses control requests and attributes before they come here.
pub(crate) struct Vacant;

impl Slot for Vacant {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        Err(SlotError::NoDevice)
    }

    fn power_up(&mut self, _warm: bool, _deadline: Option<Instant>) -> Result<Powered, SlotError> {
        Err(SlotError::NoDevice)
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        Err(SlotError::NoDevice)
    }

    fn set_protocol(&mut self, _protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
        Err(SlotError::NoDevice)
    }

    fn transmit(
        &mut self,
        _command: &[u8],
        _response: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        Err(SlotError::NoDevice)
    }
}

/// Copies an answer to where there may not be room for it. Returns its length.
#[cfg(feature = "sim")]
pub fn copy(answer: &[u8], room: &mut [u8]) -> Result<usize, SlotError> {
    let room = room.get_mut(..answer.len()).ok_or(SlotError::BufferTooSmall)?;
    room.copy_from_slice(answer);
    Ok(room.len())
}
