//! C's conventions for results: codes, output pointers, buffers with their lengths, memory that the
//! library allocates.

use std::ffi::{c_char, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};

use pcsc_client::backend::Failure;
use pcsc_client::ffi::{DWORD, LONG, SCARD_AUTOALLOCATE};
use pcsc_client::Error;

/// A call's result: `Err` has the code to return.
pub type Result<T = ()> = std::result::Result<T, Code>;

/// A return code other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

impl From<Error> for Code {
    fn from(error: Error) -> Code {
        Code(error.code())
    }
}

impl From<Failure> for Code {
    fn from(failure: Failure) -> Code {
        Code(failure.code())
    }
}

/// The result that a daemon's return code stands for.
pub fn result(rv: u32) -> Result {
    match rv {
        0 => Ok(()),
        rv => Err(Code(rv)),
    }
}

/// Runs an entry point's body. No panic crosses into C.
pub fn boundary(body: impl FnOnce() -> Result) -> LONG {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(Code(code))) => code as LONG,
        Err(_) => Error::InternalError.code() as LONG,
    }
}

/// An output parameter, `None` where the caller passed NULL.
///
/// # Safety
/// `pointer` is NULL or points to a `T` that the caller lets the library write for the call's duration.
pub unsafe fn output<'a, T>(pointer: *mut T) -> Option<&'a mut T> {
    // SAFETY: as the caller promises.
    unsafe { pointer.as_mut() }
}

/// An output parameter that must not be NULL.
///
/// # Safety
/// As [`output`].
pub unsafe fn required<'a, T>(pointer: *mut T) -> Result<&'a mut T> {
    // SAFETY: as the caller promises.
    unsafe { output(pointer) }.ok_or(Code(Error::InvalidParameter.code()))
}

/// An input buffer; NULL is an empty one.
///
/// # Safety
/// `pointer` is NULL or points to `length` readable bytes.
pub unsafe fn input<'a>(pointer: *const u8, length: DWORD) -> &'a [u8] {
    if pointer.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(pointer, usize::try_from(length).unwrap_or(usize::MAX)) }
}

/// An output buffer; NULL is an empty one. No call has more than 65,548 bytes to give.
///
/// # Safety
/// `pointer` is NULL or points to `length` writable bytes.
pub unsafe fn output_buffer<'a>(pointer: *mut u8, length: DWORD) -> &'a mut [u8] {
    const MOST: usize = pcsc_wire::MAX_PAYLOAD;
    if pointer.is_null() {
        return &mut [];
    }
    let length = usize::try_from(length).unwrap_or(MOST).min(MOST);
    // SAFETY: as the caller promises; a part of the buffer is within it.
    unsafe { std::slice::from_raw_parts_mut(pointer, length) }
}

/// A C string's bytes without the NUL; `None` for NULL.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string.
pub unsafe fn string<'a>(pointer: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// What to do where a caller's buffer is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooSmall {
    /// Write nothing.
    Refuse,
    /// Write what fits.
    Cut,
}

/// Allocates memory for `SCardFreeMemory`, and gives its address to the caller and to `pointer`.
///
/// # Safety
/// `pointer` is NULL or points to a pointer, of any alignment.
pub unsafe fn allocate(length: usize, pointer: *mut u8) -> Result<*mut u8> {
    if pointer.is_null() {
        return Err(Error::InvalidParameter.into());
    }
    // SAFETY: malloc takes any size; at least one byte, so that NULL means that there is no memory.
    let memory = unsafe { libc::malloc(length.max(1)) }.cast::<u8>();
    if memory.is_null() {
        return Err(Error::NoMemory.into());
    }
    // SAFETY: as the caller promises.
    unsafe { pointer.cast::<*mut u8>().write_unaligned(memory) };
    Ok(memory)
}

/// Gives `data` to the caller: into memory that the library allocates where `room` is
/// `SCARD_AUTOALLOCATE`, else into the caller's buffer; NULL asks for the length only.
///
/// # Safety
/// `buffer` is NULL, or points to `room` writable bytes, or to a pointer where `room` is
/// `SCARD_AUTOALLOCATE`.
pub unsafe fn give(data: &[u8], buffer: *mut u8, room: DWORD, too_small: TooSmall) -> Result {
    if room == SCARD_AUTOALLOCATE {
        // SAFETY: as the caller promises; the memory has room for the data.
        unsafe {
            let memory = allocate(data.len(), buffer)?;
            std::ptr::copy_nonoverlapping(data.as_ptr(), memory, data.len());
        }
        return Ok(());
    }
    if buffer.is_null() {
        return Ok(());
    }
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let fits = data.len() <= room;
    if fits || too_small == TooSmall::Cut {
        // SAFETY: no more than `room` bytes are written, which the buffer has.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), buffer, data.len().min(room)) };
    }
    if fits {
        Ok(())
    } else {
        Err(Error::InsufficientBuffer.into())
    }
}
