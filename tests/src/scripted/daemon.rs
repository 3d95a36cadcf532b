//! A running scripted daemon.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pcsc_client::{Context, Failure};
use pcsc_wire::{self as wire, RequestCode};
use tempfile::TempDir;

use super::connection::Connection;
use super::script::{reader, Answer, Reader, Script, LONG};
use super::world::{lock, Shared, World};

/// A running scripted daemon. Dropping it ends it, with its connections.
pub struct Scripted {
    shared: Arc<Shared>,
    listener: UnixListener,
    path: PathBuf,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Where its socket is, unless the test has chosen another place.
    _folder: Option<TempDir>,
}

impl Scripted {
    /// Starts a daemon that listens in a folder of its own.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn start(script: Script) -> Scripted {
        let folder = tempfile::tempdir().expect("a folder for the scripted daemon");
        let mut daemon = Scripted::start_at(&folder.path().join("comm"), script);
        daemon._folder = Some(folder);
        daemon
    }

    /// Starts a daemon of version 4.`minor` whose answers `intercept` may replace.
    ///
    /// # Panics
    /// As [`Scripted::start`].
    pub fn with(
        minor: i32,
        intercept: impl Fn(RequestCode, Vec<u8>, &mut bool) -> Answer + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::start(Script {
            intercept: Some(Box::new(intercept)),
            ..Script::new(minor)
        })
    }

    /// Starts a daemon that listens at `path`, whose folder must exist.
    ///
    /// # Panics
    /// As [`Scripted::start`].
    pub fn start_at(path: &Path, script: Script) -> Scripted {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a socket for the scripted daemon");
        let readers = (0..script.slots.max(script.readers))
            .map(|slot| {
                if slot < script.readers {
                    reader(slot)
                } else {
                    Reader::default()
                }
            })
            .collect();
        let shared = Arc::new(Shared {
            violations: AtomicUsize::new(script.violations),
            script,
            world: Mutex::new(World {
                readers,
                events: 1,
                waiting: Vec::new(),
            }),
            connections: AtomicUsize::new(0),
            rounds: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        let (accepting, acceptor) = (listener.try_clone().expect("a second descriptor"), shared.clone());
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((stream, _)) = accepting.accept() {
                acceptor.connections.fetch_add(1, Ordering::SeqCst);
                lock(&acceptor.open).push(stream.try_clone().expect("a second descriptor"));
                let shared = acceptor.clone();
                threads.push(std::thread::spawn(move || {
                    Connection::new(shared, stream).serve();
                }));
            }
            threads
                .into_iter()
                .for_each(|thread| thread.join().expect("a connection's thread"));
        });
        Scripted {
            shared,
            listener,
            path: path.to_owned(),
            thread: Some(thread),
            _folder: None,
        }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Establishes a context with this daemon.
    ///
    /// # Errors
    /// Those of [`pcsc_client::Builder::establish`].
    pub fn establish(&self) -> Result<Context, Failure> {
        Context::builder()
            .socket_path(self.path())
            .answer_limit(LONG)
            .establish()
    }

    /// A context with this daemon.
    ///
    /// # Panics
    /// Where it is not established.
    pub fn context(&self) -> Context {
        self.establish().expect("a context with the scripted daemon")
    }

    /// How many connections it accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The number of round trips: how often a client has sent something after an answer.
    pub fn rounds(&self) -> usize {
        self.shared.rounds.load(Ordering::SeqCst)
    }

    /// Whether some client waits for an event.
    pub fn has_waiter(&self) -> bool {
        lock(&self.shared.world).waiting.iter().any(|out| lock(out).waits)
    }

    /// Changes the readers, and sends the event to clients that wait.
    pub fn change(&self, change: impl FnOnce(&mut Vec<Reader>)) {
        let mut world = lock(&self.shared.world);
        let count = |readers: &[Reader]| readers.iter().filter(|reader| !reader.name.is_empty()).count();
        let before = count(&world.readers);
        change(&mut world.readers);
        if count(&world.readers) != before {
            world.events += 1;
        }
        for out in std::mem::take(&mut world.waiting) {
            let mut out = lock(&out);
            if std::mem::take(&mut out.waits) {
                let _ = out.stream.write_all(&[0; wire::EVENT_SIZE]);
            }
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // Ends accept().
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        lock(&self.shared.open)
            .iter()
            .for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            // A connection accepted in between.
            lock(&self.shared.open)
                .iter()
                .for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
            if !std::thread::panicking() {
                ended.expect("the daemon's thread");
            }
        }
    }
}
