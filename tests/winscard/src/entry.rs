//! The functions of winscard.dll that `pcsc-client` uses, and the data that C programs link.
#![allow(
    non_snake_case,
    non_upper_case_globals,
    clippy::missing_safety_doc,
    missing_docs
)]

use std::ffi::{c_char, c_void, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice::{from_raw_parts, from_raw_parts_mut};
use std::time::Duration;

use pcsc_client::internals::{Pci, Session, SessionOptions, Watched};
use pcsc_client::{Choice, Error, Failure};
use pcsc_constants::{INFINITE, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1};

use crate::handles::{self, Card};
use crate::numbers;

type Dword = u32;
type Long = i32;
type Handle = usize;

/// `SCARD_IO_REQUEST`.
#[repr(C)]
pub struct IoRequest {
    protocol: Dword,
    length: Dword,
}

/// `SCARD_READERSTATEA`.
#[repr(C)]
pub struct ReaderState {
    reader: *const c_char,
    user_data: *mut c_void,
    current: Dword,
    event: Dword,
    atr_length: Dword,
    atr: [u8; 36],
}

const _: () = assert!(size_of::<ReaderState>() == 64 && size_of::<IoRequest>() == 8);

#[no_mangle]
pub static g_rgSCardT0Pci: IoRequest = pci(SCARD_PROTOCOL_T0);
#[no_mangle]
pub static g_rgSCardT1Pci: IoRequest = pci(SCARD_PROTOCOL_T1);
#[no_mangle]
pub static g_rgSCardRawPci: IoRequest = pci(0x0001_0000);

const fn pci(protocol: u32) -> IoRequest {
    IoRequest { protocol, length: 8 }
}

/// Runs the body of a function. A panic is an error.
fn boundary(body: impl FnOnce() -> Result<(), Failure>) -> Long {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => numbers::code(failure.code()),
        Err(_) => numbers::code(Error::InternalError.code()),
    }
}

/// Copies `data` to a buffer, or stores its length alone where that is NULL.
///
/// # Safety
/// The length is readable and writable, the buffer NULL or of this length.
unsafe fn give(data: &[u8], buffer: *mut u8, length: *mut Dword) -> Result<(), Failure> {
    // SAFETY: as the caller promises.
    unsafe {
        let room = std::mem::replace(&mut *length, data.len() as Dword) as usize;
        if buffer.is_null() {
            return Ok(());
        }
        if room < data.len() {
            return Err(Error::InsufficientBuffer.into());
        }
        buffer.copy_from_nonoverlapping(data.as_ptr(), data.len());
    }
    Ok(())
}

/// # Safety
/// `pointer` has as many readable bytes, or the length is 0.
unsafe fn bytes<'a>(pointer: *const u8, length: Dword) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { from_raw_parts(pointer, length as usize) }
}

#[no_mangle]
pub unsafe extern "system" fn SCardEstablishContext(
    scope: Dword,
    _: *const c_void,
    _: *const c_void,
    context: *mut Handle,
) -> Long {
    boundary(|| {
        let options = SessionOptions {
            backend: Choice::Simulated,
            is_system_library: true,
            scope,
            ..SessionOptions::default()
        };
        let session = Session::establish(&options)?;
        // SAFETY: writable, as the C prototype requires.
        unsafe { context.write(handles::add_context(session)) };
        Ok(())
    })
}

#[no_mangle]
pub extern "system" fn SCardReleaseContext(context: Handle) -> Long {
    boundary(|| handles::remove_context(context)?.release())
}

#[no_mangle]
pub extern "system" fn SCardIsValidContext(context: Handle) -> Long {
    boundary(|| handles::context(context)?.check_alive())
}

#[no_mangle]
pub extern "system" fn SCardCancel(context: Handle) -> Long {
    boundary(|| handles::context(context)?.cancel())
}

#[no_mangle]
pub unsafe extern "system" fn SCardListReadersA(
    context: Handle,
    _: *const c_char,
    readers: *mut u8,
    length: *mut Dword,
) -> Long {
    boundary(|| {
        let names = handles::context(context)?.list_readers(readers.is_null())?;
        if names.len() == 1 {
            return Err(Error::NoReadersAvailable.into());
        }
        // SAFETY: as the C prototype requires.
        unsafe { give(&names, readers, length) }
    })
}

#[no_mangle]
pub unsafe extern "system" fn SCardGetStatusChangeA(
    context: Handle,
    timeout: Dword,
    states: *mut ReaderState,
    count: Dword,
) -> Long {
    boundary(|| {
        let session = handles::context(context)?;
        // SAFETY: an array of that number of structures with strings, as the C prototype requires.
        let states = unsafe { from_raw_parts_mut(states, count as usize) };
        // SAFETY: as above.
        let name = |state: &ReaderState| unsafe { CStr::from_ptr(state.reader) }.to_owned();
        let names: Vec<_> = states.iter().map(name).collect();
        let pairs = names.iter().zip(states.iter());
        let mut watched: Vec<_> = pairs
            .map(|(name, state)| Watched::new(name.to_bytes(), state.current))
            .collect();
        let timeout = (timeout != INFINITE).then(|| Duration::from_millis(timeout.into()));
        let changed = session.status_change(timeout, &mut watched, false);
        for (state, watched) in states.iter_mut().zip(&watched) {
            state.event = watched.event().unwrap_or(state.event);
            if let Some(atr) = &watched.atr {
                state.atr_length = atr.len() as Dword;
                state.atr[..atr.len()].copy_from_slice(atr);
            }
        }
        changed
    })
}

