use super::super::signal::Signal;
use super::*;
use std::collections::VecDeque;
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::vec;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

type Ending = (Result<(), TransportError>, Vec<u8>);

/// An endpoint whose transfers end as the test determines.
#[derive(Clone, Default)]
pub(in crate::usb) struct Fake {
    state: Arc<Mutex<State>>,
    signal: Arc<Signal>,
}

#[derive(Default)]
struct State {
    /// The results of transfers, in the order of their submission.
    endings: VecDeque<Ending>,
    /// The result of the next transfer that is cancelled.
    late: Option<Ending>,
    submitted: Vec<Vec<u8>>,
    pending: Option<Vec<u8>>,
    done: Option<Completion>,
    cancellations: usize,
    /// How often a halt was ended.
    clearings: usize,
    is_out: bool,
    is_gone: bool,
    /// The error with which ending a halt fails.
    halt: Option<TransportError>,
    observer: Option<mpsc::Sender<()>>,
}

impl State {
    fn end(&mut self, (result, data): Ending) {
        let mut buffer = self.pending.take().expect("a transfer to end");
        if !self.is_out {
            buffer.clear();
            buffer.extend_from_slice(&data);
        }
        self.done = Some(Completion { buffer, result });
    }
}

impl Fake {
    fn with(change: impl FnOnce(&mut State)) -> Fake {
        let fake = Fake::default();
        change(&mut fake.state.lock().unwrap());
        fake
    }

    pub(in crate::usb) fn out() -> Fake {
        Fake::with(|state| state.is_out = true)
    }

    /// An endpoint of a device that is being unplugged.
    pub(in crate::usb) fn going() -> Fake {
        Fake::with(|state| state.is_gone = true)
    }

    /// An endpoint whose halt cannot be ended.
    pub(in crate::usb) fn halted(error: TransportError) -> Fake {
        Fake::with(|state| state.halt = Some(error))
    }

    pub(in crate::usb) fn will_end(&self, result: Result<(), TransportError>, data: &[u8]) {
        self.state
            .lock()
            .unwrap()
            .endings
            .push_back((result, data.to_vec()));
    }

    fn end(&self, result: Result<(), TransportError>, data: &[u8]) {
        self.state.lock().unwrap().end((result, data.to_vec()));
        self.signal.wake();
    }

    pub(in crate::usb) fn last_submitted(&self) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        state.submitted.last().cloned().unwrap_or_default()
    }

    fn submissions(&self) -> usize {
        self.state.lock().unwrap().submitted.len()
    }

    /// A channel that receives a message for each submission.
    fn observe(&self) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel();
        self.state.lock().unwrap().observer = Some(sender);
        receiver
    }
}

impl Pipe for Fake {
    fn submit(&mut self, buffer: Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        state.submitted.push(buffer.clone());
        state.pending = Some(buffer);
        if let Some(ending) = state.endings.pop_front() {
            state.end(ending);
        }
        if let Some(observer) = &state.observer {
            observer.send(()).unwrap();
        }
    }

    fn is_pending(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.pending.is_some() || state.done.is_some()
    }

    fn try_complete(&mut self) -> Option<Completion> {
        self.state.lock().unwrap().done.take()
    }

    fn complete(
        &mut self,
        deadline: Option<Instant>,
        is_cancellable: bool,
    ) -> Result<Completion, TransportError> {
        loop {
            if let Some(completion) = self.try_complete() {
                return Ok(completion);
            }
            self.signal.sleep(deadline, is_cancellable)?;
        }
    }

    fn cancel(&mut self) {
        let mut state = self.state.lock().unwrap();
        state.cancellations += 1;
        if state.pending.is_some() {
            let ending = state.late.take();
            state.end(ending.unwrap_or((Err(TransportError::Cancelled), vec![])));
        }
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        let mut state = self.state.lock().unwrap();
        state.clearings += 1;
        state.halt.map_or(Ok(()), Err)
    }

    fn max_packet_size(&self) -> usize {
        64
    }

    fn is_gone(&self, _within: Duration) -> bool {
        self.state.lock().unwrap().is_gone
    }
}

struct Bench {
    out: Fake,
    input: Fake,
    bulk: Bulk<Fake, Fake>,
    signal: Arc<Signal>,
    buffer: [u8; 271],
}

fn bench() -> Bench {
    let out = Fake::out();
    // One thread waits for both.
    let input = Fake {
        signal: out.signal.clone(),
        ..Fake::default()
    };
    Bench {
        bulk: Bulk::new(out.clone(), input.clone()),
        signal: out.signal.clone(),
        out,
        input,
        buffer: [0; 271],
    }
}

impl Bench {
    fn send(&mut self, message: &[u8]) -> Result<(), TransportError> {
        self.bulk.send(message, LONG)
    }

