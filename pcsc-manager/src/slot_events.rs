//! Events of the slots of a CCID reader: cards that come and go, as the interrupt pipe reports them or as the
//! time of the next poll.
//!
//! One thread for each slot sleeps in [`SlotEvents::wait`]. The first of them listens to the interrupt pipe,
//! without the lock, and notes for all slots what comes; the others sleep on `changed`, which moves with
//! every note.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pcsc_ccid::message::Notification;
use pcsc_ccid::transport;

use crate::slot::SlotEvent;
use crate::sync::{lock, wait_until};

/// How an open reader reports cards that come and go.
pub enum Notifications {
    /// By its interrupt pipe.
    Interrupts {
        source: Box<dyn InterruptSource>,
        /// Ends the wait in progress and every later one.
        stop: Stop,
    },
    /// Not at all: its slots are polled at this interval.
    Polled(Duration),
}

type Stop = Box<dyn Fn() + Send + Sync>;

/// A reader's interrupt pipe.
pub trait InterruptSource: Send {
    /// Waits for a message and passes it to `receive`.
    fn next(&mut self, receive: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error>;
}

/// The events of all slots.
pub struct SlotEvents {
    state: Mutex<State>,
    changed: Condvar,
    /// The open reader works no more. Outside the lock, because every exchange asks.
    is_lost: AtomicBool,
}

struct State {
    mode: Mode,
    slots: Vec<Pending>,
    stop: Option<Stop>,
    /// The slot whose thread listens to the interrupt pipe.
    listener: Option<u8>,
    /// How often the reader was closed. An interrupt pipe of before is not used any more.
    closes: u64,
    /// How often in a row the interrupt pipe was halted.
    halts: u32,
    end: Option<SlotEvent>,
}

/// What is to be done for a slot.
#[derive(Clone, Default)]
struct Pending {
    /// It is to be polled.
    poll: bool,
    /// The reader has reported it as empty since this was last asked.
    was_emptied: bool,
}

enum Mode {
    /// The reader is not open.
    Closed,
    /// The interrupt pipe, unless a thread listens to it at the moment.
    Interrupts(Option<Box<dyn InterruptSource>>),
    Polled(Duration),
}

/// How often a reader is polled whose interrupt pipe has failed; pcscd's rate of polling.
pub const POLL_INTERVAL: Duration = Duration::from_millis(400);

impl SlotEvents {
    pub fn new(slots: u16) -> SlotEvents {
        SlotEvents {
            state: Mutex::new(State {
                mode: Mode::Closed,
                slots: vec![Pending::default(); usize::from(slots.max(1))],
                stop: None,
                listener: None,
                closes: 0,
                halts: 0,
                end: None,
            }),
            changed: Condvar::new(),
            is_lost: AtomicBool::new(false),
        }
    }

    /// Notes that the reader is gone: all waits end with [`SlotEvent::Gone`].
    pub fn set_gone(&self) {
        self.end(SlotEvent::Gone);
    }

    /// Ends all waits with [`SlotEvent::Stopped`].
    pub fn stop(&self) {
        self.end(SlotEvent::Stopped);
    }

    /// Notes that the open reader works no more: all slots are to be polled.
    pub fn lose(&self) {
        self.set_lost(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn set_lost(&self, state: &mut State) {
        // A loss that several calls find is one.
        if !matches!(state.mode, Mode::Closed) {
            self.is_lost.store(true, Ordering::SeqCst);
            state.poll_all();
            state.close();
        }
    }

    /// Notes that the reader is closed.
    pub fn close(&self) {
        lock(&self.state).close();
    }

    /// Whether the reader was lost since this was last asked.
    pub fn take_loss(&self) -> bool {
        self.is_lost.load(Ordering::SeqCst) && self.is_lost.swap(false, Ordering::SeqCst)
    }

    /// Whether the reader was lost.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::SeqCst)
    }

    /// Whether the reader has reported a slot as empty since this was last asked.
    pub fn take_emptied(&self, slot: u8) -> bool {
        let mut state = lock(&self.state);
        let slot = state.slots.get_mut(usize::from(slot));
        slot.is_some_and(|slot| std::mem::take(&mut slot.was_emptied))
    }

    /// Has a slot polled. Returns `false` if the slot's thread listens to the interrupt pipe, in which it
    /// cannot be woken without giving the pipe up.
    pub fn wake(&self, slot: u8) -> bool {
        let mut state = lock(&self.state);
        if state.listener == Some(slot) {
            return false;
        }
        if let Some(slot) = state.slots.get_mut(usize::from(slot)) {
            slot.poll = true;
        }
        self.changed.notify_all();
        true
    }

    /// Listens to a reader that was opened.
    pub fn listen(&self, notifications: Notifications) {
        let mut state = lock(&self.state);
        state.halts = 0;
        state.mode = match notifications {
            Notifications::Interrupts { source, stop } => {
                state.stop = Some(stop);
                Mode::Interrupts(Some(source))
            }
            Notifications::Polled(interval) => Mode::Polled(interval),
        };
        if state.end.is_some() {
            state.close();
        }
        self.changed.notify_all();
    }

    fn end(&self, how: SlotEvent) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(how);
        state.close();
        self.changed.notify_all();
    }

