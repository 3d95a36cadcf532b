//! Readers and cards that take as long as they can, again and again: whatever they do, each call has an end.

mod common;

use std::collections::VecDeque;
use std::time::Duration;

use common::{message, plain_interface, verify};
use pcsc_ccid::descriptor::Flavour;
use pcsc_ccid::reader::{DeviceInfo, Protocol, Reader, ReaderError, ReaderOptions, Reset};
use pcsc_ccid::transport::{Transport, TransportError};

const SECOND: Duration = Duration::from_secs(1);
const OK: [u8; 2] = [0x90, 0x00];

/// What a type of message is answered with.
type Answers = fn(u8) -> Vec<Vec<u8>>;
/// How late an answer comes, of so much time that there is.
type Pause = fn(Duration) -> Duration;

/// A reader that gives each of its answers late.
#[derive(Default)]
struct Late {
    answers: VecDeque<Vec<u8>>,
    /// What it answers to a type of message, and how late.
    by_kind: Option<(Answers, Pause)>,
    /// What comes after the answers, again and again, and how late of the time that there is.
    last: Option<(Vec<u8>, Pause)>,
    /// What control requests give, the last one for ever.
    control: VecDeque<u8>,
    /// Sequence number of the last command.
    seq: u8,
    received: u32,
    now: Duration,
}

