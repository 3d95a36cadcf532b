//! An IFD handler without hardware (IFDHandler 3.0), for tests against a real pcscd.
//!
//! pcscd loads it through a file in `reader.conf.d`, one entry a reader, with
//! `DEVICENAME anything:CONTROL:N`: the path of the [control socket](control), on which the handler listens,
//! and the reader's number, from 0 to 15. The readers start empty; every one has its own lock in pcscd; cards
//! behave as [`card::answer`] says.
//!
//! This file is the C face: it checks pointers and keeps panics from crossing.

pub mod abi;
pub mod card;
pub mod control;
mod reader;

pub use reader::{reader, Behaviour, Counts, Reader, MAX_READERS};

use abi::{Dword, IoHeader, ResponseCode};
use std::ffi::{c_char, c_int, c_void, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The reader's number for each logical unit: pcscd numbers the units itself.
static UNITS: [AtomicUsize; MAX_READERS] = [const { AtomicUsize::new(usize::MAX) }; MAX_READERS];

/// The number and the reader behind a logical unit, 0xDDDDCCCC: device and slot.
fn unit(lun: Dword) -> Option<(usize, &'static Reader)> {
    let number = UNITS.get((lun >> 16) as usize)?.load(Ordering::Acquire);
    Some((number, reader(number)?))
}

/// Runs an entry point's work; a panic becomes a communication error.
fn guarded(work: impl FnOnce() -> Result<(), ResponseCode>) -> ResponseCode {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => abi::SUCCESS,
        Ok(Err(code)) => code,
        Err(_) => abi::COMMUNICATION_ERROR,
    }
}

fn check(code: ResponseCode) -> Result<(), ResponseCode> {
    if code == abi::SUCCESS {
        Ok(())
    } else {
        Err(code)
    }
}

fn found(lun: Dword) -> Result<(usize, &'static Reader), ResponseCode> {
    unit(lun).ok_or(abi::NO_SUCH_DEVICE)
}

fn open(lun: Dword, number: usize) -> Result<(), ResponseCode> {
    let slot = UNITS.get((lun >> 16) as usize).ok_or(abi::NO_SUCH_DEVICE)?;
    let reader = reader(number).ok_or(abi::NO_SUCH_DEVICE)?;
    check(reader.open())?;
    slot.store(number, Ordering::Release);
    Ok(())
}

/// `input` as a slice; empty if there is nothing.
///
/// # Safety
/// `input` is NULL or points to `length` readable bytes for as long as the slice lives.
unsafe fn bytes<'a>(input: *const u8, length: Dword) -> &'a [u8] {
    if input.is_null() || length == 0 {
        &[]
    } else {
        // SAFETY: not NULL, and readable for `length` bytes as the caller promises.
        unsafe { std::slice::from_raw_parts(input, length as usize) }
    }
}

/// Writes `value` into `output`, which has room for `room` bytes, and its length into `length`.
///
/// # Safety
/// `output` is NULL or points to `room` writable bytes, `length` points to a writable DWORD.
unsafe fn deliver(
    value: &[u8],
    output: *mut u8,
    room: Dword,
    length: *mut Dword,
) -> Result<(), ResponseCode> {
    let fits = value.len() <= room as usize && (value.is_empty() || !output.is_null());
    // SAFETY: `length` is writable as the caller promises.
    unsafe { *length = value.len() as Dword };
    if !fits {
        return Err(abi::ERROR_INSUFFICIENT_BUFFER);
    }
    if !value.is_empty() {
        // SAFETY: `output` is not NULL and has `room` bytes, `value` is no longer; nothing of ours overlaps
        // it.
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), output, value.len()) };
    }
    Ok(())
}

/// Opens the reader that `device` names as `anything:CONTROL:N`.
///
/// # Safety
/// `device` is NULL or a C string.
#[no_mangle]
pub unsafe extern "C" fn IFDHCreateChannelByName(lun: Dword, device: *const c_char) -> ResponseCode {
    guarded(|| {
        if device.is_null() {
            return Err(abi::NO_SUCH_DEVICE);
        }
        // SAFETY: not NULL, so a C string as the caller promises.
        let device = unsafe { CStr::from_ptr(device) }
            .to_str()
            .map_err(|_| abi::NO_SUCH_DEVICE)?;
        let (device, number) = device.rsplit_once(':').ok_or(abi::NO_SUCH_DEVICE)?;
        let (_, control) = device.split_once(':').ok_or(abi::NO_SUCH_DEVICE)?;
        let number = number.parse().map_err(|_| abi::NO_SUCH_DEVICE)?;
        control::listen(Path::new(control)).map_err(|_| abi::COMMUNICATION_ERROR)?;
        open(lun, number)
    })
}

/// Opens reader `channel`, without a control socket of its own.
#[no_mangle]
pub extern "C" fn IFDHCreateChannel(lun: Dword, channel: Dword) -> ResponseCode {
    guarded(|| open(lun, channel as usize))
}

