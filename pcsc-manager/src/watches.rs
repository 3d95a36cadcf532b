//! What the slots of a reader wait for: the reader's interrupt pipe, to which one of them listens for all, or the time of
//! the next look.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pcsc_ccid::message::Notification;
use pcsc_ccid::transport;

use crate::board::{lock, wait_until};
use crate::slot::{Sight, Watch};

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
    pub fn new(slots: u16) -> Watches {
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
    pub fn lose(&self) {
        let mut state = lock(&self.state);
        state.lose();
        self.changed.notify_all();
    }

    /// Has a slot looked at.
    fn wake(&self, slot: usize) {
        if let Some(stirred) = lock(&self.state).stirred.get_mut(slot) {
            *stirred = true;
        }
        self.changed.notify_all();
    }

    /// The open reader is given back.
    pub fn close(&self) {
        lock(&self.state).close();
    }

    pub fn take_loss(&self) -> bool {
        std::mem::take(&mut lock(&self.state).is_lost)
    }

    pub fn is_lost(&self) -> bool {
        lock(&self.state).is_lost
    }

    pub fn listen(&self, news: News) {
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
        let begun = Instant::now();
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
                Mode::Polled(interval) => begun.checked_add(*interval),
                Mode::Closed => None,
            };
            state = match wait_until(&self.changed, state, deadline) {
                Ok(state) => state,
                Err(_) => return Sight::Card,
            };
        }
    }

    /// Whether a slot was told to be empty since this was last asked.
    pub fn take_emptied(&self, slot: usize) -> bool {
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
                // What was to be told meanwhile is lost.
                state.stirred.fill(true);
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

/// One slot's.
pub struct SlotWatch {
    watches: Arc<Watches>,
    number: u8,
}

impl SlotWatch {
    pub fn new(watches: &Arc<Watches>, number: u8) -> SlotWatch {
        SlotWatch {
            watches: watches.clone(),
            number,
        }
    }
}

impl Watch for SlotWatch {
    fn wait(&self) -> Sight {
        self.watches.wait(usize::from(self.number))
    }

    fn wake(&self) {
        self.watches.wake(usize::from(self.number));
    }

    fn stop(&self) {
        self.watches.end(Sight::Stopped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells one message after the other, then that the reader is gone.
    struct Told(Vec<Vec<u8>>);

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
    fn a_reader_that_does_not_tell_is_looked_at_again_and_again() {
        let watches = Watches::new(2);
        watches.listen(News::Polled(Duration::from_millis(1)));
        for slot in [0, 1, 0, 1] {
            assert_eq!(watches.wait(slot), Sight::Card);
        }
        watches.gone();
        assert_eq!(watches.wait(0), Sight::Gone);
    }

    /// What a slot sees of each of these messages, and of a failure after them.
    fn sees(messages: &[&[u8]], slot: usize) {
        let watches = Watches::new(2);
        watches.listen(News::Told {
            source: Box::new(Told(messages.iter().map(|message| message.to_vec()).collect())),
            stop: Box::new(|| ()),
        });
        for _ in messages {
            assert_eq!(watches.wait(slot), Sight::Card);
            assert!(!watches.take_loss());
        }
        assert_eq!(watches.wait(slot), Sight::Card);
        assert!(watches.take_loss());
    }

    #[test]
    fn every_word_of_a_slot_has_it_looked_at() {
        // RDR_to_PC_HardwareError for slot 1 (CCID 1.1, clause 6.3.2).
        sees(&[&[0x51, 1, 0, 1]], 1);
        // A notification that says that nothing has changed.
        sees(&[&[0x50, 0b0101], &[0x50, 0b1000]], 1);
    }

    /// Fails otherwise than by a halt.
    struct Broken;

    impl Source for Broken {
        fn next(&mut self, _tell: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error> {
            Err(transport::Error::Fault)
        }
    }

    #[test]
    fn a_reader_whose_interrupt_pipe_fails_is_polled() {
        let watches = Watches::new(1);
        watches.listen(News::Told {
            source: Box::new(Broken),
            stop: Box::new(|| ()),
        });
        for _ in 0..2 {
            assert_eq!(watches.wait(0), Sight::Card);
        }
        assert!(!watches.take_loss());
    }

    /// Fails so often, then tells that the reader is gone.
    struct Halted(u32);

    impl Source for Halted {
        fn next(&mut self, _tell: &mut dyn FnMut(&[u8])) -> Result<(), transport::Error> {
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
    fn slots_are_looked_at_after_a_halt_of_the_interrupt_pipe() {
        let watches = Watches::new(2);
        watches.listen(News::Told {
            source: Box::new(Halted(1)),
            stop: Box::new(|| ()),
        });
        assert_eq!(watches.wait(0), Sight::Card);
        assert!(!watches.take_loss());
        assert_eq!(watches.wait(1), Sight::Card);
        assert!(!watches.take_loss());
        assert_eq!(watches.wait(0), Sight::Card);
        assert!(watches.take_loss());
    }

    #[test]
    fn a_slot_that_was_empty_in_between_is_remembered_once() {
        let watches = Watches::new(1);
        watches.listen(News::Told {
            // A card comes, goes, and comes.
            source: Box::new(Told([3, 2, 3].map(|states| vec![0x50, states]).to_vec())),
            stop: Box::new(|| ()),
        });
        assert_eq!(watches.wait(0), Sight::Card);
        assert!(!watches.take_emptied(0));
        assert_eq!(watches.wait(0), Sight::Card);
        assert_eq!(watches.wait(0), Sight::Card);
        assert!(watches.take_emptied(0) && !watches.take_emptied(0));
    }
}
