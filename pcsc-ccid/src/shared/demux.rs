//! The replies of a reader whose slots work in parallel (`bMaxCCIDBusySlots` above 1).
//!
//! Each slot sends by a transport of its own. Of the threads that wait for replies, one receives for all and
//! hands the messages out by their `bSlot`; the others sleep on `changed`. When it has its own reply, another
//! one receives. There is no thread for this alone.

use std::boxed::Box;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use super::events::Interrupter;
use super::sync::{lock, wait_until};
use crate::message::{ResponseMessage, HEADER_SIZE};
use crate::transport::{copy, BulkPipe, Transport, TransportError};

/// Bytes of one transfer. It is a multiple of the packet size at every speed, so that a longer message goes
/// on in the next transfer.
const TRANSFER: usize = 4096;

/// The most bytes that are kept for a slot until its thread takes them. It is more than the longest message.
/// What exceeds it is dropped.
const MOST: usize = 1 << 17;

/// What the slots share.
pub struct Demux {
    state: Mutex<Replies>,
    changed: Condvar,
    /// Interrupts the thread that receives.
    interrupt: Option<Interrupter>,
}

/// The replies that came, and the thread that receives.
struct Replies {
    /// Not there while a thread receives.
    input: Option<Input>,
    /// The slot whose thread receives.
    leader: Option<usize>,
    slots: Vec<SlotReplies>,
    /// The slot that the message belongs to which is being received, and how many bytes of it are to come.
    message: (usize, usize),
    /// The last transfer filled the buffer: the device has not ended it, and the next one goes on.
    is_unfinished: bool,
    is_gone: bool,
}

struct Input {
    transport: Box<dyn Transport>,
    buffer: Vec<u8>,
}

/// What came for a slot.
#[derive(Clone, Default)]
struct SlotReplies {
    bytes: Vec<u8>,
    /// What ends its wait.
    error: Option<TransportError>,
    is_waiting: bool,
}

impl Demux {
    /// The transports of all slots: `senders` send for one slot each, and `input` receives for all.
    /// `interrupt` ends its wait.
    pub fn transports(
        input: Box<dyn Transport>,
        senders: Vec<Box<dyn Transport>>,
        interrupt: Option<Interrupter>,
    ) -> (Arc<Demux>, Vec<SlotTransport>) {
        let demux = Arc::new(Demux {
            state: Mutex::new(Replies {
                input: Some(Input {
                    transport: input,
                    buffer: vec![0; TRANSFER],
                }),
                leader: None,
                slots: vec![SlotReplies::default(); senders.len()],
                message: (0, 0),
                is_unfinished: false,
                is_gone: false,
            }),
            changed: Condvar::new(),
            interrupt,
        });
        let transports = senders
            .into_iter()
            .enumerate()
            .map(|(slot, sender)| SlotTransport {
                demux: demux.clone(),
                sender,
                slot,
                has_stalled: false,
            });
        let transports = transports.collect();
        (demux, transports)
    }

    /// Cancels the wait of a slot's thread, or its next one that no command precedes.
    pub fn cancel(&self, slot: u8) {
        let mut state = lock(&self.state);
        if let Some(pending) = state.slots.get_mut(usize::from(slot)) {
            pending.error = Some(TransportError::Cancelled);
        }
        if let Some(interrupt) = self
            .interrupt
            .as_ref()
            .filter(|_| state.leader == Some(usize::from(slot)))
        {
            interrupt();
        }
        self.changed.notify_all();
    }

    /// Ends all waits, and has every later transfer fail with [`TransportError::Gone`]: the reader is being
    /// closed.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.is_gone = true;
        if let Some(interrupt) = self.interrupt.as_ref().filter(|_| state.leader.is_some()) {
            interrupt();
        }
        self.changed.notify_all();
    }
}

/// One slot's transport.
pub struct SlotTransport {
    demux: Arc<Demux>,
    sender: Box<dyn Transport>,
    slot: usize,
    /// The last command met a halt of the OUT endpoint.
    has_stalled: bool,
}

