//! Slots of `pcsc-ccid`'s readers, on the USB or simulated. The slots of a reader take turns on its transport,
//! one exchange at a time.

use std::sync::Arc;
use std::time::Instant;

use pcsc_ccid::atr::Atr;
use pcsc_ccid::part10::Control;
use pcsc_ccid::reader::{self, Error, Protocol, Reader, Reset};
use pcsc_ccid::transport::{self, Transport};

use crate::card_state::{T0, T1};
use crate::limit::{Limit, Limited};
use crate::slot::{Fault, Found, Powered, Presence, Slot, Watch};
use crate::turns::{Turn, Turns};
use crate::watches::{News, SlotWatch, Watches};

/// A reader of any kind.
pub type AnyReader = Reader<Box<dyn Transport>>;

/// A reader that was opened.
pub struct Opened {
    pub reader: AnyReader,
    pub news: News,
}

/// Opens a reader, again and again until it is ours, and has it keep to a time.
pub type Open = Box<dyn FnMut(&Limit) -> Result<Opened, Fault> + Send>;

/// A transport that keeps to a time.
pub fn limited(transport: impl Transport + 'static, limit: &Limit) -> Box<dyn Transport> {
    Box::new(Limited::new(transport, limit.clone()))
}

/// The slots of a reader that `open` opens when it is first asked for something; and what tells them that the
/// reader is gone.
pub fn found(name: String, slots: u16, open: Open) -> (Found, Arc<Watches>) {
    let watches = Arc::new(Watches::new(slots));
    let link = Arc::new(Turns::new(Link {
        open,
        limit: Limit::default(),
        reader: None,
        watches: watches.clone(),
        has_worked: false,
        is_new: vec![false; usize::from(slots.max(1))],
        is_unused: vec![true; usize::from(slots.max(1))],
    }));
    let places = (0..=u8::MAX).take(usize::from(slots.max(1))).map(|number| {
        let slot = CcidSlot {
            link: link.clone(),
            number,
            deadline: None,
        };
        let watch = SlotWatch::new(&watches, number);
        (Box::new(slot) as Box<dyn Slot>, Arc::new(watch) as Arc<dyn Watch>)
    });
    let found = Found {
        name,
        slots: places.collect(),
    };
    (found, watches)
}

struct Link {
    open: Open,
    limit: Limit,
    reader: Option<AnyReader>,
    watches: Arc<Watches>,
    /// Whether it has answered since it was opened.
    has_worked: bool,
    /// Slots of a reader that was opened again, which have not been looked at since: their cards have lost what they were.
    is_new: Vec<bool>,
    /// Slots that do not need the device.
    is_unused: Vec<bool>,
}

impl Link {
    /// The reader, opened if it is not.
    fn reader(&mut self) -> Result<&mut AnyReader, Fault> {
        let Link {
            open,
            limit,
            reader,
            watches,
            ..
        } = self;
        match reader {
            Some(reader) => Ok(reader),
            None => {
                let opened = open(limit).inspect_err(|fault| {
                    // It went, or is one that does not work: nothing to list.
                    if *fault == Fault::NoDevice {
                        watches.gone();
                    }
                })?;
                watches.listen(opened.news);
                Ok(reader.insert(opened.reader))
            }
        }
    }

    /// Closes a reader that was lost, though it may not be gone: a reset of the device takes it from whoever has it. It is
    /// opened again when a slot is looked at, which tells whether it is there.
    fn notice_loss(&mut self) {
        if self.watches.take_loss() {
            self.close();
        }
    }

    fn set_unused(&mut self, slot: u8, is_unused: bool) {
        if let Some(flag) = self.is_unused.get_mut(usize::from(slot)) {
            *flag = is_unused;
        }
    }

    fn close(&mut self) {
        self.watches.close();
        self.reader = None;
        self.has_worked = false;
        self.is_new.fill(true);
    }
}

struct CcidSlot {
    link: Arc<Turns<Link>>,
    number: u8,
    deadline: Option<Instant>,
}