#[no_mangle]
pub unsafe extern "system" fn SCardConnectA(
    context: Handle,
    reader: *const c_char,
    share: Dword,
    protocols: Dword,
    card: *mut Handle,
    protocol: *mut Dword,
) -> Long {
    boundary(|| {
        let session = handles::context(context)?;
        // SAFETY: a string, as the C prototype requires.
        let reader = unsafe { CStr::from_ptr(reader) }.to_owned();
        let protocols = numbers::protocols(protocols);
        let connected = session.connect(reader.to_bytes(), share, protocols, None)?;
        let number = connected.card;
        let handle = handles::add_card(Card {
            session,
            number,
            reader,
        });
        // SAFETY: writable, as the C prototype requires.
        unsafe {
            card.write(handle);
            protocol.write(connected.protocol);
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "system" fn SCardReconnect(
    card: Handle,
    share: Dword,
    protocols: Dword,
    initialization: Dword,
    protocol: *mut Dword,
) -> Long {
    boundary(|| {
        let Card { session, number, .. } = handles::card(card)?;
        let protocols = numbers::protocols(protocols);
        let active = session.reconnect(number, share, protocols, initialization, None)?;
        // SAFETY: writable, as the C prototype requires.
        unsafe { protocol.write(active) };
        Ok(())
    })
}

#[no_mangle]
pub extern "system" fn SCardDisconnect(card: Handle, disposition: Dword) -> Long {
    boundary(|| {
        let Card { session, number, .. } = handles::card(card)?;
        session.disconnect(number, disposition)?;
        handles::remove_card(card);
        Ok(())
    })
}

#[no_mangle]
pub extern "system" fn SCardBeginTransaction(card: Handle) -> Long {
    boundary(|| {
        let Card { session, number, .. } = handles::card(card)?;
        session.begin_transaction(number, None)
    })
}

#[no_mangle]
pub extern "system" fn SCardEndTransaction(card: Handle, disposition: Dword) -> Long {
    boundary(|| {
        let Card { session, number, .. } = handles::card(card)?;
        session.end_transaction(number, disposition)
    })
}

#[no_mangle]
pub unsafe extern "system" fn SCardStatusA(
    card: Handle,
    reader: *mut u8,
    reader_length: *mut Dword,
    state: *mut Dword,
    protocol: *mut Dword,
    atr: *mut u8,
    atr_length: *mut Dword,
) -> Long {
    boundary(|| {
        let card = handles::card(card)?;
        let status = card.session.status(card.number, card.reader.to_bytes())?;
        // Windows gives a list of names.
        let names = [card.reader.to_bytes_with_nul(), b"\0"].concat();
        // SAFETY: as the C prototype requires.
        unsafe {
            state.write(numbers::card_state(status.state));
            protocol.write(status.protocol);
            give(&names, reader, reader_length)?;
            give(&status.atr, atr, atr_length)
        }
    })
}

#[no_mangle]
pub unsafe extern "system" fn SCardTransmit(
    card: Handle,
    send: *const IoRequest,
    command: *const u8,
    command_length: Dword,
    _receive: *mut IoRequest,
    response: *mut u8,
    response_length: *mut Dword,
) -> Long {
    boundary(|| {
        let Card { session, number, .. } = handles::card(card)?;
        // SAFETY: as the C prototype requires.
        let (send, command, room) = unsafe {
            let pci = Pci {
                protocol: numbers::protocols((*send).protocol),
                length: (*send).length,
            };
            (pci, bytes(command, command_length), response_length.read())
        };
        // SAFETY: as above; the buffers do not overlap.
        let response = unsafe { from_raw_parts_mut(response, room as usize) };
        let sent = session.transmit(number, send, send, command, response, None);
        let length = match &sent {
            Ok(sent) => sent.length as Dword,
            Err(failure) => failure.detail().unwrap_or(0),
        };
        // SAFETY: writable, as the C prototype requires.
        unsafe { response_length.write(length) };
        sent.map(drop)
    })
}

#[no_mangle]
pub unsafe extern "system" fn SCardControl(
    card: Handle,
    code: Dword,
    data: *const u8,
    data_length: Dword,
    answer: *mut u8,
    room: Dword,
    returned: *mut Dword,
) -> Long {
    boundary(|| {
        let Card { session, number, .. } = handles::card(card)?;
        let mut buffer = vec![0; room as usize];
        // SAFETY: as the C prototype requires.
        let data = unsafe { bytes(data, data_length) };
        // The driver also takes Windows' control code for the list of features.
        let length = session.control(number, code, data, &mut buffer, None)?;
        let mut given = room;
        // SAFETY: as above.
        unsafe {
            give(&buffer[..length], answer, &mut given)?;
            returned.write(given);
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "system" fn SCardGetAttrib(
    card: Handle,
    id: Dword,
    value: *mut u8,
    length: *mut Dword,
) -> Long {
    boundary(|| {
        let Card { session, number, .. } = handles::card(card)?;
        let found = session.get_attribute(number, id, value.is_null())?;
        // SAFETY: as the C prototype requires.
        unsafe { give(&found, value, length) }
    })
}

#[no_mangle]
pub unsafe extern "system" fn SCardSetAttrib(
    card: Handle,
    id: Dword,
    value: *const u8,
    length: Dword,
) -> Long {
    boundary(|| {
        let Card { session, number, .. } = handles::card(card)?;
        // SAFETY: as the C prototype requires.
        session.set_attribute(number, id, unsafe { bytes(value, length) })
    })
}
