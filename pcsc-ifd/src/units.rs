//! pcscd's logical units, 0xDDDDCCCC: the number of the reader and that of its slot.

#![forbid(unsafe_code)]

use crate::abi::{self, Dword, ResponseCode};
use crate::channel::Channel;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// A slot of an open reader.
#[derive(Clone)]
pub struct Unit {
    /// The reader.
    pub channel: Arc<Channel>,
    /// The slot.
    pub slot: u8,
}

static UNITS: RwLock<BTreeMap<Dword, Unit>> = RwLock::new(BTreeMap::new());

/// The slot's part of a logical unit.
const SLOT: Dword = 0xFFFF;

/// The unit with this number.
///
/// # Errors
/// [`abi::COMMUNICATION_ERROR`] if it is not open.
pub fn find(lun: Dword) -> Result<Unit, ResponseCode> {
    let units = UNITS.read().unwrap_or_else(PoisonError::into_inner);
    units.get(&lun).cloned().ok_or(abi::COMMUNICATION_ERROR)
}

/// Opens a unit. Further slots of an open reader share its channel; `open` opens the reader of the first one.
///
/// # Errors
/// [`abi::COMMUNICATION_ERROR`] for a unit that is open and for a slot that does not exist; the error of
/// `open`.
pub fn add(lun: Dword, open: impl FnOnce() -> Result<Channel, ResponseCode>) -> Result<(), ResponseCode> {
    let slot = u8::try_from(lun & SLOT).map_err(|_| abi::COMMUNICATION_ERROR)?;
    if find(lun).is_ok() {
        return Err(abi::COMMUNICATION_ERROR);
    }
    // Opening takes long. The lock is not held, so that other readers can be used meanwhile.
    let channel = match sibling(lun) {
        Some(channel) => channel,
        None => Arc::new(open()?),
    };
    if slot >= channel.slots() {
        return Err(abi::COMMUNICATION_ERROR);
    }
    let mut units = UNITS.write().unwrap_or_else(PoisonError::into_inner);
    units.insert(lun, Unit { channel, slot });
    Ok(())
}

fn sibling(lun: Dword) -> Option<Arc<Channel>> {
    let units = UNITS.read().unwrap_or_else(PoisonError::into_inner);
    let mut of_reader = units.range(lun & !SLOT..=lun | SLOT);
    of_reader.next().map(|(_, unit)| unit.channel.clone())
}

/// Removes a unit. The reader is closed when its last unit is dropped.
///
/// # Errors
/// As [`find`].
pub fn remove(lun: Dword) -> Result<Unit, ResponseCode> {
    let mut units = UNITS.write().unwrap_or_else(PoisonError::into_inner);
    units.remove(&lun).ok_or(abi::COMMUNICATION_ERROR)
}