    fn receive(&mut self, timeout: Duration) -> Result<Vec<u8>, TransportError> {
        let length = self.bulk.receive(&mut self.buffer, timeout)?;
        Ok(self.buffer[..length].to_vec())
    }
}

#[test]
fn an_exchange_is_one_transfer_each_way() {
    let mut bench = bench();
    let (out, input) = (bench.out.clone(), bench.input.clone());
    let submitted = input.observe();
    let device = thread::spawn(move || {
        submitted.recv().unwrap();
        out.end(Ok(()), &[]);
        input.end(Ok(()), b"answer");
    });
    bench.send(b"command").unwrap();
    assert_eq!(bench.receive(LONG), Ok(b"answer".to_vec()));
    device.join().unwrap();
    assert_eq!(bench.out.state.lock().unwrap().submitted, [b"command"]);
    assert_eq!(bench.input.state.lock().unwrap().submitted, [[0; 320]]);
    assert_eq!(bench.out.state.lock().unwrap().cancellations, 0);
    assert!(!bench.bulk.out.is_pending());
}

#[test]
fn buffers_are_used_again() {
    let mut bench = bench();
    let mut places = Vec::new();
    for round in 0..4u8 {
        bench.out.will_end(Ok(()), &[]);
        bench.input.will_end(Ok(()), &[round; 100]);
        bench.send(&[round; 90]).unwrap();
        assert_eq!(bench.receive(LONG), Ok(vec![round; 100]));
        let buffers = [&bench.bulk.out_buffer, &bench.bulk.input_buffer];
        assert!(buffers.iter().all(|buffer| buffer.capacity() > 0), "kept");
        places.push(buffers.map(|buffer| buffer.as_ptr() as usize));
    }
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
}

#[test]
fn a_reader_that_does_not_answer_times_out_and_the_next_command_works() {
    let mut bench = bench();
    bench.out.will_end(Ok(()), &[]);
    bench.send(b"command").unwrap();
    assert_eq!(bench.receive(SHORT), Err(TransportError::Timeout));
    assert!(!bench.bulk.input.is_pending());
    bench.input.will_end(Ok(()), b"late");
    assert_eq!(bench.receive(LONG), Ok(b"late".to_vec()));
}

#[test]
fn data_that_come_while_a_timeout_is_handled_are_the_answer() {
    for status in [Ok(()), Err(TransportError::Cancelled)] {
        let mut bench = bench();
        bench.input.state.lock().unwrap().late = Some((status, b"late".to_vec()));
        assert_eq!(bench.receive(SHORT), Ok(b"late".to_vec()));
    }
}

#[test]
fn data_that_come_during_a_cancellation_are_the_next_answer() {
    let mut bench = bench();
    bench.input.state.lock().unwrap().late = Some((Ok(()), b"late".to_vec()));
    bench.signal.cancel();
    assert_eq!(bench.receive(LONG), Err(TransportError::Cancelled));
    assert_eq!(bench.receive(LONG), Ok(b"late".to_vec()));
    assert_eq!(bench.input.submissions(), 1);
    bench.input.will_end(Ok(()), b"next");
    assert_eq!(bench.receive(LONG), Ok(b"next".to_vec()));
}

#[test]
fn a_command_that_the_reader_refuses_ends_the_wait_for_its_answer() {
    let mut bench = bench();
    let (out, submitted) = (bench.out.clone(), bench.input.observe());
    let device = thread::spawn(move || {
        submitted.recv().unwrap();
        out.end(Err(TransportError::Stall), &[]);
    });
    bench.send(b"command").unwrap();
    let begun = Instant::now();
    assert_eq!(bench.receive(LONG), Err(TransportError::Stall));
    assert!(begun.elapsed() < LONG / 2);
    assert_eq!(bench.input.state.lock().unwrap().cancellations, 1);
    device.join().unwrap();
}

#[test]
fn a_command_that_is_never_sent_times_out_and_the_next_one_works() {
    let mut bench = bench();
    bench.bulk.send(b"command", SHORT).unwrap();
    assert_eq!(bench.receive(LONG), Err(TransportError::Timeout));
    bench.out.will_end(Ok(()), &[]);
    bench.input.will_end(Ok(()), b"answer");
    bench.send(b"next").unwrap();
    assert_eq!(bench.receive(LONG), Ok(b"answer".to_vec()));
}

#[test]
fn each_failure_has_its_error() {
    for (status, error) in [
        (TransportError::Stall, TransportError::Stall),
        (TransportError::Gone, TransportError::Gone),
        (TransportError::Fault, TransportError::Fault),
        (TransportError::Cancelled, TransportError::Fault),
    ] {
        let mut bench = bench();
        bench.input.will_end(Err(status), &[]);
        assert_eq!(bench.receive(LONG), Err(error));
        bench.out.will_end(Err(status), &[]);
        assert_eq!(bench.send(b"command"), Err(error));
    }
}

