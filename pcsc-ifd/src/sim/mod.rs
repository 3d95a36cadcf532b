//! Simulated readers: `sim:MODEL`, with options behind it, parted by colons.
//!
//! | option | meaning |
//! |---|---|
//! | `card=CARD` | a [card](cards) in the first slot that no option before has filled; `none` leaves it empty |
//! | `control=PATH` | the reader is [controlled](control) over a socket of this name |
//! | `number=N` | its number there; 0 if not given |
//! | `fuzz=SEED` | a hostile reader: what it sends is damaged in every way |
//!
//! The models are those of [`pcsc_sim::NAMES`]. A device name in reader.conf.d can have letters, digits and
//! `= \ / - . _ @ :` only.

#![forbid(unsafe_code)]

mod cards;
mod control;
mod line;
mod station;
mod switches;

use crate::events::Events;
use crate::opened::OpenedReader;
use line::Line;
use pcsc_ccid::descriptor::{self, Flavour, Interface};
use pcsc_ccid::reader;
use pcsc_sim::Model;
use station::Station;
use std::path::Path;
use std::sync::Arc;

/// What a device name asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wishes<'a> {
    model: &'a str,
    cards: Vec<&'a str>,
    control: Option<&'a Path>,
    number: u8,
    fuzz: Option<u64>,
}

impl Wishes<'_> {
    fn parse(text: &str) -> Result<Wishes<'_>, String> {
        let mut parts = text.split(':');
        let mut wishes = Wishes {
            model: parts.next().unwrap_or_default(),
            ..Wishes::default()
        };
        for part in parts {
            let wrong = || format!("unknown option {part}");
            let (key, value) = part.split_once('=').ok_or_else(wrong)?;
            match key {
                "card" => wishes.cards.push(value),
                "control" => wishes.control = Some(Path::new(value)),
                "number" => wishes.number = value.parse().map_err(|_| wrong())?,
                "fuzz" => wishes.fuzz = Some(value.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        Ok(wishes)
    }
}

/// Makes the reader that `text` asks for, under the name `name`.
pub fn open(name: &str, text: &str) -> Result<OpenedReader, String> {
    let wishes = Wishes::parse(text)?;
    let model = pcsc_sim::model(wishes.model).ok_or_else(|| {
        let names: Vec<&str> = pcsc_sim::NAMES.iter().map(|(name, _)| *name).collect();
        format!("no model {}: there are {}", wishes.model, names.join(", "))
    })?;
    let interface = interface(&model).ok_or("the model is no reader")?;
    let slots = usize::from(model.descriptor.slots());
    if wishes.cards.len() > slots {
        return Err(format!("more cards than slots, which are {slots}"));
    }
    let has_waits = model.flavour() != Flavour::Ccid || model.notifies();
    let events = Arc::new(Events::new(slots, has_waits));
    let station = Arc::new(Station::new(wishes.model, events.clone())?);
    for (slot, card) in (0..=u8::MAX).zip(&wishes.cards) {
        if *card != "none" {
            station.insert(slot, card)?;
        }
    }
    if let Some(path) = wishes.control {
        control::listen(path, wishes.number, &station)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let to_cancel = station.clone();
    Ok(OpenedReader {
        transport: Box::new(Line::new(station, wishes.fuzz)),
        interface,
        identity: reader::DeviceInfo {
            vendor: model.vendor_id,
            product: model.product_id,
            release: model.release,
            manufacturer: model.manufacturer,
            address: wishes.number,
            ..reader::DeviceInfo::default()
        },
        name: name.to_owned(),
        events,
        watcher: None,
        cancel: Some(Box::new(move || to_cancel.cancel())),
    })
}

/// The descriptors, by way of their bytes.
fn interface(model: &Model) -> Option<Interface> {
    let bytes = Model::configuration_descriptor(&[model], 0);
    descriptor::interfaces(&bytes).into_iter().find_map(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_wishes() {
        let wishes = Wishes::parse("au9540:card=none:card=t1:control=/run/x:number=3:fuzz=7").unwrap();
        assert_eq!(
            wishes,
            Wishes {
                model: "au9540",
                cards: vec!["none", "t1"],
                control: Some(Path::new("/run/x")),
                number: 3,
                fuzz: Some(7),
            }
        );
        for wrong in ["au9540:", "au9540:card", "au9540:number=x", "au9540:colour=red"] {
            assert!(Wishes::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_model_opens() {
        for (model, _) in pcsc_sim::NAMES {
            assert!(open(model, model).is_ok(), "{model}");
        }
        assert!(open("x", "x").is_err_and(|reason| reason.contains("au9540")));
        assert!(open("x", "au9540:card=t1:card=t1").is_err());
        assert!(open("x", "au9540:card=ace-of-spades").is_err());
    }
}
