//! Connections to cards, and transactions.

use std::ffi::c_char;

use pcsc_client::ffi::{DWORD, LONG, SCARDCONTEXT, SCARDHANDLE, SCARD_AUTOALLOCATE, SCARD_LEAVE_CARD};
use pcsc_client::Error;
use pcsc_wire as wire;

use crate::convention::{boundary, give, set_detail, string, waiting_boundary, Output, TooSmall};
use crate::handles;
use crate::memory;
use crate::spy::Fields;

/// Connects to the card in a reader.
#[no_mangle]
pub unsafe extern "C-unwind" fn SCardConnect(
    hContext: SCARDCONTEXT,
    szReader: *const c_char,
    dwShareMode: DWORD,
    dwPreferredProtocols: DWORD,
    phCard: *mut SCARDHANDLE,
    pdwActiveProtocol: *mut DWORD,
) -> LONG {
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("context", hContext);
        // SAFETY: NULL or a string, as the C prototype requires.
        fields.text("reader", unsafe { string(szReader) });
        fields.number("share_mode", dwShareMode);
        fields.number("protocols", dwPreferredProtocols);
    };
    waiting_boundary("SCardConnect", &arguments, |call| {
        // SAFETY: each is NULL or writable, as the C prototype requires.
        let (handle, active) = unsafe {
            (
                Output::new(phCard).required()?,
                Output::new(pdwActiveProtocol).required()?,
            )
        };
        // First, as PC/SC Lite does: a program may use what is there after a failure.
        handle.set(0);
        // SAFETY: NULL or a string, as the C prototype requires, which is not written to before its last use.
        let reader = unsafe { string(szReader) }.ok_or(Error::UnknownReader)?;
        // PC/SC Lite's limit, with the NUL not counted. A name of exactly this length is truncated further
        // down.
        if reader.len() > wire::NAME_SIZE {
            return Err(Error::InvalidValue.into());
        }
        let context = handles::context(hContext)?;
        memory::require()?;
        let (share, protocols) = (dwShareMode as u32, dwPreferredProtocols as u32);
        let connected = context.session.connect(reader, share, protocols, None);
        let connected = connected.inspect_err(|failure| set_detail(active, failure))?;
        let added = handles::add_card(&context, connected.card, reader);
        match added {
            Ok(card) => handle.set(card),
            // The connection exists and has no handle: it is ended here, as nobody else can.
            Err(_) => {
                let _ = context
                    .session
                    .disconnect(connected.card, SCARD_LEAVE_CARD as u32);
            }
        }
        active.set(DWORD::from(connected.protocol));
        // After the protocol is stored, as PC/SC Lite does.
        let card = added?;
        call.results(|fields| {
            fields.handle("card", card);
            fields.number("protocol", connected.protocol.into());
        });
        Ok(())
    })
}

/// Changes share mode and protocol of a connection.
#[no_mangle]
pub unsafe extern "C-unwind" fn SCardReconnect(
    hCard: SCARDHANDLE,
    dwShareMode: DWORD,
    dwPreferredProtocols: DWORD,
    dwInitialization: DWORD,
    pdwActiveProtocol: *mut DWORD,
) -> LONG {
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("card", hCard);
        fields.number("share_mode", dwShareMode);
        fields.number("protocols", dwPreferredProtocols);
        fields.number("initialization", dwInitialization);
    };
    waiting_boundary("SCardReconnect", &arguments, |call| {
        // SAFETY: NULL or writable, as the C prototype requires.
        let active = unsafe { Output::new(pdwActiveProtocol) }.required()?;
        let card = handles::card(hCard)?;
        let protocol = card.context.session.reconnect(
            card.number,
            dwShareMode as u32,
            dwPreferredProtocols as u32,
            dwInitialization as u32,
            None,
        );
        let protocol = protocol.inspect_err(|failure| set_detail(active, failure))?;
        active.set(DWORD::from(protocol));
        call.results(|fields| fields.number("protocol", protocol.into()));
        Ok(())
    })
}

