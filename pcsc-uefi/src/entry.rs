//! The protocol's entry points: pointers are checked here, and results written.

use core::cell::RefCell;
use core::ptr;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;

use uefi::boot::{self, Tpl};
use uefi::Status;

use crate::abi::SmartCardReaderProtocol;
use crate::slot::Slot;

/// How many instances of slots that are gone are kept, for programs that still have pointers to them.
const KEPT: usize = 32;

/// The protocol of one slot, as it is installed on a handle.
#[repr(C)]
pub struct Instance {
    /// First, so that a pointer to the protocol is one to the instance.
    protocol: SmartCardReaderProtocol,
    slot: RefCell<Rc<Slot>>,
}

impl Instance {
    /// The protocol of `slot`.
    ///
    /// It is never freed: a program may still hold the pointer when the reader is unplugged, and then gets
    /// EFI_DEVICE_ERROR.
    fn leak(slot: Slot) -> &'static Instance {
        Box::leak(Box::new(Instance {
            protocol: SmartCardReaderProtocol {
                connect,
                disconnect,
                status,
                transmit,
                control,
                get_attrib,
            },
            slot: RefCell::new(Rc::new(slot)),
        }))
    }

    /// The pointer to install.
    pub fn as_ptr(&self) -> *const SmartCardReaderProtocol {
        &raw const self.protocol
    }
}

/// Instances of slots that are gone.
///
/// The last 32 of them stay as they are. Older ones serve new slots, so that readers that are plugged in
/// again and again take no more memory.
#[derive(Default)]
pub struct Retired(RefCell<VecDeque<&'static Instance>>);

impl Retired {
    /// An instance for a new slot.
    pub fn instance(&self, slot: Slot) -> &'static Instance {
        let mut retired = self.0.borrow_mut();
        let oldest = (retired.len() > KEPT).then(|| retired.pop_front()).flatten();
        match oldest {
            Some(instance) => {
                *instance.slot.borrow_mut() = Rc::new(slot);
                instance
            }
            None => Instance::leak(slot),
        }
    }

    /// Keeps the instance of a slot that is gone, which is installed nowhere.
    pub fn keep(&self, instance: &'static Instance) {
        instance.slot.borrow().close();
        self.0.borrow_mut().push_back(instance);
    }
}

/// Runs `work` on the slot behind `this`.
///
/// # Safety
/// `this` is NULL or came from [`Instance::as_ptr`].
unsafe fn on_slot(
    this: *mut SmartCardReaderProtocol,
    work: impl FnOnce(&Slot) -> Result<(), Status>,
) -> Status {
    if this.is_null() {
        return Status::INVALID_PARAMETER;
    }
    // Declared first, so that the level falls last: the reader may be removed at that moment.
    // SAFETY: callers are at TPL_CALLBACK or below, as the crate's documentation demands.
    let _guard = unsafe { boot::raise_tpl(Tpl::CALLBACK) };
    // SAFETY: an instance, as the caller promises, and instances are never freed.
    let instance = unsafe { &*this.cast::<Instance>() };
    let slot = instance.slot.borrow().clone();
    match work(&slot) {
        Ok(()) => Status::SUCCESS,
        Err(status) => status,
    }
}

/// The caller's bytes.
///
/// # Safety
/// `data` is NULL or points to `length` bytes.
unsafe fn input<'a>(data: *const u8, length: usize) -> Result<&'a [u8], Status> {
    match (data.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Status::INVALID_PARAMETER),
        (false, length) if length > isize::MAX as usize => Err(Status::INVALID_PARAMETER),
        // SAFETY: not NULL, so `length` bytes, as the caller promises.
        (false, length) => Ok(unsafe { core::slice::from_raw_parts(data, length) }),
    }
}

/// Writes `bytes` to the caller's buffer and their length to `length`, also where the buffer is too small.
/// Without a buffer only the length is written.
///
/// # Safety
/// `length` is NULL or points to a number; `buffer` is NULL or points to that many bytes.
unsafe fn output(bytes: &[u8], buffer: *mut u8, length: *mut usize) -> Result<(), Status> {
    if length.is_null() {
        return match buffer.is_null() {
            true => Ok(()),
            false => Err(Status::INVALID_PARAMETER),
        };
    }
    // SAFETY: not NULL, so a number, as the caller promises.
    let room = unsafe { ptr::replace(length, bytes.len()) };
    if buffer.is_null() {
        return Ok(());
    }
    if room < bytes.len() {
        return Err(Status::BUFFER_TOO_SMALL);
    }
    // SAFETY: not NULL, so `room` bytes, as the caller promises; `bytes` are the driver's own.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len()) };
    Ok(())
}

