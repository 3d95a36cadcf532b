//! Simulated readers: devices of `pcsc-sim`, driven by `pcsc-ccid` over simulated USB transfers. Their time
//! is virtual: a card's second costs nothing.

use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use pcsc_ccid::reader::ReaderOptions;
use pcsc_ccid::shared::{OpenedReader, SharedError, SharedReader};
use pcsc_ccid::transport::Transport;
use pcsc_sim::card::apps::Several;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::usb_record::{RecordedDevice, UsbRecord, UsbReplay};
use pcsc_sim::{Model, SimDevice, SimHandle};

use crate::bus::{Bus, FixedBus};
use crate::ccid;
use crate::error::StartError;
use crate::slot::FoundReader;
use crate::sync::lock;
use crate::usb_record::{replayed_reader, Pipes, Recorder};

/// The bundled reader's name.
const NAME: &str = "pcsc-rs Simulated Reader";
/// The bundled reader's model: one that leaves protocols and speeds to the driver.
const MODEL: &str = "gempc-express";

/// The library writes records of this target to stderr in any case: a C program sees no other text.
const ALWAYS_LOGGED: &str = "pcsc_client::setting";

/// A simulated reader. Clones are the same reader: one goes on the bus, another one controls it.
#[derive(Clone)]
pub struct Simulated {
    name: String,
    model: Model,
    device: SimHandle,
    options: ReaderOptions,
    recorder: Option<Recorder>,
    /// The reader on the bus. It owns this, and not the other way round.
    shared: Arc<Mutex<Weak<SharedReader>>>,
}

/// A bus of simulated readers: the one in a record, where `what` is `replay:` and its path; those behind a
/// socket, where it is a path with a slash; those of [`FixedBus::of_models`], where it is a list; and
/// the bundled one where it is empty.
///
/// # Errors
/// As [`FixedBus::of_models`]; [`StartError::Record`] for a record that cannot be replayed,
/// [`StartError::Connect`] where nothing answers at the path.
pub fn simulated_bus(what: &str, options: ReaderOptions) -> Result<Arc<dyn Bus>, StartError> {
    if let Some(file) = what.strip_prefix("replay:") {
        let (record, path) = (read_record(Path::new(file))?, file.to_owned());
        let replay = UsbReplay::reporting(record, move |mismatch| {
            log::error!(target: ALWAYS_LOGGED, "{path}: {mismatch}");
        });
        return Ok(Arc::new(FixedBus::new(vec![replayed_reader(&replay, options)])));
    }
    Ok(match what {
        "" => Arc::new(FixedBus::bundled(options)?),
        path if path.contains('/') => played_elsewhere(path.as_ref())?,
        models => Arc::new(FixedBus::of_models(models, options)?),
    })
}

/// Reads a record of a reader's USB transfers.
///
/// # Errors
/// [`StartError::Record`] for a file that cannot be read, or is damaged: with the line and the reason.
pub fn read_record(file: &Path) -> Result<UsbRecord, StartError> {
    let unusable = |reason: String| StartError::Record {
        path: file.to_owned(),
        reason,
    };
    let text = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    UsbRecord::parse(&text).map_err(|error| unusable(error.to_string()))
}

impl FixedBus {
    /// The bundled simulated reader, with its card.
    pub fn bundled(options: ReaderOptions) -> Result<FixedBus, StartError> {
        let mut reader = Simulated::new(MODEL)?;
        reader.name = NAME.to_owned();
        reader.options = options;
        Ok(FixedBus::of_simulated(&[reader]))
    }

    /// The simulated readers that `list` names, between commas: those of models by their short names, and
    /// those of virtual cards as `vpcd`, `vpcd:PORT` or `vpcd:ADDRESS:PORT`. A number after one of the latter
    /// is the port of one more slot.
    pub fn of_models(list: &str, options: ReaderOptions) -> Result<FixedBus, StartError> {
        let mut readers = Vec::new();
        let mut names = list.split(',').peekable();
        while let Some(name) = names.next() {
            if name.starts_with("vpcd") {
                let more = std::iter::from_fn(|| {
                    let port = names.peek()?.parse().ok()?;
                    names.next();
                    Some(port)
                });
                readers.push(listening(name, more)?);
            } else {
                let mut reader = Simulated::new(name)?;
                reader.options = options;
                readers.push(reader.found());
            }
        }
        Ok(FixedBus::new(readers))
    }

    /// These readers.
    pub fn of_simulated(readers: &[Simulated]) -> FixedBus {
        FixedBus::new(readers.iter().map(Simulated::found).collect())
    }
}

