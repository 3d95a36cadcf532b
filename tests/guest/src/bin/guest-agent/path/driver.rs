//! Through our driver, in this process: no daemon, no driver of the system's.

use super::{Host, Path};
use crate::tries::Tries;
use crate::Result;
use pcsc_ccid::atr::Atr;
use pcsc_ccid::names;
use pcsc_ccid::reader::{Protocol, Reader, ReaderOptions, Reset};
use pcsc_ccid::usb::{Candidate, Hotplug, Opened, UsbTransport};

/// The longest response: 65,536 bytes and the status word.
const RESPONSE: usize = 65_538;

/// The USB, with no driver but ours.
pub struct Bus;

impl Host for Bus {
    fn knows(&self, _vendor: u16, _product: u16) -> Result<bool> {
        Ok(true)
    }

    fn begin(&mut self, _names: &[&str]) -> Result<()> {
        Ok(())
    }

    fn tries(&self) -> Tries {
        Tries::ONE
    }

    fn connect(&self, name: &str) -> Result<Box<dyn Path>> {
        Ok(Box::new(Driver::connect(name)?))
    }

    fn card_removed(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) {}
}

/// A reader that is ours, and the card in one of its slots.
pub struct Driver {
    name: String,
    reader: Reader<UsbTransport>,
    slot: u8,
    protocol: Option<Protocol>,
}

impl Driver {
    /// Waits for a reader whose name contains `name`, opens it, and powers the card in its first slot.
    pub fn connect(name: &str) -> Result<Self> {
        let (mut hotplug, listing) = Hotplug::new()?;
        let mut readers = listing.readers;
        let candidate = loop {
            let found = readers
                .into_iter()
                .find(|reader| reader.name_identity().base_name().contains(name));
            if let Some(candidate) = found {
                break candidate;
            }
            readers = hotplug.wait()?.ok_or("nobody watches the readers")?.arrived;
        };
        let mut driver = Self::open(&candidate)?;
        driver.power(Reset::Cold)?;
        Ok(driver)
    }

    /// Opens a reader; no card has power then.
    fn open(candidate: &Candidate) -> Result<Self> {
        let Opened { transport, .. } = candidate.open()?;
        let reader = Reader::open(
            transport,
            candidate.device(),
            &candidate.interface,
            ReaderOptions::default(),
        )?;
        Ok(Self {
            name: names::name(&candidate.name_identity().base_name(), 0, 0),
            reader,
            slot: 0,
            protocol: None,
        })
    }

    /// Resets the card, and chooses the protocol that it offers first.
    fn power(&mut self, reset: Reset) -> Result<()> {
        let atr = Atr::parse(self.reader.power_on(self.slot, reset)?)?;
        let protocol = match atr.first_protocol() {
            0 => Protocol::T0,
            1 => Protocol::T1,
            other => return Err(format!("a card for T={other}").into()),
        };
        self.reader.set_protocol(self.slot, protocol)?;
        self.protocol = Some(protocol);
        Ok(())
    }
}

impl Path for Driver {
    fn reader(&self) -> String {
        self.name.clone()
    }

    fn atr(&mut self) -> Result<Vec<u8>> {
        Ok(self.reader.atr(self.slot).to_vec())
    }

    fn protocol(&self) -> Option<u8> {
        self.protocol.map(|protocol| protocol as u8)
    }

    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        let mut response = vec![0; RESPONSE];
        let length = self.reader.transmit(self.slot, command, &mut response)?;
        response.truncate(length);
        Ok(response)
    }

    fn reset(&mut self) -> Result<()> {
        self.power(Reset::Warm)
    }
}
