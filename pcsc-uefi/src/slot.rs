//! What the protocol's functions do on one slot (UEFI specification, section "Smart Card Reader Protocol").

use core::cell::{Cell, RefCell, RefMut};

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use pcsc_ccid::atr::Atr;
use pcsc_ccid::attributes;
use pcsc_ccid::part10::ControlFunction;
use pcsc_ccid::reader::{Protocol, ReaderError, Reset};
use pcsc_ccid::transport::TransportError;
use uefi::Status;

use crate::abi::*;
use crate::device::Device;

/// Function 2 of CCID's PC_to_RDR_Mechanical (clause 6.1.12).
const EJECT: u8 = 2;
/// The longest response APDU, and more than any reader's own answer.
const LONGEST_ANSWER: usize = 65_536 + 2;

/// A reader that its slots share; `None` once it is gone.
pub type SharedDevice = Rc<RefCell<Option<Device>>>;

/// A slot of a reader.
pub struct Slot {
    device: SharedDevice,
    number: u8,
    name: String,
    /// A program has connected.
    is_locked: Cell<bool>,
    /// Its protocol was uninstalled.
    is_gone: Cell<bool>,
}

/// A card's protocol, as SCARD_PROTOCOL_* bits and for `pcsc_ccid`.
const PROTOCOLS: [(u32, u8, Protocol); 2] = [
    // Where a card and a program have both, T=1 is chosen, as other drivers of this protocol do.
    (SCARD_PROTOCOL_T1, 1, Protocol::T1),
    (SCARD_PROTOCOL_T0, 0, Protocol::T0),
];

/// The result of SCardStatus.
pub struct SlotStatus {
    /// SCARD_ABSENT, SCARD_INACTIVE or SCARD_ACTIVE.
    pub state: u32,
    /// The protocol in force, or SCARD_PROTOCOL_UNDEFINED.
    pub protocol: u32,
    /// The ATR; empty without power.
    pub atr: Vec<u8>,
}

impl Slot {
    /// A slot of `device`.
    pub fn new(device: SharedDevice, number: u8, name: String) -> Slot {
        Slot {
            device,
            number,
            name,
            is_locked: Cell::new(false),
            is_gone: Cell::new(false),
        }
    }

    /// The reader's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Notes that the protocol was uninstalled. All calls fail from now on, also where other slots of the
    /// reader remain.
    pub fn close(&self) {
        self.is_gone.set(true);
    }

