//! Slots of `pcsc-ccid`'s readers, on the USB or simulated.

use std::sync::Arc;
use std::time::Instant;

use pcsc_ccid::atr::Atr;
use pcsc_ccid::message;
use pcsc_ccid::part10::ControlFunction;
use pcsc_ccid::reader::{DeviceInfo, Protocol, ReaderError, Reset};
use pcsc_ccid::shared::{self, AnyReader, Open, SharedError, SharedReader};
use pcsc_ccid::transport::TransportError;

use crate::connections::{T0, T1};
use crate::slot::{FoundReader, Powered, Presence, Slot, SlotError, Watch, WatchEvent};

/// The slots of a reader that `open` opens when it is first needed, and the reader.
pub fn found(name: String, device: DeviceInfo, slots: u16, open: Open) -> (FoundReader, Arc<SharedReader>) {
    let reader = SharedReader::new(slots, open);
    // bSlot is a byte (CCID 1.1, clause 6.1).
    let numbers = (0..=u8::MAX).take(usize::from(slots.max(1)));
    let slots = numbers.map(|number| {
        let slot = CcidSlot {
            reader: reader.clone(),
            number,
        };
        let watch: Arc<dyn Watch> = Arc::new(slot.clone());
        (Box::new(slot) as Box<dyn Slot>, watch)
    });
    let found = FoundReader {
        name,
        device: Some(device),
        slots: slots.collect(),
    };
    (found, reader)
}

/// A slot, and what waits for its card.
#[derive(Clone)]
struct CcidSlot {
    reader: Arc<SharedReader>,
    number: u8,
}

impl Watch for CcidSlot {
    fn wait(&self) -> WatchEvent {
        match self.reader.events().wait(self.number, None) {
            shared::SlotEvent::Gone => WatchEvent::Gone,
            shared::SlotEvent::Stopped => WatchEvent::Stopped,
            shared::SlotEvent::Card => WatchEvent::Card,
            // The slot is polled after an unknown event too.
            _ => WatchEvent::Card,
        }
    }

    fn wake(&self) {
        self.reader.events().wake(self.number);
    }

    fn stop(&self) {
        self.reader.events().stop();
    }
}

impl CcidSlot {
    fn with<T>(
        &self,
        deadline: Option<Instant>,
        work: impl FnOnce(&mut AnyReader, u8) -> Result<T, ReaderError>,
    ) -> Result<T, SlotError> {
        let used = self
            .reader
            .with(self.number, deadline, |reader| work(reader, self.number));
        used.map_err(slot_error)
    }
}

fn slot_error(error: SharedError) -> SlotError {
    match error {
        SharedError::Busy => SlotError::Busy,
        // This one is the wait for the reader. A command that was cut short is `Cancelled` below, and the
        // card is reset.
        SharedError::TimedOut => SlotError::NotStarted,
        SharedError::Gone | SharedError::NotPolled => SlotError::NoDevice,
        SharedError::Reader(error) => {
            log::debug!("error of the driver: {error}");
            driver_error(error)
        }
        SharedError::Failed => SlotError::Communication,
        _ => SlotError::Communication,
    }
}

fn driver_error(error: ReaderError) -> SlotError {
    match error {
        // Firmware that the driver refuses and a slot that does not exist are not worth a retry either.
        ReaderError::Transport(TransportError::Gone) | ReaderError::NoSuchSlot | ReaderError::Firmware(_) => {
            SlotError::NoDevice
        }
        ReaderError::NoCard => SlotError::NoCard,
        ReaderError::Transport(TransportError::Cancelled) => SlotError::TimedOut,
        ReaderError::CardReset => SlotError::Reset,
        ReaderError::Slot(message::SlotErrorCode::Mute) | ReaderError::Atr(_) => SlotError::Mute,
        ReaderError::ProtocolUnsupported => SlotError::ProtocolUnsupported,
        ReaderError::Unsupported => SlotError::Unsupported,
        ReaderError::BufferTooSmall => SlotError::BufferTooSmall,
        _ => SlotError::Communication,
    }
}

impl Slot for CcidSlot {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        self.reader.presence(self.number).map_err(slot_error)
    }

    fn power_up(&mut self, warm: bool, deadline: Option<Instant>) -> Result<Powered, SlotError> {
        let reset = if warm { Reset::Warm } else { Reset::Cold };
        self.with(deadline, |reader, slot| {
            Ok(powered(reader.power_on(slot, reset)?))
        })
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        self.with(None, |reader, slot| reader.power_off(slot))
    }

    fn set_protocol(&mut self, protocol: u32, deadline: Option<Instant>) -> Result<(), SlotError> {
        let protocol = match protocol {
            T0 => Protocol::T0,
            T1 => Protocol::T1,
            _ => return Err(SlotError::ProtocolUnsupported),
        };
        self.with(deadline, |reader, slot| reader.set_protocol(slot, protocol))
    }

    fn transmit(
        &mut self,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        self.with(deadline, |reader, slot| reader.transmit(slot, command, response))
    }

    fn control(
        &mut self,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        let number = self.number;
        // Not `with`: a request to the reader needs no card, and the error is needed with the reader's own
        // reason.
        let asked = self.reader.with_reader(number, deadline, |reader| {
            reader.control(number, code, data, answer)
        });
        // The codes that pcscd with libccid returns, and that programs test for: what the user has not
        // allowed fails like an exchange, and an invalid structure is reported as unsupported.
        asked.map_err(|error| match (error, ControlFunction::decode(code)) {
            (
                SharedError::Reader(ReaderError::Unsupported),
                Some(ControlFunction::Escape | ControlFunction::ReaderDirect),
            ) => SlotError::Communication,
            (SharedError::Reader(ReaderError::InvalidParameter), _) => SlotError::Unsupported,
            (error, _) => slot_error(error),
        })
    }

    fn get_attribute(&mut self, id: u32, value: &mut [u8]) -> Result<usize, SlotError> {
        self.with(None, |reader, slot| reader.attribute(slot, id, None, value))
    }

    fn is_busy(&self) -> bool {
        self.reader.is_busy()
    }

    fn give_back(&mut self) {
        self.reader.give_back(self.number);
    }
}