/// Writes a number where the caller wants it.
///
/// # Safety
/// `place` is NULL or points to a number.
unsafe fn store(value: u32, place: *mut u32) {
    if !place.is_null() {
        // SAFETY: not NULL, so a number, as the caller promises.
        unsafe { place.write(value) };
    }
}

unsafe extern "efiapi" fn connect(
    this: *mut SmartCardReaderProtocol,
    access_mode: u32,
    card_action: u32,
    preferred_protocols: u32,
    active_protocol: *mut u32,
) -> Status {
    // SAFETY: as the protocol's callers promise.
    unsafe {
        on_slot(this, |slot| {
            let protocol = slot.connect(access_mode, card_action, preferred_protocols)?;
            store(protocol, active_protocol);
            Ok(())
        })
    }
}

unsafe extern "efiapi" fn disconnect(this: *mut SmartCardReaderProtocol, card_action: u32) -> Status {
    // SAFETY: as the protocol's callers promise.
    unsafe { on_slot(this, |slot| slot.disconnect(card_action)) }
}

unsafe extern "efiapi" fn status(
    this: *mut SmartCardReaderProtocol,
    reader_name: *mut u16,
    reader_name_length: *mut usize,
    state: *mut u32,
    card_protocol: *mut u32,
    atr: *mut u8,
    atr_length: *mut usize,
) -> Status {
    let lacks_length = |buffer_is_null: bool, length: *mut usize| !buffer_is_null && length.is_null();
    if lacks_length(reader_name.is_null(), reader_name_length) || lacks_length(atr.is_null(), atr_length) {
        return Status::INVALID_PARAMETER;
    }
    // SAFETY: as the protocol's callers promise.
    unsafe {
        on_slot(this, |slot| {
            let found = slot.status()?;
            store(found.state, state);
            store(found.protocol, card_protocol);
            let name: alloc::vec::Vec<u8> = slot
                .name()
                .encode_utf16()
                .chain([0])
                .flat_map(u16::to_ne_bytes)
                .collect();
            // Both lengths are written even where one is too small.
            let named = output(&name, reader_name.cast(), reader_name_length);
            let answered = output(&found.atr, atr, atr_length);
            named.and(answered)
        })
    }
}

unsafe extern "efiapi" fn transmit(
    this: *mut SmartCardReaderProtocol,
    command: *const u8,
    command_length: usize,
    response: *mut u8,
    response_length: *mut usize,
) -> Status {
    if command_length == 0 || response.is_null() || response_length.is_null() {
        return Status::INVALID_PARAMETER;
    }
    // SAFETY: as the protocol's callers promise.
    unsafe {
        on_slot(this, |slot| {
            let answer = slot.transmit(input(command, command_length)?)?;
            output(&answer, response, response_length)
        })
    }
}

unsafe extern "efiapi" fn control(
    this: *mut SmartCardReaderProtocol,
    control_code: u32,
    in_buffer: *const u8,
    in_buffer_length: usize,
    out_buffer: *mut u8,
    out_buffer_length: *mut usize,
) -> Status {
    if !out_buffer.is_null() && out_buffer_length.is_null() {
        return Status::INVALID_PARAMETER;
    }
    // SAFETY: as the protocol's callers promise.
    unsafe {
        on_slot(this, |slot| {
            let answer = slot.control(control_code, input(in_buffer, in_buffer_length)?)?;
            if out_buffer.is_null() && !answer.is_empty() {
                // Nowhere to put it: the caller learns the length.
                _ = output(&answer, out_buffer, out_buffer_length);
                return Err(Status::BUFFER_TOO_SMALL);
            }
            output(&answer, out_buffer, out_buffer_length)
        })
    }
}

unsafe extern "efiapi" fn get_attrib(
    this: *mut SmartCardReaderProtocol,
    attrib: u32,
    out_buffer: *mut u8,
    out_buffer_length: *mut usize,
) -> Status {
    // SAFETY: not NULL where it is read, so a number, as the protocol's callers promise.
    if out_buffer.is_null() || out_buffer_length.is_null() || unsafe { *out_buffer_length } == 0 {
        return Status::INVALID_PARAMETER;
    }
    // SAFETY: as the protocol's callers promise.
    unsafe {
        on_slot(this, |slot| {
            let value = slot.attribute(attrib)?;
            output(&value, out_buffer, out_buffer_length)
        })
    }
}
