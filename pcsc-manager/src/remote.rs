//! Simulated readers that another program plays behind a socket, with their cards: see [`pcsc_sim::control`].

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pcsc_constants::MAX_ATR_SIZE;
use pcsc_process::Waker;
use pcsc_sim::control::{
    self, CardPresence, ListedReader, ReaderList, RequestError, SlotChange, SlotClient, SlotRequest,
};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;

use crate::bus::Bus;
use crate::error::StartError;
use crate::slot::{copy, earlier, FoundReader, Powered, Presence, Slot, SlotError, Watch, WatchEvent};
use crate::sync::lock;

#[cfg(test)]
mod tests;

/// How long the server may take for a request that is no exchange. A reset takes longest.
const LIMIT: Duration = Duration::from_secs(30);
/// How long it may work on an exchange. The driver of real readers has the same limit.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(600);
/// How long it may take for a request, such as to power down, once the watch was stopped.
const LAST_LIMIT: Duration = Duration::from_secs(1);

fn slot_error(error: RequestError) -> SlotError {
    match error {
        RequestError::NoDevice => SlotError::NoDevice,
        RequestError::NoCard => SlotError::NoCard,
        RequestError::Mute => SlotError::Mute,
        RequestError::ProtocolUnsupported => SlotError::ProtocolUnsupported,
        RequestError::Unsupported => SlotError::Unsupported,
        RequestError::BufferTooSmall => SlotError::BufferTooSmall,
        RequestError::Busy => SlotError::Busy,
        RequestError::Reset => SlotError::Reset,
        RequestError::Communication => SlotError::Communication,
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
            let current = Arc::new(Mutex::default());
            let slot = RemoteSlot {
                path: self.path.clone(),
                reader: reader.number,
                slot,
                client: None,
                current: current.clone(),
            };
            let watch = RemoteWatch::new(watch, current);
            (Box::new(slot) as Box<dyn Slot>, Arc::new(watch) as Arc<dyn Watch>)
        });
        FoundReader::new(reader.name, slots.collect())
    }
}

impl Bus for RemoteBus {
    fn initial(&self) -> Vec<FoundReader> {
        let initial = std::mem::take(&mut *lock(&self.initial));
        initial.into_iter().map(|reader| self.found(reader)).collect()
    }

    fn wait(&self) -> Option<FoundReader> {
        lock(&self.list).wait().map(|reader| self.found(reader))
    }

    fn stop(&self) {
        self.stopper.stop();
    }
}

struct RemoteWatch {
    stream: io::Result<UnixStream>,
    /// A byte has asked, and none has answered yet.
    has_asked: AtomicBool,
    /// Ends a wait.
    waker: rustix::io::Result<Waker>,
    current: Arc<Mutex<Current>>,
}

/// What a slot and its watch share: the request in progress.
#[derive(Default)]
struct Current {
    /// Ends it.
    stopper: Option<control::Stopper>,
    /// The watch was stopped: the reader is about to be ended.
    is_stopped: bool,
}

impl RemoteWatch {
    fn new(stream: io::Result<UnixStream>, current: Arc<Mutex<Current>>) -> RemoteWatch {
        RemoteWatch {
            stream,
            has_asked: AtomicBool::new(false),
            waker: Waker::new(),
            current,
        }
    }

    fn try_wait(&self) -> io::Result<WatchEvent> {
        let failed = |error: &io::Error| io::Error::from(error.kind());
        let mut stream = self.stream.as_ref().map_err(failed)?;
        let waker = self.waker.as_ref().map_err(|error| *error)?;
        // One question is out at a time: after a wake-up its answer is still to come. `Relaxed`, since one
        // thread waits.
        if !self.has_asked.swap(true, Ordering::Relaxed) {
            control::send_all(stream, &[1])?;
        }
        let mut polled = [
            PollFd::new(stream, PollFlags::IN),
            PollFd::new(waker, PollFlags::IN),
        ];
        while let Err(Errno::INTR) = poll(&mut polled, None) {}
        // The waker first. An answer that is there too is found by the next wait.
        if !polled[1].revents().is_empty() {
            waker.clear();
            return Ok(WatchEvent::Card);
        }
        let mut change = [0];
        stream.read_exact(&mut change)?;
        self.has_asked.store(false, Ordering::Relaxed);
        Ok(match SlotChange::of_code(change[0]) {
            SlotChange::Card => WatchEvent::Card,
            SlotChange::Unclear => WatchEvent::Unclear,
            SlotChange::Gone => WatchEvent::Gone,
        })
    }
}

