//! Cards by name, or by their ATR in hexadecimal: for readers that are played for other programs.
//!
//! All of them carry the echo and the example file system of [`apps`](super::apps), the applet of its
//! `Hello`, and these commands, selected or not:
//!
//! | command | answer |
//! |---|---|
//! | 00 00 00 00 | "Hello world!" |
//! | 80 E0 P1 P2 | P1-P2 bytes, byte i being i mod 256 |
//! | 80 E2 00 00, 80 E2 01 00, 80 E2 02 00 | 65,534, 65,536 and 65,546 of them |
//! | 80 DE P1 P2 | none, after P1-P2 ms |
//! | 80 C0 00 00 | how many commands there were since the reset, in four bytes |

use super::apps::{App, Echo, FileSystem, Hello, Several};
use super::{Behaviour, Convention, Offer, PpsBehaviour, Profile, SimCard, Switches};
use crate::masked;
use pcsc_ccid::apdu::CommandApdu;
use pcsc_ccid::t1::Edc;
use std::sync::Arc;
use std::time::Duration;

/// The named cards, each with a description.
pub const NAMES: [(&str, &str); 12] = [
    ("t0", "T=0 at 372/1"),
    ("t1", "T=1 at 372/1"),
    ("both", "T=0 and T=1, at 512/32"),
    ("fast", "T=1 at 512/64"),
    ("crc", "T=1 with the CRC"),
    ("inverse", "T=0 in inverse convention"),
    ("acos-id", "T=1 at 512/64; mute after any PPS for another rate"),
    (
        "frail",
        "T=0, promises 512/32 and is mute at more than 200,000 bits per second",
    ),
    ("mute", "no ATR"),
    ("noise", "every second block is damaged"),
    ("wtx", "asks for more time for ever"),
    ("vanishing", "is pulled out in the middle of a command"),
];

/// Makes a card.
///
/// # Errors
/// A message, if there is no card of this name or with this ATR.
pub fn make(text: &str, switches: &Arc<Switches>) -> Result<SimCard, String> {
    let (profile, behaviour) = match named(text) {
        Some(card) => card,
        None => (profile(&hexadecimal(text)?)?, Behaviour::default()),
    };
    let app = Several(vec![
        Box::new(Basics {
            switches: switches.clone(),
            count: 0,
        }),
        Box::new(Hello::default()),
        Box::new(Echo),
        Box::new(FileSystem::example()),
    ]);
    Ok(SimCard::new(profile, behaviour, Box::new(app)).with_switches(switches.clone()))
}

fn named(name: &str) -> Option<(Profile, Behaviour)> {
    let crc = Offer::T1 {
        ifsc: Some(254),
        bwi_cwi: Some(0x45),
        edc: Edc::Crc,
    };
    let (ta1, offers): (Option<u8>, &[Offer]) = match name {
        "t0" | "inverse" | "mute" => (None, &[Offer::T0]),
        "t1" | "noise" | "wtx" | "vanishing" => (None, &[Offer::T1]),
        "crc" => (None, &[crc]),
        "both" => (Some(0x96), &[Offer::T0, Offer::T1]),
        "frail" => (Some(0x96), &[Offer::T0]),
        "fast" | "acos-id" => (Some(0x97), &[Offer::T1]),
        _ => return None,
    };
    let mut profile = Profile {
        ta1,
        historical: name.as_bytes().to_vec(),
        ..Profile::new(offers)
    };
    let mut behaviour = Behaviour::default();
    match name {
        "inverse" => profile.convention = Convention::Inverse,
        "acos-id" => behaviour.pps = PpsBehaviour::OwnRateOrMute,
        "frail" => behaviour.fails_above = Some(200_000),
        "mute" => behaviour.mute = true,
        "noise" => behaviour.corrupt_every = Some(2),
        "wtx" => behaviour = Behaviour::wtx_for_ever(),
        "vanishing" => behaviour.removed_after = Some(40),
        _ => (),
    }
    Some((profile, behaviour))
}

/// A card with this ATR, byte for byte.
fn profile(bytes: &[u8]) -> Result<Profile, String> {
    let profile = Profile::from_atr(bytes).map_err(|error| error.to_string())?;
    if profile.atr() != bytes {
        return Err("no simulated card has this ATR".into());
    }
    Ok(profile)
}

fn hexadecimal(text: &str) -> Result<Vec<u8>, String> {
    let bytes = masked::parse(text)
        .ok()
        .and_then(|bytes| bytes.into_iter().collect());
    let names = || NAMES.map(|(name, _)| name).join(", ");
    bytes.ok_or_else(|| format!("no card {text}: there are ATRs in hexadecimal, {}", names()))
}

/// The commands that every card supports.
struct Basics {
    switches: Arc<Switches>,
    count: u32,
}

impl App for Basics {
    fn reset(&mut self) {
        self.count = 0;
    }

    fn process(&mut self, command: &CommandApdu<'_>, response: &mut Vec<u8>) {
        self.count = self.count.wrapping_add(1);
        let pattern = |length: usize| (0..length).map(|i| i as u8);
        let [cla, ins, p1, p2] = command.header;
        let parameter = u16::from_be_bytes([p1, p2]);
        match (cla, ins, parameter) {
            (0x00, 0x00, 0) => response.extend(Hello::TEXT),
            (0x80, 0xE0, length) => response.extend(pattern(length.into())),
            (0x80, 0xE2, 0x0000) => response.extend(pattern(65_534)),
            (0x80, 0xE2, 0x0100) => response.extend(pattern(65_536)),
            (0x80, 0xE2, 0x0200) => response.extend(pattern(65_546)),
            // The card's own clock is simulated: the time is spent on the way to the host.
            (0x80, 0xDE, ms) => self.switches.owe(Duration::from_millis(ms.into())),
            (0x80, 0xC0, 0) => response.extend(self.count.to_be_bytes()),
            _ => return response.extend([0x6D, 0x00]),
        }
        response.extend([0x90, 0x00]);
    }

    fn carries_data(&self, _header: &[u8; 4]) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atr_makes_a_card_with_that_atr() {
        for atr in [
            "3B04543D3021",
            "3B8401543D3121FC",
            "3B94968031FE45626F746819",
            "3B8F8001804F0CA000000306030001000000006A",
            "3F0141",
        ] {
            let bytes = hexadecimal(atr).unwrap();
            match profile(&bytes) {
                Ok(profile) => assert_eq!(profile.atr(), bytes),
                Err(reason) => panic!("{atr}: {reason}"),
            }
        }
    }

    #[test]
    fn what_is_no_card_is_an_error() {
        let switches = Arc::new(Switches::default());
        for text in ["", "3C00", "t2", "3B80", "3B8001FF", "3B0", "3B**"] {
            assert!(make(text, &switches).is_err(), "{text}");
        }
        for (name, _) in NAMES {
            assert!(make(name, &switches).is_ok(), "{name}");
        }
    }
}
