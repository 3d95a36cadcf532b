//! Simulated readers of every level of exchange, each with cards of both protocols, slow and fast.

use crate::path::{Host, Path};
use crate::simulated::{base_name, Simulated};
use crate::{fact, hex, Result, LIMIT};
use pcsc_guest_tests::usbip::{Plugged, Speed, Transfer};
use pcsc_sim::card::apps::Echo;
use pcsc_sim::card::{Behaviour, Offer, PpsBehaviour, Profile, SimCard};
use pcsc_sim::SimDevice;
use std::thread;

/// The cards' time goes so much faster than ours.
const PACE: u32 = 16;

/// What is plugged in at once: pcscd has room for 16 slots. The last reader alone has eight.
const ROUNDS: [&[&str]; 2] = [
    &[
        "gempc-express",
        "au9540",
        "scr3310",
        "omnikey-3x21",
        "oz776",
        "scr331-di",
        "yubikey",
        "ibank2key",
        "starsign",
        "rutoken-lite",
    ],
    &["octsim"],
];

/// A card's name, its protocol, its TA1 and how it takes PPS.
type Card = (&'static str, Offer, Option<u8>, PpsBehaviour);

/// The cards: the first says nothing of speed, the second that it can do 32 times 372/512 of the default.
const CARDS: [Card; 4] = [
    ("t0", Offer::T0, None, PpsBehaviour::Accept),
    ("t0-fast", Offer::T0, Some(0x96), PpsBehaviour::Accept),
    ("t1", Offer::T1, None, PpsBehaviour::Accept),
    ("t1-fast", Offer::T1, Some(0x96), PpsBehaviour::Accept),
];

/// Cards that are faster than the AU9540: Acos-ID, which is mute at any speed but its own, and such as are
/// mute at any PPS.
const STUBBORN: [Card; 4] = [
    ("t0-acos", Offer::T0, Some(0x97), PpsBehaviour::OwnRateOrMute),
    ("t1-acos", Offer::T1, Some(0x97), PpsBehaviour::OwnRateOrMute),
    ("t0-mute", Offer::T0, Some(0x97), PpsBehaviour::Mute),
    ("t1-mute", Offer::T1, Some(0x97), PpsBehaviour::Mute),
];

/// Every reader with every card that fits it. Facts begin with `READER/CARD/`; what fails is a fact too.
pub fn all(host: &mut dyn Host) -> Result<()> {
    for models in ROUNDS {
        let mut readers = Vec::new();
        for model in models {
            let device = SimDevice::named(model).ok_or("no such reader")?;
            if host.knows(
                device.model().identity.vendor_id,
                device.model().identity.product_id,
            )? {
                readers.push(Reader::plug(model, device)?);
            }
        }
        let names: Vec<&str> = readers.iter().map(|reader| reader.name.as_str()).collect();
        host.begin(&names)?;
        let results = thread::scope(|scope| {
            let host = &*host;
            let threads: Vec<_> = readers
                .iter()
                .map(|reader| scope.spawn(|| reader.try_cards(host)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join())
                .collect::<Vec<_>>()
        });
        host.end();
        for result in results {
            result
                .map_err(|_| "a reader's thread panicked")?
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// A reader that is plugged in.
struct Reader {
    model: &'static str,
    /// What pcscd makes its name of.
    name: String,
    /// The cards that fit it.
    cards: Vec<Card>,
    /// It has one card, which is always there.
    is_token: bool,
    device: Plugged<Simulated>,
}

impl Reader {
    fn plug(model: &'static str, device: SimDevice) -> Result<Self> {
        let name = base_name(device.model());
        let protocols = device.model().descriptor.protocols;
        let stubborn = if model == "au9540" { &STUBBORN[..] } else { &[] };
        let cards: Vec<Card> = CARDS
            .iter()
            .chain(stubborn)
            .copied()
            .filter(|(_, offer, ..)| protocols & (1 << offer.number()) != 0)
            .collect();
        // libccid never looks again whether an ICCD device still has its card.
        let is_token = device.model().endpoints < 2;
        let mut device = Simulated::new(vec![device], PACE);
        if let (true, Some(card)) = (is_token, cards.first()) {
            device.insert(0, made(card));
        }
        let device = Plugged::plug(device, Speed::Full)?;
        if !device.configured(LIMIT) {
            return Err(format!("the kernel has not configured {model}").into());
        }
        Ok(Self {
            model,
            name,
            cards,
            is_token,
            device,
        })
    }

    fn try_cards(&self, host: &dyn Host) -> std::result::Result<(), String> {
        for card in &self.cards {
            let prefix = format!("{}/{}", self.model, card.0);
            let mut tries = host.tries();
            loop {
                if !self.is_token {
                    self.device.with(|function| function.insert(0, made(card)));
                }
                let again = match host.connect(&self.name) {
                    Ok(mut path) => {
                        self.trial(&prefix, &mut *path);
                        false
                    }
                    Err(error) if !self.is_token && tries.again(format!("{prefix}: {error}")) => true,
                    Err(error) => {
                        eprintln!("{prefix}: {error}");
                        fact(&format!("{prefix}/connect"), "failed");
                        false
                    }
                };
                if self.is_token {
                    return Ok(());
                }
                self.device.with(|function| function.remove(0));
                host.card_removed(&self.name)
                    .map_err(|error| format!("{prefix}: {error}"))?;
                self.device.take_log();
                if !again {
                    break;
                }
            }
        }
        Ok(())
    }

    fn trial(&self, prefix: &str, path: &mut dyn Path) {
        let say = |name: &str, value: &str| fact(&format!("{prefix}/{name}"), value);
        say("reader", &path.reader());
        say("atr", &path.atr().map_or("failed".into(), |atr| hex(&atr)));
        say(
            "protocol",
            &path.protocol().map_or("none".into(), |number| number.to_string()),
        );
        let log = self.device.take_log();
        say("set-parameters", &commands(&log, 0x61).join(" "));
        let pps = commands(&log, 0x6F)
            .into_iter()
            .filter(|data| data.starts_with("ff"));
        say("pps", &pps.collect::<Vec<_>>().join(" "));
        for (name, command) in apdus(path.protocol() == Some(1)) {
            match path.transmit(&command) {
                Ok(response) => say(&name, &hex(&response)),
                Err(error) => {
                    eprintln!("{prefix}/{name}: {error}");
                    say(&name, "failed");
                }
            }
            let log = self.device.take_log();
            say(&format!("{name}-transfers"), &exchanges(&log).to_string());
        }
        let speed = self
            .device
            .with(|function| Some(function.reader(0)?.contact(0)?.line().bits_per_second()));
        say("speed", &speed.unwrap_or(0).to_string());
    }
}

fn made(card: &Card) -> SimCard {
    let (name, offer, ta1, pps) = *card;
    let mut profile = Profile::new(&[offer]);
    profile.ta1 = ta1;
    profile.historical = name.into();
    let behaviour = Behaviour {
        pps,
        ..Behaviour::default()
    };
    SimCard::new(profile, behaviour, Box::new(Echo))
}

/// The data of the messages of that kind that the device was sent, each after its header of 10 bytes.
fn commands(log: &[Transfer], kind: u8) -> Vec<String> {
    let sent = log
        .iter()
        .filter(|transfer| transfer.endpoint & 0x80 == 0 && transfer.setup.is_none());
    let of_kind = sent.filter(|transfer| transfer.data.first() == Some(&kind));
    of_kind
        .map(|transfer| hex(transfer.data.get(10..).unwrap_or_default()))
        .collect()
}

/// How many transfers carried an APDU's parts: PC_to_RDR_XfrBlock and RDR_to_PC_DataBlock, or XFR_BLOCK of an
/// ICCD device. Polls for the card's presence, which go on beside it, and for an ICCD device's answer, which
/// take their time, are not among them.
pub fn exchanges(log: &[Transfer]) -> usize {
    let carries = |transfer: &&Transfer| match (transfer.endpoint, transfer.setup) {
        (_, Some([_, request, ..])) => request == 0x65,
        (endpoint, None) => transfer.data.first() == Some(if endpoint & 0x80 == 0 { &0x6F } else { &0x80 }),
    };
    log.iter().filter(carries).count()
}

/// Commands of the cases that a card of that protocol can be sent without help from the layer above.
fn apdus(is_t1: bool) -> Vec<(String, Vec<u8>)> {
    let mut apdus = vec![("case-1".into(), vec![0x80, 0xEC, 0, 0])];
    for length in [1, 100, 255_u8] {
        apdus.push((format!("case-2-{length}"), vec![0x80, 0xEE, 0, length, length]));
        let mut command = vec![0x80, 0xEC, 0, 0, length];
        command.extend(1..=length);
        apdus.push((format!("case-3-{length}"), command.clone()));
        if is_t1 {
            command.push(0);
            apdus.push((format!("case-4-{length}"), command));
        }
    }
    if is_t1 {
        let mut command = vec![0x80, 0xEC, 0, 0, 0, 4, 0];
        command.extend((0..=255).cycle().take(1024));
        command.extend([0, 0]);
        apdus.push(("case-4-1024".into(), command));
    }
    apdus
}
