//! The readers of another daemon: pcscd of any version, or another server like this one.
//!
//! One context with the daemon waits for its events, one is for requests of the states, and each client has
//! one of its own with its connections to cards. A daemon that is gone has no readers; it is tried again.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pcsc_client::internals::{Calls, DaemonContext, Outcome, Pci};
use pcsc_client::Failure;
use pcsc_constants as codes;
use pcsc_process::wait::ChangeCounter;
use pcsc_wire::{Endian, ReaderStateRecord, ReaderStateRecords};

use super::absence::{reason, Absence};
use super::coalesced::Coalesced;
use super::link::DaemonLink;
use super::route::{Route, SocketRoute};
use super::{Connected, Failed, Source, SourceSession, Transmitted};
use crate::sync::lock;

/// The pauses between attempts to reach a daemon that is gone: each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
// A daemon that is started again is found within this time, and one that is not costs a connect each time.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The most readers that are taken from a daemon. pcscd has 16; a daemon may announce 4,096, and each
/// client's look would pass on that many.
const READERS: usize = 255;

/// The size in bytes of a client's protocol control information. No daemon looks at it.
const PCI_LENGTH: u32 = 16;

/// The readers of a daemon behind a Unix socket, or of a server on another host. It need not run yet.
pub struct DaemonSource {
    upstream: Arc<Upstream>,
    watcher: Option<JoinHandle<()>>,
}

struct Upstream {
    route: Arc<dyn Route>,
    changes: ChangeCounter,
    /// How often a reader came or went.
    events: AtomicU32,
    is_over: AtomicBool,
    known: Mutex<KnownReaders>,
    /// The states of the readers, as bytes. Many clients look for them after one event.
    states: Coalesced<Arc<Vec<u8>>>,
}

/// What is known of the daemon's readers.
#[derive(Default)]
struct KnownReaders {
    /// `None` while the daemon is gone.
    links: Option<Links>,
    /// In the daemon's order.
    names: Arc<[Vec<u8>]>,
    /// Why a look has failed. The watcher, whose connection is cut then, sees only its end.
    failure: Option<Failure>,
}

/// Two contexts: a context's calls are made one after another, and the wait for events would hold up each
/// look.
struct Links {
    waiting: DaemonLink,
    for_states: DaemonLink,
}

impl DaemonSource {
    /// The readers of the daemon whose socket is at `path`.
    ///
    /// # Errors
    /// Where a thread cannot be started.
    pub fn new(path: PathBuf) -> io::Result<DaemonSource> {
        DaemonSource::over(Arc::new(SocketRoute(path)))
    }

    /// The readers of the server of another host.
    ///
    /// # Errors
    /// Where a thread cannot be started.
    #[cfg(feature = "tls")]
    pub fn remote(remote: crate::tls::Remote) -> io::Result<DaemonSource> {
        DaemonSource::over(Arc::new(remote))
    }

    fn over(route: Arc<dyn Route>) -> io::Result<DaemonSource> {
        let upstream = Arc::new(Upstream {
            route,
            changes: ChangeCounter::default(),
            events: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
            known: Mutex::default(),
            states: Coalesced::default(),
        });
        // The first clients find the readers of a daemon that runs.
        let first = upstream.open();
        let watching = upstream.clone();
        let builder = thread::Builder::new().name("pcsc-upstream".into());
        let watcher = builder.spawn(move || watching.watch(first))?;
        Ok(DaemonSource {
            upstream,
            watcher: Some(watcher),
        })
    }
}

impl Drop for DaemonSource {
    fn drop(&mut self) {
        // The flag before the cut: the watcher whose wait ends looks at the flag and does not connect again.
        self.upstream.is_over.store(true, Ordering::SeqCst);
        if let Some(links) = &lock(&self.upstream.known).links {
            links.waiting.cut();
            links.for_states.cut();
        }
        self.upstream.changes.post();
        if let Some(watcher) = self.watcher.take() {
            // A thread that has panicked has nothing left to end.
            let _ = watcher.join();
        }
        // The watcher may have opened connections after the cut. Dropping closes them, and `finish` waits
        // until the peer has been notified.
        lock(&self.upstream.known).links = None;
        self.upstream.route.finish();
    }
}

