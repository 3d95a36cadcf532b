//! A reader that this process drives for other programs, over the socket of [`pcsc_sim::control`].

use std::sync::{Arc, Mutex};

use pcsc_sim::control::{CardPresence, RequestError, ServedReader, SlotChange, SlotRequest};

use crate::slot::{FoundReader, Powered, Presence, Slot, SlotError, Watch, WatchEvent};
use crate::sync::lock;

/// The longest answer that a client can receive, in bytes. It is longer than the response of an extended
/// APDU, because a card may answer with more.
const LONGEST: usize = pcsc_constants::MAX_BUFFER_SIZE_EXTENDED;

/// A reader of any bus, for [`pcsc_sim::control::serve`].
pub struct OfferedReader {
    name: String,
    slots: Vec<OfferedSlot>,
}

struct OfferedSlot {
    slot: Mutex<Box<dyn Slot>>,
    watch: Arc<dyn Watch>,
}

impl OfferedReader {
    /// Offers a reader that was found on a bus.
    pub fn new(found: FoundReader) -> OfferedReader {
        let slots = found.slots.into_iter().map(|(slot, watch)| OfferedSlot {
            slot: Mutex::new(slot),
            watch,
        });
        OfferedReader {
            name: found.name,
            slots: slots.collect(),
        }
    }
}

impl ServedReader for OfferedReader {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn slots(&self) -> u8 {
        u8::try_from(self.slots.len()).unwrap_or(u8::MAX)
    }

    fn execute(&self, slot: u8, request: &SlotRequest<'_>) -> Result<Vec<u8>, RequestError> {
        let place = self.slots.get(usize::from(slot)).ok_or(RequestError::NoDevice)?;
        execute(&mut **lock(&place.slot), request).map_err(request_error)
    }

    fn wait(&self, slot: u8) -> SlotChange {
        match self.slots.get(usize::from(slot)).map(|place| place.watch.wait()) {
            Some(WatchEvent::Card) => SlotChange::Card,
            Some(WatchEvent::Unclear) => SlotChange::Unclear,
            // The client cannot tell the end of this process from the end of its reader, and need not.
            Some(WatchEvent::Gone | WatchEvent::Stopped) | None => SlotChange::Gone,
        }
    }

    fn close(&self, slot: u8) {
        if let Some(place) = self.slots.get(usize::from(slot)) {
            lock(&place.slot).give_back();
        }
    }
}

fn execute(slot: &mut dyn Slot, request: &SlotRequest<'_>) -> Result<Vec<u8>, SlotError> {
    let answered = |ask: &mut dyn FnMut(&mut [u8]) -> Result<usize, SlotError>| {
        let mut answer = vec![0; LONGEST];
        let length = ask(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    };
    match *request {
        SlotRequest::Presence => {
            let presence = match slot.presence()? {
                Presence::Present => CardPresence::Present,
                Presence::Replaced => CardPresence::Replaced,
                Presence::Absent => CardPresence::Absent,
            };
            Ok(vec![presence.code()])
        }
        SlotRequest::PowerUp { is_warm } => {
            // Without a deadline, here and below: the client's side of the socket has it, and gives the
            // connection up.
            let Powered { atr, offered, first } = slot.power_up(is_warm, None)?;
            Ok([&[offered as u8, first as u8], &atr[..]].concat())
        }
        SlotRequest::PowerDown => slot.power_down().map(|()| Vec::new()),
        SlotRequest::SetProtocol(protocol) => slot.set_protocol(protocol, None).map(|()| Vec::new()),
        SlotRequest::Transmit(command) => answered(&mut |answer| slot.transmit(command, answer, None)),
        SlotRequest::Control(code, data) => answered(&mut |answer| slot.control(code, data, answer, None)),
        SlotRequest::GetAttribute(id) => answered(&mut |value| slot.get_attribute(id, value)),
        SlotRequest::SetAttribute(id, value) => slot.set_attribute(id, value).map(|()| Vec::new()),
    }
}

fn request_error(error: SlotError) -> RequestError {
    match error {
        SlotError::NoDevice => RequestError::NoDevice,
        SlotError::NoCard => RequestError::NoCard,
        SlotError::Mute => RequestError::Mute,
        SlotError::ProtocolUnsupported => RequestError::ProtocolUnsupported,
        SlotError::Unsupported => RequestError::Unsupported,
        SlotError::BufferTooSmall => RequestError::BufferTooSmall,
        SlotError::Busy => RequestError::Busy,
        SlotError::Reset => RequestError::Reset,
        SlotError::TimedOut | SlotError::NotStarted | SlotError::Communication => RequestError::Communication,
    }
}
