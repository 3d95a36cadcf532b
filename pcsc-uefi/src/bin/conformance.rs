//! A test program: calls every function of the protocol in every way that the specification names, and prints
//! what comes. Its card and its hot plug are the host's (`tests/tests/uefi`), which act on the command APDUs
//! of class 80.
#![no_main]
#![no_std]

extern crate alloc;

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::ptr;
use core::time::Duration;

use pcsc_uefi::abi::*;
use pcsc_uefi::client::{self, SmartCardReader};
use uefi::prelude::*;
use uefi::proto::driver::ComponentName2;
use uefi::{boot, println, Status};

const ANY: u32 = SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1;
/// SCARD_ATTR_ATR_STRING and SCARD_ATTR_VENDOR_NAME.
const ATR_STRING: u32 = 0x0009_0303;
const VENDOR_NAME: u32 = 0x0001_0100;

/// The host takes the card out and answers nothing; puts one into the first reader; answers nothing and
/// unplugs the reader.
const REMOVE: &[u8] = b"\x80\x01\x00\x00";
const INSERT: &[u8] = b"\x80\x02\x00\x00";
const UNPLUG: &[u8] = b"\x80\x03\x00\x00";
/// How often to look for a card or reader to come or go, and how long to wait each time.
const LOOKS: u32 = 500;
const LOOK: Duration = Duration::from_millis(20);

#[entry]
fn main() -> Status {
    client::connect_controllers();
    let mut readers = client::readers().unwrap_or_default();
    println!("# readers: {}", readers.len());
    let [first, second, ..] = readers.as_mut_slice() else {
        return Status::NOT_FOUND;
    };
    for reader in [&mut *first, &mut *second] {
        if let Ok(status) = reader.status() {
            println!("# name: {}", status.name);
        }
    }
    null_pointers(first);
    without_connection(first);
    connections(first);
    statuses(first);
    exchanges(first);
    controls(first);
    other_reader(second);
    removal(first, second);
    unplugging(first);
    drop(readers);
    driver_image();
    println!("# end");
    Status::SUCCESS
}

fn say(name: &str, status: Status) {
    println!("# {name}: {status}");
}

fn told<T>(name: &str, result: &uefi::Result<T>) {
    match result {
        Ok(_) => say(name, Status::SUCCESS),
        Err(error) => say(name, error.status()),
    }
}

/// SCardStatus with any pointers.
fn status(
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

fn transmit(reader: &mut SmartCardReader, command: &[u8], response: *mut u8, length: *mut usize) -> Status {
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

fn null_pointers(reader: &mut SmartCardReader) {
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

fn without_connection(reader: &mut SmartCardReader) {
    // Whoever came before may have left the card powered.
    told("connect", &reader.connect(SCARD_AM_CARD, SCARD_CA_NORESET, ANY));
    told("unpower", &reader.disconnect(SCARD_CA_UNPOWER));
    told("disconnect without connect", &reader.disconnect(SCARD_CA_NORESET));
    told("disconnect, unknown action", &reader.disconnect(5));
    told(
        "transmit without power",
        &reader.transmit(b"\x80\x10\x00\x00\x00"),
    );
    told("ATR without power", &reader.attribute(ATR_STRING));
}

fn connections(reader: &mut SmartCardReader) {
    told("connect mode 0", &reader.connect(0, 0, 0));
    told("connect mode 3", &reader.connect(3, 0, ANY));
    told(
        "reader with reset",
        &reader.connect(SCARD_AM_READER, SCARD_CA_COLDRESET, 0),
    );
    told(
        "reader with protocol",
        &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, ANY),
    );
    told(
        "card, unpower",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_UNPOWER, ANY),
    );
    told("card, eject", &reader.connect(SCARD_AM_CARD, SCARD_CA_EJECT, ANY));
    told(
        "card, T=1 only",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, SCARD_PROTOCOL_T1),
    );
    told(
        "card, raw only",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, SCARD_PROTOCOL_RAW),
    );
    told("reader", &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0));
    told(
        "reader again",
        &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0),
    );
    told(
        "card as well",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY),
    );
    told("eject", &reader.disconnect(SCARD_CA_EJECT));
    told(
        "still locked",
        &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0),
    );
    told("disconnect", &reader.disconnect(SCARD_CA_NORESET));
    for action in [SCARD_CA_NORESET, SCARD_CA_COLDRESET, SCARD_CA_WARMRESET] {
        let connected = reader.connect(SCARD_AM_CARD, action, ANY);
        println!("# card, action {action}: protocol {:?}", connected.ok());
        told("disconnect", &reader.disconnect(action));
    }
    told(
        "card, no reset",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_NORESET, ANY),
    );
    told("unpower", &reader.disconnect(SCARD_CA_UNPOWER));
    if let Ok(status) = reader.status() {
        println!(
            "# unpowered: state {}, {} bytes of ATR",
            status.state,
            status.atr.len()
        );
    }
    told("connect", &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY));
}

