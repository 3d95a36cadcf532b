//! The readers as [`pcsc_sim::control`] has them.

#![forbid(unsafe_code)]

use crate::reader::{reader, Reader, MAX_READERS};
use pcsc_sim::control::{self, ControlledReader};
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

/// A reader of this process, which has one slot.
struct Controlled(&'static Reader);

/// They last as long as the process.
static CONTROLLED: LazyLock<Vec<Arc<dyn ControlledReader>>> = LazyLock::new(|| {
    (0..MAX_READERS)
        .filter_map(reader)
        .map(|reader| Arc::new(Controlled(reader)) as Arc<dyn ControlledReader>)
        .collect()
});

/// From now on the socket at `path` controls all readers.
pub fn listen(path: &Path) -> io::Result<()> {
    (0..=u8::MAX)
        .zip(&*CONTROLLED)
        .try_for_each(|(number, reader)| control::listen(path, number, Arc::downgrade(reader)))
}

/// What controls reader `number`.
pub fn controlled(number: u8) -> Option<Weak<dyn ControlledReader>> {
    CONTROLLED.get(usize::from(number)).map(Arc::downgrade)
}

impl ControlledReader for Controlled {
    fn insert(&self, _slot: u8, card: &str) -> Result<(), String> {
        self.0.insert(hex(card)?);
        Ok(())
    }

    fn remove(&self, _slot: u8) {
        self.0.remove();
    }

    fn unplug(&self) {
        self.0.set_unplugged(true);
    }

    fn plug(&self) -> Result<(), String> {
        self.0.set_unplugged(false);
        Ok(())
    }

    fn settle(&self, _slot: u8, limit: Duration) -> bool {
        self.0.settle(limit)
    }

    fn set_mute(&self, is_mute: bool) {
        self.0.behave(|behaviour| behaviour.mute = is_mute);
    }

    fn set_failing(&self, is_failing: bool) {
        self.0.behave(|behaviour| behaviour.fail = is_failing);
    }

    fn set_exchange_time(&self, time: Duration) -> Result<(), String> {
        self.0.behave(|behaviour| behaviour.transmit_delay = time);
        Ok(())
    }

    fn set_power_time(&self, time: Duration) -> Result<(), String> {
        self.0.behave(|behaviour| behaviour.power_delay = time);
        Ok(())
    }

    fn counts(&self) -> Result<String, String> {
        Ok(self.0.counts().to_string())
    }

    fn protocol(&self) -> Result<u32, String> {
        let protocol = self.0.protocol().unwrap_or(0);
        u32::try_from(protocol).map_err(|error| error.to_string())
    }
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 && digits.len() <= 66 => {
            Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(format!("not up to 33 bytes in hexadecimal: {text}")),
    }
}
