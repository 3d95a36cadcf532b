//! The readers that a status change call watches.

use std::ffi::{CStr, CString};

use crate::backend::status_change::Watched;
use crate::backend::AtrBytes;
use crate::ffi::DWORD;
use crate::values::{number, State};

/// The name of the pseudo-reader whose state changes when readers come or go.
#[allow(non_snake_case)]
pub fn PNP_NOTIFICATION() -> &'static CStr {
    c"\\\\?PnP?\\Notification"
}

/// A reader to watch: the state that the caller knows, and the state that the last call found.
#[derive(Debug, Clone)]
pub struct ReaderState {
    name: CString,
    current: u32,
    event: u32,
    atr: AtrBytes,
}

impl ReaderState {
    /// A reader of which the caller knows `current_state`.
    pub fn new<T: Into<CString>>(name: T, current_state: State) -> ReaderState {
        ReaderState {
            name: name.into(),
            current: number(current_state.bits()),
            event: 0,
            atr: AtrBytes::default(),
        }
    }

    /// The reader's name.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// The ATR of the card in the reader; empty when there is none.
    pub fn atr(&self) -> &[u8] {
        &self.atr
    }

    /// The state that the caller knows.
    pub fn current_state(&self) -> State {
        State::from_bits_truncate(DWORD::from(self.current))
    }

    /// The state that the last call found.
    pub fn event_state(&self) -> State {
        State::from_bits_truncate(DWORD::from(self.event))
    }

    /// How often the state has changed, modulo 65,536.
    pub fn event_count(&self) -> u32 {
        self.event >> 16
    }

    /// Makes the state that the last call found the one that the caller knows.
    pub fn sync_current_state(&mut self) {
        self.current = self.event;
    }

    pub(crate) fn watch(&self) -> Watched<'_> {
        Watched::new(self.name.to_bytes(), self.current)
    }

    pub(crate) fn update(&mut self, event: Option<u32>, atr: Option<AtrBytes>) {
        self.event = event.unwrap_or(self.event);
        self.atr = atr.unwrap_or(self.atr);
    }
}