impl Upstream {
    /// Waits for events, from `first` on, until the source ends.
    fn watch(&self, first: Outcome<Arc<DaemonContext>>) {
        let mut pause = FIRST_PAUSE;
        let mut opened = first;
        let mut absence = Absence::default();
        loop {
            let was_there = opened.is_ok();
            let failure = match opened {
                Ok(context) => {
                    log::info!("the daemon at {} answers", self.route);
                    absence.end();
                    // Discards the error of earlier attempts.
                    self.route.take_error();
                    let since = Instant::now();
                    let failure = self.wait_for_events(&context);
                    // A daemon that ends each connection soon is not asked without pause.
                    if since.elapsed() >= LONGEST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                    failure
                }
                Err(failure) => failure,
            };
            let failure = lock(&self.known).failure.take().unwrap_or(failure);
            if self.route.refusal().is_some() {
                // Somebody has to do something first, and the other host logs each attempt.
                pause = LONGEST_PAUSE;
            }
            let why = self.route.take_error().unwrap_or_else(|| reason(&failure));
            let record = match was_there {
                true => absence.lost(&self.route, why),
                false => absence.unreached(&self.route, why),
            };
            if let Some((level, text)) = record.filter(|_| !self.is_over.load(Ordering::SeqCst)) {
                log::log!(level, "{text}");
            }
            self.note_absence();
            self.sleep(pause);
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            opened = self.open();
        }
    }

    fn open(&self) -> Outcome<Arc<DaemonContext>> {
        let (waiting, for_states) = (DaemonLink::open(&self.route)?, DaemonLink::open(&self.route)?);
        let mut names = Vec::new();
        for_states
            .context
            .each_reader(&mut |reader| names.push(reader.name.to_owned()))?;
        let context = waiting.context.clone();
        let mut known = lock(&self.known);
        // Before a look can show a reader to a client. The readers of a daemon that goes before its first
        // event are counted when it goes.
        self.note_names(&mut known, names.iter().map(Vec::as_slice));
        known.failure = None;
        known.links = Some(Links { waiting, for_states });
        Ok(context)
    }

    fn wait_for_events(&self, context: &DaemonContext) -> Failure {
        loop {
            if self.is_over.load(Ordering::SeqCst) {
                return pcsc_client::Error::Cancelled.into();
            }
            let watched = context.watch(&mut |states, _| {
                self.note_names(&mut lock(&self.known), states.readers().map(|reader| reader.name));
                // Posted also where no name has changed: what is in the readers may have, and the server
                // compares.
                self.changes.post();
            });
            if let Err(failure) = watched {
                return failure;
            }
        }
    }

    fn note_absence(&self) {
        let mut known = lock(&self.known);
        let links = known.links.take();
        self.note_names(&mut known, std::iter::empty());
        drop(known);
        // Without the lock: the release of a context may wait for the daemon.
        drop(links);
        self.changes.post();
    }

    /// The states of the readers, in a round trip; none where the daemon does not answer.
    fn look(&self) -> Vec<u8> {
        let mut states = Vec::new();
        let context = |links: &Links| links.for_states.context.clone();
        let Some(context) = lock(&self.known).links.as_ref().map(context) else {
            return states;
        };
        let mut count = 0;
        let looked = context.each_reader(&mut |reader| {
            count += 1;
            if count <= READERS {
                states.extend_from_slice(&reader.to_bytes(Endian::NATIVE));
            }
        });
        let Err(failure) = looked else { return states };
        let is_same = |links: &mut Links| Arc::ptr_eq(&links.for_states.context, &context);
        let mut known = lock(&self.known);
        // By now there may be a new connection.
        if let Some(links) = known.links.take_if(is_same) {
            // Before the cut, upon which the watcher asks for it.
            known.failure = Some(failure);
            drop(known);
            // The watcher waits for an event of a daemon that does not answer any more.
            links.waiting.cut();
        }
        Vec::new()
    }

    /// Counts readers that came or went.
    fn note_names<'n>(&self, known: &mut KnownReaders, names: impl Iterator<Item = &'n [u8]>) {
        let names: Arc<[Vec<u8>]> = names.take(READERS).map(<[u8]>::to_vec).collect();
        let [before, now] = [&known.names, &names].map(|names| HashSet::<&Vec<u8>>::from_iter(names.iter()));
        let moved = before.symmetric_difference(&now).count();
        known.names = names;
        self.events.fetch_add(moved as u32, Ordering::SeqCst);
    }

    /// Sleeps, no longer than the source lives.
    fn sleep(&self, pause: Duration) {
        let deadline = Instant::now() + pause;
        loop {
            let seen = self.changes.changes();
            if self.is_over.load(Ordering::SeqCst) || !self.changes.wait(seen, Some(deadline)) {
                return;
            }
        }
    }
}

