//! Any bytes on any pipe: whatever a device sends, every call of the driver ends, after a bounded number of
//! transfers, in bounded memory, without a panic.

#[path = "../common/mod.rs"]
mod common;
mod device;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::time::Duration;

use common::cases;
use device::{Habits, Hostile};
use pcsc_ccid::attributes;
use pcsc_ccid::descriptor::{ClassDescriptor, Features, Flavour, Interface};
use pcsc_ccid::part10::{self, Feature};
use pcsc_ccid::reader::{DeviceInfo, Protocol, Reader, ReaderOptions, Reset};
use pcsc_ccid::transport::Transport;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

/// How many transfers one call may take.
const MAX_TRANSFERS: u64 = 100_000;
/// How long one call may take on the device's clock.
const MAX_TIME: Duration = Duration::from_secs(2 * 3600);
/// What a reader may make us hold: two buffers of the longest message, and a little for each of 256 slots.
const MAX_MEMORY: isize = 512 * 1024;

/// Counts a thread's living bytes, and the most that there were.
struct Watching;

thread_local! {
    static LIVING: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that ends has no counters any more.
    let _ = LIVING.try_with(|living| {
        living.set(living.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(living.get())));
    });
}

// SAFETY: all work is the system allocator's; the counts are a thread's own.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static WATCHING: Watching = Watching;

fn interfaces() -> impl Strategy<Value = (DeviceInfo, Interface)> {
    let features = prop_oneof![
        any::<u32>(),
        prop::sample::select(vec![
            0x10230, 0x100BA, 0x100B0, 0x207B2, 0x404BE, 0x407BA, 0x400FE, 0x30, 0x840, 0x20840, 0
        ]),
    ];
    let devices = prop::sample::select(vec![
        (0, 0),
        (0x08E6, 0x3478),
        (0x058F, 0x9540),
        (0x072F, 0x8300),
        (0x076B, 0x3031),
        (0x04E6, 0xE003),
        (0x0D46, 0x301D),
        (0x08E6, 0x4433),
    ]);
    let flavours = prop::sample::select(vec![
        Flavour::Ccid,
        Flavour::Ccid,
        Flavour::Ccid,
        Flavour::IccdA,
        Flavour::IccdB,
    ]);
    (
        any::<[u8; 52]>(),
        features,
        devices,
        flavours,
        any::<u16>(),
        0u8..4,
    )
        .prop_map(|(fields, features, (vendor, product), flavour, release, sound)| {
            let bytes = [&[54, 0x21][..], &fields].concat();
            let mut descriptor = ClassDescriptor::parse(&bytes).unwrap();
            descriptor.features = Features(features);
            if sound > 0 {
                (descriptor.max_slot_index, descriptor.protocols) = (0, 3);
                (descriptor.default_clock_khz, descriptor.max_clock_khz) = (4000, 8000);
                (descriptor.data_rate_bps, descriptor.max_data_rate_bps) = (10_752, 500_000);
                (descriptor.max_ifsd, descriptor.max_message_length) = (254, 271);
            }
            let mut interface = Interface::default();
            (interface.number, interface.class) = (fields[0] & 3, 0x0B);
            interface.flavour = flavour;
            (interface.bulk_out, interface.bulk_in) = (Some(1), Some(0x82));
            interface.descriptor = descriptor;
            (DeviceInfo::new(vendor, product, release), interface)
        })
}

fn habits() -> impl Strategy<Value = Habits> {
    let part = || prop_oneof![3 => Just(0u32), 2 => 1u32..20];
    (part(), part(), 1u32..200, part(), part(), part(), 0u8..8).prop_map(
        |(noise, framed, plausible, extension, empty, error, only)| {
            let all = Habits {
                noise,
                framed,
                plausible,
                extension,
                empty,
                error,
            };
            let none = Habits {
                noise: 0,
                framed: 0,
                plausible: 0,
                extension: 0,
                empty: 0,
                error: 0,
            };
            // One thing for ever, in some of the cases.
            match only {
                0 => Habits { noise: 1, ..none },
                1 => Habits { extension: 1, ..none },
                2 => Habits { empty: 1, ..none },
                3 => Habits { plausible: 1, ..none },
                _ => all,
            }
        },
    )
}