/// Accepts T=0 and T=1, for a slot that need not do anything to use them.
///
/// # Errors
/// [`SlotError::ProtocolUnsupported`] for others.
#[cfg(feature = "sim")]
pub fn check_protocol(protocol: u32) -> Result<(), SlotError> {
    match protocol {
        T0 | T1 => Ok(()),
        _ => Err(SlotError::ProtocolUnsupported),
    }
}

/// A card that answered with this ATR.
pub fn powered(atr: &[u8]) -> Powered {
    let (offered, first) = protocols(atr);
    Powered::new(atr, offered, first)
}

/// The protocols that an ATR offers, and the first one, as `SCARD_PROTOCOL_*` bits; of a card in specific
/// mode the only one (ISO 7816-3, clause 8.3). An ATR that makes no sense offers none.
fn protocols(atr: &[u8]) -> (u32, u32) {
    let bit = |number: u8| match number {
        0 => T0,
        1 => T1,
        _ => 0,
    };
    let Ok(atr) = Atr::parse(atr) else {
        return (0, 0);
    };
    // TA2: the card does not listen to a PPS, and its protocol is in force from the reset on.
    if let Some(number) = atr.specific_mode() {
        return (bit(number), bit(number));
    }
    let offered = atr.protocols().into_iter().map(bit).fold(0, |all, one| all | one);
    (offered, bit(atr.first_protocol()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::Simulated;

    #[test]
    fn a_reader_that_is_reset_while_it_is_opened_is_opened_again() {
        let mut resets = 2;
        let open: Open = Box::new(move |deadline| {
            let simulated = Simulated::new("scr3310").unwrap();
            let opened = simulated.open(deadline);
            if resets > 0 {
                resets -= 1;
                simulated.unplug();
            }
            opened
        });
        let (found, reader) = found("Reader".into(), DeviceInfo::default(), 1, open);
        let (mut slot, watch) = found.slots.into_iter().next().unwrap();
        for _ in 0..2 {
            assert_eq!(slot.presence(), Err(SlotError::Communication));
        }
        assert_eq!(slot.presence(), Ok(Presence::Replaced));
        assert!(slot.power_up(false, None).is_ok());
        reader.events().set_gone();
        assert_eq!(watch.wait(), WatchEvent::Gone);
    }

    #[test]
    fn a_reader_that_is_reset_between_two_polls_is_opened_by_the_second() {
        use std::sync::Mutex;

        let current = Arc::new(Mutex::new(None));
        let last = current.clone();
        let open: Open = Box::new(move |deadline| {
            let simulated = Simulated::new("scr3310").unwrap();
            let opened = simulated.open(deadline);
            *last.lock().unwrap() = Some(simulated);
            opened
        });
        let (found, reader) = found("Reader".into(), DeviceInfo::default(), 1, open);
        let (mut slot, _) = found.slots.into_iter().next().unwrap();
        assert_eq!(slot.presence(), Ok(Presence::Present));
        current.lock().unwrap().take().unwrap().unplug();
        // The failure is not seen outside.
        assert_eq!(slot.presence(), Ok(Presence::Replaced));
        reader.events().set_gone();
    }

    #[test]
    fn a_reader_is_closed_once_no_slot_needs_it_and_is_opened_again() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        let opens = Arc::new(AtomicUsize::new(0));
        let count = opens.clone();
        // Two slots, a card in the first.
        let simulated = Simulated::new("scr331-di").unwrap();
        let open: Open = Box::new(move |deadline| {
            count.fetch_add(1, Ordering::SeqCst);
            simulated.open(deadline)
        });
        let (found, reader) = found("Reader".into(), DeviceInfo::default(), 2, open);
        let mut slots = found.slots.into_iter().map(|(slot, _)| slot);
        let (mut first, mut second) = (slots.next().unwrap(), slots.next().unwrap());
        assert_eq!(first.presence(), Ok(Presence::Present));
        assert_eq!(second.presence(), Ok(Presence::Absent));
        first.give_back();
        assert_eq!(second.presence(), Ok(Presence::Absent));
        assert_eq!(opens.load(Ordering::SeqCst), 1);
        second.give_back();
        assert_eq!(second.presence(), Ok(Presence::Absent));
        assert_eq!(opens.load(Ordering::SeqCst), 2);
        // What happened to the card meanwhile is not known.
        assert_eq!(first.presence(), Ok(Presence::Replaced));
        reader.events().set_gone();
    }
}
