//! Simulated readers with cards that a test writes: for tests of programs that use smart cards.
//!
//! A [`Simulation`] has readers of its own, which no other process and no other simulation sees, so that
//! tests run in parallel. The readers are simulated down to their USB transfers and to the bytes between
//! reader and card, and are driven as real ones are. Neither hardware, nor a daemon, nor a privilege is
//! needed.
//!
//! ```
//! use pcsc_client::sim::{Simulation, VirtualCard};
//! use pcsc_client::{Protocols, ShareMode};
//!
//! /// A card with a serial number.
//! struct Badge;
//!
//! impl VirtualCard for Badge {
//!     fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
//!         match command {
//!             [0x00, 0xCA, 0x01, 0x00, _] => b"4711\x90\x00".to_vec(),
//!             _ => vec![0x6D, 0x00],
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), pcsc_client::Failure> {
//! let bus = Simulation::new();
//! let reader = bus.plug("scr3310")?;
//! reader.insert(Badge);
//!
//! let context = bus.context()?;
//! let card = context.connect(reader.name(), ShareMode::Shared, Protocols::ANY)?;
//! let mut response = [0; 258];
//! assert_eq!(card.transmit(b"\x00\xCA\x01\x00\x00", &mut response)?, b"4711\x90\x00");
//! # Ok(()) }
//! ```
//!
//! # Faults
//!
//! [`VirtualReader::set_behaviour`] makes the card mute, slow or unreliable, or pulls it out in the middle of
//! a command. Time is simulated: a slow card delays no test, and a call with a timeout fails as soon as the
//! card has used up the time.
//!
//! ```
//! # use pcsc_client::sim::{Simulation, VirtualCard};
//! # use pcsc_client::{Protocols, ShareMode};
//! # struct Badge;
//! # impl VirtualCard for Badge {
//! #     fn transmit(&mut self, _: &[u8]) -> Vec<u8> { vec![0x90, 0x00] }
//! # }
//! use pcsc_client::{Error, sim::Behaviour};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), pcsc_client::Failure> {
//! # let bus = Simulation::new();
//! # let reader = bus.plug("scr3310")?;
//! # reader.insert(Badge);
//! # let context = bus.context()?;
//! let card = context.connect(reader.name(), ShareMode::Shared, Protocols::ANY)?;
//! let one_minute = Duration::from_secs(60);
//! reader.set_behaviour(Behaviour { time: one_minute, ..Behaviour::default() });
//! let mut response = [0; 258];
//! let failure = card.transmit_timeout(b"\x00\xCA\x01\x00\x00", &mut response, one_minute / 2);
//! assert_eq!(failure.unwrap_err().error(), Error::Timeout);
//! # Ok(()) }
//! ```

#[cfg(unix)]
mod card_port;

use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pcsc_ccid::internals::lock;
use pcsc_ccid::reader::ReaderOptions;
use pcsc_manager::{FixedBus, ManagedReader, Manager, Settings, Simulated, StartError};
use pcsc_sim::card::{SharedBehaviour, SimCard};
use pcsc_sim::usb_record::UsbReplay;

pub use pcsc_sim::card::{Behaviour, CardReplay, Overspeed, PpsBehaviour, RecordedExchange, VirtualCard};
pub use pcsc_sim::{Key, KeypadEntry, Mismatch, Model, SimDevice, NAMES as MODELS};

#[cfg(unix)]
pub use card_port::CardPort;

use crate::backend::Session;
use crate::context::Context;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Failure;

/// How long the manager's thread may take to notice that a reader was unplugged.
const PATIENCE: Duration = Duration::from_secs(10);

/// Simulated readers, and the contexts on them. The readers go with the last of the simulation and its
/// contexts.
#[derive(Default)]
pub struct Simulation {
    manager: Mutex<Option<Arc<Manager>>>,
}

impl Simulation {
    /// A simulation without readers. It starts no thread before it is used.
    pub fn new() -> Simulation {
        Simulation::default()
    }

    /// Plugs in a reader of a model of [`MODELS`], with empty slots. It is listed when this returns.
    ///
    /// # Errors
    /// [`Error::NoService`] if there is no such model,
    /// [`Error::NoMemory`] if a thread cannot be started.
    pub fn plug(&self, model: &str) -> Result<VirtualReader, Failure> {
        let device = SimDevice::named(model).ok_or_else(|| StartError::UnknownModel(model.to_owned()))?;
        self.plug_device(device)
    }

    /// Plugs in a reader of any model, such as one with descriptors of your own.
    ///
    /// # Errors
    /// As [`Simulation::plug`].
    pub fn plug_device(&self, device: SimDevice) -> Result<VirtualReader, Failure> {
        let manager = self.manager()?;
        let device = Simulated::of(device);
        let slots = manager.add(device.found())?;
        let place = |reader: Arc<ManagedReader>| Place {
            name: CString::new(reader.name()).unwrap_or_default(),
            reader,
            behaviour: SharedBehaviour::default(),
        };
        Ok(VirtualReader {
            manager,
            device,
            slots: slots.into_iter().map(place).collect(),
            slot: 0,
        })
    }

    /// Plugs in the reader out of a record of its transfers, which `pcsc sim record --usb` makes of a real
    /// one. It does what that one did, with its cards, as long as it is used as that one was; any byte is
    /// right in the place of a hidden one. [`pcsc_sim::usb_record`] describes the file.
    ///
    /// # Errors
    /// [`Error::NoService`] with [`StartError::Record`], which says what is wrong with the
    /// file and in which line, otherwise as [`Simulation::plug`].
    pub fn replay(&self, record: impl AsRef<Path>) -> Result<ReplayedReader, Failure> {
        let replay = UsbReplay::new(pcsc_manager::read_record(record.as_ref())?);
        let slots = self
            .manager()?
            .add(pcsc_manager::replayed_reader(&replay, ReaderOptions::default()))?;
        let names = slots
            .iter()
            .map(|slot| CString::new(slot.name()).unwrap_or_default());
        Ok(ReplayedReader {
            names: names.collect(),
            replay,
        })
    }

    /// Establishes a context on these readers. Contexts of one simulation share the readers as the clients of
    /// a daemon do.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if a thread cannot be started.
    pub fn context(&self) -> Result<Context, Failure> {
        Ok(Context::of(Session::on_simulated(self.manager()?)))
    }

    fn manager(&self) -> Result<Arc<Manager>, Failure> {
        let mut manager = lock(&self.manager);
        if let Some(manager) = &*manager {
            return Ok(manager.clone());
        }
        let bus = Arc::new(FixedBus::new(Vec::new()));
        let started = Arc::new(Manager::start(bus, Settings::default())?);
        Ok(manager.insert(started).clone())
    }
}

/// A reader out of a record.
#[derive(Clone)]
pub struct ReplayedReader {
    names: Vec<CString>,
    replay: UsbReplay,
}

impl ReplayedReader {
    /// The name of its first slot, as contexts list it.
    pub fn name(&self) -> &CStr {
        self.names.first().map_or(c"", |name| name)
    }

    /// The names of all slots.
    pub fn names(&self) -> impl Iterator<Item = &CStr> {
        self.names.iter().map(|name| &**name)
    }

    /// Whether all that was recorded has happened again, and nothing else.
    ///
    /// # Errors
    /// The first difference. After it all that goes to the reader fails.
    pub fn outcome(&self) -> Result<(), Mismatch> {
        self.replay.outcome()
    }
}

/// A slot of a simulated reader. Clones are the same slot. The reader stays plugged in when they are dropped.
///
/// All methods act at once: what they change is seen by the next call of a context. A card must not call them
/// from its own methods.
#[derive(Clone)]
pub struct VirtualReader {
    manager: Arc<Manager>,
    device: Simulated,
    slots: Arc<[Place]>,
    slot: u8,
}

struct Place {
    name: CString,
    reader: Arc<ManagedReader>,
    behaviour: SharedBehaviour,
}

impl VirtualReader {
    /// The name of the slot, as contexts list it.
    pub fn name(&self) -> &CStr {
        self.place().map_or(c"", |place| &place.name)
    }

    /// Another slot of the same reader, from 0. `None` if the reader has fewer slots.
    pub fn slot(&self, slot: u8) -> Option<VirtualReader> {
        let is_there = usize::from(slot) < self.slots.len();
        is_there.then(|| VirtualReader { slot, ..self.clone() })
    }

    /// Inserts a card, in place of any other.
    pub fn insert(&self, card: impl VirtualCard + 'static) {
        let Some(place) = self.place() else { return };
        self.remove();
        let card = SimCard::of(Box::new(card), place.behaviour.clone());
        self.device.device().insert(self.slot, card);
        place.reader.settle();
    }

    /// Removes the card.
    pub fn remove(&self) {
        let Some(place) = self.place() else { return };
        self.device.device().remove(self.slot);
        place.reader.settle();
    }

    /// Unplugs the reader. Returns when it is not listed any more.
    pub fn unplug(&self) {
        let deadline = Instant::now() + PATIENCE;
        self.device.unplug();
        loop {
            let seen = self.manager.changes().changes();
            let listed = self.manager.readers();
            let is_listed = |place: &Place| listed.iter().any(|reader| Arc::ptr_eq(reader, &place.reader));
            if !self.slots.iter().any(is_listed) || !self.manager.changes().wait(seen, Some(deadline)) {
                return;
            }
        }
    }

    /// Changes how the cards of this slot behave, the present one and later ones, from the next reset or
    /// command on. [`Behaviour::default`] is a card without faults.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        if let Some(place) = self.place() {
            place.behaviour.set(behaviour);
        }
    }

    /// Adds an entry to those that will be typed on the PIN pad, for a model that has one (`gempc-pinpad`).
    /// Each PIN that a program asks for takes one; without one the reader waits until its time has passed.
    pub fn will_type(&self, entry: KeypadEntry) {
        self.device.device().with(|device| device.will_type(entry));
    }

    fn place(&self) -> Option<&Place> {
        self.slots.get(usize::from(self.slot))
    }
}
