//! The entry points of an IFD handler. They check pointers, catch panics and answer questions about the
//! handler itself.
//!
//! The IFD handler of the tests has this file too, with a `device` and a `channel` of its own.

use crate::abi::{self, Dword, IoHeader, ResponseCode};
use crate::{device, units};
use std::ffi::{c_char, c_int, c_void, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

/// The longest ATR (ISO 7816-3 clause 8.2.1), which callers have room for.
const MAX_ATR: usize = pcsc_constants::MAX_ATR_SIZE;

/// Runs an entry point's work; a panic becomes a communication error.
fn guarded(work: impl FnOnce() -> ResponseCode) -> ResponseCode {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(abi::COMMUNICATION_ERROR)
}

fn checked(work: impl FnOnce() -> Result<(), ResponseCode>) -> ResponseCode {
    guarded(|| work().err().unwrap_or(abi::SUCCESS))
}

/// `data` as a slice; empty for NULL.
///
/// # Safety
/// `data` is NULL or points to `length` bytes that are not written while the slice lives.
unsafe fn bytes<'a>(data: *const u8, length: Dword) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: not NULL, and readable for `length` bytes, as the caller promises; no object is larger than
        // isize::MAX.
        Ok(length) if !data.is_null() && length <= isize::MAX as usize => unsafe {
            std::slice::from_raw_parts(data, length)
        },
        _ => &[],
    }
}

/// The buffer for an answer; empty for NULL.
///
/// # Safety
/// `room` is NULL or points to `length` bytes that nothing else accesses while the slice lives.
unsafe fn room<'a>(room: *mut u8, length: Dword) -> &'a mut [u8] {
    match usize::try_from(length) {
        // SAFETY: not NULL, and ours for `length` bytes, as the caller promises; no object is larger than
        // isize::MAX.
        Ok(length) if !room.is_null() && length <= isize::MAX as usize => unsafe {
            std::slice::from_raw_parts_mut(room, length)
        },
        _ => &mut [],
    }
}

/// Opens the reader with this device name (see `device.rs`), or another slot of it.
///
/// # Safety
/// `device` is NULL or a C string.
#[no_mangle]
pub unsafe extern "C" fn IFDHCreateChannelByName(lun: Dword, device: *const c_char) -> ResponseCode {
    checked(|| {
        if device.is_null() {
            return Err(abi::COMMUNICATION_ERROR);
        }
        // SAFETY: not NULL, so a C string, as the caller promises.
        let name = unsafe { CStr::from_ptr(device) };
        let name = name.to_str().map_err(|_| abi::NO_SUCH_DEVICE)?;
        units::add(lun, || device::open(name))
    })
}

/// Opens the first free USB reader. A channel number has no meaning for USB.
#[no_mangle]
pub extern "C" fn IFDHCreateChannel(lun: Dword, _channel: Dword) -> ResponseCode {
    checked(|| units::add(lun, device::open_any))
}

/// Closes a slot, and with its last slot the reader.
#[no_mangle]
pub extern "C" fn IFDHCloseChannel(lun: Dword) -> ResponseCode {
    checked(|| {
        let unit = units::remove(lun)?;
        unit.channel.close_slot(unit.slot);
        Ok(())
    })
}

/// Waits for a card event, up to `timeout` ms. pcscd gets it by [`abi::TAG_POLLING_THREAD_WITH_TIMEOUT`].
extern "C" fn wait_for_event(lun: Dword, timeout: c_int) -> ResponseCode {
    checked(|| {
        let unit = units::find(lun)?;
        let timeout = Duration::from_millis(u64::try_from(timeout).unwrap_or(0));
        unit.channel.wait(unit.slot, timeout);
        Ok(())
    })
}

/// Ends that wait. pcscd gets it by [`abi::TAG_STOP_POLLING_THREAD`].
extern "C" fn stop_waiting(lun: Dword) -> ResponseCode {
    checked(|| {
        let unit = units::find(lun)?;
        unit.channel.interrupt(unit.slot);
        Ok(())
    })
}

/// The value of a tag about the handler, the reader or the card, or of an attribute for `SCardGetAttrib`.
fn capability(lun: Dword, tag: Dword) -> Result<Vec<u8>, ResponseCode> {
    let unit = units::find(lun)?;
    let address = |function: *const ()| {
        // A length of 0 makes pcscd poll.
        match unit.channel.has_waits() {
            true => (function as usize).to_ne_bytes().to_vec(),
            false => Vec::new(),
        }
    };
    Ok(match tag {
        // Readers at once.
        abi::TAG_SIMULTANEOUS_ACCESS => vec![255],
        // Each reader has its own lock. Its slots take turns, or work in parallel where it can serve them so.
        abi::TAG_THREAD_SAFE | abi::TAG_SLOT_THREAD_SAFE | abi::TAG_DEVICE_REMOVED => vec![1],
        abi::TAG_SLOTS_NUMBER => vec![unit.channel.slots()],
        abi::TAG_POLLING_THREAD_WITH_TIMEOUT => address(wait_for_event as *const ()),
        abi::TAG_STOP_POLLING_THREAD => address(stop_waiting as *const ()),
        // Cancelling a thread inside Rust code is undefined behaviour. `stop_waiting` ends it instead.
        abi::TAG_POLLING_THREAD_KILLABLE => Vec::new(),
        tag => unit.channel.attribute(unit.slot, tag)?,
    })
}

