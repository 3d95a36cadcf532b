//! A relay in front of a daemon, which counts round trips.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;

use crate::problem::Problem;

/// A relay that listens at one socket and forwards to another, until the process ends.
#[derive(Debug)]
pub struct Relay {
    socket: PathBuf,
    rounds: Arc<AtomicUsize>,
}

impl Relay {
    /// Forwards what comes to `socket` to the daemon.
    pub fn start(socket: &Path, daemon: &Path) -> Result<Relay, Problem> {
        let listener = UnixListener::bind(socket).map_err(|error| Problem::unwritable(socket, error))?;
        let rounds = Arc::new(AtomicUsize::new(0));
        let (count, daemon) = (rounds.clone(), daemon.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                let pair = client.and_then(|client| Ok((client, UnixStream::connect(&daemon)?)));
                // A client whose daemon is gone sees its connection closed.
                let Ok((client, server)) = pair else { continue };
                let count = count.clone();
                thread::spawn(move || relay(&client, &server, &count));
            }
        });
        Ok(Relay {
            socket: socket.to_owned(),
            rounds,
        })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How often clients have sent something after the daemon has.
    pub fn rounds(&self) -> usize {
        self.rounds.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have been removed already.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Forwards one way until one end closes, and then closes both ends. Its errors are ends of the connection,
/// which both ends see. `note` is called before what has come is forwarded: once the client has its answer,
/// the number is right.
fn forward(mut from: &UnixStream, mut to: &UnixStream, note: impl Fn()) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        note();
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Forwards both ways, and counts.
fn relay(client: &UnixStream, server: &UnixStream, rounds: &AtomicUsize) {
    let has_answered = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| forward(server, client, || has_answered.store(true, Ordering::SeqCst)));
        forward(client, server, || {
            if has_answered.swap(false, Ordering::SeqCst) {
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn round_trips_are_counted() {
        let scratch = Scratch::new().expect("a folder");
        let daemon = scratch.path("daemon");
        let listener = UnixListener::bind(&daemon).expect("a socket");
        let relay = Relay::start(&scratch.path("relay"), &daemon).expect("a relay");
        let mut client = UnixStream::connect(relay.socket()).expect("the relay");
        let (mut server, _) = listener.accept().expect("the relay");
        for _ in 0..3 {
            // Two messages that are answered together are one round trip.
            for _ in 0..2 {
                client.write_all(b"ask").expect("the relay");
                server.read_exact(&mut [0; 3]).expect("the relay");
            }
            server.write_all(b"answer").expect("the relay");
            client.read_exact(&mut [0; 6]).expect("the relay");
        }
        assert_eq!(relay.rounds(), 3);
        let socket = relay.socket().to_owned();
        drop(relay);
        assert!(!socket.exists());
    }
}