    /// Sleeps until a slot is to be polled, or until the end.
    pub fn wait(&self, slot: u8) -> SlotEvent {
        let begun = Instant::now();
        let mut state = lock(&self.state);
        loop {
            if let Some(end) = state.end {
                return end;
            }
            let pending = state.slots.get_mut(usize::from(slot));
            if pending.is_some_and(|slot| std::mem::take(&mut slot.poll)) {
                return SlotEvent::Card;
            }
            let deadline = match &mut state.mode {
                Mode::Interrupts(source) => match source.take() {
                    Some(source) => {
                        let closes = state.closes;
                        state.listener = Some(slot);
                        drop(state);
                        state = self.listen_once(source, closes);
                        // A thread that listened to the pipe of before ends later than another began.
                        if state.listener == Some(slot) {
                            state.listener = None;
                        }
                        continue;
                    }
                    None => None,
                },
                Mode::Polled(interval) => begun.checked_add(*interval),
                Mode::Closed => None,
            };
            state = match wait_until(&self.changed, state, deadline) {
                Ok(state) => state,
                Err(_) => return SlotEvent::Card,
            };
        }
    }

    /// Waits for one message of the interrupt pipe and notes what it says.
    fn listen_once(&self, mut source: Box<dyn InterruptSource>, closes: u64) -> MutexGuard<'_, State> {
        let received = source.next(&mut |message| {
            let mut state = lock(&self.state);
            if let Some(notification) = Notification::decode(message).filter(|_| state.closes == closes) {
                state.note(notification);
            }
        });
        let mut state = lock(&self.state);
        match received {
            // The reader was closed meanwhile, and may be open again.
            _ if state.closes != closes => (),
            Ok(()) => {
                state.halts = 0;
                state.mode = Mode::Interrupts(Some(source));
            }
            Err(transport::Error::Gone) => self.set_lost(&mut state),
            Err(transport::Error::Stall) if state.halts == 0 => {
                state.halts += 1;
                // A notification may have been lost.
                state.poll_all();
                state.mode = Mode::Interrupts(Some(source));
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

impl State {
    /// Notes what the reader reports (CCID 1.1, clause 6.3).
    fn note(&mut self, notification: Notification) {
        let count = self.slots.len();
        for (number, slot) in (0..=u8::MAX).zip(&mut self.slots) {
            slot.poll |= notification.concerns(number, count);
            slot.was_emptied |= notification.reports_empty(number);
        }
    }

    fn poll_all(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.poll = true);
    }

    /// Gives the interrupt pipe back.
    fn close(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop();
        }
        self.mode = Mode::Closed;
        self.closes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes one message after the other, then fails as a reader that is gone.
    struct Messages(Vec<Vec<u8>>);

    impl InterruptSource for Messages {
        fn next(&mut self, receive: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error> {
            if self.0.is_empty() {
                return Err(transport::Error::Gone);
            }
            receive(&self.0.remove(0));
            Ok(())
        }
    }

    /// Says that it is asked, and fails when it is stopped.
    struct Blocking(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);

    impl InterruptSource for Blocking {
        fn next(&mut self, _receive: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error> {
            self.0.send(()).unwrap();
            self.1.recv().unwrap();
            Err(transport::Error::Cancelled)
        }
    }

    #[test]
    fn the_thread_that_listens_is_not_woken() {
        let events = SlotEvents::new(2);
        let (asked, is_asked) = std::sync::mpsc::channel();
        let (stop, is_stopped) = std::sync::mpsc::channel();
        events.listen(Notifications::Interrupts {
            source: Box::new(Blocking(asked, is_stopped)),
            stop: Box::new(move || stop.send(()).unwrap()),
        });
        std::thread::scope(|scope| {
            let listener = scope.spawn(|| events.wait(1));
            is_asked.recv().unwrap();
            let woken = [events.wake(0), events.wake(1)];
            events.stop();
            assert_eq!(listener.join().unwrap(), SlotEvent::Stopped);
            assert_eq!(woken, [true, false]);
        });
        assert!(events.wake(1));
    }

    #[test]
    fn a_reader_that_does_not_receive_is_looked_at_again_and_again() {
        let events = SlotEvents::new(2);
        events.listen(Notifications::Polled(Duration::from_millis(1)));
        for slot in [0, 1, 0, 1u8] {
            assert_eq!(events.wait(slot), SlotEvent::Card);
        }
        events.set_gone();
        assert_eq!(events.wait(0), SlotEvent::Gone);
    }

    /// What a slot sees of each of these messages, and of a failure after them.
    fn sees(messages: &[&[u8]], slot: u8) {
        let events = SlotEvents::new(2);
        events.listen(Notifications::Interrupts {
            source: Box::new(Messages(
                messages.iter().map(|message| message.to_vec()).collect(),
            )),
            stop: Box::new(|| ()),
        });
        for _ in messages {
            assert_eq!(events.wait(slot), SlotEvent::Card);
            assert!(!events.take_loss());
        }
        assert_eq!(events.wait(slot), SlotEvent::Card);
        assert!(events.take_loss());
    }

    #[test]
    fn every_notification_of_a_slot_has_it_polled() {
        // RDR_to_PC_HardwareError for slot 1 (CCID 1.1, clause 6.3.2).
        sees(&[&[0x51, 1, 0, 1]], 1);
        // A notification that says that nothing has changed.
        sees(&[&[0x50, 0b0101], &[0x50, 0b1000]], 1);
    }

    /// Fails otherwise than by a halt.
    struct Broken;

    impl InterruptSource for Broken {
        fn next(&mut self, _receive: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error> {
            Err(transport::Error::Fault)
        }
    }

    #[test]
    fn a_reader_whose_interrupt_pipe_fails_is_polled() {
        let events = SlotEvents::new(1);
        events.listen(Notifications::Interrupts {
            source: Box::new(Broken),
            stop: Box::new(|| ()),
        });
        for _ in 0..2 {
            assert_eq!(events.wait(0), SlotEvent::Card);
        }
        assert!(!events.take_loss());
    }

    /// Is halted so often, then fails as a reader that is gone.
    struct Halted(u32);

    impl InterruptSource for Halted {
        fn next(&mut self, _receive: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error> {
            match self.0.checked_sub(1) {
                Some(left) => {
                    self.0 = left;
                    Err(transport::Error::Stall)
                }
                None => Err(transport::Error::Gone),
            }
        }
    }

    #[test]
    fn slots_are_polled_after_a_halt_of_the_interrupt_pipe() {
        let events = SlotEvents::new(2);
        events.listen(Notifications::Interrupts {
            source: Box::new(Halted(1)),
            stop: Box::new(|| ()),
        });
        assert_eq!(events.wait(0), SlotEvent::Card);
        assert!(!events.take_loss());
        assert_eq!(events.wait(1), SlotEvent::Card);
        assert!(!events.take_loss());
        assert_eq!(events.wait(0), SlotEvent::Card);
        assert!(events.take_loss());
    }

    #[test]
    fn a_slot_that_was_empty_in_between_is_remembered_once() {
        let events = SlotEvents::new(1);
        events.listen(Notifications::Interrupts {
            // A card comes, goes, and comes.
            source: Box::new(Messages([3, 2, 3].map(|states| vec![0x50, states]).to_vec())),
            stop: Box::new(|| ()),
        });
        assert_eq!(events.wait(0), SlotEvent::Card);
        assert!(!events.take_emptied(0));
        assert_eq!(events.wait(0), SlotEvent::Card);
        assert_eq!(events.wait(0), SlotEvent::Card);
        assert!(events.take_emptied(0) && !events.take_emptied(0));
    }
}