/// Ends a connection.
#[no_mangle]
pub extern "C-unwind" fn SCardDisconnect(hCard: SCARDHANDLE, dwDisposition: DWORD) -> LONG {
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("card", hCard);
        fields.number("disposition", dwDisposition);
    };
    waiting_boundary("SCardDisconnect", &arguments, |_| {
        let card = handles::card(hCard)?;
        let session = &card.context.session;
        session.disconnect(card.number, dwDisposition as u32)?;
        // After the call has succeeded: with a card that is in use elsewhere it fails, and the handle stays
        // valid.
        handles::remove_card(hCard);
        Ok(())
    })
}

/// Begins a transaction. Waits until the transactions of other connections are over.
#[no_mangle]
pub extern "C-unwind" fn SCardBeginTransaction(hCard: SCARDHANDLE) -> LONG {
    let arguments = |fields: &mut Fields<'_>| fields.handle("card", hCard);
    waiting_boundary("SCardBeginTransaction", &arguments, |_| {
        let card = handles::card(hCard)?;
        card.context.session.begin_transaction(card.number, None)
    })
}

/// Ends a transaction.
#[no_mangle]
pub extern "C" fn SCardEndTransaction(hCard: SCARDHANDLE, dwDisposition: DWORD) -> LONG {
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("card", hCard);
        fields.number("disposition", dwDisposition);
    };
    boundary("SCardEndTransaction", &arguments, |_| {
        let card = handles::card(hCard)?;
        let session = &card.context.session;
        session.end_transaction(card.number, dwDisposition as u32)
    })
}

/// A connection's reader, state, protocol and ATR.
#[no_mangle]
pub unsafe extern "C-unwind" fn SCardStatus(
    hCard: SCARDHANDLE,
    szReaderName: *mut c_char,
    pcchReaderLen: *mut DWORD,
    pdwState: *mut DWORD,
    pdwProtocol: *mut DWORD,
    pbAtr: *mut u8,
    pcbAtrLen: *mut DWORD,
) -> LONG {
    let arguments = |fields: &mut Fields<'_>| fields.handle("card", hCard);
    waiting_boundary("SCardStatus", &arguments, |call| {
        // SAFETY: each is NULL or writable, as the C prototype requires.
        let (name_length, state, protocol, atr_length) = unsafe {
            (
                Output::new(pcchReaderLen),
                Output::new(pdwState),
                Output::new(pdwProtocol),
                Output::new(pcbAtrLen),
            )
        };
        let (name_room, atr_room) = (name_length.get().unwrap_or(0), atr_length.get().unwrap_or(0));
        // After the rooms were read, which are in two of them.
        for output in [state, protocol, name_length, atr_length] {
            output.set(0);
        }

        let card = handles::card(hCard)?;
        let now = card.context.session.status(card.number, card.reader())?;
        let whole_state = DWORD::from((now.event_counter << 16).wrapping_add(now.state));
        call.results(|fields| {
            fields.text("reader", Some(card.reader()));
            fields.code("state", whole_state);
            fields.number("protocol", now.protocol.into());
            fields.bytes("atr", &now.atr);
        });
        name_length.set(card.reader().len() as DWORD + 1);
        atr_length.set(now.atr.len() as DWORD);
        state.set(whole_state);
        protocol.set(DWORD::from(now.protocol));
        // SAFETY: the buffers have the stated room, or take a pointer. The data is not the caller's memory.
        unsafe {
            let given = give(card.reader_nul(), szReaderName.cast(), name_room, TooSmall::Cut);
            // The ATR is given also where the name's buffer is too small.
            if matches!(&given, Err(failure) if failure.error() != Error::InsufficientBuffer) {
                return given;
            }
            if name_room != SCARD_AUTOALLOCATE && !szReaderName.is_null() {
                zero_rest(szReaderName, card.reader_nul().len(), name_room);
            }
            give(&now.atr, pbAtr, atr_room, TooSmall::Cut).and(given)
        }
    })
}

/// Zeroes the room behind a name, as PC/SC Lite does: some callers read it as a list of names, which ends
/// with an empty one. No more than [`wire::MAX_PAYLOAD`] bytes of the buffer are written.
///
/// # Safety
/// `buffer` has `room` writable bytes.
unsafe fn zero_rest(buffer: *mut c_char, length: usize, room: DWORD) {
    let room = room.min(wire::MAX_PAYLOAD as DWORD) as usize;
    if length < room {
        // SAFETY: as the caller promises.
        unsafe { buffer.add(length).write_bytes(0, room - length) };
    }
}
