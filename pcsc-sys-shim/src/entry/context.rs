//! The entry points of `winscard.h` (PC/SC part 5), with the conventions of PC/SC Lite 1.9.9 and 2.5.
//!
//! Each is sound for the pointers that its C declaration asks for; NULL is handled wherever it can be
//! told. Numbers are 32 bits wide on the wire: wider ones are cut as C's library cuts them.
#![allow(non_snake_case, non_upper_case_globals, clippy::missing_safety_doc)]

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use pcsc_client::backend::status_change::Watched;
use pcsc_client::backend::{Cause, Options, Session};
use pcsc_client::ffi::{DWORD, INFINITE, LONG, SCARDCONTEXT, SCARDHANDLE, SCARD_AUTOALLOCATE};
use pcsc_client::Error;
use pcsc_wire as wire;

use crate::convention::{
    allocate, boundary, give, input, output, output_buffer, required, result, string, Code, Result, TooSmall,
};
use crate::handles::{registry, Card, Context};
use crate::log_to_stderr;

/// `SCARD_IO_REQUEST`: the protocol control information of a transmit.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct IoRequest {
    /// The protocol.
    pub dwProtocol: DWORD,
    /// The structure's size.
    pub cbPciLength: DWORD,
}

/// `SCARD_READERSTATE`: a reader that `SCardGetStatusChange` watches.
#[repr(C)]
#[derive(Debug)]
pub struct ReaderState {
    /// The reader's name.
    pub szReader: *const c_char,
    /// The caller's own.
    pub pvUserData: *mut c_void,
    /// What the caller knows.
    pub dwCurrentState: DWORD,
    /// What is the case.
    pub dwEventState: DWORD,
    /// The ATR's length.
    pub cbAtr: DWORD,
    /// The ATR.
    pub rgbAtr: [u8; 33],
}

const fn pci(protocol: DWORD) -> IoRequest {
    IoRequest {
        dwProtocol: protocol,
        cbPciLength: std::mem::size_of::<IoRequest>() as DWORD,
    }
}

/// `SCARD_PCI_T0`.
#[no_mangle]
pub static g_rgSCardT0Pci: IoRequest = pci(1);
/// `SCARD_PCI_T1`.
#[no_mangle]
pub static g_rgSCardT1Pci: IoRequest = pci(2);
/// `SCARD_PCI_RAW`.
#[no_mangle]
pub static g_rgSCardRawPci: IoRequest = pci(4);

fn context(handle: SCARDCONTEXT) -> Result<Arc<Context>> {
    registry()
        .context(handle)
        .ok_or(Code(Error::InvalidHandle.code()))
}

fn card(handle: SCARDHANDLE) -> Result<Arc<Card>> {
    registry().card(handle).ok_or(Code(Error::InvalidHandle.code()))
}

