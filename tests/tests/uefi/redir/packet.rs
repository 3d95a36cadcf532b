//! Packets of the USB redirection protocol, version 0.7, from the side of the device. No I/O.
//!
//! A packet is a header (type and length in 32 bits, identifier in 64, little-endian), a part of fixed length
//! that depends on the type, and data.

/// Bytes in a header.
pub const HEADER: usize = 16;
/// Bytes in the first packet's header, whose identifier has 32 bits.
pub const FIRST_HEADER: usize = 12;

/// Capabilities, of which QEMU demands the last three for a device at an xHCI: `device_connect` has the
/// device's version; `device_disconnect` is acknowledged; `ep_info` has packet sizes; identifiers have 64
/// bits; bulk lengths have 32.
const CAPABILITIES: u32 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6;

const HELLO: u32 = 0;
const DEVICE_CONNECT: u32 = 1;
const DEVICE_DISCONNECT: u32 = 2;
const RESET: u32 = 3;
const INTERFACE_INFO: u32 = 4;
const EP_INFO: u32 = 5;
const SET_CONFIGURATION: u32 = 6;
const GET_CONFIGURATION: u32 = 7;
const CONFIGURATION_STATUS: u32 = 8;
const SET_ALT_SETTING: u32 = 9;
const GET_ALT_SETTING: u32 = 10;
const ALT_SETTING_STATUS: u32 = 11;
const START_INTERRUPT_RECEIVING: u32 = 15;
const STOP_INTERRUPT_RECEIVING: u32 = 16;
const INTERRUPT_RECEIVING_STATUS: u32 = 17;
const CANCEL_DATA_PACKET: u32 = 21;
const CONTROL_PACKET: u32 = 100;
const BULK_PACKET: u32 = 101;
const INTERRUPT_PACKET: u32 = 103;

/// Entries in the tables of endpoints and interfaces.
const TABLE: usize = 32;
/// The type of an endpoint that is not there.
const INVALID: u8 = 255;

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    Success = 0,
    Cancelled = 1,
    Stall = 4,
}

/// A request of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Reset,
    /// SET_CONFIGURATION and GET_CONFIGURATION.
    Configuration(Option<u8>),
    /// SET_INTERFACE and GET_INTERFACE.
    AltSetting(u8, Option<u8>),
    /// Whether interrupt transfers are wanted from an endpoint.
    Interrupts(u8, bool),
    /// The transfer with this identifier is not wanted any more.
    Cancel(u64),
    /// A control transfer, with the data of an OUT request.
    Control {
        setup: [u8; 8],
        data: Vec<u8>,
    },
    BulkOut {
        endpoint: u8,
        data: Vec<u8>,
    },
    BulkIn {
        endpoint: u8,
        max: usize,
    },
    /// Nothing to do for a device: greetings, acknowledgements.
    Other,
}

/// Type, length of what follows, identifier.
pub fn header(bytes: &[u8; HEADER]) -> (u32, usize, u64) {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (
        word(0),
        word(4) as usize,
        u64::from(word(12)) << 32 | u64::from(word(8)),
    )
}

/// Decodes what follows a header; `None` for a packet that is too short.
pub fn request(kind: u32, body: &[u8]) -> Option<Request> {
    Some(match (kind, body) {
        (RESET, _) => Request::Reset,
        (SET_CONFIGURATION, [value, ..]) => Request::Configuration(Some(*value)),
        (GET_CONFIGURATION, _) => Request::Configuration(None),
        (SET_ALT_SETTING, [interface, alternate, ..]) => Request::AltSetting(*interface, Some(*alternate)),
        (GET_ALT_SETTING, [interface, ..]) => Request::AltSetting(*interface, None),
        (START_INTERRUPT_RECEIVING, [endpoint, ..]) => Request::Interrupts(*endpoint, true),
        (STOP_INTERRUPT_RECEIVING, [endpoint, ..]) => Request::Interrupts(*endpoint, false),
        (
            CONTROL_PACKET,
            [_, request, kind, _, value, value_high, index, index_high, low, high, data @ ..],
        ) => Request::Control {
            setup: [
                *kind,
                *request,
                *value,
                *value_high,
                *index,
                *index_high,
                *low,
                *high,
            ],
            data: data.to_vec(),
        },
        (BULK_PACKET, [endpoint, _, low, high, _, _, _, _, third, fourth, data @ ..]) => {
            if endpoint & 0x80 == 0 {
                return Some(Request::BulkOut {
                    endpoint: *endpoint,
                    data: data.to_vec(),
                });
            }
            Request::BulkIn {
                endpoint: *endpoint,
                max: u32::from_le_bytes([*low, *high, *third, *fourth]) as usize,
            }
        }
        (
            SET_CONFIGURATION
            | SET_ALT_SETTING
            | GET_ALT_SETTING
            | START_INTERRUPT_RECEIVING
            | STOP_INTERRUPT_RECEIVING
            | CONTROL_PACKET
            | BULK_PACKET,
            _,
        ) => return None,
        _ => Request::Other,
    })
}