impl Transport for Late {
    fn send(&mut self, message: &[u8], _: Duration) -> Result<(), TransportError> {
        self.seq = message[6];
        if let Some((answers, _)) = self.by_kind {
            self.answers = answers(message[0]).into();
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        self.received += 1;
        let mut answer = match (self.answers.pop_front(), &self.last) {
            (Some(answer), _) => {
                self.now += self.by_kind.map_or(Duration::ZERO, |(_, pause)| pause(timeout));
                answer
            }
            (None, Some((last, pause))) if pause(timeout) < timeout => {
                self.now += pause(timeout);
                last.clone()
            }
            (None, _) => {
                self.now += timeout;
                return Err(TransportError::Timeout);
            }
        };
        // FF stands for the number of the command.
        if let Some(seq) = answer.get_mut(6).filter(|seq| **seq == 0xFF) {
            *seq = self.seq;
        }
        buffer[..answer.len()].copy_from_slice(&answer);
        Ok(answer.len())
    }

    fn control_out(&mut self, _: u8, _: u16, _: &[u8], _: Duration) -> Result<(), TransportError> {
        Ok(())
    }

    fn control_in(&mut self, _: u8, _: u16, buffer: &mut [u8], _: Duration) -> Result<usize, TransportError> {
        buffer[0] = *self.control.front().ok_or(TransportError::Stall)?;
        if self.control.len() > 1 {
            self.control.pop_front();
        }
        Ok(1)
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        Ok(())
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.now += time;
        Ok(())
    }

    fn now(&self) -> Duration {
        self.now
    }
}

/// A reader with a card that is ready for the first command; T=1 with a BWI of 0.
fn ready(features: u32, protocol: Protocol) -> Reader<Late> {
    let (atr, parameters): (&[u8], &[u8]) = match protocol {
        Protocol::T0 => (&[0x3B, 0x00], &[0x11, 0, 0, 10, 0]),
        Protocol::T1 => (
            &[0x3B, 0x80, 0x81, 0x21, 0x00, 0x20],
            &[0x11, 0x10, 0, 0, 0, 32, 0],
        ),
    };
    let late = Late {
        answers: VecDeque::from([
            message(0x81, &[], [1, 0, 0]),
            message(0x80, atr, [0, 0, 0]),
            message(0x82, parameters, [0, 0, 0]),
        ]),
        ..Late::default()
    };
    let mut reader = Reader::open(
        late,
        DeviceInfo::default(),
        &plain_interface(features),
        ReaderOptions::default(),
    )
    .unwrap();
    assert_eq!(reader.power_on(0, Reset::Cold).unwrap(), atr);
    reader.set_protocol(0, protocol).unwrap();
    let transport = reader.transport();
    assert!(transport.answers.is_empty());
    (transport.now, transport.received) = (Duration::ZERO, 0);
    reader
}

/// What the reader does for ever.
fn then(reader: &mut Reader<Late>, answer: Vec<u8>, pause: Pause) {
    reader.transport().last = Some((answer, pause));
}

fn transmit(reader: &mut Reader<Late>) -> Result<Vec<u8>, ReaderError> {
    let mut response = [0; 258];
    let length = reader.transmit(0, &[0x00, 0xA4, 0x00, 0x00], &mut response)?;
    Ok(response[..length].to_vec())
}

#[test]
fn what_is_not_the_answer_does_not_lengthen_the_wait() {
    let mut stale = message(0x80, &OK, [0, 0, 0]);
    stale[6] = 0x77;
    for distraction in [stale, vec![]] {
        let mut reader = ready(0x2_00BA, Protocol::T0);
        then(&mut reader, distraction, |_| 10 * SECOND);
        assert_eq!(
            transmit(&mut reader),
            Err(ReaderError::Transport(TransportError::Timeout))
        );
        let taken = reader.transport().now;
        assert!(taken < 80 * SECOND, "{taken:?}");
    }
}

#[test]
fn an_answer_that_drips_has_an_end() {
    let answer = message(0x80, &[0x5A; 250], [0, 0, 0]);
    let drops = |reader: &mut Reader<Late>, pause: Pause| {
        // The head at once, the rest byte by byte.
        reader.transport().answers.push_back(answer[..10].to_vec());
        then(reader, vec![0x5A], pause);
    };
    let mut reader = ready(0x2_00BA, Protocol::T0);
    drops(&mut reader, |_| SECOND / 1000);
    assert_eq!(transmit(&mut reader), Ok(vec![0x5A; 250]));
    let mut reader = ready(0x2_00BA, Protocol::T0);
    drops(&mut reader, |_| SECOND / 4);
    assert!(matches!(transmit(&mut reader), Err(ReaderError::Malformed(_))));
    let taken = reader.transport().now;
    assert!(taken < 12 * SECOND, "{taken:?}");
}

#[test]
fn rubbish_is_not_gathered() {
    let mut reader = ready(0x2_00BA, Protocol::T0);
    // With more of the same it would be a message of 250 bytes of a kind that there is not.
    then(&mut reader, vec![0x01, 0xF0, 0x00, 0x00, 0x00], |_| {
        Duration::ZERO
    });
    assert_eq!(transmit(&mut reader), Err(ReaderError::WrongReply));
    let received = reader.transport().received;
    assert!(received < 20, "{received} transfers");
}

#[test]
fn an_answer_in_crumbs_is_none() {
    let mut reader = ready(0x2_00BA, Protocol::T0);
    // Each time the whole head of a message for another slot, then its data, a few bytes at a time.
    let stale = [0x80, 0x05, 0x00, 0x00, 0x00];
    then(&mut reader, stale.to_vec(), |_| Duration::ZERO);
    let error = transmit(&mut reader).unwrap_err();
    assert!(
        matches!(error, ReaderError::WrongReply | ReaderError::Malformed(_)),
        "{error}"
    );
    let received = reader.transport().received;
    assert!(received < 100, "{received} transfers");
}

#[test]
fn a_chain_of_late_parts_has_an_end() {
    let mut reader = ready(0x4_00BA, Protocol::T0);
    then(&mut reader, message(0x80, &[0x5A], [0, 0, 3]), |_| 50 * SECOND);
    assert_eq!(transmit(&mut reader), Err(ReaderError::TooSlow));
    let taken = reader.transport().now;
    assert!(taken < 1000 * SECOND, "{taken:?}");
    // The other way: each part of a long command is acknowledged, late.
    let mut reader = ready(0x4_00BA, Protocol::T0);
    then(&mut reader, message(0x80, &[], [0, 0, 0x10]), |_| 50 * SECOND);
    let command = [&[0x00, 0xD6, 0, 0, 0, 0xFF, 0xFF][..], &[0x5A; 65_535]].concat();
    assert_eq!(
        reader.transmit(0, &command, &mut [0; 258]),
        Err(ReaderError::TooSlow)
    );
    let taken = reader.transport().now;
    assert!(taken < 1000 * SECOND, "{taken:?}");
}

#[test]
fn a_card_that_asks_for_time_has_no_more_than_there_is() {
    let wtx = message(0x80, &[0x00, 0xC3, 0x01, 0x01, 0xC3], [0, 0, 0]);
    let mut reader = ready(0x1_0030, Protocol::T1);
    then(&mut reader, wtx.clone(), |_| 2 * SECOND);
    assert_eq!(transmit(&mut reader), Err(ReaderError::TooSlow));
    let taken = reader.transport().now;
    assert!(taken < 1000 * SECOND, "{taken:?}");

    // While it checks a PIN, each time as long as a user may take to type it.
    let mut reader = ready(0x1_0030, Protocol::T1);
    then(&mut reader, wtx, |_| 80 * SECOND);
    let (code, verify) = verify();
    assert_eq!(
        reader.control(0, code, &verify, &mut [0; 2]),
        Err(ReaderError::TooSlow)
    );
    let taken = reader.transport().now;
    assert!(taken < 1000 * SECOND, "{taken:?}");
}

#[test]
fn a_card_that_fails_slowly_at_each_speed_is_not_asked_for_all_of_them() {
    /// TA1 97: eight speeds and more. The card's answer to PPS takes minutes, and is none.
    fn answers(kind: u8) -> Vec<Vec<u8>> {
        match kind {
            0x62 => vec![message(0x80, &[0x3B, 0x10, 0x97], [0, 0, 0])],
            0x6F => vec![
                message(0x80, &[], [0x80, 0xFF, 0]),
                message(0x80, &[], [0x40, 0xFE, 0]),
            ],
            0x61 => vec![message(0x82, &[0x11, 0, 0, 10, 0], [0, 0, 0])],
            _ => vec![message(0x81, &[], [0, 0, 0])],
        }
    }
    let late = Late {
        by_kind: Some((answers, |limit| limit / 10 * 9)),
        ..Late::default()
    };
    let interface = plain_interface(0x1_0030);
    let mut reader = Reader::open(late, DeviceInfo::default(), &interface, ReaderOptions::default()).unwrap();
    reader.power_on(0, Reset::Cold).unwrap();
    let begin = reader.transport().now;
    assert_eq!(reader.set_protocol(0, Protocol::T0), Ok(()));
    assert_eq!(reader.bits_per_second(0), Some(10_752));
    let taken = reader.transport().now - begin;
    assert!(taken < 1200 * SECOND, "{taken:?}");
}

#[test]
fn opening_a_token_of_many_slots_has_an_end() {
    let mut interface = plain_interface(0x840);
    interface.flavour = Flavour::IccdA;
    interface.descriptor.max_slot_index = 255;
    let late = Late {
        // Ready once, then busy for ever.
        control: VecDeque::from([0x00, 0x40]),
        ..Late::default()
    };
    let opened = Reader::open(late, DeviceInfo::default(), &interface, ReaderOptions::default());
    assert_eq!(opened.err(), Some(ReaderError::TooSlow));
}
