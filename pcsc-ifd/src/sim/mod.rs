//! Simulated readers: `sim:MODEL`, followed by options that are separated by colons.
//!
//! | option | meaning |
//! |---|---|
//! | `card=CARD` | a [card](pcsc_sim::card::named) in the next slot; `none` leaves it empty |
//! | `control=PATH` | the reader is [controlled](pcsc_sim::control) over a socket of this name |
//! | `number=N` | its number there; 0 if not given |
//! | `fuzz=SEED` | a hostile reader: its messages are damaged at random |
//!
//! The models are those of [`pcsc_sim::NAMES`]. A device name in reader.conf.d can have letters, digits and
//! `= \ / - . _ @ :` only.

#![forbid(unsafe_code)]

mod sim_reader;
mod transport;

use crate::settings;
use pcsc_ccid::descriptor::{Flavour, Interface};
use pcsc_ccid::reader::{DeviceInfo, Reader};
use pcsc_ccid::shared::{AnyReader, Notifications, OpenedReader, SharedError, SharedReader};
use pcsc_ccid::transport::Transport;
use pcsc_sim::control::{self, ControlledReader};
use pcsc_sim::{Fault, FaultTransport};
use sim_reader::SimReader;
use std::path::Path;
use std::sync::Arc;
use transport::SimReaderTransport;

/// What a hostile reader does to every second message, on average.
const DAMAGE: &[Fault] = &[
    Fault::Short,
    Fault::Long,
    Fault::Late,
    Fault::Lost,
    Fault::Corrupted,
    Fault::Garbage,
    Fault::Stalled,
];

/// The model and the options of a device name.
#[derive(Debug, Default, PartialEq, Eq)]
struct SimOptions<'a> {
    model: &'a str,
    cards: Vec<&'a str>,
    control: Option<&'a Path>,
    number: u8,
    fuzz: Option<u64>,
}

impl SimOptions<'_> {
    fn parse(text: &str) -> Result<SimOptions<'_>, String> {
        let mut parts = text.split(':');
        let mut options = SimOptions {
            model: parts.next().unwrap_or_default(),
            ..SimOptions::default()
        };
        for part in parts {
            let wrong = || format!("unknown option {part}");
            let (key, value) = part.split_once('=').ok_or_else(wrong)?;
            match key {
                "card" => options.cards.push(value),
                "control" => options.control = Some(Path::new(value)),
                "number" => options.number = value.parse().map_err(|_| wrong())?,
                "fuzz" => options.fuzz = Some(value.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

/// Makes the reader that `text` describes, and whether pcscd's event threads are to wait for it.
pub fn reader(text: &str) -> Result<(Arc<SharedReader>, bool), String> {
    let options = SimOptions::parse(text)?;
    let model = pcsc_sim::model(options.model).ok_or_else(|| {
        let names: Vec<&str> = pcsc_sim::NAMES.iter().map(|(name, _)| *name).collect();
        format!("no model {}: there are {}", options.model, names.join(", "))
    })?;
    let interface = model.interface().ok_or("the model is no reader")?;
    let slots = model.descriptor.slots();
    if options.cards.len() > usize::from(slots) {
        return Err(format!("more cards than slots, which are {slots}"));
    }
    let has_waits = model.flavour() != Flavour::Ccid || model.notifies();
    let reader = Arc::new(SimReader::new(options.model)?);
    let (device, fuzz) = (reader.clone(), options.fuzz);
    let mut identity = model.identity.device_info();
    identity.address = options.number;
    let open = move |_| {
        let reader = open(&device, fuzz, identity.clone(), &interface);
        let reader = reader.map_err(SharedError::opening)?;
        let mut opened = OpenedReader::new(reader, Notifications::Pushed);
        let to_cancel = device.clone();
        opened.cancel = Some(Box::new(move || to_cancel.interrupt()));
        Ok(opened)
    };
    let shared = SharedReader::new(slots, Box::new(open));
    reader.report_to(&shared);
    for (slot, card) in (0..=u8::MAX).zip(&options.cards) {
        if *card != "none" {
            reader.insert(slot, card)?;
        }
    }
    if let Some(path) = options.control {
        let reader: Arc<dyn ControlledReader> = reader;
        control::listen(path, options.number, Arc::downgrade(&reader))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok((shared, has_waits))
}

fn open(
    device: &Arc<SimReader>,
    fuzz: Option<u64>,
    identity: DeviceInfo,
    interface: &Interface,
) -> Result<AnyReader, pcsc_ccid::reader::ReaderError> {
    let transport = SimReaderTransport::new(device.clone());
    let transport: Box<dyn Transport> = match fuzz {
        Some(seed) => Box::new(FaultTransport::new(transport, seed, 500, u32::MAX, DAMAGE)),
        None => Box::new(transport),
    };
    Reader::open(transport, identity, interface, settings::get().reader_options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Channel;

    #[test]
    fn options_are_parsed() {
        let options = SimOptions::parse("au9540:card=none:card=t1:control=/run/x:number=3:fuzz=7").unwrap();
        assert_eq!(
            options,
            SimOptions {
                model: "au9540",
                cards: vec!["none", "t1"],
                control: Some(Path::new("/run/x")),
                number: 3,
                fuzz: Some(7),
            }
        );
        for wrong in ["au9540:", "au9540:card", "au9540:number=x", "au9540:colour=red"] {
            assert!(SimOptions::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_model_opens() {
        for (model, _) in pcsc_sim::NAMES {
            let (reader, has_waits) = reader(model).unwrap();
            assert!(
                Channel::open(model.to_owned(), reader, has_waits).is_ok(),
                "{model}"
            );
        }
        assert!(reader("x").is_err_and(|reason| reason.contains("au9540")));
        assert!(reader("au9540:card=t1:card=t1").is_err());
        assert!(reader("au9540:card=ace-of-spades").is_err());
    }
}
