//! Through pcscd and the driver that it has loaded.

use super::{Host, Path};
use crate::daemon::{context, Pcscd};
use crate::Result;
use pcsc_client::{
    Card, Context, Disposition, Error, Protocol, Protocols, ReaderState, ShareMode, State, PNP_NOTIFICATION,
};
use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

/// How long a reader and its card may take to appear. Generous: the guest's processors are interpreted, on a
/// host that may be busy.
const APPEAR: Duration = Duration::from_secs(180);

/// How long a change of the list may stay unseen that no wait was told of.
const UNTOLD: Duration = Duration::from_secs(1);

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
        let reader = reader(context, name)?;
        wait(context, &reader, State::PRESENT)?;
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

    fn begin(&mut self) -> Result<()> {
        let (pcscd, _) = Pcscd::start("readers-libccid")?;
        self.pcscd = Some(pcscd);
        Ok(())
    }

    fn connect(&self, name: &str) -> Result<Box<dyn Path>> {
        Ok(Box::new(Daemon::connect(&context()?, name)?))
    }

    fn card_removed(&self, name: &str) -> Result<()> {
        let context = context()?;
        wait(&context, &reader(&context, name)?, State::EMPTY)
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

/// Waits for a reader whose name contains `name`.
pub fn reader(context: &Context, name: &str) -> Result<CString> {
    let found = |names: &[CString]| {
        let mut names = names.iter();
        names
            .find(|known| known.to_string_lossy().contains(name))
            .cloned()
    };
    list(context, found)
}

/// Waits until no reader's name contains `name`.
pub fn gone(context: &Context, name: &str) -> Result<()> {
    let is_gone = |names: &[CString]| {
        let mut names = names.iter();
        (!names.any(|known| known.to_string_lossy().contains(name))).then_some(())
    };
    list(context, is_gone)
}

/// Waits until the list of readers is as wanted, and gives what `wanted` finds in it.
fn list<T>(context: &Context, wanted: impl Fn(&[CString]) -> Option<T>) -> Result<T> {
    let end = Instant::now() + APPEAR;
    let mut states = [ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)];
    loop {
        let names = context.list_readers_owned()?;
        if let Some(found) = wanted(&names) {
            return Ok(found);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("the readers are still {names:?}").into());
        }
        // Before protocol 4.5 a wait knows nothing of what came between the list and itself.
        match context.get_status_change(left.min(UNTOLD), &mut states) {
            Ok(()) | Err(Error::Timeout) => states.iter_mut().for_each(ReaderState::sync_current_state),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until a reader is in a state that has all bits of `state`.
pub fn wait(context: &Context, reader: &CStr, state: State) -> Result<()> {
    let end = Instant::now() + APPEAR;
    let mut readers = [ReaderState::new(reader, State::UNAWARE)];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        context.get_status_change(left, &mut readers)?;
        let [seen] = &mut readers;
        if seen.event_state().contains(state) {
            return Ok(());
        }
        if left.is_zero() {
            return Err(format!("{reader:?} is in {:?}, not {state:?}", seen.event_state()).into());
        }
        seen.sync_current_state();
    }
}
