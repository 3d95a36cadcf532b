//! A TCP line to a server that counts round trips, and that a test can cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A relay at an address of this host.
pub struct Line {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Where the server is.
    to: Mutex<SocketAddr>,
    rounds: AtomicUsize,
    /// The next piece from the server is cut in its middle.
    is_to_cut: AtomicBool,
    is_over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Line {
    /// A line to the server at `to`.
    pub fn start(to: SocketAddr) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to: Mutex::new(to),
            rounds: AtomicUsize::new(0),
            is_to_cut: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        let thread = thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((client, _)) = listener.accept() {
                if accepting.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let to = *accepting.to.lock().unwrap();
                // Without a server, the client's connection is closed.
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                threads.extend(accepting.forward(client, server));
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        Line {
            shared,
            address,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections to another place.
    pub fn lead_to(&self, to: SocketAddr) {
        *self.shared.to.lock().unwrap() = to;
    }

    /// The round trips so far.
    pub fn rounds(&self) -> usize {
        self.shared.rounds.load(Ordering::SeqCst)
    }

    /// Cuts the line in the middle of the next message of the server.
    pub fn cut_in_message(&self) {
        self.shared.is_to_cut.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn forward(self: &Arc<Shared>, client: TcpStream, server: TcpStream) -> [JoinHandle<()>; 2] {
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            self.open.lock().unwrap().push(stream.try_clone().unwrap());
        }
        // Whether the server has sent something since the client last did. Then the client's next bytes begin
        // another round trip.
        let has_answered = Arc::new(AtomicBool::new(true));
        let (shared, answered) = (self.clone(), has_answered.clone());
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let there = thread::spawn(move || {
            copy(from, to, |_| {
                if answered.swap(false, Ordering::SeqCst) {
                    shared.rounds.fetch_add(1, Ordering::SeqCst);
                }
                true
            });
        });
        let shared = self.clone();
        let back = thread::spawn(move || {
            copy(server, client, |piece| {
                has_answered.store(true, Ordering::SeqCst);
                let is_cut = shared.is_to_cut.swap(false, Ordering::SeqCst);
                if is_cut {
                    piece.truncate(piece.len() / 2);
                }
                !is_cut
            });
        });
        [there, back]
    }
}

/// Copies pieces until either side ends, or `look` returns false.
fn copy(mut from: TcpStream, mut to: TcpStream, look: impl Fn(&mut Vec<u8>) -> bool) {
    let mut bytes = vec![0; 1 << 17];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut piece = bytes[..count].to_vec();
        let goes_on = look(&mut piece);
        if to.write_all(&piece).is_err() || !goes_on {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Ends the accept.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