impl Watch for RemoteWatch {
    fn wait(&self) -> WatchEvent {
        // A socket that fails does not recover. As `Card`, this would be asked again at once.
        self.try_wait().unwrap_or(WatchEvent::Gone)
    }

    fn wake(&self) {
        if let Ok(waker) = &self.waker {
            waker.wake();
        }
    }

    fn stop(&self) {
        if let Ok(stream) = &self.stream {
            // It may have ended before.
            // The thread sleeps in `poll` or `read` on this stream, and both return after a shutdown.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let mut current = lock(&self.current);
        current.is_stopped = true;
        if let Some(stopper) = &current.stopper {
            stopper.stop();
        }
    }
}

struct RemoteSlot {
    path: PathBuf,
    reader: u8,
    slot: u8,
    /// The connection, which is the claim on the slot.
    client: Option<SlotClient>,
    current: Arc<Mutex<Current>>,
}

impl RemoteSlot {
    fn ask(
        &mut self,
        request: &SlotRequest<'_>,
        deadline: Option<Instant>,
        limit: Duration,
    ) -> Result<Vec<u8>, SlotError> {
        let (until, is_callers) = earlier(deadline, limit);
        let asked = self.try_ask(request, until);
        // It has a descriptor of its own, which would keep the connection and thereby the claim.
        lock(&self.current).stopper = None;
        asked
            .map(|answer| answer.map_err(slot_error))
            .unwrap_or_else(|error| {
                // What comes over this connection from now on would be taken for the answer to another
                // request.
                self.give_back();
                Err(match error.kind() {
                    io::ErrorKind::TimedOut if is_callers => SlotError::TimedOut,
                    _ => SlotError::NoDevice,
                })
            })
    }

    fn try_ask(
        &mut self,
        request: &SlotRequest<'_>,
        until: Instant,
    ) -> io::Result<Result<Vec<u8>, RequestError>> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(SlotClient::connect(&self.path, self.reader, self.slot)?),
        };
        // Before the request and under one lock with the flag: a stop either finds the stopper here, or this
        // finds the flag.
        let stopper = client.stopper()?;
        let until = {
            let mut current = lock(&self.current);
            current.stopper = Some(stopper);
            match current.is_stopped {
                true => until.min(Instant::now() + LAST_LIMIT),
                false => until,
            }
        };
        client.ask(request, until)
    }

    /// A request that is no exchange.
    fn ask_soon(&mut self, request: &SlotRequest<'_>) -> Result<Vec<u8>, SlotError> {
        self.ask(request, None, LIMIT)
    }

    fn exchange(
        &mut self,
        request: &SlotRequest<'_>,
        room: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        copy(&self.ask(request, deadline, EXCHANGE_LIMIT)?, room)
    }
}

impl Slot for RemoteSlot {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        let presence = self.ask_soon(&SlotRequest::Presence)?;
        Ok(match presence.first().copied().map(CardPresence::of_code) {
            Some(CardPresence::Present) => Presence::Present,
            Some(CardPresence::Replaced) => Presence::Replaced,
            Some(CardPresence::Absent) | None => Presence::Absent,
        })
    }

    fn power_up(&mut self, warm: bool, deadline: Option<Instant>) -> Result<Powered, SlotError> {
        let request = SlotRequest::PowerUp { is_warm: warm };
        match self.ask(&request, deadline, LIMIT)?.as_slice() {
            [offered, first, atr @ ..] if atr.len() <= MAX_ATR_SIZE => {
                Ok(Powered::new(atr, (*offered).into(), (*first).into()))
            }
            _ => Err(SlotError::Communication),
        }
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        self.ask_soon(&SlotRequest::PowerDown).map(|_| ())
    }

    fn set_protocol(&mut self, protocol: u32, deadline: Option<Instant>) -> Result<(), SlotError> {
        self.ask(&SlotRequest::SetProtocol(protocol), deadline, LIMIT)
            .map(|_| ())
    }

    fn transmit(
        &mut self,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        self.exchange(&SlotRequest::Transmit(command), response, deadline)
    }

    fn control(
        &mut self,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        self.exchange(&SlotRequest::Control(code, data), answer, deadline)
    }

    fn get_attribute(&mut self, id: u32, value: &mut [u8]) -> Result<usize, SlotError> {
        copy(&self.ask_soon(&SlotRequest::GetAttribute(id))?, value)
    }

    fn set_attribute(&mut self, id: u32, value: &[u8]) -> Result<(), SlotError> {
        self.ask_soon(&SlotRequest::SetAttribute(id, value)).map(|_| ())
    }

    fn give_back(&mut self) {
        if let Some(client) = self.client.take() {
            client.close();
        }
    }
}
