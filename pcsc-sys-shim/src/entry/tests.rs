//! Calls with pointers that C allows and Rust references do not: several outputs in one variable, input and
//! output in one buffer, unaligned addresses, too large lengths. They run on the simulated reader, also under
//! Miri, which reports undefined behaviour.

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

use pcsc_client::ffi::{
    DWORD, LONG, SCARDCONTEXT, SCARDHANDLE, SCARD_ATTR_ATR_STRING, SCARD_AUTOALLOCATE,
    SCARD_E_INSUFFICIENT_BUFFER, SCARD_E_INVALID_HANDLE, SCARD_E_INVALID_PARAMETER, SCARD_E_INVALID_VALUE,
    SCARD_LEAVE_CARD, SCARD_PROTOCOL_T1, SCARD_SHARE_SHARED, SCARD_STATE_PRESENT,
};

use super::*;

/// A context and a card on the bundled simulated reader, whose name is `reader`.
struct Rig {
    context: SCARDCONTEXT,
    card: SCARDHANDLE,
    reader: Vec<u8>,
}

/// The applet of the bundled card answers "Hello world!".
const COMMAND: [u8; 4] = [0; 4];
const SELECT: [u8; 15] = *b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";

/// Asks the reader for its features.
const FEATURES: DWORD = 0x4200_0D48;

impl Rig {
    fn new() -> Rig {
        // SAFETY: every test sets the same value, and the library reads it with the same lock of std's.
        std::env::set_var("PCSCLITE_BACKEND", "simulated");
        let (mut context, mut card, mut protocol) = (0, 0, 0);
        let mut names = [0; 300];
        let mut length = names.len() as DWORD;
        // SAFETY: pointers to locals, with their lengths.
        unsafe {
            assert_eq!(SCardEstablishContext(2, null(), null(), &mut context), 0);
            let list = names.as_mut_ptr().cast();
            assert_eq!(SCardListReaders(context, null(), list, &mut length), 0);
            let reader = names.as_ptr().cast();
            let (share, protocols) = (SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1);
            let code = SCardConnect(context, reader, share, protocols, &mut card, &mut protocol);
            assert_eq!(code, 0);
            let (mut answer, mut room) = ([0; 2], 2);
            let (pci, length) = (&raw const g_rgSCardT1Pci, SELECT.len() as DWORD);
            let (select, answer) = (SELECT.as_ptr(), answer.as_mut_ptr());
            assert_eq!(
                SCardTransmit(card, pci, select, length, null_mut(), answer, &mut room),
                0
            );
        }
        let end = names.iter().position(|byte| *byte == 0).unwrap();
        Rig {
            context,
            card,
            reader: names[..=end].to_vec(),
        }
    }

    fn reader(&self) -> *const c_char {
        self.reader.as_ptr().cast()
    }

    /// The length of a response into `room`, which may be the command's memory.
    fn transmit(&self, command: *const u8, response: *mut u8, room: DWORD) -> (LONG, DWORD) {
        let mut length = room;
        let pci = &g_rgSCardT1Pci;
        // SAFETY: the callers give buffers of these lengths.
        let code = unsafe {
            SCardTransmit(
                self.card,
                pci,
                command,
                COMMAND.len() as DWORD,
                null_mut(),
                response,
                &mut length,
            )
        };
        (code, length)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        assert_eq!(SCardReleaseContext(self.context), 0);
    }
}

#[test]
fn outputs_may_be_one_variable() {
    let rig = Rig::new();
    let mut value: DWORD = 0;
    let shared = &raw mut value;
    // SAFETY: pointers to locals or NULL.
    unsafe {
        let code = SCardStatus(rig.card, null_mut(), shared, shared, shared, null_mut(), shared);
        assert_eq!(
            (code, value),
            (0, SCARD_PROTOCOL_T1),
            "the protocol is written last"
        );

        let mut handle: LONG = 0;
        let shared = &raw mut handle;
        let (share, protocols) = (SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1);
        let code = SCardConnect(rig.context, rig.reader(), share, protocols, shared, shared.cast());
        assert_eq!((code, handle), (0, SCARD_PROTOCOL_T1 as LONG));
    }
}

