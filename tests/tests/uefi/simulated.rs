//! The simulated readers of the virtual machine, and their cards.

use std::sync::mpsc::Sender;

use pcsc_ccid::apdu::CommandApdu;
use pcsc_sim::card::apps::{App, Several};
use pcsc_sim::card::{Behaviour, CharacterCard, Offer, Profile, SimCard};
use pcsc_sim::{model, KeypadEntry, Model, SimDevice};

use crate::redir::{Factory, Input};

/// How fast the readers' clocks go: a card that works for a minute takes 3 s.
pub const PACE: u32 = 20;

/// A reader of the virtual machine, by its short name in `pcsc-sim`.
pub struct Simulated {
    /// The short name.
    pub name: &'static str,
    /// What is special about this one.
    pub special: Special,
}

/// What is special about a reader or its card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Nothing.
    None,
    /// Cards in these slots; the others are empty.
    Slots(&'static [u8]),
    /// The card asks for waiting time extensions of 12 s, twice before each answer.
    Slow,
    /// The card has T=0 alone.
    T0,
    /// The device's names are as long as names can be.
    LongName,
}

impl Simulated {
    /// A reader with a card in its first slot.
    pub const fn new(name: &'static str) -> Simulated {
        Simulated {
            name,
            special: Special::None,
        }
    }

    /// The same with this peculiarity.
    pub const fn with(name: &'static str, special: Special) -> Simulated {
        Simulated { name, special }
    }

    /// Makes the device. Its cards' commands send `inputs` to it.
    pub fn factory(&self, inputs: Sender<Input>) -> Factory {
        let model = self.model();
        let special = self.special;
        let is_named = special == Special::None;
        let name = self.name;
        Box::new(move || {
            let named = SimDevice::named(name).filter(|_| is_named);
            let mut device = match named {
                // With the faults that it has in the field.
                Some(device) if device.model().number == 0 => device,
                _ => SimDevice::new(model.clone()),
            };
            let slots = match special {
                Special::Slots(slots) => slots,
                _ => &[0],
            };
            for slot in slots {
                let card = card(device.model(), special, inputs.clone(), *slot);
                device.insert(*slot, card);
            }
            device.will_type(KeypadEntry::pin("1234"));
            device
        })
    }

    fn model(&self) -> Model {
        let mut model = model(self.name).expect("one of the simulator's readers");
        // Alone in its device; the firmware expects interface 0.
        model.number = 0;
        if self.special == Special::LongName {
            // No list of readers has it, so that its own strings name it.
            (model.identity.vendor_id, model.identity.product_id) = (0xFFFF, 0xFFFF);
            model.identity.manufacturer = Some("M".repeat(60));
            model.identity.product = Some("P".repeat(60));
        }
        model
    }
}

/// A card that the reader takes: T=0 and T=1, or what it has of them.
fn card(model: &Model, special: Special, inputs: Sender<Input>, slot: u8) -> Box<dyn CharacterCard> {
    let has = |bit: u32| model.descriptor.protocols & bit != 0;
    let offers: Vec<Offer> = [(has(1), Offer::T0), (has(2) && special != Special::T0, Offer::T1)]
        .into_iter()
        .filter_map(|(has, offer)| has.then_some(offer))
        .collect();
    let behaviour = match special {
        Special::Slow => Behaviour {
            wtx: 2,
            // BWT is 1.6 s at BWI 4.
            wtx_multiplier: 8,
            ..Behaviour::default()
        },
        _ => Behaviour::default(),
    };
    let mut profile = Profile::new(&offers);
    profile.historical = vec![b'S', slot];
    let levers = Levers {
        inputs,
        again: Box::new({
            let model = model.clone();
            move |inputs| card(&model, special, inputs, slot)
        }),
        slot,
    };
    let mut apps = Several::demo();
    apps.0.insert(0, Box::new(levers));
    Box::new(SimCard::new(profile, behaviour, Box::new(apps)))
}

/// Commands that move the card or its reader: 80 03 pulls the reader out, 80 06 does so after the answer, 80
/// 05 replaces the card, and 80 07 is answered with P1-P2.
struct Levers {
    inputs: Sender<Input>,
    again: Box<dyn Fn(Sender<Input>) -> Box<dyn CharacterCard> + Send>,
    slot: u8,
}

impl App for Levers {
    fn process(&mut self, command: &CommandApdu<'_>, response: &mut Vec<u8>) {
        // The queue is the device's own and lives as long as it does.
        let status: [u8; 2] = match command.header {
            [0x80, 0x03, ..] => {
                _ = self.inputs.send(Input::Unplug);
                [0x90, 0x00]
            }
            [0x80, 0x06, ..] => {
                _ = self.inputs.send(Input::Leave);
                [0x90, 0x00]
            }
            [0x80, 0x05, ..] => {
                let (slot, card) = (self.slot, (self.again)(self.inputs.clone()));
                _ = self.inputs.send(Input::Change(Box::new(move |device| {
                    // After the answer, which a card that is gone does not give.
                    let ready = device.ready_at().unwrap_or_default();
                    device.advance(ready.saturating_sub(device.now()));
                    device.remove(slot);
                })));
                _ = self
                    .inputs
                    .send(Input::Change(Box::new(move |device| device.insert(slot, card))));
                [0x90, 0x00]
            }
            [0x80, 0x07, sw1, sw2] => [sw1, sw2],
            _ => [0x6D, 0x00],
        };
        response.extend(status);
    }
}