fn statuses(reader: &mut SmartCardReader) {
    if let Ok(status) = reader.status() {
        println!(
            "# powered: state {}, protocol {}, ATR {:02X?}",
            status.state, status.protocol, status.atr
        );
    }
    let null = ptr::null_mut();
    say(
        "status, nothing wanted",
        status(reader, ptr::null_mut(), ptr::null_mut(), null, ptr::null_mut()),
    );
    let (mut name_length, mut atr_length) = (0, 0);
    say(
        "status, lengths",
        status(reader, ptr::null_mut(), &mut name_length, null, &mut atr_length),
    );
    println!("# lengths: {name_length}, {atr_length}");
    let mut name = vec![0xFFFF; name_length / 2];
    let mut atr = vec![0; atr_length];
    let (mut shorter, mut shorter_atr) = (name_length - 1, atr_length - 1);
    say(
        "status, short name",
        status(
            reader,
            name.as_mut_ptr(),
            &mut shorter,
            atr.as_mut_ptr(),
            &mut atr_length,
        ),
    );
    println!("# needed: {shorter}");
    say(
        "status, short ATR",
        status(
            reader,
            name.as_mut_ptr(),
            &mut name_length,
            atr.as_mut_ptr(),
            &mut shorter_atr,
        ),
    );
    println!("# needed: {shorter_atr}");
    say(
        "status, just enough",
        status(
            reader,
            name.as_mut_ptr(),
            &mut name_length,
            atr.as_mut_ptr(),
            &mut atr_length,
        ),
    );
    println!("# ends with NUL: {}", name.last() == Some(&0));
}

fn exchanges(reader: &mut SmartCardReader) {
    // Case 1, 2, 3 and 4; the card echoes data of 80 12, and gives as many bytes as 80 10 asks for.
    for (name, command) in [
        ("case 1", &b"\x80\x11\x00\x00"[..]),
        ("case 2", b"\x80\x10\x00\x00\x05"),
        ("case 3", b"\x80\x11\x00\x00\x03\x01\x02\x03"),
        ("case 4", b"\x80\x12\x00\x00\x03\x01\x02\x03\x00"),
    ] {
        println!(
            "# {name}: {:02X?}",
            reader.transmit(command).map_err(|error| error.status())
        );
    }
    // 600 bytes there and back: ENVELOPE and GET RESPONSE of T=0.
    let data: Vec<u8> = (0..600).map(|byte: u32| byte as u8).collect();
    let mut command = vec![0x80, 0x12, 0x00, 0x00, 0x00, 0x02, 0x58];
    command.extend(&data);
    command.extend([0x00, 0x00]);
    let echoed = reader.transmit(&command).map(|response| {
        let (echo, status_word) = response.split_at(response.len().saturating_sub(2));
        echo == data && status_word == [0x90, 0x00]
    });
    println!("# extended: {:?}", echoed.map_err(|error| error.status()));
    let mut response = [0; 4];
    let mut length = response.len();
    say(
        "response too long",
        transmit(
            reader,
            b"\x80\x10\x00\x00\x05",
            response.as_mut_ptr(),
            &mut length,
        ),
    );
    println!("# needed: {length}");
    told("no APDU", &reader.transmit(b"\x80\x10"));
    let mut both = *b"\x80\x10\x00\x00\x02\x00\x00\x00";
    let mut length = both.len();
    let this = reader.raw();
    // SAFETY: one buffer for both, as C programs have it.
    let shared = unsafe {
        (this.transmit)(
            ptr::from_mut(this),
            both.as_ptr(),
            5,
            both.as_mut_ptr(),
            &mut length,
        )
    };
    println!("# one buffer: {shared}, {:02X?}", &both[..length]);
}

