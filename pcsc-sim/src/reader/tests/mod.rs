//! The firmware, driven by messages written by hand.

mod apdu;
mod catalogue;
mod handle;
mod iccd;
mod negotiation;
mod pin_pad;
mod pipes;
mod tpdu;

use super::SimDevice;
use crate::card::apps::{Hello, Several};
use crate::card::{Behaviour, Offer, Profile, SimCard};

/// A device and its host, which waits as long as it takes.
struct Bench {
    device: SimDevice,
}

impl Bench {
    fn new(name: &str) -> Bench {
        Bench {
            device: SimDevice::named(name).unwrap(),
        }
    }

    fn with_card(name: &str, card: SimCard) -> Bench {
        let mut bench = Bench::new(name);
        bench.device.insert(0, Box::new(card));
        bench
    }

    /// The reply to a message, and nothing after it.
    fn say(&mut self, message: &[u8]) -> Vec<u8> {
        self.device.bulk_out(message).unwrap();
        let reply = self.hear();
        assert_eq!(self.device.ready_at(), None, "one reply to a message");
        reply
    }

    /// The last reply to a message, after those that ask for time.
    fn say_to_the_end(&mut self, message: &[u8]) -> Vec<u8> {
        self.device.bulk_out(message).unwrap();
        loop {
            let reply = self.hear();
            if reply[7] & 0xC0 != 0x80 {
                return reply;
            }
        }
    }

    /// The first transfer of the reply to a message.
    fn say_more(&mut self, message: &[u8]) -> Vec<u8> {
        self.device.bulk_out(message).unwrap();
        self.hear()
    }

    /// The next reply.
    fn hear(&mut self) -> Vec<u8> {
        let at = self.device.ready_at().expect("a reply is under way");
        let now = self.device.now();
        self.device.advance(at.saturating_sub(now));
        self.device.bulk_in(70_000).unwrap().unwrap()
    }

    fn power_on(&mut self) -> Vec<u8> {
        let reply = self.say(&message(0x62, 0, 0, [1, 0, 0], &[]));
        assert_eq!(reply[7] & 0xC0, 0, "power comes: {reply:02X?}");
        reply[10..].to_vec()
    }
}

fn message(kind: u8, slot: u8, seq: u8, specific: [u8; 3], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend([slot, seq]);
    bytes.extend(specific);
    bytes.extend(data);
    bytes
}

/// A card with these protocols and this TA1.
fn card(offers: &[Offer], ta1: Option<u8>, behaviour: Behaviour) -> SimCard {
    let mut profile = Profile::new(offers);
    profile.ta1 = ta1;
    let apps = Several(vec![
        Box::new(Hello::default()),
        Box::new(crate::card::apps::Echo),
    ]);
    SimCard::new(profile, behaviour, Box::new(apps))
}

fn good(offers: &[Offer], ta1: Option<u8>) -> SimCard {
    card(offers, ta1, Behaviour::default())
}