/// Every call of the driver once or more.
#[derive(Debug, Clone, Copy)]
enum Call {
    Presence,
    PowerOn(Reset),
    PowerOff,
    SetProtocol(Protocol),
    Transmit(usize),
    Control(usize),
    Attribute(usize),
    Escape,
    Rest(u8),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let protocol = prop::sample::select(vec![Protocol::T0, Protocol::T1]);
    let call = prop_oneof![
        1 => Just(Call::Presence),
        1 => prop::sample::select(vec![Reset::Cold, Reset::Warm]).prop_map(Call::PowerOn),
        1 => Just(Call::PowerOff),
        4 => protocol.prop_map(Call::SetProtocol),
        8 => (0..COMMANDS.len()).prop_map(Call::Transmit),
        2 => (0usize..16).prop_map(Call::Control),
        1 => (0usize..32).prop_map(Call::Attribute),
        1 => Just(Call::Escape),
        1 => any::<u8>().prop_map(Call::Rest),
    ];
    let start = prop::sample::select(vec![
        vec![],
        vec![
            Call::PowerOn(Reset::Cold),
            Call::SetProtocol(Protocol::T0),
            Call::Transmit(2),
        ],
        vec![
            Call::PowerOn(Reset::Cold),
            Call::SetProtocol(Protocol::T1),
            Call::Transmit(2),
        ],
    ]);
    (start, prop::collection::vec(call, 0..20)).prop_map(|(start, rest)| [start, rest].concat())
}

const COMMANDS: [(&[u8], usize); 7] = [
    (&[], 258),
    (&[0x00, 0xA4, 0x00, 0x00], 258),
    (&[0x00, 0xB0, 0x00, 0x00, 0x00], 258),
    (&[0x00, 0xB0, 0x00, 0x00, 0x00], 1),
    (&[0x00, 0xD6, 0x00, 0x00, 0x03, 1, 2, 3], 258),
    (&[0x00, 0xB0, 0x00, 0x00, 0x00, 0x00, 0x00], 65_538),
    (&[0xFF; 40], 258),
];

const ATTRIBUTES: [u32; 12] = [
    attributes::VENDOR_NAME,
    attributes::VENDOR_IFD_VERSION,
    attributes::VENDOR_IFD_SERIAL_NO,
    attributes::CHANNEL_ID,
    attributes::CURRENT_PROTOCOL_TYPE,
    attributes::CURRENT_F,
    attributes::CURRENT_BWT,
    attributes::ICC_PRESENCE,
    attributes::ICC_INTERFACE_STATUS,
    attributes::ATR_STRING,
    attributes::MAXINPUT,
    attributes::DEVICE_FRIENDLY_NAME,
];

/// PIN_VERIFY for the command 00 20 00 01 08 with a block of eight bytes.
const VERIFY: [u8; 32] = [
    30, 30, 0x82, 0x08, 0x00, 8, 4, 2, 1, 0x09, 0x04, 0, 0, 0, 0, 13, 0, 0, 0, 0x00, 0x20, 0x00, 0x01, 0x08,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
];

