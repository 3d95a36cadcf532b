//! A reader with several slots: a handle for each, all of one USB interface.

use alloc::string::ToString;
use alloc::vec::Vec;

use pcsc_uefi::abi::*;
use pcsc_uefi::client::{self, SmartCardReader};
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams};
use uefi::proto::device_path::text::{AllowShortcuts, DisplayOnly};
use uefi::proto::device_path::DevicePath;
use uefi::{println, Handle, Status};

use crate::report::{say, told};
use crate::ANY;

/// Each slot's state, its handle's place below the reader's, and that slots are independent.
pub fn several(slots: &mut [SmartCardReader]) {
    let parent = slots.first().and_then(|first| path(first.handle()));
    for slot in &mut *slots {
        let Ok(status) = slot.status() else {
            continue;
        };
        let own = path(slot.handle()).zip(parent.as_ref());
        let below = own.and_then(|(own, parent)| own.strip_prefix(parent.as_str()).map(ToString::to_string));
        println!(
            "# {}, state {}, path +{}",
            status.name,
            status.state,
            below.unwrap_or_default()
        );
    }
    let [first, second, _, fourth, ..] = slots else {
        return;
    };
    told(
        "first slot",
        &first.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY),
    );
    told(
        "empty slot",
        &second.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY),
    );
    told(
        "empty slot's reader",
        &second.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0),
    );
    told(
        "fourth slot",
        &fourth.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY),
    );
    for slot in [&mut *first, &mut *fourth] {
        let atr = slot.status().map(|status| status.atr.last().copied());
        println!("# ATR's end: {atr:02X?}");
        println!(
            "# echo: {:02X?}",
            slot.transmit(b"\x80\xEC\x00\x00\x01\x07\x00").ok()
        );
    }
    told("first slot", &first.disconnect(SCARD_CA_UNPOWER));
    println!(
        "# fourth slot's state: {:?}",
        fourth.status().map(|status| status.state).ok()
    );
    told("fourth slot", &fourth.disconnect(SCARD_CA_UNPOWER));
    told("empty slot's reader", &second.disconnect(SCARD_CA_NORESET));
}

/// DisconnectController and ConnectController, of one slot's handle and of the reader's.
pub fn restarted(slots: &mut [SmartCardReader]) {
    let handles: Vec<Handle> = slots.iter().map(SmartCardReader::handle).collect();
    let [reader, child, ..] = handles[..] else {
        return;
    };
    let count = || client::readers().map_or(0, |readers| readers.len());
    told(
        "disconnect a child",
        &boot::disconnect_controller(reader, None, Some(child)),
    );
    println!("# readers: {}", count());
    told("the child's pointer", &slots[1].status());
    told(
        "disconnect the reader",
        &boot::disconnect_controller(reader, None, None),
    );
    println!("# readers: {}", count());
    told("the first slot's pointer", &slots[0].status());
    told(
        "connect the reader",
        &boot::connect_controller(reader, &[], None, false),
    );
    println!("# readers: {}", count());
    say(
        "connect the reader again",
        match boot::connect_controller(reader, &[], None, false) {
            Ok(()) => Status::SUCCESS,
            Err(error) => error.status(),
        },
    );
    println!("# readers: {}", count());
}

/// A handle's device path, as text.
fn path(handle: Handle) -> Option<alloc::string::String> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: used at once.
    let path = unsafe { boot::open_protocol::<DevicePath>(params, OpenProtocolAttributes::GetProtocol) };
    let text = path.ok()?.to_string16(DisplayOnly(false), AllowShortcuts(false));
    text.ok().map(|text| text.to_string())
}