/// Transfers of an unplugged device fail, or are cancelled by the system, before the system reports the
/// removal.
#[test]
fn a_fault_of_a_device_that_is_being_removed_is_its_removal() {
    for (status, error) in [
        (TransportError::Fault, TransportError::Gone),
        (TransportError::Cancelled, TransportError::Gone),
        (TransportError::Stall, TransportError::Stall),
    ] {
        let mut bench = bench();
        for fake in [&bench.input, &bench.out] {
            fake.state.lock().unwrap().is_gone = true;
        }
        bench.input.will_end(Err(status), &[]);
        assert_eq!(bench.receive(LONG), Err(error));
        bench.out.will_end(Err(status), &[]);
        assert_eq!(bench.send(b"command"), Err(error));
    }
}

#[test]
fn unplugging_ends_a_wait_though_it_was_just_cancelled() {
    let mut bench = bench();
    bench.input.state.lock().unwrap().late = Some((Err(TransportError::Gone), vec![]));
    bench.signal.cancel();
    assert_eq!(bench.receive(LONG), Err(TransportError::Gone));
}

#[test]
fn data_beyond_the_buffer_are_dropped() {
    let mut bench = bench();
    bench.input.will_end(Ok(()), &[7; 320]);
    assert_eq!(bench.receive(LONG), Ok(vec![7; 271]));
}

#[test]
fn clearing_ends_transfers_and_drops_their_data() {
    let mut bench = bench();
    bench.send(b"command").unwrap();
    bench.input.state.lock().unwrap().late = Some((Ok(()), b"stale".to_vec()));
    bench.signal.cancel();
    assert_eq!(bench.receive(LONG), Err(TransportError::Cancelled));
    bench.bulk.clear().unwrap();
    assert!(!bench.bulk.out.is_pending());
    bench.input.will_end(Ok(()), b"fresh");
    assert_eq!(bench.receive(LONG), Ok(b"fresh".to_vec()));
}

#[test]
fn an_endless_message_is_refused_and_an_endless_buffer_bounded() {
    let mut bench = bench();
    assert_eq!(bench.send(&vec![0; MAX_TRANSFER + 1]), Err(TransportError::Fault));
    bench.input.will_end(Ok(()), b"x");
    let mut buffer = vec![0; MAX_TRANSFER + 1];
    assert_eq!(bench.bulk.receive(&mut buffer, LONG), Ok(1));
    assert_eq!(bench.input.state.lock().unwrap().submitted[0].len(), MAX_TRANSFER);
}

/// Answers and cancellations race: in either order no data is lost, and no call hangs.
#[test]
fn a_cancellation_that_races_with_the_answer_loses_no_data() {
    let mut cancelled = 0;
    for round in 0..500u32 {
        let mut bench = bench();
        let expected = round.to_le_bytes().to_vec();
        bench.out.will_end(Ok(()), &[]);
        bench.send(b"command").unwrap();
        let submitted = bench.input.observe();
        let (input, signal, answer) = (bench.input.clone(), bench.signal.clone(), expected.clone());
        let canceller = thread::spawn(move || {
            submitted.recv().unwrap();
            if round % 3 == 0 {
                thread::yield_now();
            }
            signal.cancel();
            let mut state = input.state.lock().unwrap();
            let has_answered = state.pending.is_some();
            if has_answered {
                state.end((Ok(()), answer));
                input.signal.wake();
            }
            has_answered
        });
        let first = bench.receive(LONG);
        let has_answered = canceller.join().unwrap();
        match first {
            Ok(data) => assert_eq!(data, expected),
            Err(TransportError::Cancelled) => {
                cancelled += 1;
                match has_answered {
                    true => assert_eq!(bench.receive(LONG), Ok(expected)),
                    false => assert!(bench.bulk.carried.is_empty()),
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(cancelled > 0);
}

#[test]
fn the_halt_of_one_pipe_is_ended_without_the_other() {
    for (pipe, cleared) in [(BulkPipe::Out, [1, 0]), (BulkPipe::In, [0, 1])] {
        let mut bench = bench();
        bench.send(b"command").unwrap();
        assert_eq!(bench.bulk.clear_halt_of(pipe), Ok(()));
        let [out, input] = [&bench.out, &bench.input].map(|fake| fake.state.lock().unwrap());
        assert_eq!([out.clearings, input.clearings], cleared, "{pipe:?}");
        // The command's transfer goes on unless it is its own pipe.
        assert_eq!(out.cancellations, cleared[0], "{pipe:?}");
        drop((out, input));
        assert_eq!(bench.bulk.clear_halt(), Ok(()));
    }
}