/// The readers that another process plays behind a socket.
#[cfg(unix)]
fn played_elsewhere(path: &Path) -> Result<Arc<dyn Bus>, StartError> {
    Ok(Arc::new(crate::remote::RemoteBus::connect(path)?))
}

/// There are no Unix sockets.
#[cfg(not(unix))]
fn played_elsewhere(path: &Path) -> Result<Arc<dyn Bus>, StartError> {
    Err(StartError::Connect {
        path: path.to_owned(),
        source: std::io::ErrorKind::Unsupported.into(),
    })
}

/// The reader of virtual cards that `description` and the ports of more slots describe. Its cards may connect
/// from now on.
#[cfg(unix)]
fn listening(description: &str, more: impl Iterator<Item = u16>) -> Result<FoundReader, StartError> {
    let reader = crate::vpcd::VpcdReader::parse(description, more)?;
    // Where another process has the port, the slot tries again.
    let _ = reader.open();
    Ok(reader.found())
}

/// The wait for cards needs `poll`.
#[cfg(not(unix))]
fn listening(_description: &str, _more: impl Iterator<Item = u16>) -> Result<FoundReader, StartError> {
    Err(StartError::Listen(std::io::ErrorKind::Unsupported.into()))
}

impl Simulated {
    /// A reader of the model with this short name, with the card that says hello in its first slot.
    pub fn new(model: &str) -> Result<Simulated, StartError> {
        let unknown = || StartError::UnknownModel(model.to_owned());
        let reader = Simulated::of(SimDevice::named(model).ok_or_else(unknown)?);
        reader.insert_card(0);
        Ok(reader)
    }

    /// A reader of any model, with empty slots.
    pub fn of(device: SimDevice) -> Simulated {
        let model = device.model().clone();
        Simulated {
            name: model.identity.base_name(),
            model,
            device: SimHandle::new(device.without_log()),
            options: ReaderOptions::default(),
            recorder: None,
            shared: Arc::default(),
        }
    }

    /// Puts the card that says hello into a slot, in place of any other.
    pub(crate) fn insert_card(&self, slot: u8) {
        // Only what the reader can do: dwProtocols has a bit for each (CCID 1.1, clause 5.1).
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

    /// The reader's name as pcscd would call it, without the numbers of reader and slot.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the thread that waits for a slot's card has seen all changes. Returns `false` if it has
    /// not by the deadline.
    #[cfg(unix)]
    pub(crate) fn settle(&self, slot: u8, deadline: Instant) -> bool {
        let shared = lock(&self.shared).upgrade();
        shared.is_none_or(|shared| {
            // The message of the interrupt pipe may be on its way: until the thread has it, the slot looks as
            // if there were nothing to see.
            shared.events().wake(slot);
            shared.events().settle(slot, deadline)
        })
    }

    /// The device.
    pub fn device(&self) -> &SimHandle {
        &self.device
    }

    /// The same reader, whose transfers are recorded. Its slots take turns.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub fn recorded(mut self, out: Box<dyn std::io::Write + Send>) -> std::io::Result<(Simulated, Recorder)> {
        let device = RecordedDevice::of_model(&self.model).ok_or(std::io::ErrorKind::InvalidData)?;
        let recorder = Recorder::new(&device, out)?;
        self.recorder = Some(recorder.clone());
        Ok((self, recorder))
    }

    /// Pulls the reader out.
    pub fn unplug(&self) {
        self.device.unplug();
        if let Some(shared) = lock(&self.shared).upgrade() {
            shared.events().set_gone();
        }
    }

    /// The reader as a bus finds it.
    pub fn found(&self) -> FoundReader {
        let reader = self.clone();
        let open = Box::new(move |deadline: Option<Instant>| reader.open(deadline));
        let slots = self.model.descriptor.slots();
        let (found, shared) = ccid::found(self.name.clone(), self.model.identity.device_info(), slots, open);
        *lock(&self.shared) = Arc::downgrade(&shared);
        found
    }