fn controls(reader: &mut SmartCardReader) {
    let features = reader.control(CM_IOCTL_GET_FEATURE_REQUEST, &[]);
    let features = features.unwrap_or_default();
    println!("# features: {:02X?}", features);
    let mut length = 0;
    let this = reader.raw();
    // SAFETY: variables of the lengths given, or NULL with length 0.
    let short = unsafe {
        (this.control)(
            ptr::from_mut(this),
            CM_IOCTL_GET_FEATURE_REQUEST,
            ptr::null(),
            0,
            ptr::null_mut(),
            &mut length,
        )
    };
    println!("# features without room: {short}, {}", length == features.len());
    told("control code 0", &reader.control(0, &[]));
    println!(
        "# vendor: {:?}",
        reader
            .attribute(VENDOR_NAME)
            .map(|name| name.escape_ascii().collect::<Vec<u8>>().len() > 1)
            .map_err(|error| error.status())
    );
    println!(
        "# ATR: {:02X?}",
        reader.attribute(ATR_STRING).map_err(|error| error.status())
    );
    told("attribute 0", &reader.attribute(0));
    let (mut byte, mut length) = ([0; 1], 1);
    let this = reader.raw();
    // SAFETY: a variable of the length given.
    let short = unsafe { (this.get_attrib)(ptr::from_mut(this), ATR_STRING, byte.as_mut_ptr(), &mut length) };
    println!("# ATR, short: {short}, {length}");
}

fn other_reader(reader: &mut SmartCardReader) {
    let connected = reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY);
    println!("# other reader: protocol {:?}", connected.ok());
    println!(
        "# other reader: {:02X?}",
        reader
            .transmit(b"\x80\x10\x00\x00\x01")
            .map_err(|error| error.status())
    );
    told("other reader", &reader.disconnect(SCARD_CA_UNPOWER));
}

fn removal(reader: &mut SmartCardReader, other: &mut SmartCardReader) {
    told("card removed in an exchange", &reader.transmit(REMOVE));
    if let Ok(status) = reader.status() {
        println!(
            "# removed: state {}, {} bytes of ATR",
            status.state,
            status.atr.len()
        );
    }
    told("transmit without card", &reader.transmit(b"\x80\x10\x00\x00\x01"));
    told("ATR without card", &reader.attribute(ATR_STRING));
    told(
        "cold reset at disconnect without card",
        &reader.disconnect(SCARD_CA_COLDRESET),
    );
    told(
        "connect without card",
        &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY),
    );
    told(
        "reader without card",
        &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0),
    );
    told("disconnect", &reader.disconnect(SCARD_CA_NORESET));
    told(
        "other reader",
        &other.connect(SCARD_AM_CARD, SCARD_CA_NORESET, ANY),
    );
    told("insert a card", &other.transmit(INSERT));
    told("other reader", &other.disconnect(SCARD_CA_UNPOWER));
    let is_back = (0..LOOKS).any(|_| {
        boot::stall(LOOK);
        reader.status().is_ok_and(|status| status.state != SCARD_ABSENT)
    });
    println!("# card is back: {is_back}");
    told("connect", &reader.connect(SCARD_AM_CARD, SCARD_CA_COLDRESET, ANY));
    println!(
        "# new card: {:02X?}",
        reader
            .transmit(b"\x80\x10\x00\x00\x01")
            .map_err(|error| error.status())
    );
}

fn unplugging(reader: &mut SmartCardReader) {
    told("reader unplugged in an exchange", &reader.transmit(UNPLUG));
    let is_gone = (0..LOOKS).any(|_| {
        boot::stall(LOOK);
        client::readers().is_ok_and(|readers| readers.len() == 1)
    });
    println!("# protocol is gone: {is_gone}");
    // The pointer of a reader that has gone still gives errors.
    told("status of a reader that has gone", &reader.status());
    told(
        "connect to a reader that has gone",
        &reader.connect(SCARD_AM_READER, SCARD_CA_NORESET, 0),
    );
    told(
        "transmit to a reader that has gone",
        &reader.transmit(b"\x80\x10\x00\x00\x01"),
    );
}

/// The driver's name, and that its image can be unloaded.
fn driver_image() {
    for handle in boot::find_handles::<ComponentName2>().unwrap_or_default() {
        let is_ours = boot::open_protocol_exclusive::<ComponentName2>(handle).is_ok_and(|names| {
            names
                .driver_name("en")
                .is_ok_and(|name| name.to_string().contains("CCID"))
        });
        if is_ours {
            told("unload", &boot::unload_image(handle));
        }
    }
    println!(
        "# readers: {}",
        client::readers().map_or(0, |readers| readers.len())
    );
}
