//! The readers of the test's IFD handler, without pcscd: `readers SOCKET COUNT alone|shared` serves them on
//! SOCKET, as [`pcsc_sim::control`] has it, to libraries that PCSCLITE_SIMULATED leads there.
//!
//! `readers SOCKET COUNT MODEL` serves simulated readers of a model under the same names. The driver works in
//! this process.

use pcsc_manager::PlayedReader;
use pcsc_sim::control::{self, ControlledReader, RequestError, ServedReader, SlotChange, SlotRequest};
use pcsc_test_ifd::{abi, card, Reader};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The watch is asked again after this time at the latest.
const LONG: Duration = Duration::from_secs(3600);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, count, sharing] = arguments.as_slice() else {
        return Err("usage: readers SOCKET COUNT alone|shared|MODEL".into());
    };
    // Kept here: the socket holds weak references alone.
    let mut played = Vec::new();
    for number in 0..count.parse()? {
        if !["alone", "shared"].contains(&sharing.as_str()) {
            let reader = Arc::new(PlayedReader::new(sharing).map_err(|error| format!("{sharing}: {error}"))?);
            let controlled: Arc<dyn ControlledReader> = reader.clone();
            let controlled = Arc::downgrade(&controlled);
            played.push(reader.clone());
            control::serve(Path::new(socket), number, controlled, Arc::new(Renamed(reader)))?;
            continue;
        }
        let reader = Served {
            number,
            reader: pcsc_test_ifd::reader(number.into()).ok_or("too many readers")?,
            is_shared: sharing == "shared",
        };
        let controlled = pcsc_test_ifd::control::controlled(number).ok_or("too many readers")?;
        control::serve(Path::new(socket), number, controlled, Arc::new(reader))?;
    }
    control::start(Path::new(socket))?;
    // The test reads this line when the socket is there.
    println!("ready");
    loop {
        std::thread::park();
    }
}

/// A simulated reader under the name of the test handler's readers.
struct Renamed(Arc<PlayedReader>);

impl ServedReader for Renamed {
    fn name(&self) -> String {
        pcsc_tests::FRIENDLY_NAME.to_owned()
    }

    fn slots(&self) -> u8 {
        self.0.slots()
    }

    fn is_present(&self) -> bool {
        self.0.is_present()
    }

    fn execute(&self, slot: u8, request: &SlotRequest<'_>) -> Result<Vec<u8>, RequestError> {
        self.0.execute(slot, request)
    }

    fn wait(&self, slot: u8) -> SlotChange {
        self.0.wait(slot)
    }

    fn open(&self, slot: u8) -> bool {
        self.0.open(slot)
    }

    fn close(&self, slot: u8) {
        self.0.close(slot);
    }
}

/// A reader of the handler. It has one slot.
struct Served {
    number: u8,
    reader: &'static Reader,
    is_shared: bool,
}

impl ServedReader for Served {
    fn name(&self) -> String {
        pcsc_tests::FRIENDLY_NAME.to_owned()
    }

    fn slots(&self) -> u8 {
        1
    }

    fn wait(&self, _slot: u8) -> SlotChange {
        self.reader.poll(LONG);
        SlotChange::Unclear
    }

    fn open(&self, _slot: u8) -> bool {
        // An unplugged reader refuses, and says so at every request.
        self.reader.open() == abi::SUCCESS
    }

    fn close(&self, _slot: u8) {
        self.reader.close();
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn execute(&self, _slot: u8, request: &SlotRequest<'_>) -> Result<Vec<u8>, RequestError> {
        let reader = self.reader;
        let number = self.number.into();
        let done = |code| match code {
            abi::SUCCESS => Ok(Vec::new()),
            code => Err(request_error(code)),
        };
        // As pcscd does, before it asks for power.
        let power = |action| match reader.presence() {
            abi::ICC_PRESENT => reader.power(action).map_err(request_error),
            code => Err(request_error(code)),
        };
        match *request {
            SlotRequest::Presence => match reader.presence() {
                abi::ICC_PRESENT => Ok(vec![control::CardPresence::Present.code()]),
                abi::ICC_NOT_PRESENT => Ok(vec![control::CardPresence::Absent.code()]),
                code => Err(request_error(code)),
            },
            SlotRequest::PowerUp { is_warm } => {
                let atr = power(if is_warm { abi::RESET } else { abi::POWER_UP })?;
                let offered = card::protocols(&atr) as u8;
                // The lowest bit is the first protocol: no card of the tests has it otherwise.
                let first = offered & offered.wrapping_neg();
                Ok([&[offered, first], &atr[..]].concat())
            }
            SlotRequest::PowerDown => power(abi::POWER_DOWN).map(|_| Vec::new()),
            SlotRequest::SetProtocol(protocol) => done(reader.set_protocol(protocol.into())),
            SlotRequest::Transmit(command) => reader.transmit(command).map_err(request_error),
            SlotRequest::Control(code, data) => reader.control(code.into(), data).map_err(request_error),
            SlotRequest::GetAttribute(id) => reader
                .attribute(number, id.into())
                .ok_or(RequestError::Unsupported),
            SlotRequest::SetAttribute(id, value) => done(reader.set_attribute(number, id.into(), value)),
        }
    }
}

fn request_error(code: abi::ResponseCode) -> RequestError {
    match code {
        abi::NO_SUCH_DEVICE => RequestError::NoDevice,
        abi::ICC_NOT_PRESENT => RequestError::NoCard,
        abi::ERROR_POWER_ACTION => RequestError::Mute,
        abi::PROTOCOL_NOT_SUPPORTED => RequestError::ProtocolUnsupported,
        abi::ERROR_NOT_SUPPORTED | abi::NOT_SUPPORTED | abi::ERROR_TAG => RequestError::Unsupported,
        _ => RequestError::Communication,
    }
}
