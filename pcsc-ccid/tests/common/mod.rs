//! What several tests need: a simulated reader, opened, and commands for its cards.
#![allow(dead_code, reason = "each test uses a part of it")]

/// Passes the calls of a [`Transport`] that are not about messages on to this field.
macro_rules! pass_on {
    ($inner:ident) => {
        fn control_out(
            &mut self,
            request: u8,
            value: u16,
            data: &[u8],
            timeout: Duration,
        ) -> Result<(), TransportError> {
            self.$inner.control_out(request, value, data, timeout)
        }

        fn control_in(
            &mut self,
            request: u8,
            value: u16,
            buffer: &mut [u8],
            timeout: Duration,
        ) -> Result<usize, TransportError> {
            self.$inner.control_in(request, value, buffer, timeout)
        }

        fn clear_halt(&mut self) -> Result<(), TransportError> {
            self.$inner.clear_halt()
        }

        fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
            self.$inner.pause(time)
        }

        fn now(&self) -> Duration {
            self.$inner.now()
        }
    };
}

pub mod liar;
pub mod script;

use std::time::Duration;

use pcsc_ccid::descriptor::{self, Features, Interface};
use pcsc_ccid::message::CommandMessage;
use pcsc_ccid::part10::Feature;
use pcsc_ccid::reader::{DeviceInfo, Protocol, Reader, ReaderError, ReaderOptions, Reset};
use pcsc_ccid::transport::Transport;
use pcsc_sim::card::apps::Several;
use pcsc_sim::card::{Behaviour, Offer, Profile, SimCard};
use pcsc_sim::{MessageDirection, Model, SimHandle, SimTransport};
use proptest::test_runner::Config as ProptestConfig;

/// The interface that a host finds in the model's descriptors.
pub fn interface(model: &Model) -> Interface {
    descriptor::interfaces(&Model::configuration_descriptor(&[model], 4))
        .remove(0)
        .unwrap_or_else(|unusable| panic!("{}: {unusable}", model.name))
}

pub fn identity(model: &Model) -> DeviceInfo {
    model.identity.device_info()
}

/// Opens a device behind a decorator of its transport.
pub fn open_through<T: Transport>(
    device: pcsc_sim::SimDevice,
    decorate: impl FnOnce(SimTransport) -> T,
) -> (SimHandle, Result<Reader<T>, ReaderError>) {
    let (interface, identity) = (interface(device.model()), identity(device.model()));
    let handle = SimHandle::new(device);
    let transport = decorate(handle.transport());
    let reader = Reader::open(transport, identity, &interface, ReaderOptions::default());
    (handle, reader)
}

pub fn open(device: pcsc_sim::SimDevice) -> (SimHandle, Reader<SimTransport>) {
    let (handle, reader) = open_through(device, |transport| transport);
    (handle, reader.unwrap())
}

/// One of the simulator's well-known readers, with its faults in the field.
pub fn named(name: &str) -> pcsc_sim::SimDevice {
    pcsc_sim::SimDevice::named(name).unwrap()
}

/// The demonstration card with this TA1 and these protocols.
pub fn card(ta1: Option<u8>, offers: &[Offer], behaviour: Behaviour) -> SimCard {
    let profile = Profile {
        ta1,
        ..Profile::new(offers)
    };
    SimCard::new(profile, behaviour, Box::new(Several::demo()))
}

/// A command of case 2 whose answer is this number of bytes of the echo's pattern, up to 256.
pub fn read(length: u16) -> [u8; 5] {
    let [high, low] = length.to_be_bytes();
    [0x80, 0xEE, high, low, low]
}

/// What a good card answers to [`read`].
pub fn pattern(length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|i| (i ^ (i >> 8)) as u8).collect();
    bytes.extend([0x90, 0x00]);
    bytes
}

pub fn transmit<T: Transport>(reader: &mut Reader<T>, apdu: &[u8]) -> Result<Vec<u8>, ReaderError> {
    let mut response = vec![0; 65_538];
    let length = reader.transmit(0, apdu, &mut response)?;
    response.truncate(length);
    Ok(response)
}