impl Transport for SlotTransport {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        {
            let mut state = lock(&self.demux.state);
            if state.is_gone {
                return Err(TransportError::Gone);
            }
            // A cancellation or a fault that came after the previous answer is no matter of this command.
            state.slots[self.slot].error = None;
            // The rest of an earlier reply does not come any more, unless the device is in the middle of it.
            if state.message.0 == self.slot && !state.is_unfinished {
                state.message.1 = 0;
            }
        }
        let sent = self.sender.send(message, timeout);
        self.has_stalled = sent == Err(TransportError::Stall);
        sent
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        let until = self.sender.now().saturating_add(timeout);
        let mut state = lock(&self.demux.state);
        state.slots[self.slot].is_waiting = true;
        let result = loop {
            let pending = &mut state.slots[self.slot];
            // Bytes before errors: an answer that has come counts, even if its wait was cancelled meanwhile.
            if !pending.bytes.is_empty() {
                let length = copy(&pending.bytes, buffer);
                pending.bytes.drain(..length);
                break Ok(length);
            }
            if let Some(error) = pending.error.take() {
                break Err(error);
            }
            if state.is_gone {
                break Err(TransportError::Gone);
            }
            let left = until.saturating_sub(self.sender.now());
            if left.is_zero() {
                break Err(TransportError::Timeout);
            }
            let Some(mut input) = state.input.take() else {
                // The one that receives may have waited for less: its return is a change.
                let deadline = Instant::now().checked_add(left);
                state = wait_until(&self.demux.changed, state, deadline).unwrap_or_else(|state| state);
                continue;
            };
            // For `cancel` and `close`: only the thread that receives sleeps in the system and has to be
            // interrupted there.
            state.leader = Some(self.slot);
            drop(state);
            let received = input.transport.receive(&mut input.buffer, left);
            if received == Err(TransportError::Stall) {
                // Every slot's reply may be lost by it. If the halt cannot be ended, the next transfer fails
                // and reports it.
                let _ = input.transport.clear_halt_of(BulkPipe::In);
            }
            state = lock(&self.demux.state);
            state.leader = None;
            state.take(received, &input.buffer);
            // Then all are woken: those whose bytes came, and one of the others that is to receive next.
            state.input = Some(input);
            self.demux.changed.notify_all();
        };
        state.slots[self.slot].is_waiting = false;
        result
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        self.sender.control_out(request, value, data, timeout)
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        self.sender.control_in(request, value, buffer, timeout)
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        // A halt of the IN endpoint was ended by the thread that met it. Other slots may be receiving by now.
        match std::mem::take(&mut self.has_stalled) {
            true => self.sender.clear_halt_of(BulkPipe::Out),
            false => Ok(()),
        }
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.sender.pause(time)
    }

    fn now(&self) -> Duration {
        self.sender.now()
    }
}

impl Replies {
    /// Hands out what one transfer has brought.
    fn take(&mut self, received: Result<usize, TransportError>, buffer: &[u8]) {
        match received {
            Ok(length) => {
                self.hand_out(&buffer[..length.min(buffer.len())]);
                self.is_unfinished = length == TRANSFER;
            }
            // Each waiting thread has a deadline and a cancellation of its own, and checks them itself.
            Err(TransportError::Timeout | TransportError::Cancelled) => (),
            Err(TransportError::Gone) => self.is_gone = true,
            Err(error) => {
                // A slot that does not wait has no answer that the fault could have cost.
                let waiting = self.slots.iter_mut().filter(|slot| slot.is_waiting);
                waiting.for_each(|slot| slot.error = Some(error));
            }
        }
    }

    /// Hands a transfer's bytes out: messages, whole or in parts.
    fn hand_out(&mut self, mut bytes: &[u8]) {
        // A transfer that is a whole message begins one, whatever is missing of the one before. The middle of
        // a long message is not looked at: a card chooses its bytes, and may not send to another slot.
        if !self.is_unfinished
            && begins_message(bytes)
            && ResponseMessage::announced(bytes) == Some(bytes.len())
        {
            self.message.1 = 0;
        }
        // A transfer may hold the end of one slot's message and the beginning of another's.
        while !bytes.is_empty() {
            if self.message.1 == 0 {
                // Readers append garbage to their messages.
                if !begins_message(bytes) {
                    return;
                }
                let Some(length) = ResponseMessage::announced(bytes) else {
                    return;
                };
                self.message = (usize::from(bytes[SLOT]), length);
            }
            let (slot, left) = self.message;
            let (part, rest) = bytes.split_at(left.min(bytes.len()));
            // A slot that there is not has no thread that waits.
            let pending = self.slots.get_mut(slot);
            if let Some(pending) = pending.filter(|pending| pending.bytes.len() + part.len() <= MOST) {
                pending.bytes.extend_from_slice(part);
            }
            self.message.1 -= part.len();
            bytes = rest;
        }
    }
}

/// Where a message has `bSlot` (CCID 1.1, clause 6.2).
const SLOT: usize = 5;

