//! Commands to cards and readers, and attributes.

use std::ffi::c_void;

use pcsc_client::ffi::{DWORD, LONG, SCARDHANDLE, SCARD_AUTOALLOCATE, SCARD_PROTOCOL_ANY};
use pcsc_client::Error;
use pcsc_wire as wire;

use super::IoRequest;
use crate::convention::{
    allocate, boundary, give, sent, set_detail, waiting_boundary, Buffers, Output, TooSmall,
};
use crate::handles;
use crate::spy::Fields;

/// The longest attribute, in bytes.
const LONGEST_ATTRIBUTE: DWORD = wire::ATTRIBUTE_SIZE as DWORD;

/// Sends a command to the card and receives its response.
#[no_mangle]
pub unsafe extern "C-unwind" fn SCardTransmit(
    hCard: SCARDHANDLE,
    pioSendPci: *const IoRequest,
    pbSendBuffer: *const u8,
    cbSendLength: DWORD,
    pioRecvPci: *mut IoRequest,
    pbRecvBuffer: *mut u8,
    pcbRecvLength: *mut DWORD,
) -> LONG {
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("card", hCard);
        // SAFETY: each is NULL or as the C prototype requires.
        unsafe {
            match pioSendPci.is_null() {
                true => fields.null("protocol"),
                false => fields.number("protocol", pioSendPci.read_unaligned().dwProtocol),
            }
            fields.command(sent(pbSendBuffer, cbSendLength));
            fields.room(!pbRecvBuffer.is_null(), Output::new(pcbRecvLength).get());
        }
    };
    waiting_boundary("SCardTransmit", &arguments, |call| {
        if pbSendBuffer.is_null() || pbRecvBuffer.is_null() || pioSendPci.is_null() {
            return Err(Error::InvalidParameter.into());
        }
        // SAFETY: each is NULL or as the C prototype requires.
        let (length, receive_pci) =
            unsafe { (Output::new(pcbRecvLength).required()?, Output::new(pioRecvPci)) };
        // As in PC/SC Lite, which sets the length for a handle that it does not know and leaves it for a
        // parameter that is wrong.
        let card = handles::card(hCard).inspect_err(|_| length.set(0))?;
        // Before anything is stored: the length is input and output.
        let room = length.get().unwrap_or(0);
        // SAFETY: buffers of the stated lengths, as the C prototype requires.
        let buffers = unsafe { Buffers::new(pbSendBuffer, cbSendLength, pbRecvBuffer, room) }?;
        // SAFETY: not NULL, and readable as the C prototype requires.
        let send_pci = unsafe { pioSendPci.read_unaligned() };
        let wanted = receive_pci.get().unwrap_or(IoRequest::new(SCARD_PROTOCOL_ANY));
        let session = &card.context.session;
        let transmitted = buffers.with(|command, response| {
            let (send, receive) = (send_pci.into(), wanted.into());
            // Before the command is sent: the answer's secrecy follows from this command and the one before.
            let is_secret = call.is_recorded() && card.answers_secret(command);
            let transmitted = session.transmit(card.number, send, receive, command, response, None);
            let transmitted = transmitted.inspect_err(|failure| set_detail(length, failure))?;
            call.results(|fields| {
                if receive_pci.get().is_some() {
                    fields.number("receive_protocol", transmitted.pci.protocol.into());
                }
                fields.response(&response[..transmitted.length.min(response.len())], is_secret);
            });
            Ok(transmitted)
        })?;
        receive_pci.set(IoRequest {
            dwProtocol: DWORD::from(transmitted.pci.protocol),
            cbPciLength: DWORD::from(transmitted.pci.length),
        });
        length.set(transmitted.length as DWORD);
        Ok(())
    })
}

