//! The readers and protocols that the faults are tried on, and the commands that are exchanged.

use crate::common::{pattern, read};
use pcsc_ccid::reader::Protocol;
use pcsc_sim::card::Offer;

/// A reader, a protocol, and whether it carries extended APDUs.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub reader: &'static str,
    pub protocol: Protocol,
    pub extended: bool,
}

pub const fn setting(reader: &'static str, protocol: Protocol, extended: bool) -> Setting {
    Setting {
        reader,
        protocol,
        extended,
    }
}

pub const SETTINGS: [Setting; 17] = [
    // TPDU level: we speak T=0 and T=1.
    setting("gempc-express", Protocol::T0, true),
    setting("gempc-express", Protocol::T1, true),
    setting("scr3310", Protocol::T0, true),
    setting("scr3310", Protocol::T1, true),
    setting("octsim", Protocol::T0, true),
    // Short APDU level.
    setting("omnikey-5321", Protocol::T0, false),
    setting("omnikey-5321", Protocol::T1, false),
    setting("rutoken-lite", Protocol::T1, false),
    // Extended APDU level.
    setting("au9540", Protocol::T0, true),
    setting("au9540", Protocol::T1, true),
    setting("omnikey-3x21", Protocol::T1, true),
    setting("yubikey", Protocol::T1, true),
    setting("acr1252-picc", Protocol::T1, true),
    // Character level.
    setting("oz776", Protocol::T0, true),
    setting("oz776", Protocol::T1, true),
    // The control pipe.
    setting("ibank2key", Protocol::T0, false),
    setting("starsign", Protocol::T1, false),
];

impl Setting {
    pub fn offers(&self) -> &'static [Offer] {
        match self.protocol {
            Protocol::T0 => &[Offer::T0],
            Protocol::T1 => &[Offer::T1],
        }
    }

    /// Whether each reply to us has a check of its own.
    pub fn is_checked(&self) -> bool {
        matches!(self.reader, "gempc-express" | "scr3310") && self.protocol == Protocol::T1
    }

    /// Whether a block is as long as its LEN says, whatever the card has sent.
    pub fn cuts_blocks(&self) -> bool {
        self.reader == "oz776" && self.protocol == Protocol::T1
    }

    /// Commands of all four cases, with the answers of a good card.
    pub fn exchanges(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut exchanges = vec![
            (vec![0x80, 0x01, 0x00, 0x00], vec![0x6D, 0x00]),
            (read(5).to_vec(), pattern(5)),
            (read(0x50).to_vec(), pattern(0x50)),
            (echo(&[0x25; 3], false), echoed(&[0x25; 3])),
            (echo(&[0x50; 200], false), echoed(&[0x50; 200])),
        ];
        if self.protocol == Protocol::T1 {
            exchanges.push((read(256).to_vec(), pattern(256)));
        }
        if self.extended {
            let long: Vec<u8> = (0..700usize).map(|i| (i % 0x5B) as u8).collect();
            exchanges.push((echo(&long, true), echoed(&long)));
        }
        exchanges
    }
}

pub fn echo(data: &[u8], is_extended: bool) -> Vec<u8> {
    let mut apdu = vec![0x80, 0xEC, 0, 0];
    match is_extended {
        true => {
            apdu.push(0);
            apdu.extend((data.len() as u16).to_be_bytes());
            apdu.extend(data);
            apdu.extend([0, 0]);
        }
        false => {
            apdu.push(data.len() as u8);
            apdu.extend(data);
            apdu.push(0);
        }
    }
    apdu
}

pub fn echoed(data: &[u8]) -> Vec<u8> {
    [data, &[0x90, 0x00]].concat()
}