fn begins_message(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_SIZE && matches!(bytes[0], 0x80..=0x84)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(slot: u8, data: &[u8]) -> Vec<u8> {
        let header = [0x80, data.len() as u8, 0, 0, 0, slot, 0, 0, 0, 0];
        [&header[..], data].concat()
    }

    fn state() -> Replies {
        Replies {
            input: None,
            leader: None,
            slots: vec![SlotReplies::default(); 2],
            message: (0, 0),
            is_unfinished: false,
            is_gone: false,
        }
    }

    /// What each slot gets of these transfers.
    fn handed_out(transfers: &[Vec<u8>]) -> [Vec<u8>; 2] {
        let mut state = state();
        for transfer in transfers {
            state.take(Ok(transfer.len()), transfer);
        }
        [0, 1].map(|slot| state.slots[slot].bytes.clone())
    }

    #[test]
    fn messages_go_to_their_slots_however_they_are_transferred() {
        let [long, short] = [message(0, &[0x55; 100]), message(1, &[0x66])];
        let wanted = [long.clone(), short.clone()];
        let whole = [long.clone(), short.clone()];
        let merged = [[&long[..], &short].concat()];
        let split = [long[..64].to_vec(), long[64..].to_vec(), short.clone()];
        let overlapping = [long[..64].to_vec(), [&long[64..], &short].concat()];
        let garbage = [
            [&long[..], &[0, 1, 2]].concat(),
            short.clone(),
            vec![0x80; 3],
            vec![],
        ];
        let of_no_slot = [long.clone(), message(7, &[1, 2]), short.clone()];
        for transfers in [&whole[..], &merged, &split, &overlapping, &garbage, &of_no_slot] {
            assert_eq!(handed_out(transfers), wanted, "{transfers:02X?}");
        }
    }

    #[test]
    fn a_message_that_is_cut_takes_nothing_of_the_next_one() {
        let [cut, next] = [message(0, &[0x55; 100]), message(1, &[0x66])];
        assert_eq!(handed_out(&[cut[..64].to_vec(), next.clone()])[1], next);
        // As long as it likes.
        let endless = [0x80, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0].to_vec();
        let mut flood = vec![vec![0x55; TRANSFER]; 100];
        flood.push(vec![0x55; 3]);
        let [first, second] = handed_out(&[&[endless], &flood[..], std::slice::from_ref(&next)].concat());
        assert!(first.len() <= MOST);
        assert_eq!(second, next);
    }

    #[test]
    fn no_card_can_forge_a_message_of_another_slot() {
        let mut data = vec![0x55; TRANSFER + 200];
        let forged = message(1, &[0x66; 10]);
        let at = TRANSFER - HEADER_SIZE;
        data.truncate(at + forged.len());
        data[at..].copy_from_slice(&forged);
        let mut long = message(0, &data);
        long[1..5].copy_from_slice(&(data.len() as u32).to_le_bytes());
        let transfers: Vec<Vec<u8>> = long.chunks(TRANSFER).map(<[u8]>::to_vec).collect();
        assert_eq!(transfers[1], forged);
        assert_eq!(handed_out(&transfers), [long, vec![]]);
    }

    #[test]
    fn a_fault_of_the_pipe_ends_the_waits_that_go_on() {
        for error in [TransportError::Stall, TransportError::Fault] {
            let mut state = state();
            state.slots[1].is_waiting = true;
            state.take(Err(TransportError::Timeout), &[]);
            assert_eq!(state.slots[1].error, None);
            state.take(Err(error), &[]);
            assert_eq!([0, 1].map(|slot| state.slots[slot].error), [None, Some(error)]);
        }
    }

    /// Endpoints that halt: each counts how often its halt was ended.
    struct Halting {
        pipe: BulkPipe,
        is_halted: bool,
        cleared: Arc<Mutex<usize>>,
    }

    impl Transport for Halting {
        fn send(&mut self, _: &[u8], _: Duration) -> Result<(), TransportError> {
            match self.is_halted {
                true => Err(TransportError::Stall),
                false => Ok(()),
            }
        }

        fn receive(&mut self, _: &mut [u8], _: Duration) -> Result<usize, TransportError> {
            Err(TransportError::Stall)
        }

        fn control_out(&mut self, _: u8, _: u16, _: &[u8], _: Duration) -> Result<(), TransportError> {
            Err(TransportError::Stall)
        }

        fn control_in(&mut self, _: u8, _: u16, _: &mut [u8], _: Duration) -> Result<usize, TransportError> {
            Err(TransportError::Stall)
        }

        fn clear_halt(&mut self) -> Result<(), TransportError> {
            panic!("the other slots use the other pipe");
        }

        fn clear_halt_of(&mut self, pipe: BulkPipe) -> Result<(), TransportError> {
            assert_eq!(pipe, self.pipe);
            *lock(&self.cleared) += 1;
            self.is_halted = false;
            Ok(())
        }

        fn pause(&mut self, _: Duration) -> Result<(), TransportError> {
            Ok(())
        }

        fn now(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[test]
    fn a_halt_is_ended_once_by_the_thread_that_met_it() {
        let cleared: [Arc<Mutex<usize>>; 2] = [(); 2].map(|()| Arc::default());
        let [input, sender] = [BulkPipe::In, BulkPipe::Out].map(|pipe| {
            let is_halted = pipe == BulkPipe::Out;
            let cleared = cleared[usize::from(is_halted)].clone();
            Box::new(Halting {
                pipe,
                is_halted,
                cleared,
            }) as Box<dyn Transport>
        });
        let counts = || [0, 1].map(|endpoint| *lock(&cleared[endpoint]));
        let (_demux, mut slots) = Demux::transports(input, vec![sender], None);
        let slot = &mut slots[0];
        assert_eq!(slot.send(&[], Duration::ZERO), Err(TransportError::Stall));
        assert_eq!((slot.clear_halt(), counts()), (Ok(()), [0, 1]));
        assert_eq!(slot.send(&[], Duration::ZERO), Ok(()));
        let mut buffer = [0; 64];
        assert_eq!(
            slot.receive(&mut buffer, Duration::from_secs(1)),
            Err(TransportError::Stall)
        );
        assert_eq!((slot.clear_halt(), counts()), (Ok(()), [1, 1]));
    }
}