#[test]
fn a_length_may_be_in_the_buffer_that_it_describes() {
    #[repr(C)]
    union Both {
        length: DWORD,
        bytes: [u8; 300],
    }
    let rig = Rig::new();
    // SAFETY: pointers into a local with room for all that is written. Any bytes are a DWORD.
    unsafe {
        let mut both = Both { bytes: [0; 300] };
        let shared = &raw mut both;
        for call in [
            &(|both: *mut Both| SCardListReaders(rig.context, null(), both.cast(), both.cast()))
                as &dyn Fn(*mut Both) -> LONG,
            &|both| SCardListReaderGroups(rig.context, both.cast(), both.cast()),
            &|both| SCardGetAttrib(rig.card, SCARD_ATTR_ATR_STRING, both.cast(), both.cast()),
            &|both| {
                let length = both.cast();
                SCardStatus(rig.card, both.cast(), length, length, length, both.cast(), length)
            },
            &|both| {
                let (command, pci) = (COMMAND.as_ptr(), &raw const g_rgSCardT1Pci);
                SCardTransmit(rig.card, pci, command, 4, both.cast(), both.cast(), both.cast())
            },
            &|both| SCardControl(rig.card, 0x4200_0D48, null(), 0, both.cast(), 300, both.cast()),
        ] {
            (*shared).length = 264;
            assert_eq!(call(shared), 0);
        }
    }
}

#[test]
fn a_response_may_go_where_the_command_is() {
    let rig = Rig::new();
    let mut expected = [0; 300];
    let apart = rig.transmit(COMMAND.as_ptr(), expected.as_mut_ptr(), 300);
    assert_eq!((apart.0, &expected[..14]), (0, &b"Hello world!\x90\x00"[..]));
    let places = [(0, 0), (3, 0), (2, 3), (0, 1), (0, 4), (200, 0)];
    // Miri takes seconds for an exchange.
    let count = if cfg!(miri) { 3 } else { places.len() };
    for (command, response) in places.into_iter().take(count) {
        let mut memory = [0; 304];
        memory[command..command + 4].copy_from_slice(&COMMAND);
        let start = memory.as_mut_ptr();
        // SAFETY: both are in the array.
        let (command, place) = unsafe { (start.add(command), start.add(response)) };
        assert_eq!(rig.transmit(command, place, 300), apart);
        let length = apart.1 as usize;
        assert_eq!(memory[response..response + length], expected[..length]);
    }
}

#[test]
fn pointers_may_be_unaligned() {
    let rig = Rig::new();
    let mut memory = [0_u64; 80];
    // SAFETY: unaligned addresses in the array, with room behind them.
    unsafe {
        let base = memory.as_mut_ptr().cast::<u8>();
        let (length, pci, state) = (base.add(1), base.add(33), base.add(101));
        length.cast::<DWORD>().write_unaligned(200);
        pci.cast::<IoRequest>().write_unaligned(g_rgSCardT1Pci);
        let code = SCardTransmit(
            rig.card,
            pci.cast(),
            COMMAND.as_ptr(),
            4,
            pci.cast(),
            base.add(301),
            length.cast(),
        );
        assert_eq!(code, 0);

        state.cast::<ReaderState>().write_unaligned(ReaderState {
            szReader: rig.reader(),
            pvUserData: null_mut(),
            dwCurrentState: 0,
            dwEventState: 0,
            cbAtr: 0,
            rgbAtr: [0; 33],
        });
        assert_eq!(SCardGetStatusChange(rig.context, 0, state.cast(), 1), 0);
        let state = state.cast::<ReaderState>().read_unaligned();
        assert_ne!(state.dwEventState & SCARD_STATE_PRESENT, 0);
        assert!(state.cbAtr > 1);
    }
}

