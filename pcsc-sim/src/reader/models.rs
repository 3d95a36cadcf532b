//! A handful of well-known readers, one of each kind, by short names.

use super::device::SimDevice;
use super::model::Model;
use super::oddities::Oddities;

/// In the form of [`Model::parse`], with the short name as the first column.
const LINES: &str = include_str!("models.txt");

/// The short names, each with what is typical of it.
pub const NAMES: [(&str, &str); 14] = [
    ("gempc-express", "TPDU level, the host negotiates"),
    (
        "au9540",
        "extended APDU level; promises 688,172 bps, fails above 200,000",
    ),
    ("scr3310", "TPDU level, the reader makes PPS"),
    (
        "omnikey-3x21",
        "extended APDU level, automatic parameters and PPS",
    ),
    ("omnikey-5321", "short APDU level"),
    ("oz776", "character level; loses replies that fill their packets"),
    ("octsim", "eight slots for SIM cards, TPDU level, T=0 only"),
    ("scr331-di", "two slots, contact and contactless"),
    ("gempc-pinpad", "PIN pad, TPDU level"),
    ("acr1252-picc", "contactless, T=1 only, extended APDU level"),
    (
        "yubikey",
        "a token, extended APDU level, negotiates by its own rules",
    ),
    ("ibank2key", "ICCD version A, character level"),
    ("starsign", "ICCD version B, short APDU level"),
    ("rutoken-lite", "a token without an interrupt endpoint"),
];

/// The model with a short name of [`NAMES`].
pub fn model(name: &str) -> Option<Model> {
    LINES
        .lines()
        .find(|line| line.split('\t').next() == Some(name))
        .and_then(|line| Model::parse(line).ok())
}

impl SimDevice {
    /// The device with a short name of [`NAMES`], with the faults that it has in the field.
    pub fn named(name: &str) -> Option<SimDevice> {
        let mut oddities = Oddities::default();
        match name {
            "au9540" => oddities.contact_limit_bps = Some(200_000),
            "oz776" => oddities.loses_whole_packets = true,
            "gempc-pinpad" => oddities.all_message_indexes = true,
            _ => (),
        }
        Some(SimDevice::new(model(name)?).with(oddities))
    }
}
