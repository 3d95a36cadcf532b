//! `SCardGetStatusChange`.

use std::time::Duration;

use pcsc_client::ffi::{DWORD, INFINITE, LONG, SCARDCONTEXT};
use pcsc_client::internals::Watched;
use pcsc_client::Error;

use super::ReaderState;
use crate::convention::{string, waiting_boundary, Result};
use crate::handles;
use crate::memory;
use crate::spy::Fields;

/// More readers than any system has. A larger count is a mistake, and the array is shorter.
const MOST_READERS: DWORD = 1 << 16;

/// Waits for a change of readers and cards.
#[no_mangle]
pub unsafe extern "C-unwind" fn SCardGetStatusChange(
    hContext: SCARDCONTEXT,
    dwTimeout: DWORD,
    rgReaderStates: *mut ReaderState,
    cReaders: DWORD,
) -> LONG {
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("context", hContext);
        fields.timeout(dwTimeout);
        let count = match cReaders {
            0..=MOST_READERS if !rgReaderStates.is_null() => cReaders as usize,
            _ => 0,
        };
        // SAFETY: an array of `cReaders` structures, as the C prototype requires. Those behind one without a
        // name are not read.
        let known = (0..count).map_while(|index| unsafe { known(rgReaderStates.add(index)) });
        fields.objects("readers", known, |fields, (name, current)| {
            fields.text("reader", Some(name));
            fields.code("current_state", current);
        });
    };
    waiting_boundary("SCardGetStatusChange", &arguments, |call| {
        if cReaders == 0 {
            return Ok(());
        }
        // PC/SC Lite 1.9.9 limits the count before it looks at the array, to 16; 2.5 does not limit it.
        if rgReaderStates.is_null() || cReaders > MOST_READERS {
            return Err(Error::InvalidParameter.into());
        }
        memory::require()?;
        // SAFETY: an array of `cReaders` structures, as the C prototype requires.
        let mut watched = unsafe { watch(rgReaderStates, cReaders as usize) }?;
        // As PC/SC Lite: with nothing to wait for, the call would wait forever.
        if watched.iter().all(Watched::is_ignored) {
            return Ok(());
        }
        let timeout = match dwTimeout {
            #[allow(unreachable_patterns)] // the two are one where DWORD has 32 bits
            INFINITE | DWORD::MAX => None,
            // A negative number: no time is left. PC/SC Lite counts in C's long.
            negative if (negative as LONG) < 0 => Some(Duration::ZERO),
            #[allow(clippy::unnecessary_cast)] // DWORD has 32 bits elsewhere
            milliseconds => Some(Duration::from_millis(milliseconds as u64)),
        };
        let context = handles::context(hContext)?;
        let changed = context.session.status_change(timeout, &mut watched, false);
        for (index, watched) in watched.iter().enumerate() {
            // SAFETY: as above. The fields are written through the raw pointer: names may point into the
            // array.
            unsafe { report(watched, rgReaderStates.add(index)) };
        }
        call.results(|fields| {
            fields.objects("readers", watched.iter(), |fields, watched| {
                match watched.event() {
                    Some(event) => fields.code("event_state", event.into()),
                    None => fields.null("event_state"),
                }
                match &watched.atr {
                    Some(atr) => fields.bytes("atr", atr),
                    None => fields.null("atr"),
                }
            });
        });
        changed
    })
}

/// What the caller watches. Stops at the first reader without a name.
///
/// # Safety
/// `states` points to `count` structures, whose names are NULL or strings.
unsafe fn watch<'a>(states: *const ReaderState, count: usize) -> Result<Vec<Watched<'a>>> {
    let mut watched = Vec::new();
    for index in 0..count {
        // SAFETY: as the caller promises.
        let (name, current) = unsafe { known(states.add(index)) }.ok_or(Error::InvalidValue)?;
        watched.try_reserve(1).map_err(|_| Error::NoMemory)?;
        watched.push(Watched::new(name, current as u32));
    }
    Ok(watched)
}

/// A reader's name, and the state that the caller knows. `None` without a name.
///
/// # Safety
/// `state` points to a structure, whose name is NULL or a string.
unsafe fn known<'a>(state: *const ReaderState) -> Option<(&'a [u8], DWORD)> {
    // SAFETY: as the caller promises. The whole of a structure need not be initialised.
    unsafe {
        let name = string((&raw const (*state).szReader).read_unaligned())?;
        Some((name, (&raw const (*state).dwCurrentState).read_unaligned()))
    }
}

/// # Safety
/// `state` points to a writable structure.
unsafe fn report(watched: &Watched<'_>, state: *mut ReaderState) {
    // SAFETY: as the caller promises.
    unsafe {
        if let Some(event) = watched.event() {
            (&raw mut (*state).dwEventState).write_unaligned(DWORD::from(event));
        }
        if let Some(atr) = &watched.atr {
            (&raw mut (*state).cbAtr).write_unaligned(atr.len() as DWORD);
            let room = (&raw mut (*state).rgbAtr).cast::<u8>();
            std::ptr::copy_nonoverlapping(atr.as_ptr(), room, atr.len());
        }
    }
}
