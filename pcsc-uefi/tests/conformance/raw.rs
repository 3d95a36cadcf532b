//! Calls with any pointers.

use core::ptr;

use pcsc_uefi::abi::*;
use pcsc_uefi::client::SmartCardReader;
use uefi::Status;

use crate::report::say;
use crate::{ATR_STRING, VENDOR_NAME};

/// SCardStatus with any pointers.
pub fn status(
    reader: &mut SmartCardReader,
    name: *mut u16,
    name_length: *mut usize,
    atr: *mut u8,
    atr_length: *mut usize,
) -> Status {
    let this = reader.raw();
    // SAFETY: callers give NULL or variables of the lengths that they give.
    unsafe {
        (this.status)(
            ptr::from_mut(this),
            name,
            name_length,
            ptr::null_mut(),
            ptr::null_mut(),
            atr,
            atr_length,
        )
    }
}

pub fn transmit(
    reader: &mut SmartCardReader,
    command: &[u8],
    response: *mut u8,
    length: *mut usize,
) -> Status {
    let this = reader.raw();
    // SAFETY: as above.
    unsafe {
        (this.transmit)(
            ptr::from_mut(this),
            command.as_ptr(),
            command.len(),
            response,
            length,
        )
    }
}

pub fn null_pointers(reader: &mut SmartCardReader) {
    let SmartCardReaderProtocol {
        connect,
        disconnect,
        status: _,
        transmit: send,
        control,
        get_attrib,
    } = *reader.raw();
    let null = ptr::null_mut();
    let mut number = 0;
    let mut length = 4;
    let mut bytes = [0; 4];
    // SAFETY: NULL is what is tested; the rest are variables of the lengths given.
    unsafe {
        say("connect(NULL)", connect(null, SCARD_AM_READER, 0, 0, &mut number));
        say("disconnect(NULL)", disconnect(null, 0));
        say(
            "transmit(NULL)",
            send(null, bytes.as_ptr(), 4, bytes.as_mut_ptr(), &mut length),
        );
        say(
            "control(NULL)",
            control(null, 0, ptr::null(), 0, ptr::null_mut(), &mut length),
        );
        say(
            "attribute(NULL)",
            get_attrib(null, ATR_STRING, bytes.as_mut_ptr(), &mut length),
        );
        let this = ptr::from_mut(reader.raw());
        say(
            "command NULL",
            send(this, ptr::null(), 4, bytes.as_mut_ptr(), &mut length),
        );
        say(
            "command empty",
            send(this, bytes.as_ptr(), 0, bytes.as_mut_ptr(), &mut length),
        );
        say(
            "response NULL",
            send(this, bytes.as_ptr(), 4, ptr::null_mut(), &mut length),
        );
        say(
            "response length NULL",
            send(this, bytes.as_ptr(), 4, bytes.as_mut_ptr(), ptr::null_mut()),
        );
        say(
            "control length NULL",
            control(
                this,
                CM_IOCTL_GET_FEATURE_REQUEST,
                ptr::null(),
                0,
                bytes.as_mut_ptr(),
                ptr::null_mut(),
            ),
        );
        say(
            "control input NULL",
            control(
                this,
                CM_IOCTL_GET_FEATURE_REQUEST,
                ptr::null(),
                1,
                bytes.as_mut_ptr(),
                &mut length,
            ),
        );
        say(
            "attribute buffer NULL",
            get_attrib(this, VENDOR_NAME, ptr::null_mut(), &mut length),
        );
        say(
            "attribute length NULL",
            get_attrib(this, VENDOR_NAME, bytes.as_mut_ptr(), ptr::null_mut()),
        );
        length = 0;
        say(
            "attribute length 0",
            get_attrib(this, VENDOR_NAME, bytes.as_mut_ptr(), &mut length),
        );
    }
    say(
        "name without length",
        status(
            reader,
            [0; 4].as_mut_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
        ),
    );
    say(
        "ATR without length",
        status(
            reader,
            ptr::null_mut(),
            ptr::null_mut(),
            bytes.as_mut_ptr(),
            ptr::null_mut(),
        ),
    );
}