impl CcidSlot {
    /// The reader, when it is this slot's turn.
    fn link(&self) -> Result<Turn<'_, Link>, Fault> {
        let mut link = self.link.take_by(self.deadline).ok_or(Fault::TimedOut)?;
        link.limit.set(self.deadline);
        link.notice_loss();
        link.set_unused(self.number, false);
        Ok(link)
    }

    fn with<T>(&self, ask: impl FnOnce(&mut AnyReader, u8) -> Result<T, Error>) -> Result<T, Fault> {
        let mut link = self.link()?;
        if link.is_new.get(usize::from(self.number)) == Some(&true) {
            return Err(Fault::NoDevice);
        }
        let result = ask(link.reader()?, self.number);
        match result {
            Err(Error::Transport(transport::Error::Gone)) if link.has_worked => link.watches.lose(),
            // It could be opened and is reset again, or goes: opening it tells which, some time later.
            Err(Error::Transport(transport::Error::Gone)) => {
                link.close();
                return Err(Fault::Communication);
            }
            _ => link.has_worked = true,
        }
        result.map_err(fault)
    }
}

/// What the resource manager makes of a driver's error.
pub fn fault(error: Error) -> Fault {
    log::debug!("the driver says: {error}");
    match error {
        Error::Transport(transport::Error::Gone) | Error::NoSuchSlot | Error::Firmware(_) => Fault::NoDevice,
        Error::NoCard => Fault::NoCard,
        Error::Transport(transport::Error::Cancelled) => Fault::TimedOut,
        Error::CardReset => Fault::Reset,
        Error::Slot(pcsc_ccid::message::SlotError::Mute) | Error::Atr(_) => Fault::Mute,
        Error::ProtocolUnsupported => Fault::ProtocolUnsupported,
        Error::Unsupported => Fault::Unsupported,
        Error::BufferTooSmall => Fault::BufferTooSmall,
        _ => Fault::Communication,
    }
}

impl CcidSlot {
    /// Whether the reader was lost, and is to be opened again.
    fn is_lost(&self) -> bool {
        let link = self.link.take_by(self.deadline);
        link.is_some_and(|link| link.watches.is_lost())
    }

    fn look(&mut self) -> Result<Presence, Fault> {
        let (is_new, was_emptied) = {
            let mut link = self.link()?;
            let was_emptied = link.watches.take_emptied(usize::from(self.number));
            let is_new = link.is_new.get_mut(usize::from(self.number));
            (is_new.is_some_and(std::mem::take), was_emptied)
        };
        self.with(|reader, slot| {
            Ok(match reader.presence(slot)? {
                reader::Presence::Absent => Presence::Absent,
                // A reader that activates cards by itself shows another card as it has shown the one before.
                reader::Presence::Present if was_emptied => {
                    reader.power_off(slot)?;
                    Presence::Replaced
                }
                reader::Presence::Present if is_new => Presence::Replaced,
                reader::Presence::Present => Presence::Present,
                reader::Presence::Replaced => Presence::Replaced,
            })
        })
    }
}

impl Slot for CcidSlot {
    fn presence(&mut self) -> Result<Presence, Fault> {
        match self.look() {
            // This look has met the loss. The next one opens the reader, or finds that it is gone.
            Err(Fault::NoDevice) if self.is_lost() => self.look(),
            seen => seen,
        }
    }

    fn power_up(&mut self, warm: bool) -> Result<Powered, Fault> {
        let reset = if warm { Reset::Warm } else { Reset::Cold };
        self.with(|reader, slot| {
            let atr = reader.power_on(slot, reset)?;
            let (offered, first) = protocols(atr);
            Ok(Powered {
                atr: atr.to_vec(),
                offered,
                first,
            })
        })
    }

    fn power_down(&mut self) -> Result<(), Fault> {
        self.with(|reader, slot| reader.power_off(slot))
    }

    fn set_protocol(&mut self, protocol: u32) -> Result<(), Fault> {
        let protocol = match protocol {
            T0 => Protocol::T0,
            T1 => Protocol::T1,
            _ => return Err(Fault::ProtocolUnsupported),
        };
        self.with(|reader, slot| reader.set_protocol(slot, protocol))
    }

    fn transmit(&mut self, command: &[u8], response: &mut [u8]) -> Result<usize, Fault> {
        self.with(|reader, slot| reader.transmit(slot, command, response))
    }