/// Calls a function of the reader itself (PC/SC part 10).
#[no_mangle]
pub unsafe extern "C-unwind" fn SCardControl(
    hCard: SCARDHANDLE,
    dwControlCode: DWORD,
    pbSendBuffer: *const c_void,
    cbSendLength: DWORD,
    pbRecvBuffer: *mut c_void,
    cbRecvLength: DWORD,
    lpBytesReturned: *mut DWORD,
) -> LONG {
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("card", hCard);
        fields.code("control_code", dwControlCode);
        // SAFETY: a buffer of the stated length, as the C prototype requires.
        fields.control(dwControlCode, unsafe { sent(pbSendBuffer.cast(), cbSendLength) });
        fields.room(!pbRecvBuffer.is_null(), Some(cbRecvLength));
    };
    waiting_boundary("SCardControl", &arguments, |call| {
        // SAFETY: NULL or writable, as the C prototype requires.
        let returned = unsafe { Output::new(lpBytesReturned) };
        // Also where the call fails, as in PC/SC Lite.
        returned.set(0);
        let card = handles::card(hCard)?;
        // SAFETY: buffers of the stated lengths, as the C prototype requires.
        let buffers = unsafe {
            Buffers::new(
                pbSendBuffer.cast(),
                cbSendLength,
                pbRecvBuffer.cast(),
                cbRecvLength,
            )
        }?;
        if pbSendBuffer.is_null() && cbSendLength > 0 {
            return Err(Error::InvalidParameter.into());
        }
        let (session, code) = (&card.context.session, dwControlCode as u32);
        let length = buffers.with(|data, answer| {
            let length = session.control(card.number, code, data, answer, None);
            let length = length.inspect_err(|failure| set_detail(returned, failure))?;
            call.results(|fields| fields.answer(dwControlCode, &answer[..length.min(answer.len())]));
            Ok(length)
        })?;
        returned.set(length as DWORD);
        Ok(())
    })
}

/// Gets an attribute's value.
#[no_mangle]
pub unsafe extern "C" fn SCardGetAttrib(
    hCard: SCARDHANDLE,
    dwAttrId: DWORD,
    pbAttr: *mut u8,
    pcbAttrLen: *mut DWORD,
) -> LONG {
    // SAFETY: NULL or writable, as the C prototype requires.
    let length = unsafe { Output::new(pcbAttrLen) };
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("card", hCard);
        fields.code("attribute", dwAttrId);
        fields.room(!pbAttr.is_null(), length.get());
    };
    boundary("SCardGetAttrib", &arguments, |call| {
        let length = length.required()?;
        let mut room = length.get().unwrap_or(0);
        let mut buffer = pbAttr;
        let is_allocated = room == SCARD_AUTOALLOCATE;
        if is_allocated && pbAttr.is_null() {
            return Err(Error::InvalidParameter.into());
        }
        if is_allocated || pbAttr.is_null() {
            room = LONGEST_ATTRIBUTE;
            length.set(room);
        }
        if is_allocated {
            // Before anything can fail: callers free it in any case.
            // SAFETY: `pbAttr` points to a pointer, as the C prototype requires for this length.
            buffer = unsafe { allocate(LONGEST_ATTRIBUTE as usize, pbAttr) }?;
        }
        let card = handles::card(hCard)?;
        if room > LONGEST_ATTRIBUTE {
            return Err(Error::InsufficientBuffer.into());
        }
        let session = &card.context.session;
        let value = session.get_attribute(card.number, dwAttrId as u32, buffer.is_null())?;
        length.set(value.len() as DWORD);
        call.results(|fields| fields.bytes("value", &value));
        // SAFETY: NULL, the caller's buffer, or the one allocated, with the room of each.
        unsafe { give(&value, buffer, room, TooSmall::Cut) }
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
    let arguments = |fields: &mut Fields<'_>| {
        fields.handle("card", hCard);
        fields.code("attribute", dwAttrId);
        // SAFETY: a buffer of the stated length, as the C prototype requires.
        fields.secret("value", unsafe { sent(pbAttr, cbAttrLen) });
    };
    boundary("SCardSetAttrib", &arguments, |_| {
        if pbAttr.is_null() || cbAttrLen == 0 {
            return Err(Error::InvalidParameter.into());
        }
        let card = handles::card(hCard)?;
        if cbAttrLen > LONGEST_ATTRIBUTE {
            return Err(Error::InsufficientBuffer.into());
        }
        // SAFETY: a buffer of the stated length, as the C prototype requires.
        let data = unsafe { Buffers::new(pbAttr, cbAttrLen, std::ptr::null_mut(), 0) }?;
        let (session, id) = (&card.context.session, dwAttrId as u32);
        data.with(|data, _| session.set_attribute(card.number, id, data))
    })
}