impl Source for DaemonSource {
    fn each_reader(&self, look: &mut dyn FnMut(ReaderStateRecord<'_>)) {
        let upstream = &self.upstream;
        let states = upstream.states.get(|| Arc::new(upstream.look()));
        ReaderStateRecords::new(&states, Endian::NATIVE)
            .readers()
            .for_each(look);
    }

    fn each_name(&self, look: &mut dyn FnMut(&[u8])) {
        let names = lock(&self.upstream.known).names.clone();
        names.iter().for_each(|name| look(name));
    }

    fn reader_events(&self) -> u32 {
        self.upstream.events.load(Ordering::SeqCst) % 0x7FFF + 1
    }

    fn changes(&self) -> &ChangeCounter {
        &self.upstream.changes
    }

    fn session(&self) -> Result<Box<dyn SourceSession>, Failed> {
        let route = &self.upstream.route;
        let link = DaemonLink::open(route).map_err(|failure| {
            let why = reason(&failure);
            log::warn!("a client gets no connection with the daemon at {route}: {why}");
            codes::SCARD_E_READER_UNAVAILABLE
        })?;
        Ok(Box::new(DaemonSession(link)))
    }
}

/// What one client does with the daemon's readers, until the daemon has gone.
struct DaemonSession(DaemonLink);

impl DaemonSession {
    fn with<T>(&self, call: impl FnOnce(&DaemonContext) -> Outcome<T>) -> Result<T, Failed> {
        call(&self.0.context).map_err(|failure| {
            // A reader whose daemon has gone has gone with it.
            if !self.is_alive() {
                return codes::SCARD_E_READER_UNAVAILABLE.into();
            }
            Failed {
                code: failure.code(),
                needed: failure.detail().unwrap_or(0) as usize,
            }
        })
    }
}

impl SourceSession for DaemonSession {
    fn is_alive(&self) -> bool {
        self.0.context.check_alive().is_ok()
    }

    fn connect(&self, reader: &[u8], share: u32, protocols: u32) -> Result<Connected, Failed> {
        let connected = self.with(|context| context.connect(reader, share, protocols, None))?;
        Ok(Connected {
            handle: connected.card,
            protocol: connected.protocol,
        })
    }

    fn reconnect(&self, card: i32, share: u32, protocols: u32, initialization: u32) -> Result<u32, Failed> {
        self.with(|context| context.reconnect(card, share, protocols, initialization, None))
    }

    fn disconnect(&self, card: i32, disposition: u32) -> Result<(), Failed> {
        self.with(|context| context.disconnect(card, disposition))
    }

    fn begin_transaction(&self, card: i32) -> Result<(), Failed> {
        self.with(|context| context.begin_transaction(card, None))
    }

    fn end_transaction(&self, card: i32, disposition: u32) -> Result<(), Failed> {
        self.with(|context| context.end_transaction(card, disposition))
    }

    fn status(&self, card: i32) -> Result<(), Failed> {
        self.with(|context| context.check_connection(card))
    }

    fn transmit(
        &self,
        card: i32,
        protocol: u32,
        command: &[u8],
        response: &mut [u8],
    ) -> Result<Transmitted, Failed> {
        let pci = Pci {
            protocol,
            length: PCI_LENGTH,
        };
        let answer = self.with(|context| context.transmit(card, pci, pci, command, response, None))?;
        Ok(Transmitted {
            length: answer.length,
            protocol: answer.pci.protocol,
        })
    }

    fn control(&self, card: i32, code: u32, data: &[u8], answer: &mut [u8]) -> Result<usize, Failed> {
        self.with(|context| context.control(card, code, data, answer, None))
    }

    fn get_attribute(&self, card: i32, id: u32, value: &mut [u8]) -> Result<usize, Failed> {
        let got = self.with(|context| context.get_attribute(card, id))?;
        let room = value.get_mut(..got.len()).ok_or(Failed::too_small(got.len()))?;
        room.copy_from_slice(&got);
        Ok(got.len())
    }

    fn set_attribute(&self, card: i32, id: u32, value: &[u8]) -> Result<(), Failed> {
        self.with(|context| context.set_attribute(card, id, value))
    }

    fn interrupt(&self) {
        self.0.cut();
    }

    fn release(&self) {
        // The daemon resets a card that was in a transaction. Without an answer the end of the connection has
        // the same effect.
        let _ = self.0.context.release();
    }
}

#[cfg(test)]
mod tests;
