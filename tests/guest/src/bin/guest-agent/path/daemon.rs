//! Through pcscd and the driver that it has loaded.

use super::Path;
use crate::Result;
use pcsc_client::{
    Card, Context, Disposition, Error, Protocols, ReaderState, ShareMode, State, PNP_NOTIFICATION,
};
use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

/// How long a reader and its card may take to appear.
const APPEAR: Duration = Duration::from_secs(30);

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

impl Path for Daemon {
    fn reader(&self) -> String {
        self.reader.to_string_lossy().into_owned()
    }

    fn atr(&mut self) -> Result<Vec<u8>> {
        Ok(self.card.status2_owned()?.atr().to_vec())
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
    let end = Instant::now() + APPEAR;
    let mut readers = [ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)];
    loop {
        let names = context.list_readers_owned()?;
        if let Some(found) = names.iter().find(|known| known.to_string_lossy().contains(name)) {
            return Ok(found.clone());
        }
        let left = end.saturating_duration_since(Instant::now());
        match context.get_status_change(left, &mut readers) {
            Ok(()) => readers.iter_mut().for_each(ReaderState::sync_current_state),
            Err(Error::Timeout) => return Err(format!("no reader {name:?} but {names:?}").into()),
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