/// The request in a packet; a cancellation's only content is its identifier.
pub fn decode(kind: u32, id: u64, body: &[u8]) -> Option<Request> {
    match kind {
        CANCEL_DATA_PACKET => Some(Request::Cancel(id)),
        _ => request(kind, body),
    }
}

fn packet(kind: u32, id: u64, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(HEADER + length);
    for word in [kind, length as u32] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(id.to_le_bytes());
    bytes.extend(parts.concat());
    bytes
}

/// The first packet of either side.
pub fn hello() -> Vec<u8> {
    let mut version = [0; 64];
    version[..4].copy_from_slice(b"test");
    let mut bytes = packet(HELLO, 0, &[&version, &CAPABILITIES.to_le_bytes()]);
    bytes.drain(FIRST_HEADER..HEADER);
    bytes
}

/// The packets that plug a device in.
pub fn connect(device: &[u8; 18], configuration: &[u8]) -> Vec<u8> {
    let mut types = [INVALID; TABLE];
    // Both directions of endpoint 0.
    types[0] = 0;
    types[TABLE / 2] = 0;
    let mut intervals = [0; TABLE];
    let mut owners = [0; TABLE];
    let mut sizes = [0; TABLE * 2];
    sizes[..2].copy_from_slice(&[device[7], 0]);
    sizes[TABLE..TABLE + 2].copy_from_slice(&[device[7], 0]);
    let mut interfaces: Vec<[u8; 4]> = Vec::new();
    let mut rest = configuration;
    while let [length, kind, ..] = *rest {
        let (descriptor, after) = rest.split_at(usize::from(length));
        match (kind, descriptor) {
            (4, [_, _, number, _, _, class, subclass, protocol, ..]) => {
                interfaces.push([*number, *class, *subclass, *protocol]);
            }
            (5, [_, _, address, attributes, low, high, interval, ..]) => {
                let entry = usize::from((address & 0x80) >> 3 | address & 0x0F);
                types[entry] = attributes & 3;
                intervals[entry] = *interval;
                owners[entry] = interfaces.last().map_or(0, |interface| interface[0]);
                sizes[2 * entry..2 * entry + 2].copy_from_slice(&[*low, *high]);
            }
            _ => (),
        }
        rest = after;
    }
    let column = |index: usize| {
        let mut column = [0; TABLE];
        for (entry, interface) in column.iter_mut().zip(&interfaces) {
            *entry = interface[index];
        }
        column
    };
    let count = (interfaces.len() as u32).to_le_bytes();
    let [numbers, classes, subclasses, protocols] = [0, 1, 2, 3].map(column);
    // Full speed; class, subclass and protocol of the device; vendor, product, version.
    let description = [&[1, device[4], device[5], device[6]], &device[8..14]].concat();
    [
        packet(
            INTERFACE_INFO,
            0,
            &[&count, &numbers, &classes, &subclasses, &protocols],
        ),
        packet(EP_INFO, 0, &[&types, &intervals, &owners, &sizes]),
        packet(DEVICE_CONNECT, 0, &[&description]),
    ]
    .concat()
}

/// Takes the device off.
pub fn disconnect() -> Vec<u8> {
    packet(DEVICE_DISCONNECT, 0, &[])
}

pub fn configuration_status(id: u64, value: u8) -> Vec<u8> {
    packet(CONFIGURATION_STATUS, id, &[&[Status::Success as u8, value]])
}

pub fn alt_setting_status(id: u64, interface: u8, alternate: u8) -> Vec<u8> {
    packet(
        ALT_SETTING_STATUS,
        id,
        &[&[Status::Success as u8, interface, alternate]],
    )
}

pub fn interrupt_status(id: u64, endpoint: u8) -> Vec<u8> {
    packet(
        INTERRUPT_RECEIVING_STATUS,
        id,
        &[&[Status::Success as u8, endpoint]],
    )
}

/// The end of a control transfer; `data` is what an IN request gets.
pub fn control_end(id: u64, setup: [u8; 8], status: Status, data: &[u8]) -> Vec<u8> {
    let [kind, request, value, value_high, index, index_high, low, high] = setup;
    let [low, high] = match kind & 0x80 {
        0 => [low, high],
        _ => (data.len() as u16).to_le_bytes(),
    };
    let fixed = [
        kind & 0x80,
        request,
        kind,
        status as u8,
        value,
        value_high,
        index,
        index_high,
        low,
        high,
    ];
    packet(CONTROL_PACKET, id, &[&fixed, data])
}

/// The end of a bulk transfer of `length` bytes; `data` is what an IN transfer gets.
pub fn bulk_end(id: u64, endpoint: u8, status: Status, length: usize, data: &[u8]) -> Vec<u8> {
    let [low, high, third, fourth] = (length as u32).to_le_bytes();
    let fixed = [endpoint, status as u8, low, high, 0, 0, 0, 0, third, fourth];
    packet(BULK_PACKET, id, &[&fixed, data])
}

/// A message of an interrupt endpoint.
pub fn interrupt(endpoint: u8, data: &[u8]) -> Vec<u8> {
    let [low, high] = (data.len() as u16).to_le_bytes();
    let fixed = [endpoint, Status::Success as u8, low, high];
    packet(INTERRUPT_PACKET, 0, &[&fixed, data])
}
