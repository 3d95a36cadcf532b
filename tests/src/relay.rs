//! A slow line to a daemon: bytes arrive a while after they were sent, and round trips are counted.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A relay that listens at one socket and forwards to another.
pub struct Relay {
    listener: UnixListener,
    rounds: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<UnixStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Forwards what comes to `path` to the daemon, with `delay` each way.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn start(path: &Path, daemon: &Path, delay: Duration) -> Relay {
        let listener = UnixListener::bind(path).expect("a socket for the relay");
        let rounds = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(Mutex::new(Vec::new()));
        let (accepting, count, opened) = (
            listener.try_clone().expect("a descriptor"),
            rounds.clone(),
            open.clone(),
        );
        let daemon = daemon.to_owned();
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((client, _)) = accepting.accept() {
                let server = UnixStream::connect(&daemon).expect("the daemon");
                let copy = |stream: &UnixStream| stream.try_clone().expect("a descriptor");
                opened
                    .lock()
                    .expect("no panic")
                    .extend([copy(&client), copy(&server)]);
                // Whether the daemon has sent something since the client last did. Then the client's next
                // bytes begin another round trip.
                let has_answered = Arc::new(AtomicBool::new(true));
                let (count, answered) = (count.clone(), has_answered.clone());
                let (from, to) = (copy(&client), copy(&server));
                threads.push(std::thread::spawn(move || {
                    forward(from, to, delay, || {
                        if answered.swap(false, Ordering::SeqCst) {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }));
                threads.push(std::thread::spawn(move || {
                    forward(server, client, delay, || {
                        has_answered.store(true, Ordering::SeqCst)
                    });
                }));
            }
            threads
                .into_iter()
                .for_each(|thread| thread.join().expect("no panic"));
        });
        Relay {
            listener,
            rounds,
            open,
            thread: Some(thread),
        }
    }

    /// The round trips so far.
    pub fn rounds(&self) -> usize {
        self.rounds.load(Ordering::SeqCst)
    }
}

/// Forwards pieces until either side ends. Calls a function before it forwards each.
fn forward(mut from: UnixStream, mut to: UnixStream, delay: Duration, tell: impl Fn()) {
    let mut bytes = vec![0; 1 << 17];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        tell();
        std::thread::sleep(delay);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        for stream in self.open.lock().expect("no panic").iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}
