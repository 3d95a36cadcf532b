//! C's calling conventions: return codes, output parameters, buffers with their lengths, memory that the
//! library allocates.
//!
//! C callers may pass the same address for several parameters, also for input and output. So no reference
//! to a caller's memory outlives the moment of its use: outputs are raw pointers, written once, and of any
//! alignment. The one exception is a pair of buffers that do not overlap, see [`Buffers`].

use std::ffi::{c_char, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};

use pcsc_client::ffi::{DWORD, LONG, SCARD_AUTOALLOCATE};
use pcsc_client::{Error, Failure};
use pcsc_process::cancellation;

use crate::spy::{Call, Fields};

/// A call's result. C gets the code of a failure alone.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// Runs the body of an entry point, with thread cancellation disabled. `arguments` writes the function's
/// arguments to the record of calls.
pub fn boundary(
    function: &'static str,
    arguments: &dyn Fn(&mut Fields<'_>),
    body: impl FnOnce(&mut Call) -> Result,
) -> LONG {
    // A thread that is cancelled in the middle would leave locks held.
    let cancellation = cancellation::disable();
    let code = without_panic(function, arguments, body);
    cancellation.restore();
    code
}

/// Runs the body of an entry point that waits for other connections, cards or readers: its waits are
/// cancellation points. The entry point has the ABI "C-unwind", and owns nothing when this is called.
pub fn waiting_boundary(
    function: &'static str,
    arguments: &dyn Fn(&mut Fields<'_>),
    body: impl FnOnce(&mut Call) -> Result,
) -> LONG {
    let cancellation = cancellation::allow_in_waits();
    let code = without_panic(function, arguments, body);
    if cancellation.restore() {
        // After everything of this call is dropped: this unwinds the entry point's frame, which owns nothing.
        cancellation::exit_thread();
    }
    code
}

/// Runs a body between the records of its beginning and its end. A panic becomes `SCARD_F_INTERNAL_ERROR`.
fn without_panic(
    function: &'static str,
    arguments: &dyn Fn(&mut Fields<'_>),
    body: impl FnOnce(&mut Call) -> Result,
) -> LONG {
    let run = || {
        let mut call = Call::new();
        call.begin(function, arguments);
        let result = body(&mut call);
        call.end(&result);
        result
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => failure.code() as LONG,
        // A panic must not cross into C.
        Err(_) => Error::InternalError.code() as LONG,
    }
}

/// An output parameter, which may be NULL, unaligned, and the same as any other parameter.
#[derive(Clone, Copy)]
pub struct Output<T>(*mut T);

impl<T: Copy> Output<T> {
    /// # Safety
    /// `pointer` is NULL, or valid for reads and writes of a `T` until the call returns.
    pub unsafe fn new(pointer: *mut T) -> Output<T> {
        Output(pointer)
    }

    /// Refuses NULL.
    pub fn required(self) -> Result<Output<T>> {
        if self.0.is_null() {
            return Err(Error::InvalidParameter.into());
        }
        Ok(self)
    }

    /// The value that the caller has stored there. `None` for NULL.
    pub fn get(self) -> Option<T> {
        // SAFETY: `new`'s caller promises a readable value.
        (!self.0.is_null()).then(|| unsafe { self.0.read_unaligned() })
    }

    /// Stores a value. Does nothing for NULL.
    pub fn set(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: `new`'s caller promises a writable value.
            unsafe { self.0.write_unaligned(value) };
        }
    }
}

/// Stores the detail of a failure, as PC/SC Lite does.
pub fn set_detail(output: Output<DWORD>, failure: &Failure) {
    if let Some(detail) = failure.detail() {
        output.set(DWORD::from(detail));
    }
}

/// The longest message that goes to a reader or comes from it.
const LONGEST: usize = pcsc_wire::MAX_PAYLOAD;

/// The input and the output buffer of a call, which may share memory.
pub struct Buffers {
    input: *const u8,
    sent: usize,
    output: *mut u8,
    room: usize,
}

impl Buffers {
    /// NULL is an empty buffer. Of a longer output buffer the first [`LONGEST`] bytes are used.
    ///
    /// # Errors
    /// `SCARD_E_INSUFFICIENT_BUFFER` if the input is longer than [`LONGEST`].
    ///
    /// # Safety
    /// `input` is NULL or has `sent` readable bytes, `output` is NULL or has `room` writable bytes, until
    /// the call returns.
    pub unsafe fn new(input: *const u8, sent: DWORD, output: *mut u8, room: DWORD) -> Result<Buffers> {
        if sent > LONGEST as DWORD {
            return Err(Error::InsufficientBuffer.into());
        }
        Ok(Buffers {
            input,
            sent: if input.is_null() { 0 } else { sent as usize },
            output,
            room: if output.is_null() {
                0
            } else {
                room.min(LONGEST as DWORD) as usize
            },
        })
    }

    /// Calls `exchange` with the input and the output.
    pub fn with<R>(self, exchange: impl FnOnce(&[u8], &mut [u8]) -> Result<R>) -> Result<R> {
        let (input, output) = (self.input as usize, self.output as usize);
        // Programs pass one buffer for both. A `&[u8]` and a `&mut [u8]` of it at once would be undefined
        // behaviour.
        let overlap = input < output.saturating_add(self.room) && output < input.saturating_add(self.sent);
        if overlap && self.sent > 0 && self.room > 0 {
            return self.with_copy(exchange);
        }
        // SAFETY: `new`'s caller promises both buffers, and they do not overlap.
        unsafe { exchange(slice(self.input, self.sent), slice_mut(self.output, self.room)) }
    }

    /// The same for buffers that overlap: `exchange` gets a copy of the input. It may hold a PIN, and the
    /// allocator wipes it.
    #[cold]
    fn with_copy<R>(self, exchange: impl FnOnce(&[u8], &mut [u8]) -> Result<R>) -> Result<R> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(self.sent).map_err(|_| Error::NoMemory)?;
        // SAFETY: `new`'s caller promises the input, and the reference to it ends before the one to the
        // output begins.
        copy.extend_from_slice(unsafe { slice(self.input, self.sent) });
        // SAFETY: `new`'s caller promises the output.
        exchange(&copy, unsafe { slice_mut(self.output, self.room) })
    }
}

/// What a call is to send, for its record: nothing where that is NULL or longer than [`LONGEST`].
///
/// # Safety
/// `input` is NULL or has `length` readable bytes. They are not written to while the result is used.
pub unsafe fn sent<'a>(input: *const u8, length: DWORD) -> &'a [u8] {
    match length as usize {
        length if length <= LONGEST && !input.is_null() => {
            // SAFETY: as the caller promises.
            unsafe { slice(input, length) }
        }
        _ => &[],
    }
}

/// # Safety
/// `length` is 0, or `pointer` has as many readable bytes, at most `isize::MAX`.
unsafe fn slice<'a>(pointer: *const u8, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(pointer, length) }
}

