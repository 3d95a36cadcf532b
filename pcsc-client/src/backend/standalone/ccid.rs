//! Slots of `pcsc-ccid`'s readers, on the USB or simulated. The slots of a reader take turns on its transport,
//! one exchange at a time, and one of them listens to what the reader tells of all.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pcsc_ccid::atr::Atr;
use pcsc_ccid::message::Notification;
use pcsc_ccid::part10::Control;
use pcsc_ccid::reader::options::{self, Options};
use pcsc_ccid::reader::{self, Error, Protocol, Reader, Reset};
use pcsc_ccid::transport::{self, Transport};

use super::board::{lock, wait_until};
use super::slot::{Fault, Found, Powered, Presence, Sight, Slot, Watch};
use crate::env;

const T0: u32 = 1;
const T1: u32 = 2;

/// A reader of any kind.
pub type AnyReader = Reader<Box<dyn Transport>>;

/// A reader that was opened.
pub struct Opened {
    pub reader: AnyReader,
    pub news: News,
}

/// How a reader tells of cards that come and go.
pub enum News {
    /// By its interrupt pipe.
    Told {
        source: Box<dyn Source>,
        /// Ends the wait for it, now and for ever.
        stop: Box<dyn Fn() + Send + Sync>,
    },
    /// Not at all: its slots are looked at this often.
    Polled(Duration),
}