/// Establishes a context with the resource manager.
#[no_mangle]
pub unsafe extern "C" fn SCardEstablishContext(
    dwScope: DWORD,
    _pvReserved1: *const c_void,
    _pvReserved2: *const c_void,
    phContext: *mut SCARDCONTEXT,
) -> LONG {
    boundary(|| {
        log_to_stderr::init();
        // SAFETY: NULL or writable, as C's declaration asks.
        let handle = unsafe { required(phContext) }?;
        let options = Options {
            scope: dwScope as u32,
            ..Options::default()
        };
        let session = Session::establish(&options).inspect_err(|failure| {
            // Where there is no socket, stock does not get as far as to clear it.
            let is_absent = matches!(failure.cause(), Some(Cause::Connect { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound);
            if !is_absent {
                *handle = 0;
            }
        })?;
        *handle = 0;
        *handle = registry()
            .add_context(session)
            .ok_or(Code(Error::NoMemory.code()))?;
        Ok(())
    })
}

/// Ends a context and its cards' handles. A wait in progress is cancelled.
#[no_mangle]
pub extern "C" fn SCardReleaseContext(hContext: SCARDCONTEXT) -> LONG {
    boundary(|| {
        let context = registry()
            .remove_context(hContext)
            .ok_or(Code(Error::InvalidHandle.code()))?;
        Ok(context.session.release()?)
    })
}

/// Tells whether a context can still be used.
#[no_mangle]
pub extern "C" fn SCardIsValidContext(hContext: SCARDCONTEXT) -> LONG {
    boundary(|| Ok(context(hContext)?.session.check_alive()?))
}

/// Connects to the card in a reader.
#[no_mangle]
pub unsafe extern "C" fn SCardConnect(
    hContext: SCARDCONTEXT,
    szReader: *const c_char,
    dwShareMode: DWORD,
    dwPreferredProtocols: DWORD,
    phCard: *mut SCARDHANDLE,
    pdwActiveProtocol: *mut DWORD,
) -> LONG {
    boundary(|| {
        // SAFETY: each is NULL or as C's declaration asks.
        let (handle, active, reader) =
            unsafe { (required(phCard)?, required(pdwActiveProtocol)?, string(szReader)) };
        *handle = 0;
        let reader = reader.ok_or(Code(Error::UnknownReader.code()))?;
        if reader.len() > wire::NAME_SIZE {
            return Err(Error::InvalidValue.into());
        }
        let context = context(hContext)?;
        let (share, protocols) = (dwShareMode as u32, dwPreferredProtocols as u32);
        let reply = context.session.connect(reader, share, protocols, None)?;
        *active = DWORD::from(reply.active);
        result(reply.rv)?;
        *handle = registry().add_card(&context, reply.card, reader)?;
        Ok(())
    })
}

/// Gives a connection new terms.
#[no_mangle]
pub unsafe extern "C" fn SCardReconnect(
    hCard: SCARDHANDLE,
    dwShareMode: DWORD,
    dwPreferredProtocols: DWORD,
    dwInitialization: DWORD,
    pdwActiveProtocol: *mut DWORD,
) -> LONG {
    boundary(|| {
        // SAFETY: NULL or writable, as C's declaration asks.
        let active = unsafe { required(pdwActiveProtocol) }?;
        let card = card(hCard)?;
        let reply = card.context.session.reconnect(
            card.number,
            dwShareMode as u32,
            dwPreferredProtocols as u32,
            dwInitialization as u32,
            *active as u32,
            None,
        )?;
        // A violation that is not waited out leaves the value alone.
        *active = DWORD::from(reply.active);
        result(reply.rv)
    })
}

/// Ends a connection.
#[no_mangle]
pub extern "C" fn SCardDisconnect(hCard: SCARDHANDLE, dwDisposition: DWORD) -> LONG {
    boundary(|| {
        let card = card(hCard)?;
        result(
            card.context
                .session
                .disconnect(card.number, dwDisposition as u32)?
                .rv,
        )?;
        registry().remove_card(hCard);
        Ok(())
    })
}

/// Begins a transaction, once the other connections' transactions are over.
#[no_mangle]
pub extern "C" fn SCardBeginTransaction(hCard: SCARDHANDLE) -> LONG {
    boundary(|| {
        let card = card(hCard)?;
        result(card.context.session.begin_transaction(card.number, None)?.rv)
    })
}

/// Ends a transaction.
#[no_mangle]
pub extern "C" fn SCardEndTransaction(hCard: SCARDHANDLE, dwDisposition: DWORD) -> LONG {
    boundary(|| {
        let card = card(hCard)?;
        result(
            card.context
                .session
                .end_transaction(card.number, dwDisposition as u32)?
                .rv,
        )
    })
}

/// Tells a connection's reader, state, protocol and ATR.
#[no_mangle]
pub unsafe extern "C" fn SCardStatus(
    hCard: SCARDHANDLE,
    szReaderName: *mut c_char,
    pcchReaderLen: *mut DWORD,
    pdwState: *mut DWORD,
    pdwProtocol: *mut DWORD,
    pbAtr: *mut u8,
    pcbAtrLen: *mut DWORD,
) -> LONG {
    boundary(|| {
        let (mut no_name_length, mut no_atr_length, mut no_state, mut no_protocol) = (0, 0, 0, 0);
        // SAFETY: each is NULL or writable, as C's declaration asks.
        let (name_length, atr_length, state, protocol) = unsafe {
            (
                output(pcchReaderLen).unwrap_or(&mut no_name_length),
                output(pcbAtrLen).unwrap_or(&mut no_atr_length),
                output(pdwState).unwrap_or(&mut no_state),
                output(pdwProtocol).unwrap_or(&mut no_protocol),
            )
        };
        let (name_room, atr_room) = (*name_length, *atr_length);
        (*name_length, *atr_length, *state, *protocol) = (0, 0, 0, 0);

        let card = card(hCard)?;
        let (rv, reader) = card.context.session.status(card.number, &card.reader, |reader| {
            reader.map(|reader| {
                let mut atr = [0; 33];
                atr[..reader.atr.len()].copy_from_slice(reader.atr);
                let state = (reader.event_counter << 16).wrapping_add(reader.state);
                (state, reader.protocol, atr, reader.atr.len())
            })
        })?;
        let Some((reader_state, active, atr, length)) = reader else {
            return Err(Error::ReaderUnavailable.into());
        };
        result(rv)?;
        *name_length = card.reader.len() as DWORD + 1;
        *atr_length = length as DWORD;
        *state = DWORD::from(reader_state);
        *protocol = DWORD::from(active);
        let mut name = [&card.reader[..], b"\0"].concat();
        if name_room != SCARD_AUTOALLOCATE && !szReaderName.is_null() {
            // Callers that take a list of names find its end: the rest of their room is zeroed.
            let room = usize::try_from(name_room).unwrap_or(usize::MAX);
            name.resize(room.clamp(name.len(), wire::MAX_PAYLOAD), 0);
        }
        // SAFETY: the buffers have the room that the caller told, or take a pointer.
        unsafe {
            let given = give(&name, szReaderName.cast(), name_room, TooSmall::Cut);
            if given == Err(Error::InvalidParameter.into()) || given == Err(Error::NoMemory.into()) {
                return given;
            }
            give(&atr[..length], pbAtr, atr_room, TooSmall::Cut).and(given)
        }
    })
}

/// Waits for a change of readers and cards.
#[no_mangle]
pub unsafe extern "C" fn SCardGetStatusChange(
    hContext: SCARDCONTEXT,
    dwTimeout: DWORD,
    rgReaderStates: *mut ReaderState,
    cReaders: DWORD,
) -> LONG {
    boundary(|| {
        if cReaders == 0 {
            return Ok(());
        }
        if rgReaderStates.is_null() {
            return Err(Error::InvalidParameter.into());
        }
        // SAFETY: the caller promises an array of so many structures.
        let states = unsafe { std::slice::from_raw_parts_mut(rgReaderStates, cReaders as usize) };
        let mut watched = Vec::with_capacity(states.len());
        for state in states.iter() {
            // SAFETY: NULL or a string, as C's declaration asks.
            let name = unsafe { string(state.szReader) }.ok_or(Code(Error::InvalidValue.code()))?;
            watched.push(Watched::new(name, state.dwCurrentState as u32));
        }
        if watched.iter().all(Watched::is_ignored) {
            return Ok(());
        }
        let timeout = match dwTimeout {
            INFINITE | DWORD::MAX => None,
            #[allow(clippy::unnecessary_cast)] // DWORD has 32 bits elsewhere
            milliseconds => Some(Duration::from_millis(milliseconds as u64)),
        };
        let changed = context(hContext)?
            .session
            .status_change(timeout, &mut watched, false);
        for (state, watched) in states.iter_mut().zip(&watched) {
            if let Some(event) = watched.event() {
                state.dwEventState = DWORD::from(event);
            }
            if let Some((length, atr)) = &watched.atr {
                state.cbAtr = *length as DWORD;
                state.rgbAtr[..*length].copy_from_slice(&atr[..*length]);
            }
        }
        Ok(changed?)
    })
}

/// Uses a reader's own function.
#[no_mangle]
pub unsafe extern "C" fn SCardControl(
    hCard: SCARDHANDLE,
    dwControlCode: DWORD,
    pbSendBuffer: *const c_void,
    cbSendLength: DWORD,
    pbRecvBuffer: *mut c_void,
    cbRecvLength: DWORD,
    lpBytesReturned: *mut DWORD,
) -> LONG {
    boundary(|| {
        let mut unwanted = 0;
        // SAFETY: NULL or writable, as C's declaration asks.
        let returned = unsafe { output(lpBytesReturned) }.unwrap_or(&mut unwanted);
        *returned = 0;
        let card = card(hCard)?;
        if cbSendLength > wire::MAX_PAYLOAD as DWORD {
            return Err(Error::InsufficientBuffer.into());
        }
        if pbSendBuffer.is_null() && cbSendLength > 0 {
            return Err(Error::InvalidParameter.into());
        }
        // SAFETY: buffers of the lengths told, as C's declaration asks.
        let (data, response) = unsafe {
            (
                input(pbSendBuffer.cast(), cbSendLength),
                output_buffer(pbRecvBuffer.cast(), cbRecvLength),
            )
        };
        let reply = card
            .context
            .session
            .control(card.number, dwControlCode as u32, data, response, None)?;
        *returned = DWORD::from(reply.returned);
        result(reply.rv)
    })
}

/// Sends a command to the card and takes its response.
#[no_mangle]
pub unsafe extern "C" fn SCardTransmit(
    hCard: SCARDHANDLE,
    pioSendPci: *const IoRequest,
    pbSendBuffer: *const u8,
    cbSendLength: DWORD,
    pioRecvPci: *mut IoRequest,
    pbRecvBuffer: *mut u8,
    pcbRecvLength: *mut DWORD,
) -> LONG {
    boundary(|| {
        if pbSendBuffer.is_null() || pbRecvBuffer.is_null() || pioSendPci.is_null() {
            return Err(Error::InvalidParameter.into());
        }
        // SAFETY: each is NULL or as C's declaration asks; the structures may be unaligned in old code.
        let (length, send_pci, receive_pci) = unsafe {
            let receive_pci = (!pioRecvPci.is_null()).then(|| pioRecvPci.read_unaligned());
            (required(pcbRecvLength)?, pioSendPci.read_unaligned(), receive_pci)
        };
        let Ok(card) = card(hCard) else {
            *length = 0;
            return Err(Error::InvalidHandle.into());
        };
        if cbSendLength > wire::MAX_PAYLOAD as DWORD {
            return Err(Error::InsufficientBuffer.into());
        }
        // SAFETY: buffers of the lengths told, as C's declaration asks.
        let (command, response) = unsafe {
            (
                input(pbSendBuffer, cbSendLength),
                output_buffer(pbRecvBuffer, *length),
            )
        };
        let wanted = receive_pci.unwrap_or(pci(3));
        let request = wire::Transmit {
            card: card.number,
            send_protocol: send_pci.dwProtocol as u32,
            send_pci_length: send_pci.cbPciLength as u32,
            send_length: 0,
            receive_protocol: wanted.dwProtocol as u32,
            receive_pci_length: wanted.cbPciLength as u32,
            receive_length: 0,
            rv: 0,
        };
        let reply = card.context.session.transmit(request, command, response, None)?;
        if reply.rv == 0 && receive_pci.is_some() {
            let used = IoRequest {
                dwProtocol: DWORD::from(reply.receive_protocol),
                cbPciLength: DWORD::from(reply.receive_pci_length),
            };
            // SAFETY: not NULL, and writable as C's declaration asks.
            unsafe { pioRecvPci.write_unaligned(used) };
        }
        *length = DWORD::from(reply.receive_length);
        result(reply.rv)
    })
}

/// Lists the reader groups: there is one.
#[no_mangle]
pub unsafe extern "C" fn SCardListReaderGroups(
    hContext: SCARDCONTEXT,
    mszGroups: *mut c_char,
    pcchGroups: *mut DWORD,
) -> LONG {
    boundary(|| {
        // SAFETY: NULL or writable, as C's declaration asks.
        let length = unsafe { required(pcchGroups) }?;
        context(hContext)?;
        // SAFETY: as above.
        unsafe { give_list(b"SCard$DefaultReaders\0\0", mszGroups, length) }
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
    boundary(|| {
        // SAFETY: NULL or writable, as C's declaration asks.
        let length = unsafe { required(pcchReaders) }?;
        let context = context(hContext)?;
        let names = context.session.with_states(|states| {
            // Room for a few readers' names at once.
            let mut names = Vec::with_capacity(512);
            for reader in states.readers() {
                names.extend_from_slice(reader.name);
                names.push(0);
            }
            names.push(0);
            names
        });
        let names = names.inspect_err(|_| *length = 0)?;
        if names.len() == 1 {
            *length = 1;
            return Err(Error::NoReadersAvailable.into());
        }
        // SAFETY: as above.
        unsafe { give_list(&names, mszReaders, length) }
    })
}

/// Gives a list of strings; the length needed is told in any case.
///
/// # Safety
/// As [`give`], with the room in `length`.
unsafe fn give_list(list: &[u8], buffer: *mut c_char, length: &mut DWORD) -> Result {
    let room = std::mem::replace(length, list.len() as DWORD);
    // SAFETY: as the caller promises.
    unsafe { give(list, buffer.cast(), room, TooSmall::Refuse) }
}

/// Frees what a call with `SCARD_AUTOALLOCATE` gave.
#[no_mangle]
pub unsafe extern "C" fn SCardFreeMemory(hContext: SCARDCONTEXT, pvMem: *const c_void) -> LONG {
    boundary(|| {
        context(hContext)?;
        // SAFETY: NULL or memory that `give` allocated, as C's declaration asks.
        unsafe { libc::free(pvMem.cast_mut()) };
        Ok(())
    })
}

/// Ends the waits in progress on a context.
#[no_mangle]
pub extern "C" fn SCardCancel(hContext: SCARDCONTEXT) -> LONG {
    boundary(|| Ok(context(hContext)?.session.cancel()?))
}

/// Gets an attribute's value.
#[no_mangle]
pub unsafe extern "C" fn SCardGetAttrib(
    hCard: SCARDHANDLE,
    dwAttrId: DWORD,
    pbAttr: *mut u8,
    pcbAttrLen: *mut DWORD,
) -> LONG {
    const MOST: DWORD = wire::ATTRIBUTE_SIZE as DWORD;
    boundary(|| {
        // SAFETY: NULL or writable, as C's declaration asks.
        let length = unsafe { required(pcbAttrLen) }?;
        let mut buffer = pbAttr;
        if *length == SCARD_AUTOALLOCATE {
            // As much as any attribute has, and before anything can fail: callers free it in any case.
            // SAFETY: `pbAttr` points to a pointer, as C's declaration asks for this length.
            buffer = unsafe { allocate(MOST as usize, pbAttr) }?;
        }
        if buffer.is_null() || buffer != pbAttr {
            *length = MOST;
        }
        let room = *length;
        let card = card(hCard)?;
        if room > MOST {
            return Err(Error::InsufficientBuffer.into());
        }
        let reply = card.context.session.get_attribute(card.number, dwAttrId as u32)?;
        result(reply.rv)?;
        let value = &reply.value[..(reply.length as usize).min(reply.value.len())];
        *length = value.len() as DWORD;
        // SAFETY: NULL, the caller's buffer, or the one allocated, with the room of each.
        unsafe { give(value, buffer, room, TooSmall::Cut) }
    })
}

/// Sets an attribute's value.
#[no_mangle]
pub unsafe extern "C" fn SCardSetAttrib(
    hCard: SCARDHANDLE,
    dwAttrId: DWORD,
    pbAttr: *const u8,
    cbAttrLen: DWORD,
) -> LONG {
    boundary(|| {
        if pbAttr.is_null() || cbAttrLen == 0 {
            return Err(Error::InvalidParameter.into());
        }
        let card = card(hCard)?;
        if cbAttrLen > wire::ATTRIBUTE_SIZE as DWORD {
            return Err(Error::InsufficientBuffer.into());
        }
        // SAFETY: a buffer of the length told, as C's declaration asks.
        let data = unsafe { input(pbAttr, cbAttrLen) };
        result(
            card.context
                .session
                .set_attribute(card.number, dwAttrId as u32, data)?
                .rv,
        )
    })
}