#[test]
fn a_readers_name_may_be_in_the_array_of_states() {
    let rig = Rig::new();
    let mut states = [const {
        ReaderState {
            szReader: null(),
            pvUserData: null_mut(),
            dwCurrentState: 0,
            dwEventState: 0,
            cbAtr: 0,
            rgbAtr: [0; 33],
        }
    }; 4];
    // SAFETY: the name is in the last three structures, the first is watched.
    unsafe {
        let first = states.as_mut_ptr();
        let name = first.add(1).cast::<u8>();
        name.copy_from_nonoverlapping(rig.reader.as_ptr(), rig.reader.len());
        (*first).szReader = name.cast();
        assert_eq!(SCardGetStatusChange(rig.context, 0, first, 1), 0);
        assert_ne!((*first).dwEventState & SCARD_STATE_PRESENT, 0);
    }
}

#[test]
fn a_too_large_count_of_readers_is_refused_before_the_array_is_read() {
    let mut one = ReaderState {
        szReader: null(),
        pvUserData: null_mut(),
        dwCurrentState: 0,
        dwEventState: 0,
        cbAtr: 0,
        rgbAtr: [0; 33],
    };
    let nobody = 12345;
    // SAFETY: an array of one structure, of which no more is read.
    unsafe {
        for count in [DWORD::MAX, 0xFFFF_FFFF, 1_000_000_000, 65_537] {
            let code = SCardGetStatusChange(nobody, 0, &mut one, count);
            assert_eq!(code, SCARD_E_INVALID_PARAMETER, "{count}");
        }
        for count in [1, 2, 16, 17, 65_536] {
            let code = SCardGetStatusChange(nobody, 0, &mut one, count);
            assert_eq!(code, SCARD_E_INVALID_VALUE, "the first has no name: {count}");
        }
        assert_eq!(
            SCardGetStatusChange(nobody, 0, null_mut(), 1),
            SCARD_E_INVALID_PARAMETER
        );
        assert_eq!(SCardGetStatusChange(nobody, 0, null_mut(), 0), 0);
        one.szReader = c"x".as_ptr();
        assert_eq!(
            SCardGetStatusChange(nobody, 0, &mut one, 1),
            SCARD_E_INVALID_HANDLE
        );
    }
}

#[test]
fn a_too_large_length_reads_and_writes_no_more_than_a_message_has() {
    let rig = Rig::new();
    let mut response = vec![0; 70_000];
    let (card, pci) = (rig.card, &raw const g_rgSCardT1Pci);
    // SAFETY: lengths beyond 65,548 are refused or cut, which is what this tests.
    unsafe {
        for absurd in [DWORD::MAX, DWORD::MAX / 2 + 1, 0xFFFF_FFFF, 65_549] {
            let room = response.as_mut_ptr();
            let mut length = absurd;
            let (none, all) = (null_mut(), COMMAND.as_ptr());
            assert_eq!(
                SCardTransmit(card, pci, all, 4, none, room, &mut length),
                0,
                "{absurd:#x}"
            );
            assert!(length < 300);
            length = 70_000;
            let code = SCardTransmit(card, pci, all, absurd, none, room, &mut length);
            assert_eq!((code, length), (SCARD_E_INSUFFICIENT_BUFFER, 70_000));
            let code = SCardControl(card, 1, all.cast(), absurd, room.cast(), 70_000, &mut length);
            assert_eq!((code, length), (SCARD_E_INSUFFICIENT_BUFFER, 0));
            let features = 0x4200_0D48;
            assert_eq!(
                SCardControl(card, features, null(), 0, room.cast(), absurd, &mut length),
                0
            );
            let code = SCardSetAttrib(card, SCARD_ATTR_ATR_STRING, all, absurd);
            assert_eq!(code, SCARD_E_INSUFFICIENT_BUFFER);
            if absurd != SCARD_AUTOALLOCATE {
                length = absurd;
                let code = SCardGetAttrib(card, SCARD_ATTR_ATR_STRING, room, &mut length);
                assert_eq!((code, length), (SCARD_E_INSUFFICIENT_BUFFER, absurd));
                let (mut name_room, mut atr_room) = (absurd, absurd);
                let (name, atr) = (room.cast(), room.add(66_000));
                let (state, protocol) = (null_mut(), null_mut());
                let code = SCardStatus(card, name, &mut name_room, state, protocol, atr, &mut atr_room);
                assert_eq!((code, name_room), (0, rig.reader.len() as DWORD));
            }
        }
    }
}