/// A reader's interrupt pipe.
pub trait Source: Send {
    /// Waits for a message and gives it to `tell`.
    fn next(&mut self, tell: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error>;
}

/// Opens a reader, again and again until it is ours.
pub type Open = Box<dyn FnMut() -> Result<Opened, Fault> + Send>;

/// What the user decides, by the same variables as under pcscd.
pub fn options() -> Options {
    let bits = options::number(&env::text("PCSC_IFD_DRIVER_OPTIONS")).unwrap_or(0);
    Options::default()
        .with_driver_options(bits)
        .with_locale(&env::text("LANG"))
}

/// The slots of a reader that `open` opens when it is first asked for something; and what tells them that the
/// reader is gone.
pub fn found(name: String, slots: u16, open: Open) -> (Found, Arc<Watches>) {
    let watches = Arc::new(Watches::new(slots));
    let link = Arc::new(Mutex::new(Link {
        open,
        reader: None,
        watches: watches.clone(),
        has_worked: false,
        is_new: vec![false; usize::from(slots.max(1))],
    }));
    let places = (0..=u8::MAX).take(usize::from(slots.max(1))).map(|number| {
        let slot = CcidSlot {
            link: link.clone(),
            number,
        };
        let watch = SlotWatch {
            watches: watches.clone(),
            number,
        };
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
    reader: Option<AnyReader>,
    watches: Arc<Watches>,
    /// Whether it has answered since it was opened. One that never does is gone.
    has_worked: bool,
    /// Slots of a reader that was opened again, which have not been looked at since: their cards have lost what they were.
    is_new: Vec<bool>,
}

impl Link {
    /// The reader, opened if it is not.
    fn reader(&mut self) -> Result<&mut AnyReader, Fault> {
        let Link {
            open,
            reader,
            watches,
            ..
        } = self;
        match reader {
            Some(reader) => Ok(reader),
            None => {
                let opened = open().inspect_err(|fault| {
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
            self.reader = None;
            self.has_worked = false;
            self.is_new.fill(true);
        }
    }
}

struct CcidSlot {
    link: Arc<Mutex<Link>>,
    number: u8,
}

impl CcidSlot {
    fn with<T>(&self, ask: impl FnOnce(&mut AnyReader, u8) -> Result<T, Error>) -> Result<T, Fault> {
        let mut link = lock(&self.link);
        link.notice_loss();
        if link.is_new.get(usize::from(self.number)) == Some(&true) {
            return Err(Fault::NoDevice);
        }
        let result = ask(link.reader()?, self.number);
        match result {
            Err(Error::Transport(transport::Error::Gone)) if link.has_worked => link.watches.lose(),
            Err(Error::Transport(transport::Error::Gone)) => link.watches.gone(),
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
        Error::CardReset => Fault::Reset,
        Error::Slot(pcsc_ccid::message::SlotError::Mute) | Error::Atr(_) => Fault::Mute,
        Error::ProtocolUnsupported => Fault::ProtocolUnsupported,
        Error::Unsupported => Fault::Unsupported,
        Error::BufferTooSmall => Fault::BufferTooSmall,
        _ => Fault::Communication,
    }
}

impl Slot for CcidSlot {
    fn presence(&mut self) -> Result<Presence, Fault> {
        let (is_new, was_emptied) = {
            let mut link = lock(&self.link);
            link.notice_loss();
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
        let mut link = lock(&self.link);
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

/// What the slots of a reader wait for.
pub struct Watches {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    /// What the slots have not seen yet.
    stirred: Vec<bool>,
    /// Which slots were told to be empty since they were last asked.
    emptied: Vec<bool>,
    stop: Option<Box<dyn Fn() + Send + Sync>>,
    /// The open reader is of no use any more.
    is_lost: bool,
    /// How often it was closed.
    round: u64,
    /// How often in a row the interrupt pipe was halted.
    stalls: u32,
    end: Option<Sight>,
}

enum Mode {
    /// The reader is not open.
    Closed,
    /// The interrupt pipe, if no slot listens to it at the moment.
    Told(Option<Box<dyn Source>>),
    Polled(Duration),
}

/// How often a reader is looked at whose interrupt pipe has failed; pcscd's rate of polling.
pub const POLL_INTERVAL: Duration = Duration::from_millis(400);

impl Watches {
    fn new(slots: u16) -> Watches {
        Watches {
            state: Mutex::new(State {
                mode: Mode::Closed,
                stirred: vec![false; usize::from(slots.max(1))],
                emptied: vec![false; usize::from(slots.max(1))],
                stop: None,
                is_lost: false,
                round: 0,
                stalls: 0,
                end: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// The reader is gone: all waits end with that.
    pub fn gone(&self) {
        self.end(Sight::Gone);
    }

    /// The open reader is of no use any more: all slots are to be looked at.
    fn lose(&self) {
        let mut state = lock(&self.state);
        state.lose();
        self.changed.notify_all();
    }

    fn take_loss(&self) -> bool {
        std::mem::take(&mut lock(&self.state).is_lost)
    }

    fn listen(&self, news: News) {
        let mut state = lock(&self.state);
        state.stalls = 0;
        state.mode = match news {
            News::Told { source, stop } => {
                state.stop = Some(stop);
                Mode::Told(Some(source))
            }
            News::Polled(interval) => Mode::Polled(interval),
        };
        if state.end.is_some() {
            state.close();
        }
        self.changed.notify_all();
    }

    fn end(&self, how: Sight) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(how);
        state.close();
        self.changed.notify_all();
    }

    fn wait(&self, slot: usize) -> Sight {
        let mut state = lock(&self.state);
        loop {
            if let Some(end) = state.end {
                return end;
            }
            if state.stirred.get_mut(slot).is_some_and(std::mem::take) {
                return Sight::Card;
            }
            let deadline = match &mut state.mode {
                Mode::Told(source) => match source.take() {
                    Some(source) => {
                        let round = state.round;
                        drop(state);
                        state = self.hear(source, round);
                        continue;
                    }
                    None => None,
                },
                Mode::Polled(interval) => Instant::now().checked_add(*interval),
                Mode::Closed => None,
            };
            state = match wait_until(&self.changed, state, deadline) {
                Ok(state) => state,
                Err(_) => return Sight::Card,
            };
        }
    }

    /// Whether a slot was told to be empty since this was last asked.
    fn take_emptied(&self, slot: usize) -> bool {
        lock(&self.state)
            .emptied
            .get_mut(slot)
            .is_some_and(std::mem::take)
    }

    /// Waits for one message of the interrupt pipe, and notes for all slots what it says.
    fn hear(&self, mut source: Box<dyn Source>, round: u64) -> std::sync::MutexGuard<'_, State> {
        let (mut stirred, mut emptied) = (Vec::new(), Vec::new());
        let heard = source.next(&mut |message| match Notification::decode(message) {
            Some(Notification::HardwareError { slot, .. }) => stirred.push(slot),
            Some(news @ Notification::SlotChange(_)) => {
                let told = (0..=u8::MAX).map_while(|slot| Some((slot, news.slot(slot)?)));
                let told: Vec<(u8, (bool, bool))> = told.collect();
                // A reader that says that nothing changed would not say it for nothing.
                let all = !told.iter().any(|(_, (_, has_changed))| *has_changed);
                let changed = told.iter().filter(|(_, (_, has_changed))| all || *has_changed);
                stirred.extend(changed.map(|(slot, _)| *slot));
                let empty = told.iter().filter(|(_, (is_present, _))| !is_present);
                emptied.extend(empty.map(|(slot, _)| *slot));
            }
            None => (),
        });
        let mut state = lock(&self.state);
        match heard {
            // The reader was lost meanwhile, and may be open again.
            _ if state.round != round => (),
            Ok(()) => {
                state.stalls = 0;
                mark(&mut state.stirred, &stirred);
                mark(&mut state.emptied, &emptied);
                state.mode = Mode::Told(Some(source));
            }
            Err(transport::Error::Gone) => state.lose(),
            Err(transport::Error::Stall) if state.stalls == 0 => {
                state.stalls += 1;
                state.mode = Mode::Told(Some(source));
            }
            Err(error) if state.end.is_none() => {
                log::debug!("a reader's interrupt pipe: {error}; it is polled from now on");
                state.mode = Mode::Polled(POLL_INTERVAL);
            }
            Err(_) => (),
        }
        if state.end.is_some() {
            state.close();
        }
        self.changed.notify_all();
        state
    }
}

fn mark(flags: &mut [bool], slots: &[u8]) {
    for slot in slots {
        if let Some(flag) = flags.get_mut(usize::from(*slot)) {
            *flag = true;
        }
    }
}

impl State {
    fn lose(&mut self) {
        // One loss is one, whoever meets it first.
        if !matches!(self.mode, Mode::Closed) {
            self.is_lost = true;
            self.stirred.fill(true);
            self.close();
        }
    }

    /// Gives the interrupt pipe back.
    fn close(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop();
        }
        self.mode = Mode::Closed;
        self.round += 1;
    }
}

struct SlotWatch {
    watches: Arc<Watches>,
    number: u8,
}

impl Watch for SlotWatch {
    fn wait(&self) -> Sight {
        self.watches.wait(usize::from(self.number))
    }

    fn stop(&self) {
        self.watches.end(Sight::Stopped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells one message after the other, then that the reader is gone.
    struct Told(Vec<[u8; 2]>);

    impl Source for Told {
        fn next(&mut self, tell: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error> {
            if self.0.is_empty() {
                return Err(transport::Error::Gone);
            }
            tell(&self.0.remove(0));
            Ok(())
        }
    }

    #[test]
    fn a_slot_that_was_empty_in_between_is_remembered_once() {
        let watches = Watches::new(1);
        watches.listen(News::Told {
            // A card comes, goes, and comes.
            source: Box::new(Told(vec![[0x50, 3], [0x50, 2], [0x50, 3]])),
            stop: Box::new(|| ()),
        });
        assert_eq!(watches.wait(0), Sight::Card);
        assert!(!watches.take_emptied(0));
        assert_eq!(watches.wait(0), Sight::Card);
        assert_eq!(watches.wait(0), Sight::Card);
        assert!(watches.take_emptied(0) && !watches.take_emptied(0));
    }
}