    /// The device for one call. A slot that is gone is a device error.
    fn device(&self) -> Result<RefMut<'_, Device>, Status> {
        if self.is_gone.get() {
            return Err(Status::DEVICE_ERROR);
        }
        let device = self.device.try_borrow_mut().map_err(|_| Status::ACCESS_DENIED)?;
        RefMut::filter_map(device, Option::as_mut).map_err(|_| Status::DEVICE_ERROR)
    }

    /// SCardConnect. Gives the active protocol.
    ///
    /// # Errors
    /// The specification's codes.
    pub fn connect(&self, mode: u32, action: u32, preferred: u32) -> Result<u32, Status> {
        let is_valid = match mode {
            SCARD_AM_READER => action == SCARD_CA_NORESET && preferred == SCARD_PROTOCOL_UNDEFINED,
            SCARD_AM_CARD => matches!(action, SCARD_CA_NORESET | SCARD_CA_COLDRESET | SCARD_CA_WARMRESET),
            _ => false,
        };
        if !is_valid {
            return Err(Status::INVALID_PARAMETER);
        }
        let mut device = self.device()?;
        if self.is_locked.get() {
            return Err(Status::ACCESS_DENIED);
        }
        let protocol = match mode {
            SCARD_AM_READER => SCARD_PROTOCOL_UNDEFINED,
            _ => self.prepare_card(&mut device, action, preferred)?,
        };
        self.is_locked.set(true);
        Ok(protocol)
    }

    /// Powers or resets the card and chooses a protocol.
    fn prepare_card(&self, device: &mut Device, action: u32, preferred: u32) -> Result<u32, Status> {
        self.reset_card(device, action)?;
        if let Some(active) = protocol_in_force(device, self.number) {
            // Without a reset a card keeps its protocol.
            return match preferred & active {
                0 => Err(Status::UNSUPPORTED),
                _ => Ok(active),
            };
        }
        let reader = device.reader();
        let atr = Atr::parse(reader.atr(self.number)).map_err(|_| Status::NOT_READY)?;
        let offered = match atr.specific_mode() {
            Some(only) => vec![only],
            None => atr.protocols(),
        };
        for (bit, number, protocol) in PROTOCOLS {
            if preferred & bit == 0 || !offered.contains(&number) {
                continue;
            }
            match reader.set_protocol(self.number, protocol) {
                Ok(()) => return Ok(bit),
                Err(ReaderError::ProtocolUnsupported) => (),
                Err(error) => return Err(status(error)),
            }
        }
        Err(Status::UNSUPPORTED)
    }

    /// Resets the card. One that has no power is powered, also where no reset is asked for.
    fn reset_card(&self, device: &mut Device, action: u32) -> Result<(), Status> {
        if !device.presence(self.number).map_err(status)? {
            return Err(Status::NO_MEDIA);
        }
        let reader = device.reader();
        let is_powered = !reader.atr(self.number).is_empty();
        let reset = match action {
            SCARD_CA_NORESET if is_powered => return Ok(()),
            SCARD_CA_WARMRESET if is_powered => Reset::Warm,
            _ => Reset::Cold,
        };
        reader.power_on(self.number, reset).map(drop).map_err(no_atr)
    }

    /// SCardDisconnect.
    ///
    /// # Errors
    /// The specification's codes. After [`Status::UNSUPPORTED`] the connection remains.
    pub fn disconnect(&self, action: u32) -> Result<(), Status> {
        if action > SCARD_CA_EJECT {
            return Err(Status::INVALID_PARAMETER);
        }
        let mut device = self.device()?;
        if !self.is_locked.get() {
            return Ok(());
        }
        let done = self.finish_card(&mut device, action);
        if done != Err(Status::UNSUPPORTED) {
            self.is_locked.set(false);
        }
        match done {
            // The card was taken out. This is no error here.
            Err(Status::NO_MEDIA | Status::NOT_READY) => Ok(()),
            done => done,
        }
    }

    fn finish_card(&self, device: &mut Device, action: u32) -> Result<(), Status> {
        let slot = self.number;
        match action {
            SCARD_CA_EJECT => device.reader().mechanical(slot, EJECT).map_err(status),
            SCARD_CA_UNPOWER => device.reader().power_off(slot).map_err(status),
            SCARD_CA_COLDRESET | SCARD_CA_WARMRESET => self.reset_card(device, action),
            _ => Ok(()),
        }
    }

    /// SCardStatus.
    ///
    /// # Errors
    /// [`Status::DEVICE_ERROR`] where the reader does not answer.
    pub fn status(&self) -> Result<SlotStatus, Status> {
        let mut device = self.device()?;
        let is_present = device.presence(self.number).map_err(|_| Status::DEVICE_ERROR)?;
        let atr = device.reader().atr(self.number).to_vec();
        Ok(SlotStatus {
            state: match (is_present, atr.is_empty()) {
                (false, _) => SCARD_ABSENT,
                (true, true) => SCARD_INACTIVE,
                (true, false) => SCARD_ACTIVE,
            },
            protocol: protocol_in_force(&mut device, self.number).unwrap_or(SCARD_PROTOCOL_UNDEFINED),
            atr,
        })
    }

    /// SCardTransmit. Gives the response APDU.
    ///
    /// # Errors
    /// The specification's codes.
    pub fn transmit(&self, command: &[u8]) -> Result<Vec<u8>, Status> {
        let mut device = self.device()?;
        answer(|room| device.reader().transmit(self.number, command, room))
            .or_else(|error| self.refuse(&mut device, error))
    }

    /// SCardControl. Gives the answer.
    ///
    /// The codes in the list of features are big-endian (PC/SC part 10, clause 2.2). Programs that read them
    /// in the processor's byte order, as those made for other drivers do, send them back reversed. No known
    /// code is another one reversed, so both orders are understood.
    ///
    /// # Errors
    /// The specification's codes.
    pub fn control(&self, code: u32, data: &[u8]) -> Result<Vec<u8>, Status> {
        let code = match ControlFunction::decode(code) {
            Some(_) => code,
            None => code.swap_bytes(),
        };
        let mut device = self.device()?;
        answer(|room| device.reader().control(self.number, code, data, room))
            .or_else(|error| self.refuse(&mut device, error))
    }

    /// SCardGetAttrib. Gives the value.
    ///
    /// # Errors
    /// The specification's codes.
    pub fn attribute(&self, id: u32) -> Result<Vec<u8>, Status> {
        let mut device = self.device()?;
        if needs_power(id) && device.reader().atr(self.number).is_empty() {
            return self.refuse(&mut device, ReaderError::NotPowered);
        }
        answer(|room| device.reader().attribute(self.number, id, Some(&self.name), room)).map_err(status)
    }

    /// The code of a failure. A card or a reader that went meanwhile fails in many ways, so the slot is
    /// polled for the reason.
    fn refuse(&self, device: &mut Device, error: ReaderError) -> Result<Vec<u8>, Status> {
        let code = status(error);
        if !matches!(code, Status::NOT_READY | Status::PROTOCOL_ERROR | Status::TIMEOUT) {
            return Err(code);
        }
        Err(match device.presence(self.number) {
            Ok(true) => code,
            Ok(false) => Status::NO_MEDIA,
            Err(error) if error.is_gone() => Status::DEVICE_ERROR,
            Err(_) => code,
        })
    }
}

