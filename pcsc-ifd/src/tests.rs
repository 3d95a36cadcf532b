//! The entry points, with simulated readers.

use crate::abi::{self, Dword, IoHeader, ResponseCode};
use crate::entry::*;
use pcsc_ccid::descriptor::Flavour;
use std::ffi::{c_int, CString};
use std::ptr;

/// Opens a unit. Units are the process's: each test has readers of its own.
fn open(lun: Dword, name: &str) -> ResponseCode {
    let name = CString::new(name).unwrap();
    // SAFETY: a C string.
    unsafe { IFDHCreateChannelByName(lun, name.as_ptr()) }
}

/// The value of a tag that fits four words.
fn value(lun: Dword, tag: Dword) -> Result<Vec<u8>, ResponseCode> {
    let mut value = [0; 32];
    let mut length = value.len() as Dword;
    // SAFETY: the length is that of the value.
    match unsafe { IFDHGetCapabilities(lun, tag, &mut length, value.as_mut_ptr()) } {
        abi::SUCCESS => Ok(value[..length as usize].to_vec()),
        code => Err(code),
    }
}

#[test]
fn what_a_failed_call_has_written_is_a_length_of_zero() {
    const CLOSED: Dword = 0x0100_0000;
    let header = IoHeader {
        protocol: 1,
        length: 0,
    };
    let (mut room, command) = ([0; 300], [0; 5]);
    let mut lengths = [33, 300, 300];
    let [atr, response, answer] = &mut lengths;
    // SAFETY: each length is at most that of the room.
    let codes = unsafe {
        [
            IFDHPowerICC(CLOSED, abi::POWER_UP, room.as_mut_ptr(), atr),
            IFDHTransmitToICC(
                CLOSED,
                header,
                command.as_ptr(),
                command.len() as Dword,
                room.as_mut_ptr(),
                response,
                ptr::null_mut(),
            ),
            IFDHControl(CLOSED, 0, ptr::null(), 0, room.as_mut_ptr().cast(), 300, answer),
        ]
    };
    assert_eq!((codes, lengths), ([abi::COMMUNICATION_ERROR; 3], [0; 3]));
}

#[test]
fn readers_that_report_cards_have_waits_and_the_others_are_polled() {
    for (number, (name, _)) in (0x0200..).zip(pcsc_sim::NAMES) {
        let lun = number << 16;
        assert_eq!(open(lun, &format!("sim:{name}")), abi::SUCCESS, "{name}");
        let model = pcsc_sim::model(name).unwrap();
        let has_waits = model.flavour() != Flavour::Ccid || model.notifies();
        for tag in [abi::TAG_POLLING_THREAD_WITH_TIMEOUT, abi::TAG_STOP_POLLING_THREAD] {
            let length = value(lun, tag).unwrap().len();
            let expected = if has_waits { size_of::<usize>() } else { 0 };
            assert_eq!(length, expected, "{name}");
        }
        let slots = u8::try_from(model.descriptor.slots()).unwrap();
        assert_eq!(value(lun, abi::TAG_SLOTS_NUMBER), Ok(vec![slots]), "{name}");
        assert_eq!(IFDHCloseChannel(lun), abi::SUCCESS, "{name}");
        assert_eq!(IFDHCloseChannel(lun), abi::COMMUNICATION_ERROR, "{name}: closed");
    }
}

#[test]
fn slots_share_their_reader_and_other_readers_are_opened_anew() {
    const READER: Dword = 0x0300_0000;
    let two_slots = "sim:scr331-di:card=t1:card=none";
    assert_eq!(open(READER, two_slots), abi::SUCCESS);
    assert_eq!(open(READER, two_slots), abi::COMMUNICATION_ERROR, "it is open");
    // The name has a card in the second slot: it would show in a reader of its own.
    let other = "sim:scr331-di:card=none:card=t1";
    assert_eq!(open(READER | 1, other), abi::SUCCESS);
    assert_eq!(open(READER | 2, other), abi::COMMUNICATION_ERROR, "no such slot");
    assert_eq!(open(READER + 0x1_0000, other), abi::SUCCESS);
    let presence = [0, 1, 0x1_0000].map(|unit| IFDHICCPresence(READER + unit));
    let [present, absent] = [abi::ICC_PRESENT, abi::ICC_NOT_PRESENT];
    assert_eq!(presence, [present, absent, absent]);
    assert_eq!(value(READER, abi::TAG_SLOTS_NUMBER), Ok(vec![2]));
    for unit in [0, 1, 0x1_0000] {
        assert_eq!(IFDHCloseChannel(READER + unit), abi::SUCCESS);
    }
}

#[test]
fn only_a_removal_ends_the_use_of_a_reader() {
    const READER: Dword = 0x0400_0000;
    assert_eq!(open(READER, "sim:gempc-express:card=t1"), abi::SUCCESS);
    let set = |tag, value: &[u8]| {
        // SAFETY: the length is that of the value.
        unsafe { IFDHSetCapabilities(READER, tag, value.len() as Dword, value.as_ptr()) }
    };
    let states = [2, 0].map(|state| Ok(vec![state]));
    let presence = || value(READER, pcsc_ccid::attributes::ICC_PRESENCE.into());
    assert_eq!(set(abi::TAG_DEVICE_REMOVED, &[0]), abi::SUCCESS);
    assert_eq!(set(abi::TAG_SLOTS_NUMBER, &[1]), abi::ERROR_TAG);
    assert_eq!(
        (IFDHICCPresence(READER), presence()),
        (abi::ICC_PRESENT, states[0].clone())
    );
    assert_eq!(set(abi::TAG_DEVICE_REMOVED, &[1]), abi::SUCCESS);
    assert_eq!(
        (IFDHICCPresence(READER), presence()),
        (abi::ICC_NOT_PRESENT, states[1].clone())
    );
    assert_eq!(IFDHCloseChannel(READER), abi::SUCCESS);
}

#[test]
fn the_waits_and_the_protocol_are_those_of_a_unit_that_is_open() {
    const READER: Dword = 0x0500_0000;
    const CLOSED: Dword = READER + 1;
    assert_eq!(open(READER, "sim:gempc-express:card=t1"), abi::SUCCESS);
    let address = |tag| usize::from_ne_bytes(value(READER, tag).unwrap().try_into().unwrap());
    // SAFETY: these are the types of the functions for these tags.
    let (wait, stop) = unsafe {
        (
            std::mem::transmute::<usize, extern "C" fn(Dword, c_int) -> ResponseCode>(address(
                abi::TAG_POLLING_THREAD_WITH_TIMEOUT,
            )),
            std::mem::transmute::<usize, extern "C" fn(Dword) -> ResponseCode>(address(
                abi::TAG_STOP_POLLING_THREAD,
            )),
        )
    };
    let calls = |unit| {
        [
            wait(unit, 0),
            stop(unit),
            IFDHSetProtocolParameters(unit, 1, 0, 0, 0, 0),
        ]
    };
    assert_eq!(calls(CLOSED), [abi::COMMUNICATION_ERROR; 3]);
    assert_eq!(calls(READER)[..2], [abi::SUCCESS; 2]);
    assert_eq!(IFDHCloseChannel(READER), abi::SUCCESS);
}