/// Makes the call; whether it gave something.
fn call(reader: &mut Reader<Hostile>, call: Call) -> bool {
    let mut answer = vec![0; 65_538];
    match call {
        Call::Presence => reader.presence(0).is_ok(),
        Call::PowerOn(reset) => reader.power_on(0, reset).is_ok_and(|atr| {
            assert!((1..=33).contains(&atr.len()), "{} bytes", atr.len());
            true
        }),
        Call::PowerOff => reader.power_off(0).is_ok(),
        Call::SetProtocol(protocol) => reader.set_protocol(0, protocol).is_ok(),
        Call::Transmit(which) => {
            let (command, room) = COMMANDS[which];
            let result = reader.transmit(0, command, &mut answer[..room]);
            result.is_ok_and(|length| {
                assert!(length <= room);
                true
            })
        }
        Call::Control(which) => {
            let codes = [
                Feature::VerifyPinDirect.code(),
                Feature::ModifyPinDirect.code(),
                Feature::IfdPinProperties.code(),
                Feature::MctReaderDirect.code(),
                Feature::GetTlvProperties.code(),
                part10::GET_FEATURE_REQUEST,
                part10::VENDOR_IFD_EXCHANGE,
                part10::NAD,
                part10::USB_PATH,
            ];
            let code = codes.get(which).copied().unwrap_or(which as u32);
            let room = [0, 3, 300, 65_538][which % 4];
            let result = reader.control(0, code, &VERIFY, &mut answer[..room]);
            result.is_ok_and(|length| {
                assert!(length <= room);
                true
            })
        }
        Call::Attribute(which) => {
            let id = ATTRIBUTES.get(which).copied().unwrap_or(0);
            let value = reader.attribute(0, id, Some("Name 00 00"), &mut answer[..which]);
            value.is_ok()
        }
        Call::Escape => reader.escape(0, &[1, 2, 3], &mut answer[..10]).is_ok(),
        Call::Rest(which) => match which % 2 {
            0 => reader.mechanical(0, which / 2).is_ok(),
            _ => reader.presence(which).is_ok(),
        },
    }
}

/// What a call took.
#[derive(Debug, Default, Clone, Copy)]
struct Most {
    transfers: u64,
    time: Duration,
    memory: isize,
    calls: u64,
    /// Calls that gave something; exchanges among them.
    good: u64,
    exchanges: u64,
}

#[test]
fn every_call_ends_whatever_a_device_does() {
    let most = RefCell::new(Most::default());
    let scripts = (interfaces(), habits(), any::<u64>(), calls());
    let result = TestRunner::new(cases(512)).run(&scripts, |((device, interface), habits, seed, script)| {
        let before = LIVING.get();
        MOST.set(before);
        let transport = Hostile::new(habits, seed);
        let options = ReaderOptions::default().with_driver_options(1 | 4);
        let Ok(mut reader) = Reader::open(transport, device, &interface, options) else {
            return check(&most, MOST.get() - before, 0, Duration::ZERO);
        };
        check(
            &most,
            MOST.get() - before,
            reader.transport().transfers,
            reader.transport().now(),
        )?;
        for step in script {
            let (transfers, begin) = (reader.transport().transfers, reader.transport().now());
            let living = LIVING.get();
            MOST.set(living);
            let is_good = call(&mut reader, step);
            most.borrow_mut().good += u64::from(is_good);
            most.borrow_mut().exchanges += u64::from(is_good && matches!(step, Call::Transmit(_)));
            let transport = reader.transport();
            let (transfers, time) = (transport.transfers - transfers, transport.now() - begin);
            // The call's answer has room for 65,538 bytes.
            check(&most, MOST.get() - before - 65_538, transfers, time)?;
        }
        Ok(())
    });
    println!("{:?}", most.borrow());
    result.unwrap();
}

fn check(most: &RefCell<Most>, memory: isize, transfers: u64, time: Duration) -> Result<(), TestCaseError> {
    let most = &mut *most.borrow_mut();
    most.calls += 1;
    most.transfers = most.transfers.max(transfers);
    most.memory = most.memory.max(memory);
    most.time = most.time.max(time);
    prop_assert!(transfers <= MAX_TRANSFERS, "{} transfers", transfers);
    prop_assert!(memory <= MAX_MEMORY, "{} bytes", memory);
    prop_assert!(time <= MAX_TIME, "{:?}", time);
    Ok(())
}
