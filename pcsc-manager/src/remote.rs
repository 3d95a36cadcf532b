//! Simulated readers that another program plays behind a socket, with their cards. For tests that control the
//! cards.
//!
//! A connection begins with one line, and serves one purpose:
//!
//! | line | purpose |
//! |---|---|
//! | `list` | the readers' names, a line each; then the end of the connection |
//! | `slot N` | the reader of line N, from 0: requests and answers, until the connection ends |
//! | `watch N` | its movements: a byte asks, and a byte answers when there may be something new |
//!
//! A request is an operation (one byte), an argument and a length (four bytes each, the lowest first), and so
//! many bytes of data; an answer is a result (one byte), a length, and data. See [`Operation`] and [`fault`].

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;

use crate::bus::{Bus, BusEvent};
use crate::error::StartError;
use crate::slot::{FoundReader, Powered, Presence, Slot, SlotError, SlotEvent, Watch};
use crate::sync::{lock, wait_until};

/// What is asked of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Operation {
    /// Whether there is a card: one byte, 0 or 1.
    Presence = 0,
    /// A reset, warm where the argument is 1: the protocols offered and the first one (one byte each), and
    /// the ATR.
    PowerUp = 1,
    PowerDown = 2,
    /// The argument is `SCARD_PROTOCOL_T0` or `SCARD_PROTOCOL_T1`.
    SetProtocol = 3,
    Transmit = 4,
    /// The argument is the control code.
    Control = 5,
    /// The argument is the attribute.
    GetAttribute = 6,
    SetAttribute = 7,
}

/// The longest answer that makes sense.
const LONGEST: usize = 1 << 17;

/// The fault that a result stands for; 0 is success.
fn fault(result: u8) -> SlotError {
    match result {
        1 => SlotError::NoDevice,
        2 => SlotError::NoCard,
        3 => SlotError::Mute,
        4 => SlotError::ProtocolUnsupported,
        5 => SlotError::Unsupported,
        6 => SlotError::BufferTooSmall,
        7 => SlotError::Busy,
        8 => SlotError::Reset,
        _ => SlotError::Communication,
    }
}

/// The readers behind a socket.
pub struct RemoteBus {
    path: PathBuf,
    names: Vec<String>,
    is_stopped: Mutex<bool>,
    stopped: Condvar,
}

impl RemoteBus {
    /// Asks for the readers there are, which stay the same.
    pub fn connect(path: &Path) -> Result<RemoteBus, StartError> {
        let list = || -> io::Result<String> {
            let mut names = String::new();
            open(path, "list")?
                .take(LONGEST as u64)
                .read_to_string(&mut names)?;
            Ok(names)
        };
        let names = list().map_err(|source| StartError::Connect {
            path: path.to_owned(),
            source,
        })?;
        Ok(RemoteBus {
            path: path.to_owned(),
            names: names.lines().map(str::to_owned).collect(),
            is_stopped: Mutex::default(),
            stopped: Condvar::new(),
        })
    }
}

fn open(path: &Path, purpose: &str) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(format!("{purpose}\n").as_bytes())?;
    Ok(stream)
}

impl Bus for RemoteBus {
    fn initial(&self) -> Vec<FoundReader> {
        let found = self.names.iter().enumerate().map(|(number, name)| {
            let slot = RemoteSlot {
                path: self.path.clone(),
                number,
                stream: None,
            };
            let watch = RemoteWatch::new(open(&self.path, &format!("watch {number}")));
            FoundReader {
                name: name.clone(),
                device: None,
                slots: vec![(Box::new(slot) as Box<dyn Slot>, Arc::new(watch) as Arc<dyn Watch>)],
            }
        });
        found.collect()
    }

    fn wait(&self) -> BusEvent {
        let mut is_stopped = lock(&self.is_stopped);
        while !*is_stopped {
            is_stopped = wait_until(&self.stopped, is_stopped, None).unwrap_or_else(|guard| guard);
        }
        BusEvent::Stopped
    }

    fn stop(&self) {
        *lock(&self.is_stopped) = true;
        self.stopped.notify_all();
    }
}

struct RemoteWatch {
    stream: io::Result<UnixStream>,
    /// A byte has asked, and none has answered yet.
    has_asked: AtomicBool,
    /// A byte from the first to the second ends a wait.
    wakers: io::Result<(UnixStream, UnixStream)>,
}

impl RemoteWatch {
    fn new(stream: io::Result<UnixStream>) -> RemoteWatch {
        RemoteWatch {
            stream,
            has_asked: AtomicBool::new(false),
            wakers: UnixStream::pair(),
        }
    }