    fn control(&mut self, code: u32, data: &[u8], answer: &mut [u8]) -> Result<usize, Fault> {
        let mut link = self.link()?;
        let asked = link.reader()?.control(self.number, code, data, answer);
        // Clients of pcscd know these answers: what the user has not allowed fails like an exchange, and a
        // structure that makes no sense is not supported.
        asked.map_err(|error| match (error, Control::decode(code)) {
            (Error::Unsupported, Some(Control::Escape | Control::ReaderDirect)) => Fault::Communication,
            (Error::InvalidParameter, _) => Fault::Unsupported,
            (error, _) => fault(error),
        })
    }

    fn get_attribute(&mut self, id: u32, value: &mut [u8]) -> Result<usize, Fault> {
        self.with(|reader, slot| reader.attribute(slot, id, None, value))
    }

    fn set_attribute(&mut self, _id: u32, _value: &[u8]) -> Result<(), Fault> {
        Err(Fault::Unsupported)
    }

    fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    fn give_back(&mut self) {
        let mut link = self.link.take();
        link.set_unused(self.number, true);
        if link.is_unused.iter().all(|is_unused| *is_unused) {
            link.close();
        }
    }
}

/// The protocols that an ATR offers, and the first one, as `SCARD_PROTOCOL_*` bits; of a card in specific mode
/// the only one (ISO 7816-3, clause 8.3). An ATR that makes no sense offers none.
fn protocols(atr: &[u8]) -> (u32, u32) {
    let bit = |number: u8| match number {
        0 => T0,
        1 => T1,
        _ => 0,
    };
    let Ok(atr) = Atr::parse(atr) else {
        return (0, 0);
    };
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
    use crate::slot::Sight;

    #[test]
    fn a_reader_that_is_reset_while_it_is_opened_is_opened_again() {
        let mut resets = 2;
        let open: Open = Box::new(move |limit| {
            let simulated = Simulated::new("scr3310").unwrap();
            let opened = simulated.open(limit);
            if resets > 0 {
                resets -= 1;
                simulated.unplug();
            }
            opened
        });
        let (found, watches) = found("Reader".into(), 1, open);
        let (mut slot, watch) = found.slots.into_iter().next().unwrap();
        for _ in 0..2 {
            assert_eq!(slot.presence(), Err(Fault::Communication));
        }
        assert_eq!(slot.presence(), Ok(Presence::Replaced));
        assert!(slot.power_up(false).is_ok());
        watches.gone();
        assert_eq!(watch.wait(), Sight::Gone);
    }

    #[test]
    fn a_reader_that_is_reset_between_two_looks_is_opened_by_the_second() {
        use std::sync::Mutex;

        let current = Arc::new(Mutex::new(None));
        let last = current.clone();
        let open: Open = Box::new(move |limit| {
            let simulated = Simulated::new("scr3310").unwrap();
            let opened = simulated.open(limit);
            *last.lock().unwrap() = Some(simulated);
            opened
        });
        let (found, watches) = found("Reader".into(), 1, open);
        let (mut slot, _) = found.slots.into_iter().next().unwrap();
        assert_eq!(slot.presence(), Ok(Presence::Present));
        current.lock().unwrap().take().unwrap().unplug();
        // Nobody sees a reader that fails.
        assert_eq!(slot.presence(), Ok(Presence::Replaced));
        watches.gone();
    }

    #[test]
    fn a_reader_is_closed_once_no_slot_needs_it_and_is_opened_again() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        let opens = Arc::new(AtomicUsize::new(0));
        let count = opens.clone();
        // Two slots, a card in the first.
        let simulated = Simulated::new("scr331-di").unwrap();
        let open: Open = Box::new(move |limit| {
            count.fetch_add(1, Ordering::SeqCst);
            simulated.open(limit)
        });
        let (found, watches) = found("Reader".into(), 2, open);
        let [mut first, mut second] = [0, 1].map({
            let mut slots = found.slots.into_iter().map(|(slot, _)| slot);
            move |_| slots.next().unwrap()
        });
        assert_eq!(first.presence(), Ok(Presence::Present));
        assert_eq!(second.presence(), Ok(Presence::Absent));
        first.give_back();
        assert_eq!(second.presence(), Ok(Presence::Absent));
        assert_eq!(opens.load(Ordering::SeqCst), 1);
        second.give_back();
        assert_eq!(second.presence(), Ok(Presence::Absent));
        assert_eq!(opens.load(Ordering::SeqCst), 2);
        // Nobody knows what happened to the card meanwhile.
        assert_eq!(first.presence(), Ok(Presence::Replaced));
        watches.gone();
    }
}
