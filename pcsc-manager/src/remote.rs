//! Simulated readers that another program plays behind a socket, with their cards: see [`pcsc_sim::control`].

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pcsc_sim::control::{self, CardPresence, Change, Fault, ListedReader, ReaderList, Request, SlotClient};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;

use crate::bus::{Bus, BusEvent};
use crate::error::StartError;
use crate::slot::{FoundReader, Powered, Presence, Slot, SlotError, SlotEvent, Watch};
use crate::sync::lock;

fn slot_error(fault: Fault) -> SlotError {
    match fault {
        Fault::NoDevice => SlotError::NoDevice,
        Fault::NoCard => SlotError::NoCard,
        Fault::Mute => SlotError::Mute,
        Fault::ProtocolUnsupported => SlotError::ProtocolUnsupported,
        Fault::Unsupported => SlotError::Unsupported,
        Fault::BufferTooSmall => SlotError::BufferTooSmall,
        Fault::Busy => SlotError::Busy,
        Fault::Reset => SlotError::Reset,
        Fault::Communication => SlotError::Communication,
    }
}

/// The readers behind a socket.
pub struct RemoteBus {
    path: PathBuf,
    initial: Mutex<Vec<ListedReader>>,
    list: Mutex<ReaderList>,
    stopper: control::Stopper,
}

impl RemoteBus {
    /// Asks for the readers there are.
    pub fn connect(path: &Path) -> Result<RemoteBus, StartError> {
        let connect = || -> io::Result<RemoteBus> {
            let (list, initial) = ReaderList::connect(path)?;
            Ok(RemoteBus {
                path: path.to_owned(),
                initial: Mutex::new(initial),
                stopper: list.stopper()?,
                list: Mutex::new(list),
            })
        };
        connect().map_err(|source| StartError::Connect {
            path: path.to_owned(),
            source,
        })
    }

    fn found(&self, reader: ListedReader) -> FoundReader {
        let slots = (0..reader.slots.max(1)).map(|slot| {
            let watch = control::watch(&self.path, reader.number, slot);
            let slot = RemoteSlot {
                path: self.path.clone(),
                reader: reader.number,
                slot,
                client: None,
            };
            let watch = RemoteWatch::new(watch);
            (Box::new(slot) as Box<dyn Slot>, Arc::new(watch) as Arc<dyn Watch>)
        });
        FoundReader {
            slots: slots.collect(),
            name: reader.name,
            device: None,
        }
    }
}

impl Bus for RemoteBus {
    fn initial(&self) -> Vec<FoundReader> {
        let initial = std::mem::take(&mut *lock(&self.initial));
        initial.into_iter().map(|reader| self.found(reader)).collect()
    }

    fn wait(&self) -> BusEvent {
        match lock(&self.list).wait() {
            Some(reader) => BusEvent::Added(self.found(reader)),
            None => BusEvent::Stopped,
        }
    }

    fn stop(&self) {
        self.stopper.stop();
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
        let mut change = [0];
        stream.read_exact(&mut change)?;
        self.has_asked.store(false, Ordering::Relaxed);
        Ok(match Change::of_code(change[0]) {
            Change::Card => SlotEvent::Card,
            Change::Unclear => SlotEvent::Unclear,
            Change::Gone => SlotEvent::Gone,
        })
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
    reader: u8,
    slot: u8,
    /// The connection, which is the claim on the slot.
    client: Option<SlotClient>,
}

impl RemoteSlot {
    fn ask(&mut self, request: &Request<'_>) -> Result<Vec<u8>, SlotError> {
        let asked = self.try_ask(request).map_err(|_| SlotError::NoDevice)?;
        asked.map_err(slot_error)
    }

    fn try_ask(&mut self, request: &Request<'_>) -> io::Result<Result<Vec<u8>, Fault>> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(SlotClient::connect(&self.path, self.reader, self.slot)?),
        };
        client.ask(request)
    }

    fn ask_into(&mut self, request: &Request<'_>, room: &mut [u8]) -> Result<usize, SlotError> {
        let answer = self.ask(request)?;
        let room = room.get_mut(..answer.len()).ok_or(SlotError::BufferTooSmall)?;
        room.copy_from_slice(&answer);
        Ok(answer.len())
    }
}

impl Slot for RemoteSlot {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        let presence = self.ask(&Request::Presence)?;
        Ok(match presence.first().copied().map(CardPresence::of_code) {
            Some(CardPresence::Present) => Presence::Present,
            Some(CardPresence::Replaced) => Presence::Replaced,
            Some(CardPresence::Absent) | None => Presence::Absent,
        })
    }

    fn power_up(&mut self, warm: bool, _deadline: Option<Instant>) -> Result<Powered, SlotError> {
        match self.ask(&Request::PowerUp { is_warm: warm })?.as_slice() {
            [offered, first, atr @ ..] if atr.len() <= 33 => Ok(Powered {
                atr: atr.to_vec(),
                offered: (*offered).into(),
                first: (*first).into(),
            }),
            _ => Err(SlotError::Communication),
        }
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        self.ask(&Request::PowerDown).map(|_| ())
    }

    fn set_protocol(&mut self, protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
        self.ask(&Request::SetProtocol(protocol)).map(|_| ())
    }

    fn transmit(
        &mut self,
        command: &[u8],
        response: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        self.ask_into(&Request::Transmit(command), response)
    }

    fn control(
        &mut self,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        self.ask_into(&Request::Control(code, data), answer)
    }

    fn get_attribute(&mut self, id: u32, value: &mut [u8]) -> Result<usize, SlotError> {
        self.ask_into(&Request::GetAttribute(id), value)
    }

    fn set_attribute(&mut self, id: u32, value: &[u8]) -> Result<(), SlotError> {
        self.ask(&Request::SetAttribute(id, value)).map(|_| ())
    }

    fn give_back(&mut self) {
        self.client = None;
    }
}