/// Closes the reader.
#[no_mangle]
pub extern "C" fn IFDHCloseChannel(lun: Dword) -> ResponseCode {
    guarded(|| {
        found(lun)?.1.close();
        Ok(())
    })
}

/// Waits for a card to be inserted or removed, up to `timeout` ms: what `TAG_IFD_POLLING_THREAD_WITH_TIMEOUT`
/// gives.
extern "C" fn poll(lun: Dword, timeout: c_int) -> ResponseCode {
    guarded(|| {
        found(lun)?
            .1
            .poll(Duration::from_millis(timeout.try_into().unwrap_or(0)));
        Ok(())
    })
}

/// Ends that wait: what `TAG_IFD_STOP_POLLING_THREAD` gives.
extern "C" fn stop_polling(lun: Dword) -> ResponseCode {
    guarded(|| {
        found(lun)?.1.interrupt();
        Ok(())
    })
}

/// Reads a capability of the reader, or an attribute for `SCardGetAttrib`.
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
    guarded(|| {
        if length.is_null() {
            return Err(abi::COMMUNICATION_ERROR);
        }
        let (number, reader) = found(lun)?;
        let found = match tag {
            abi::TAG_POLLING_THREAD_WITH_TIMEOUT => (poll as *const () as usize).to_ne_bytes().to_vec(),
            abi::TAG_STOP_POLLING_THREAD => (stop_polling as *const () as usize).to_ne_bytes().to_vec(),
            _ => reader.attribute(number, tag).ok_or(abi::ERROR_TAG)?,
        };
        // SAFETY: `length` is not NULL, and `value` has `*length` bytes as the caller promises.
        unsafe { deliver(&found, value, *length, length) }
    })
}

/// Sets an attribute for `SCardSetAttrib`.
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
    guarded(|| {
        let (number, reader) = found(lun)?;
        // SAFETY: as the caller promises.
        check(reader.set_attribute(number, tag, unsafe { bytes(value, length) }))
    })
}

/// Selects a protocol; the PPS parameters need no wire to be agreed on.
#[no_mangle]
pub extern "C" fn IFDHSetProtocolParameters(
    lun: Dword,
    protocol: Dword,
    _flags: u8,
    _pts1: u8,
    _pts2: u8,
    _pts3: u8,
) -> ResponseCode {
    guarded(|| check(found(lun)?.1.set_protocol(protocol)))
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
    guarded(|| {
        if atr.is_null() || length.is_null() {
            return Err(abi::COMMUNICATION_ERROR);
        }
        // SAFETY: not NULL, so writable as the caller promises.
        unsafe { *length = 0 };
        let answer = found(lun)?.1.power(action)?;
        // SAFETY: `atr` has the 33 bytes (MAX_ATR_SIZE) of the ABI; `length` is writable.
        unsafe { deliver(&answer, atr, 33, length) }
    })
}

/// Exchanges an APDU with the card.
///
/// # Safety
/// `command` points to `command_length` bytes, `length` to a DWORD with the room in `response`, `receive` to
/// a header.
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
    guarded(|| {
        if length.is_null() {
            return Err(abi::COMMUNICATION_ERROR);
        }
        // SAFETY: not NULL, so a DWORD as the caller promises; the ABI wants 0 on every error.
        let room = unsafe { std::mem::take(&mut *length) };
        // SAFETY: as the caller promises.
        let answer = found(lun)?
            .1
            .transmit(unsafe { bytes(command, command_length) })?;
        if !receive.is_null() {
            // SAFETY: not NULL, so a header as the caller promises.
            unsafe { *receive = send };
        }
        if answer.len() > room as usize {
            return Err(abi::ERROR_INSUFFICIENT_BUFFER);
        }
        // SAFETY: `response` has `room` bytes as the caller promises, `length` is writable.
        unsafe { deliver(&answer, response, room, length) }
    })
}

/// Answers `SCardControl`.
///
/// # Safety
/// `input` points to `input_length` bytes, `output` to `room` writable bytes, `returned` to a writable DWORD.
#[no_mangle]
pub unsafe extern "C" fn IFDHControl(
    lun: Dword,
    code: Dword,
    input: *const c_void,
    input_length: Dword,
    output: *mut c_void,
    room: Dword,
    returned: *mut Dword,
) -> ResponseCode {
    guarded(|| {
        if returned.is_null() {
            return Err(abi::COMMUNICATION_ERROR);
        }
        // SAFETY: not NULL, so writable as the caller promises.
        unsafe { *returned = 0 };
        // SAFETY: as the caller promises.
        let answer = found(lun)?
            .1
            .control(code, unsafe { bytes(input.cast(), input_length) })?;
        // SAFETY: `output` has `room` bytes as the caller promises, `returned` is writable.
        unsafe { deliver(&answer, output.cast(), room, returned) }
    })
}

/// Is a card in the reader?
#[no_mangle]
pub extern "C" fn IFDHICCPresence(lun: Dword) -> ResponseCode {
    guarded(|| check(found(lun)?.1.presence()))
}