    fn try_wait(&self) -> io::Result<SlotEvent> {
        let failed = |error: &io::Error| io::Error::from(error.kind());
        let mut stream = self.stream.as_ref().map_err(failed)?;
        let mut woken = &self.wakers.as_ref().map_err(failed)?.1;
        if !self.has_asked.swap(true, Ordering::Relaxed) {
            stream.write_all(&[1])?;
        }
        let mut polled = [
            PollFd::new(stream, PollFlags::IN),
            PollFd::new(woken, PollFlags::IN),
        ];
        while let Err(Errno::INTR) = poll(&mut polled, None) {}
        if !polled[1].revents().is_empty() {
            woken.read_exact(&mut [0])?;
            return Ok(SlotEvent::Card);
        }
        stream.read_exact(&mut [0])?;
        self.has_asked.store(false, Ordering::Relaxed);
        Ok(SlotEvent::Unclear)
    }
}

impl Watch for RemoteWatch {
    fn wait(&self) -> SlotEvent {
        self.try_wait().unwrap_or(SlotEvent::Gone)
    }

    fn wake(&self) {
        if let Ok((mut waker, _)) = self.wakers.as_ref().map(|(waker, woken)| (waker, woken)) {
            // It fails at the end of the reader alone.
            let _ = waker.write_all(&[1]);
        }
    }

    fn stop(&self) {
        if let Ok(stream) = &self.stream {
            // It may have ended before.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

struct RemoteSlot {
    path: PathBuf,
    number: usize,
    /// The connection, which is the claim on the reader.
    stream: Option<UnixStream>,
}

impl RemoteSlot {
    fn ask(&mut self, operation: Operation, argument: u32, data: &[u8]) -> Result<Vec<u8>, SlotError> {
        let (result, answer) = self
            .exchange(operation, argument, data)
            .map_err(|_| SlotError::NoDevice)?;
        match result {
            0 => Ok(answer),
            result => Err(fault(result)),
        }
    }

    fn exchange(&mut self, operation: Operation, argument: u32, data: &[u8]) -> io::Result<(u8, Vec<u8>)> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(open(&self.path, &format!("slot {}", self.number))?),
        };
        let length = u32::try_from(data.len()).map_err(io::Error::other)?;
        let head = [argument.to_le_bytes(), length.to_le_bytes()].concat();
        stream.write_all(&[&[operation as u8], &head[..], data].concat())?;
        let (mut result, mut length) = ([0; 1], [0; 4]);
        stream.read_exact(&mut result)?;
        stream.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Ok((result[0], answer))
    }

    fn ask_into(
        &mut self,
        operation: Operation,
        argument: u32,
        data: &[u8],
        room: &mut [u8],
    ) -> Result<usize, SlotError> {
        let answer = self.ask(operation, argument, data)?;
        let room = room.get_mut(..answer.len()).ok_or(SlotError::BufferTooSmall)?;
        room.copy_from_slice(&answer);
        Ok(answer.len())
    }
}

impl Slot for RemoteSlot {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        Ok(match self.ask(Operation::Presence, 0, &[])?.as_slice() {
            [1] => Presence::Present,
            _ => Presence::Absent,
        })
    }

    fn power_up(&mut self, warm: bool, _deadline: Option<Instant>) -> Result<Powered, SlotError> {
        match self.ask(Operation::PowerUp, warm.into(), &[])?.as_slice() {
            [offered, first, atr @ ..] if atr.len() <= 33 => Ok(Powered {
                atr: atr.to_vec(),
                offered: (*offered).into(),
                first: (*first).into(),
            }),
            _ => Err(SlotError::Communication),
        }
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        self.ask(Operation::PowerDown, 0, &[]).map(|_| ())
    }

    fn set_protocol(&mut self, protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
        self.ask(Operation::SetProtocol, protocol, &[]).map(|_| ())
    }

    fn transmit(
        &mut self,
        command: &[u8],
        response: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        self.ask_into(Operation::Transmit, 0, command, response)
    }

    fn control(
        &mut self,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        self.ask_into(Operation::Control, code, data, answer)
    }

    fn get_attribute(&mut self, id: u32, value: &mut [u8]) -> Result<usize, SlotError> {
        self.ask_into(Operation::GetAttribute, id, &[], value)
    }

    fn set_attribute(&mut self, id: u32, value: &[u8]) -> Result<(), SlotError> {
        self.ask(Operation::SetAttribute, id, value).map(|_| ())
    }

    fn give_back(&mut self) {
        self.stream = None;
    }
}