/// F and D of each SetParameters that the device has got so far, as TA1 codes them.
pub fn rates_set(handle: &SimHandle) -> Vec<u8> {
    handle.with(|device| {
        device
            .log()
            .filter(|entry| entry.direction == MessageDirection::ToReader)
            .filter_map(|entry| match CommandMessage::decode(&entry.bytes) {
                Ok((CommandMessage::SetParameters { data, .. }, ..)) => data.first().copied(),
                _ => None,
            })
            .collect()
    })
}

pub fn resets(handle: &SimHandle) -> u64 {
    handle.with(|device| device.tally(0).resets)
}

/// Clock in Hz, F and D at the contact.
pub fn line(handle: &SimHandle) -> (u32, u16, u8) {
    handle.with(|device| {
        let line = device.contact(0).unwrap().line();
        (line.clock_hz, line.rate.f, line.rate.d)
    })
}

/// Readers of each level, and the protocols that they have.
pub const LEVELS: [(&str, &[Protocol]); 7] = [
    ("gempc-express", &[Protocol::T0, Protocol::T1]),
    ("scr3310", &[Protocol::T0, Protocol::T1]),
    ("omnikey-5321", &[Protocol::T0, Protocol::T1]),
    ("au9540", &[Protocol::T0, Protocol::T1]),
    ("oz776", &[Protocol::T0]),
    ("ibank2key", &[Protocol::T0]),
    ("starsign", &[Protocol::T1]),
];

pub fn offers(protocol: Protocol) -> &'static [Offer] {
    match protocol {
        Protocol::T0 => &[Offer::T0],
        Protocol::T1 => &[Offer::T1],
    }
}

pub fn power_up<T: Transport>(reader: &mut Reader<T>, protocol: Protocol) -> Result<(), ReaderError> {
    reader.power_on(0, Reset::Cold)?;
    reader.set_protocol(0, protocol)
}

pub fn now(handle: &SimHandle) -> Duration {
    handle.with(|device| device.now())
}

/// A message of a reader (CCID 1.1, clause 6.2): its type, its data, and the three bytes before them. FF
/// stands for the number of the command.
pub fn message(kind: u8, data: &[u8], status: [u8; 3]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend([0, 0xFF]);
    bytes.extend(status);
    bytes.extend(data);
    bytes
}

/// A message from the reader that announces more data than any has.
pub fn too_long() -> Vec<u8> {
    let mut bytes = message(0x80, &[], [0, 0, 0]);
    bytes[4] = 1;
    bytes
}

/// A reader with these features and nothing to negotiate, for scripts of its messages.
pub fn plain_interface(features: u32) -> Interface {
    let mut interface = Interface::default();
    interface.class = 0x0B;
    (interface.bulk_out, interface.bulk_in) = (Some(1), Some(0x82));
    let descriptor = &mut interface.descriptor;
    descriptor.release = 0x0110;
    descriptor.voltages = 1;
    descriptor.protocols = 3;
    (descriptor.default_clock_khz, descriptor.max_clock_khz) = (4000, 4000);
    (descriptor.data_rate_bps, descriptor.max_data_rate_bps) = (10_752, 344_086);
    descriptor.max_ifsd = 32;
    descriptor.features = Features(features);
    descriptor.max_message_length = 271;
    descriptor.pin_support = 3;
    interface
}

/// How many cases a property is tried with: PROPTEST_CASES, or this many.
pub fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|text| text.parse().ok()).unwrap_or(usual),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The control code and the data of FEATURE_VERIFY_PIN_DIRECT, for a PIN of four to eight digits.
pub fn verify() -> (u32, Vec<u8>) {
    let structure = [
        &[0, 0, 0x82, 0x08, 0x00, 8, 4, 2, 1, 0x09, 0x04, 0, 0, 0, 0][..],
        &13u32.to_le_bytes(),
        &[0x00, 0x20, 0x00, 0x81, 8, 0x20],
        &[0xFF; 7],
    ];
    (Feature::VerifyPinDirect.code(), structure.concat())
}