/// Whether an attribute is one of a powered card: its ATR, and the protocol parameters in force.
fn needs_power(id: attributes::Id) -> bool {
    let is_parameter = (attributes::CURRENT_PROTOCOL_TYPE..=attributes::CURRENT_EBC_ENCODING).contains(&id);
    id == attributes::ATR_STRING || is_parameter
}

/// Calls `ask` with room for any answer.
fn answer(ask: impl FnOnce(&mut [u8]) -> Result<usize, ReaderError>) -> Result<Vec<u8>, ReaderError> {
    let mut room = vec![0; LONGEST_ANSWER];
    let length = ask(&mut room)?;
    room.truncate(length);
    Ok(room)
}

fn protocol_in_force(device: &mut Device, slot: u8) -> Option<u32> {
    let current = device.reader().current(slot)?;
    let number = current.parameters.protocol();
    PROTOCOLS
        .iter()
        .find(|(_, protocol, _)| *protocol == number)
        .map(|(bit, ..)| *bit)
}

/// The code of a card that cannot be powered.
fn no_atr(error: ReaderError) -> Status {
    match error {
        ReaderError::NoCard => Status::NO_MEDIA,
        ReaderError::Transport(_) => status(error),
        _ => Status::NOT_READY,
    }
}

/// The code of a driver's error.
fn status(error: ReaderError) -> Status {
    match error {
        ReaderError::NoCard => Status::NO_MEDIA,
        ReaderError::NotPowered => Status::NOT_READY,
        ReaderError::Transport(TransportError::Timeout) | ReaderError::TooSlow => Status::TIMEOUT,
        ReaderError::Transport(_) | ReaderError::NoSuchSlot | ReaderError::Firmware(_) => {
            Status::DEVICE_ERROR
        }
        ReaderError::Unsupported | ReaderError::ProtocolUnsupported => Status::UNSUPPORTED,
        ReaderError::InvalidParameter | ReaderError::Apdu(_) | ReaderError::CommandTooLong { .. } => {
            Status::INVALID_PARAMETER
        }
        ReaderError::BufferTooSmall => Status::BUFFER_TOO_SMALL,
        _ => Status::PROTOCOL_ERROR,
    }
}