/// Writes the value of a tag to `value`. If `value` is NULL, only its length.
///
/// # Safety
/// `length` is NULL or points to a DWORD; `value` is NULL or has that many writable bytes.
#[no_mangle]
pub unsafe extern "C" fn IFDHGetCapabilities(
    lun: Dword,
    tag: Dword,
    length: *mut Dword,
    value: *mut u8,
) -> ResponseCode {
    checked(|| {
        if length.is_null() {
            return Err(abi::COMMUNICATION_ERROR);
        }
        let found = capability(lun, tag)?;
        // SAFETY: not NULL, so a DWORD that says how much room `value` has, as the caller promises.
        let target = unsafe { room(value, *length) };
        if let Some(target) = target.get_mut(..found.len()) {
            target.copy_from_slice(&found);
        } else if !value.is_null() {
            return Err(abi::ERROR_INSUFFICIENT_BUFFER);
        }
        // SAFETY: as above. Without room for the value, its length is what was asked for.
        unsafe { *length = found.len() as Dword };
        Ok(())
    })
}

/// Sets an attribute for `SCardSetAttrib`, or takes a message of pcscd's.
///
/// # Safety
/// `value` is NULL or points to `length` bytes.
#[no_mangle]
pub unsafe extern "C" fn IFDHSetCapabilities(
    lun: Dword,
    tag: Dword,
    length: Dword,
    value: *const u8,
) -> ResponseCode {
    checked(|| {
        let unit = units::find(lun)?;
        // SAFETY: as the caller promises.
        unit.channel.set_attribute(tag, unsafe { bytes(value, length) })
    })
}

/// Selects a protocol. The driver negotiates the speed; `pts1` to `pts3` are ignored (pcscd sets none).
#[no_mangle]
pub extern "C" fn IFDHSetProtocolParameters(
    lun: Dword,
    protocol: Dword,
    _flags: u8,
    _pts1: u8,
    _pts2: u8,
    _pts3: u8,
) -> ResponseCode {
    checked(|| {
        let unit = units::find(lun)?;
        unit.channel.set_protocol(unit.slot, protocol)
    })
}

/// Powers the card up or down, or resets it; gives its ATR.
///
/// # Safety
/// `atr` points to 33 writable bytes and `length` to a writable DWORD, or either is NULL.
#[no_mangle]
pub unsafe extern "C" fn IFDHPowerICC(
    lun: Dword,
    action: Dword,
    atr: *mut u8,
    length: *mut Dword,
) -> ResponseCode {
    checked(|| {
        if atr.is_null() || length.is_null() {
            return Err(abi::COMMUNICATION_ERROR);
        }
        // SAFETY: not NULL, so writable, as the caller promises.
        unsafe { *length = 0 };
        let unit = units::find(lun)?;
        // SAFETY: `atr` has the 33 bytes (MAX_ATR_SIZE) of the ABI.
        let atr = unsafe { room(atr, MAX_ATR as Dword) };
        let written = unit.channel.power(unit.slot, action, atr)?;
        // SAFETY: as above.
        unsafe { *length = written as Dword };
        Ok(())
    })
}

/// Exchanges an APDU with the card.
///
/// # Safety
/// `command` points to `command_length` bytes, `length` to a DWORD with the room in `response`, `receive` to
/// a header, of which nothing overlaps; any of them is NULL instead.
#[no_mangle]
pub unsafe extern "C" fn IFDHTransmitToICC(
    lun: Dword,
    send: IoHeader,
    command: *const u8,
    command_length: Dword,
    response: *mut u8,
    length: *mut Dword,
    receive: *mut IoHeader,
) -> ResponseCode {
    checked(|| {
        if command.is_null() || response.is_null() || length.is_null() {
            return Err(abi::COMMUNICATION_ERROR);
        }
        // SAFETY: not NULL, so a DWORD, as the caller promises; the ABI wants 0 after every error.
        let space = unsafe { std::mem::take(&mut *length) };
        let unit = units::find(lun)?;
        // SAFETY: as the caller promises.
        let (command, response) = unsafe { (bytes(command, command_length), room(response, space)) };
        let received = unit
            .channel
            .transmit(unit.slot, send.protocol, command, response)?;
        // SAFETY: as above.
        unsafe { *length = received as Dword };
        // SAFETY: NULL or a header, as the caller promises.
        if let (Some(header), Some(receive)) = (unit.channel.header(send), unsafe { receive.as_mut() }) {
            *receive = header;
        }
        Ok(())
    })
}

/// Answers `SCardControl`.
///
/// # Safety
/// `data` points to `data_length` bytes, `answer` to `space` writable bytes, which do not overlap, `returned`
/// to a writable DWORD; any of them is NULL instead.
#[no_mangle]
pub unsafe extern "C" fn IFDHControl(
    lun: Dword,
    code: Dword,
    data: *const c_void,
    data_length: Dword,
    answer: *mut c_void,
    space: Dword,
    returned: *mut Dword,
) -> ResponseCode {
    checked(|| {
        if returned.is_null() {
            return Err(abi::COMMUNICATION_ERROR);
        }
        // SAFETY: not NULL, so writable, as the caller promises.
        unsafe { *returned = 0 };
        let unit = units::find(lun)?;
        // SAFETY: as the caller promises.
        let (data, answer) = unsafe { (bytes(data.cast(), data_length), room(answer.cast(), space)) };
        let length = unit.channel.control(unit.slot, code, data, answer)?;
        // SAFETY: as above.
        unsafe { *returned = length as Dword };
        Ok(())
    })
}

/// Whether a card is in the slot.
#[no_mangle]
pub extern "C" fn IFDHICCPresence(lun: Dword) -> ResponseCode {
    guarded(|| match units::find(lun) {
        Ok(unit) => unit.channel.presence(unit.slot),
        Err(code) => code,
    })
}
