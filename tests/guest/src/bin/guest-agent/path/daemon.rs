//! Through pcscd and the driver that it has loaded.

use super::{appear, Host, Path};
use crate::daemon::{context, Pcscd};
use crate::tries::Tries;
use crate::Result;
use pcsc_client::{Card, Context, Disposition, Protocol, Protocols, ShareMode, State};
use std::ffi::CString;

/// libccid's list of the devices that it is for: an array of vendors' numbers and one of products'.
const KNOWN: &str = "/usr/lib/pcsc/drivers/ifd-ccid.bundle/Contents/Info.plist";

/// A connection to the card in a reader of pcscd's.
pub struct Daemon {
    reader: CString,
    card: Card,
}

impl Daemon {
    /// Waits for a reader whose name contains `name`, with a card, and connects to it.
    pub fn connect(context: &Context, name: &str) -> Result<Self> {
        let reader = appear(context, name, State::PRESENT)?;
        let card = context.connect(&reader, ShareMode::Shared, Protocols::ANY)?;
        Ok(Self { reader, card })
    }

    /// The connection.
    pub fn card(&mut self) -> &mut Card {
        &mut self.card
    }
}

/// Debian's pcscd with libccid. Each call has a context of its own.
///
/// It ends before its readers are unplugged: with libccid 1.5.2 a reader of several slots that is unplugged
/// stays in the list for ever, its threads asking the device that is gone.
#[derive(Default)]
pub struct Stock {
    pcscd: Option<Pcscd>,
}

impl Host for Stock {
    fn knows(&self, vendor: u16, product: u16) -> Result<bool> {
        let list = std::fs::read_to_string(KNOWN)?;
        let numbers = |key| {
            let (_, list) = list.split_once(key)?;
            let (list, _) = list.split_once("</array>")?;
            let words = list.split("0x").skip(1).filter_map(|word| word.get(..4));
            Some(
                words
                    .filter_map(|word| u16::from_str_radix(word, 16).ok())
                    .collect::<Vec<_>>(),
            )
        };
        let (vendors, products) = numbers("ifdVendorID")
            .zip(numbers("ifdProductID"))
            .ok_or("no list of readers")?;
        Ok(vendors
            .into_iter()
            .zip(products)
            .any(|pair| pair == (vendor, product)))
    }

    fn begin(&mut self, names: &[&str]) -> Result<()> {
        let daemon = || Pcscd::start("readers-libccid");
        let (pcscd, ..) = self.tries().start(daemon, names, State::UNAWARE)?;
        self.pcscd = Some(pcscd);
        Ok(())
    }

    fn tries(&self) -> Tries {
        Tries::LIBCCID
    }

    fn connect(&self, name: &str) -> Result<Box<dyn Path>> {
        Ok(Box::new(Daemon::connect(&context()?, name)?))
    }

    fn card_removed(&self, name: &str) -> Result<()> {
        appear(&context()?, name, State::EMPTY)?;
        Ok(())
    }

    fn end(&mut self) {
        self.pcscd = None;
    }
}

impl Path for Daemon {
    fn reader(&self) -> String {
        self.reader.to_string_lossy().into_owned()
    }

    fn atr(&mut self) -> Result<Vec<u8>> {
        Ok(self.card.status2_owned()?.atr().to_vec())
    }

    fn protocol(&self) -> Option<u8> {
        self.card.active_protocol().and_then(|protocol| match protocol {
            Protocol::T0 => Some(0),
            Protocol::T1 => Some(1),
            _ => None,
        })
    }

    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        let mut buffer = vec![0; pcsc_client::MAX_BUFFER_SIZE_EXTENDED];
        Ok(self.card.transmit(command, &mut buffer)?.to_vec())
    }

    fn reset(&mut self) -> Result<()> {
        Ok(self
            .card
            .reconnect(ShareMode::Shared, Protocols::ANY, Disposition::ResetCard)?)
    }
}