    pub(crate) fn open(&self, deadline: Option<Instant>) -> Result<OpenedReader, SharedError> {
        let interface = self.model.interface().ok_or(SharedError::Gone)?;
        let pipes = Pipes::simulated(&interface, self.device.transport(), self.device.watch());
        let slots = 0..self.model.descriptor.slots();
        let (pipes, senders) = match &self.recorder {
            Some(recorder) => (pipes.recorded(recorder), Vec::new()),
            None => {
                // Recorded transfers have an order, so that a recorded reader serves one slot at a time.
                let sender = |_| Box::new(self.device.transport()) as Box<dyn Transport>;
                (pipes, slots.map(sender).collect())
            }
        };
        let identity = self.model.identity.device_info();
        let opened = pipes.open(&interface, identity, self.options, deadline);
        let mut opened = opened.map_err(SharedError::opening)?;
        opened.senders = senders;
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::{T0, T1};
    use crate::{Presence, Slot, SlotError};

    fn slot(bus: &FixedBus) -> Box<dyn Slot> {
        bus.initial().remove(0).slots.remove(0).0
    }

    #[test]
    fn apdus_of_all_cases_and_lengths_go_over_both_protocols() {
        let mut slot = slot(&FixedBus::bundled(ReaderOptions::default()).unwrap());
        let mut response = vec![0; pcsc_ccid::apdu::MAX_RESPONSE];
        assert_eq!(slot.presence(), Ok(Presence::Present));
        for protocol in [T0, T1] {
            let powered = slot.power_up(false, None).unwrap();
            assert_eq!((powered.atr[0], powered.offered, powered.first), (0x3B, 3, T0));
            slot.set_protocol(protocol, None).unwrap();
            let mut exchange = |command: &[u8]| {
                let length = slot.transmit(command, &mut response, None).unwrap();
                response[..length].to_vec()
            };
            assert_eq!(
                exchange(b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01"),
                b"\x90\x00"
            );
            // T=0 says how much it wants, also where it is a case 1 command over T=1.
            let hello: &[u8] = if protocol == T0 {
                b"\x00\x00\x00\x00\x0C"
            } else {
                &[0; 4]
            };
            assert_eq!(exchange(hello), b"Hello world!\x90\x00");
            let mut lengths = vec![1, 100, 254, 255];
            if protocol == T1 {
                lengths.extend([256, 1000, 65_535]);
            }
            for length in lengths {
                let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
                let mut command = vec![0x80, 0xEC, 0, 0];
                match u8::try_from(length) {
                    Ok(short) => command.push(short),
                    Err(_) => command.extend([0, (length >> 8) as u8, length as u8]),
                }
                command.extend(&data);
                command.extend(if length < 256 { &[0][..] } else { &[0, 0] });
                assert_eq!(
                    exchange(&command),
                    [&data[..], b"\x90\x00"].concat(),
                    "{length} over {protocol}"
                );
            }
        }
        assert_eq!(
            slot.transmit(b"\x00\x00\x00\x00", &mut [], None),
            Err(SlotError::BufferTooSmall)
        );
    }

    #[test]
    fn controls_fail_as_with_pcscd() {
        use pcsc_ccid::part10::{self, Feature};

        let mut slot = slot(&FixedBus::of_models("gempc-pinpad", ReaderOptions::default()).unwrap());
        let mut control = |code, data: &[u8]| slot.control(code, data, &mut [0; 300], None);
        let verify = Feature::VerifyPinDirect.code();
        assert!(control(part10::GET_FEATURE_REQUEST, &[]).is_ok());
        assert_eq!(
            control(part10::VENDOR_IFD_EXCHANGE, &[0]),
            Err(SlotError::Communication)
        );
        assert_eq!(control(verify, &[0; 5]), Err(SlotError::Unsupported));
        assert_eq!(control(verify + 0x1000, &[]), Err(SlotError::Unsupported));
    }

    #[test]
    fn every_model_is_opened_and_its_card_says_hello() {
        let names: Vec<&str> = pcsc_sim::NAMES.iter().map(|(name, _)| *name).collect();
        let bus = FixedBus::of_models(&names.join(","), ReaderOptions::default()).unwrap();
        for (found, model) in bus.initial().into_iter().zip(names) {
            let mut slot = found.slots.into_iter().next().unwrap().0;
            let powered = slot.power_up(false, None).unwrap();
            // A reader at character level does not speak T=1.
            let over_t1 = powered.offered & T1 != 0 && slot.set_protocol(T1, None).is_ok();
            if !over_t1 {
                slot.set_protocol(T0, None).unwrap();
            }
            let command: &[u8] = if over_t1 { &[0; 4] } else { b"\x00\x00\x00\x00\x0C" };
            let select = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
            let mut response = [0; 300];
            let length = slot.transmit(select, &mut response, None).unwrap();
            assert_eq!(&response[..length], b"\x90\x00", "{model}");
            let length = slot.transmit(command, &mut response, None).unwrap();
            assert_eq!(&response[..length], b"Hello world!\x90\x00", "{model}");
        }
        assert!(FixedBus::of_models("au9540,none", ReaderOptions::default()).is_err());
    }
}