#[test]
fn memory_that_the_library_allocates_is_freed_by_its_function() {
    let rig = Rig::new();
    // SAFETY: SCARD_AUTOALLOCATE takes a pointer to a pointer.
    unsafe {
        for call in [
            &(|list: *mut c_void, length| SCardListReaders(rig.context, null(), list.cast(), length))
                as &dyn Fn(*mut c_void, *mut DWORD) -> LONG,
            &|groups, length| SCardListReaderGroups(rig.context, groups.cast(), length),
            &|value, length| SCardGetAttrib(rig.card, SCARD_ATTR_ATR_STRING, value.cast(), length),
            &|name, length| {
                let (no_number, no_atr) = (null_mut(), null_mut());
                SCardStatus(
                    rig.card,
                    name.cast(),
                    length,
                    no_number,
                    no_number,
                    no_atr,
                    no_number,
                )
            },
        ] {
            let (mut memory, mut length) = (null_mut::<u8>(), SCARD_AUTOALLOCATE);
            assert_eq!(call((&raw mut memory).cast(), &mut length), 0);
            assert!(!memory.is_null() && length > 1);
            assert_ne!(*memory, 0);
            assert_eq!(SCardFreeMemory(rig.context, memory.cast()), 0);
        }
        assert_eq!(SCardDisconnect(rig.card, SCARD_LEAVE_CARD), 0);
    }
}

#[test]
fn handles_are_good_until_they_are_released() {
    let rig = Rig::new();
    let (mut context, mut card, mut protocol) = (0, 0, 0);
    // SAFETY: pointers to locals or NULL.
    unsafe {
        assert_eq!(SCardEstablishContext(2, null(), null(), &mut context), 0);
        let (share, protocols) = (SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1);
        let code = SCardConnect(context, rig.reader(), share, protocols, &mut card, &mut protocol);
        assert_eq!(code, 0);
        let calls = || {
            let (mut length, mut returned, mut active) = (0, 0, 0);
            let none = null_mut::<c_void>();
            [
                ("SCardIsValidContext", SCardIsValidContext(context)),
                ("SCardCancel", SCardCancel(context)),
                (
                    "SCardListReaders",
                    SCardListReaders(context, null(), null_mut(), &mut length),
                ),
                (
                    "SCardListReaderGroups",
                    SCardListReaderGroups(context, null_mut(), &mut length),
                ),
                ("SCardBeginTransaction", SCardBeginTransaction(card)),
                ("SCardEndTransaction", SCardEndTransaction(card, SCARD_LEAVE_CARD)),
                (
                    "SCardReconnect",
                    SCardReconnect(card, share, protocols, SCARD_LEAVE_CARD, &mut active),
                ),
                ("SCardStatus", {
                    let none = null_mut();
                    SCardStatus(card, null_mut(), none, none, none, null_mut(), none)
                }),
                (
                    "SCardGetAttrib",
                    SCardGetAttrib(card, SCARD_ATTR_ATR_STRING, null_mut(), &mut length),
                ),
                (
                    "SCardControl",
                    SCardControl(card, FEATURES, none, 0, none, 0, &mut returned),
                ),
                ("SCardDisconnect", SCardDisconnect(card, SCARD_LEAVE_CARD)),
                ("SCardReleaseContext", SCardReleaseContext(context)),
            ]
        };
        for (name, code) in calls() {
            // There is no room for the answer.
            let expected = if name == "SCardControl" {
                SCARD_E_INSUFFICIENT_BUFFER
            } else {
                0
            };
            assert_eq!(code, expected, "{name}");
        }
        for (name, code) in calls() {
            assert_eq!(code, SCARD_E_INVALID_HANDLE, "{name}");
        }
    }
}
