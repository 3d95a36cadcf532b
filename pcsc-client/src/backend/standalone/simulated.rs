//! Simulated readers, with the card that says hello in each: `pcsc-ccid`'s devices at the level of USB
//! transfers, driven as real ones are. Their time is virtual: a card's second costs nothing.

use std::sync::{Arc, Mutex};

use pcsc_ccid::card::apps::Several;
use pcsc_ccid::card::{Offer, Profile, SimCard};
use pcsc_ccid::descriptor::{interfaces, Interface};
use pcsc_ccid::names;
use pcsc_ccid::reader::{Device, Options, Reader};
use pcsc_ccid::sim::{self, Handle, Model, SimWatch};
use pcsc_ccid::transport::{self, Transport};

use super::board::{lock, Board};
use super::ccid::{self, News, Opened, Source, Watches};
use super::manager::{Bus, BusEvent};
use super::slot::{Fault, Found};
use crate::error::{Cause, Error, Failure, Outcome};

/// The bundled reader's name.
const NAME: &str = "pcsc-rs Simulated Reader";
/// The bundled reader's model: one that leaves protocols and speeds to the driver.
const MODEL: &str = "gempc-express";

/// Readers that are there from the beginning.
pub struct SimulatedBus {
    readers: Vec<Simulated>,
    end: Board,
}

/// A simulated reader, in the hands of whoever made the bus.
#[derive(Clone)]
pub struct Simulated {
    name: String,
    model: Model,
    device: Handle,
    watches: Arc<Mutex<Option<Arc<Watches>>>>,
}

impl SimulatedBus {
    /// The bundled reader, with its card.
    pub fn bundled() -> Outcome<SimulatedBus> {
        let mut reader = Simulated::new(MODEL)?;
        reader.name = NAME.to_owned();
        Ok(SimulatedBus::of(vec![reader]))
    }

    /// Readers of the models whose short names stand in `list`, between commas.
    pub fn of_models(list: &str) -> Outcome<SimulatedBus> {
        let readers: Outcome<Vec<Simulated>> = list.split(',').map(Simulated::new).collect();
        Ok(SimulatedBus::of(readers?))
    }

    /// These readers.
    pub fn of(readers: Vec<Simulated>) -> SimulatedBus {
        SimulatedBus {
            readers,
            end: Board::default(),
        }
    }
}

impl Simulated {
    /// A reader of the model with this short name, with the card that says hello in its first slot.
    pub fn new(model: &str) -> Outcome<Simulated> {
        let unknown = || Failure::because(Error::NoService, Cause::UnknownModel(model.to_owned()));
        let device = sim::Device::named(model).ok_or_else(unknown)?;
        let model = device.model().clone();
        let name = names::Identity {
            vendor: model.vendor_id,
            product: model.product_id,
            manufacturer: model.manufacturer.as_deref(),
            product_name: model.product.as_deref(),
            interface: model.interface_name.as_deref(),
            serial: None,
        }
        .base_name();
        let reader = Simulated {
            name,
            model,
            device: Handle::new(device),
            watches: Arc::default(),
        };
        reader.insert_card(0);
        Ok(reader)
    }

    /// Puts the card that says hello into a slot, in place of any other.
    pub fn insert_card(&self, slot: u8) {
        let offers: &[Offer] = match self.model.descriptor.protocols & 3 {
            1 => &[Offer::T0],
            2 => &[Offer::T1],
            _ => &[Offer::T0, Offer::T1],
        };
        let mut profile = Profile::new(offers);
        profile.historical = b"pcsc-rs sim".to_vec();
        self.device
            .insert(slot, SimCard::good(profile, Box::new(Several::demo())));
    }

    /// The device.
    pub fn device(&self) -> &Handle {
        &self.device
    }

    /// Pulls the reader out.
    pub fn unplug(&self) {
        self.device.unplug();
        if let Some(watches) = &*lock(&self.watches) {
            watches.gone();
        }
    }

    fn found(&self) -> Found {
        let reader = self.clone();
        let open = Box::new(move || reader.open());
        let slots = self.model.descriptor.slots();
        let (found, watches) = ccid::found(self.name.clone(), slots, open);
        *lock(&self.watches) = Some(watches);
        found
    }

    fn open(&self) -> Result<Opened, Fault> {
        let interface = self.interface().ok_or(Fault::NoDevice)?;
        let transport: Box<dyn Transport> = Box::new(self.device.transport());
        let device = Device {
            vendor: self.model.vendor_id,
            product: self.model.product_id,
            release: self.model.release,
            manufacturer: self.model.manufacturer.clone(),
            ..Device::default()
        };
        let has_interrupts = interface.interrupt_in.is_some();
        let reader = Reader::open(transport, device, &interface, Options::default()).map_err(ccid::fault)?;
        let news = if has_interrupts {
            let watch = Arc::new(self.device.watch());
            News::Told {
                source: Box::new(Interrupts(watch.clone())),
                stop: Box::new(move || watch.stop()),
            }
        } else {
            News::Polled(ccid::POLL_INTERVAL)
        };
        Ok(Opened { reader, news })
    }

    fn interface(&self) -> Option<Interface> {
        let configuration = Model::configuration_descriptor(&[&self.model], 4);
        interfaces(&configuration).into_iter().find_map(Result::ok)
    }
}

impl Bus for SimulatedBus {
    fn initial(&self) -> Vec<Found> {
        self.readers.iter().map(Simulated::found).collect()
    }

    fn wait(&self) -> BusEvent {
        self.end.wait(0, None);
        BusEvent::Stopped
    }

    fn stop(&self) {
        self.end.post();
    }
}

struct Interrupts(Arc<SimWatch>);

impl Source for Interrupts {
    fn next(&mut self, tell: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error> {
        match self.0.wait() {
            sim::Sight::Notification(message) => {
                tell(&message);
                Ok(())
            }
            sim::Sight::Gone => Err(transport::Error::Gone),
            sim::Sight::Stopped => Err(transport::Error::Cancelled),
        }
    }
}
