//! Contexts, and the lists of readers and reader groups.

use std::ffi::{c_char, c_void};

use pcsc_client::ffi::{DWORD, LONG, SCARDCONTEXT, SCARD_AUTOALLOCATE};
use pcsc_client::internals::{Session, SessionOptions};
use pcsc_client::{Cause, Error};

use crate::convention::{boundary, give, Output, Result, TooSmall};
use crate::handles;
use crate::spy::Fields;
use crate::{log_to_stderr, memory};

/// Establishes a context with the resource manager.
#[no_mangle]
pub unsafe extern "C" fn SCardEstablishContext(
    dwScope: DWORD,
    _pvReserved1: *const c_void,
    _pvReserved2: *const c_void,
    phContext: *mut SCARDCONTEXT,
) -> LONG {
    let arguments = |fields: &mut Fields<'_>| fields.number("scope", dwScope);
    boundary("SCardEstablishContext", &arguments, |call| {
        // At the first call of every program, and not when the library is loaded: the program may set the
        // variables itself.
        log_to_stderr::init();
        // SAFETY: NULL or writable, as the C prototype requires.
        let handle = unsafe { Output::new(phContext) }.required()?;
        memory::require()?;
        let options = SessionOptions {
            scope: dwScope as u32,
            is_system_library: true,
            ..SessionOptions::default()
        };
        let established = Session::establish(&options);
        // Without a socket PC/SC Lite returns before it clears the handle.
        if !matches!(&established, Err(failure)
            if matches!(failure.cause(), Some(Cause::Connect { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound))
        {
            handle.set(0);
        }
        let context = handles::add_context(established?)?;
        handle.set(context);
        call.results(|fields| fields.handle("context", context));
        Ok(())
    })
}

/// Ends a context and its cards' handles. Cancels a wait in progress.
#[no_mangle]
pub extern "C" fn SCardReleaseContext(hContext: SCARDCONTEXT) -> LONG {
    let arguments = |fields: &mut Fields<'_>| fields.handle("context", hContext);
    boundary("SCardReleaseContext", &arguments, |_| {
        // The handle first: of two threads that release, one gets the session. Calls in progress keep it
        // until they end.
        handles::remove_context(hContext)?.session.release()
    })
}

/// Whether a context can still be used.
#[no_mangle]
pub extern "C" fn SCardIsValidContext(hContext: SCARDCONTEXT) -> LONG {
    let arguments = |fields: &mut Fields<'_>| fields.handle("context", hContext);
    boundary("SCardIsValidContext", &arguments, |_| {
        handles::context(hContext)?.session.check_alive()
    })
}

/// Cancels the waits in progress on a context. Safe in a signal handler.
#[no_mangle]
pub extern "C" fn SCardCancel(hContext: SCARDCONTEXT) -> LONG {
    let arguments = |fields: &mut Fields<'_>| fields.handle("context", hContext);
    boundary("SCardCancel", &arguments, |_| {
        handles::context_in_signal_handler(hContext)?.session.cancel()
    })
}

/// Lists the reader groups: there is one.
#[no_mangle]
pub unsafe extern "C" fn SCardListReaderGroups(
    hContext: SCARDCONTEXT,
    mszGroups: *mut c_char,
    pcchGroups: *mut DWORD,
) -> LONG {
    // SAFETY: NULL or writable, as the C prototype requires.
    let length = unsafe { Output::new(pcchGroups) };
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("context", hContext);
        fields.room(!mszGroups.is_null(), length.get());
    };
    boundary("SCardListReaderGroups", &arguments, |call| {
        let length = length.required()?;
        handles::context(hContext)?;
        // PC/SC Lite's only group.
        let groups = b"SCard$DefaultReaders\0\0";
        call.results(|fields| fields.strings("groups", groups));
        // SAFETY: as above.
        unsafe { give_list(groups, mszGroups, length) }
    })
}

/// Lists the readers.
#[no_mangle]
pub unsafe extern "C" fn SCardListReaders(
    hContext: SCARDCONTEXT,
    _mszGroups: *const c_char,
    mszReaders: *mut c_char,
    pcchReaders: *mut DWORD,
) -> LONG {
    // SAFETY: NULL or writable, as the C prototype requires.
    let length = unsafe { Output::new(pcchReaders) };
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("context", hContext);
        fields.room(!mszReaders.is_null(), length.get());
    };
    boundary("SCardListReaders", &arguments, |call| {
        let length = length.required()?;
        let context = handles::context(hContext)?;
        memory::require()?;
        // If NULL requests the length, the call that follows gets the same list.
        let is_size_query = mszReaders.is_null() && length.get() != Some(SCARD_AUTOALLOCATE);
        let names = context.session.list_readers(is_size_query);
        let names = names.inspect_err(|_| length.set(0))?;
        call.results(|fields| fields.strings("readers", &names));
        if names.len() == 1 {
            length.set(1);
            return Err(Error::NoReadersAvailable.into());
        }
        // SAFETY: as above.
        unsafe { give_list(&names, mszReaders, length) }
    })
}

/// Copies a list of strings to the caller, and its length in any case.
///
/// # Safety
/// As [`give`], with the room in `length`.
unsafe fn give_list(list: &[u8], buffer: *mut c_char, length: Output<DWORD>) -> Result {
    let room = length.get().unwrap_or(0);
    // SAFETY: as the caller promises.
    let given = unsafe { give(list, buffer.cast(), room, TooSmall::Refuse) };
    length.set(list.len() as DWORD);
    given
}

/// Frees memory that a call with `SCARD_AUTOALLOCATE` has allocated.
#[no_mangle]
pub unsafe extern "C" fn SCardFreeMemory(hContext: SCARDCONTEXT, pvMem: *const c_void) -> LONG {
    let arguments = |fields: &mut Fields<'_>| fields.handle("context", hContext);
    boundary("SCardFreeMemory", &arguments, |_| {
        handles::context(hContext)?;
        // SAFETY: NULL or memory that `give` allocated, as the C prototype requires.
        unsafe { libc::free(pvMem.cast_mut()) };
        Ok(())
    })
}