/// # Safety
/// `length` is 0, or `pointer` has as many writable bytes, at most `isize::MAX`, that are not used otherwise.
unsafe fn slice_mut<'a>(pointer: *mut u8, length: usize) -> &'a mut [u8] {
    if length == 0 {
        return &mut [];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts_mut(pointer, length) }
}

/// A C string's bytes without the NUL; `None` for NULL.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string, which does not change while the result is used.
pub unsafe fn string<'a>(pointer: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// What to do if a caller's buffer is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooSmall {
    /// Write nothing.
    Refuse,
    /// Write what fits.
    Cut,
}

/// Allocates memory for `SCardFreeMemory`, stores its address at `pointer` and returns it.
///
/// # Safety
/// `pointer` is NULL or points to a pointer, of any alignment.
pub unsafe fn allocate(length: usize, pointer: *mut u8) -> Result<*mut u8> {
    if pointer.is_null() {
        return Err(Error::InvalidParameter.into());
    }
    // SAFETY: malloc takes any size. At least one byte is requested, so that NULL means out of memory.
    // malloc as in PC/SC Lite, so that `free` is right for it as well.
    let memory = unsafe { libc::malloc(length.max(1)) }.cast::<u8>();
    if memory.is_null() {
        return Err(Error::NoMemory.into());
    }
    // SAFETY: as the caller promises.
    unsafe { pointer.cast::<*mut u8>().write_unaligned(memory) };
    Ok(memory)
}

/// Copies `data` to the caller: to memory that is allocated here if `room` is `SCARD_AUTOALLOCATE`,
/// otherwise in the caller's buffer. NULL requests the length only.
///
/// # Safety
/// `buffer` is NULL, or points to `room` writable bytes, or to a pointer where `room` is
/// `SCARD_AUTOALLOCATE`. `data` is not the caller's memory.
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
    let fits = data.len() as DWORD <= room;
    if fits || too_small == TooSmall::Cut {
        // SAFETY: no more than `room` bytes are written, which the buffer has.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), buffer, data.len().min(room as usize)) };
    }
    if fits {
        Ok(())
    } else {
        Err(Error::InsufficientBuffer.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_sent_is_recorded_and_no_more_is_read() {
        let longest = vec![7; LONGEST];
        // SAFETY: a buffer of this length, or lengths that are refused, or NULL.
        unsafe {
            let recorded = |length: usize| sent(longest.as_ptr(), length as DWORD);
            assert_eq!(
                [0, 1, LONGEST].map(|length| recorded(length).len()),
                [0, 1, LONGEST]
            );
            assert_eq!(recorded(LONGEST + 1), &[]);
            assert_eq!(sent(std::ptr::null(), 5), &[]);
        }
    }
}
