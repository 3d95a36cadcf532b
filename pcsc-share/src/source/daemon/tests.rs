//! A source whose daemon is this crate's own server of a scripted source.

use std::fmt::{self, Display};
use std::os::unix::net::UnixStream;

use super::*;
use crate::client::scripted::{shared, Script, LONG, PROTOCOL};
use crate::client::{self, Client};
use crate::policy::Rights;
use crate::shared::Shared;

/// Each connection is served by a thread of its own.
struct Served {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    clients: Mutex<Vec<Arc<Client>>>,
    is_gone: AtomicBool,
}

impl Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the test")
    }
}

impl Route for Served {
    fn connect(&self) -> io::Result<UnixStream> {
        if self.is_gone.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = UnixStream::pair()?;
        let shared = self.shared.clone();
        let mut clients = lock(&self.clients);
        let number = clients.len() as u64;
        let client = Client::new(number, String::new(), Rights::Full, theirs, &shared);
        let client = Arc::new(client);
        clients.push(client.clone());
        lock(&self.threads).push(thread::spawn(move || client::serve(&client, &shared)));
        Ok(ours)
    }
}

/// A source, its daemon, and the script of the daemon's own source.
fn upstream() -> (DaemonSource, Arc<Served>, Arc<Script>) {
    let script = Arc::new(Script::default());
    let served = Arc::new(Served {
        shared: Arc::new(shared(&script)),
        threads: Mutex::default(),
        clients: Mutex::default(),
        is_gone: AtomicBool::new(false),
    });
    (DaemonSource::over(served.clone()).unwrap(), served, script)
}

impl Served {
    /// Waits until the daemon has nothing left of the last connection.
    fn wait_for_last(&self) {
        let last = lock(&self.threads).pop();
        last.expect("a connection").join().unwrap();
    }
}

fn names(source: &DaemonSource) -> Vec<String> {
    let mut names = Vec::new();
    source.each_reader(&mut |reader| {
        names.push(String::from_utf8(reader.name.to_vec()).unwrap());
    });
    names
}

fn known(source: &DaemonSource) -> Vec<String> {
    let mut names = Vec::new();
    source.each_name(&mut |name| names.push(String::from_utf8(name.to_vec()).unwrap()));
    names
}

fn wait_for_names(source: &DaemonSource, names: &[&str]) {
    loop {
        let seen = source.changes().changes();
        if known(source) == names {
            return;
        }
        source.changes().wait(seen, None);
    }
}

#[test]
fn calls_are_passed_on_and_their_results_back() {
    let (source, served, script) = upstream();
    let session = source.session().unwrap();
    let connected = session.connect(b"Reader 00 00", 2, 3).unwrap();
    assert_eq!(connected.protocol, PROTOCOL);
    let other = session.connect(&LONG, 2, 3).unwrap();
    assert_ne!(connected.handle, other.handle);
    let card = connected.handle;
    script.expect(&[
        "connect Reader 00 00 2 3",
        &format!("connect {} 2 3", "x".repeat(LONG.len())),
    ]);
    assert_eq!(session.begin_transaction(card), Ok(()));
    assert_eq!(session.end_transaction(card, 2), Ok(()));
    assert_eq!(session.status(card), Ok(()));
    assert_eq!(session.reconnect(card, 1, 2, 3), Ok(PROTOCOL));
    script.expect(&["begin 70", "end 70 2", "status 70", "reconnect 70 1 2 3"]);
    let mut room = [0; 300];
    let transmitted = session.transmit(card, 2, b"four", &mut room).unwrap();
    assert_eq!(&room[..transmitted.length], b"four");
    assert_eq!(transmitted.protocol, 1);
    assert_eq!(session.control(card, 11, b"other", &mut room), Ok(5));
    assert_eq!(&room[..5], b"other");
    script.expect(&[
        "transmit 70 2: 4 bytes, room for 300",
        "control 70 11: 5 bytes, room for 300",
    ]);
    assert_eq!(session.get_attribute(card, 1, &mut room), Ok(12));
    assert_eq!(&room[..12], b"Reader 00 00");
    assert_eq!(
        session.get_attribute(card, 1, &mut room[..11]),
        Err(Failed::too_small(12))
    );
    assert_eq!(session.set_attribute(card, 7, b"key"), Ok(()));
    script.expect(&["get 70 1", "get 70 1", "set 70 7: 3 bytes"]);
    let busy = Failed::from(codes::SCARD_E_SHARING_VIOLATION);
    script.refuse(busy);
    assert_eq!(session.begin_transaction(card), Err(busy));
    assert_eq!(session.disconnect(card, 1), Err(busy));
    script.refuse(None);
    assert_eq!(session.disconnect(card, 1), Ok(()));
    script.expect(&["begin 70", "disconnect 70 1", "disconnect 70 1"]);
    assert_eq!(session.status(other.handle), Ok(()));
    session.release();
    served.wait_for_last();
    script.expect(&["status 70", "release"]);
    assert!(session.status(other.handle).is_err());
}

#[test]
fn an_interrupt_ends_the_calls_of_a_session_for_good() {
    let (source, served, script) = upstream();
    let session = source.session().unwrap();
    let card = session.connect(b"Reader 00 00", 2, 3).unwrap().handle;
    session.interrupt();
    served.wait_for_last();
    let gone = Failed::from(codes::SCARD_E_READER_UNAVAILABLE);
    assert_eq!(session.status(card), Err(gone));
    assert_eq!(session.connect(b"Reader 00 00", 2, 3), Err(gone));
    script.expect(&["connect Reader 00 00 2 3", "release"]);
}

#[test]
fn a_look_shows_the_daemons_readers_and_names_need_none() {
    let (source, served, script) = upstream();
    let there = ["Reader 00 00", "Reader (source 2) 00 00"];
    assert_eq!(names(&source), there);
    // From 1, and two that came.
    assert_eq!(source.reader_events(), 3);
    assert_eq!(known(&source), there);
    script.hide_readers();
    served.shared.waiters.signal();
    wait_for_names(&source, &[]);
    assert_eq!(source.reader_events(), 5);
}

#[test]
fn a_daemon_that_goes_takes_its_readers_along_and_brings_them_back() {
    let (source, served, _) = upstream();
    let there = known(&source);
    let there: Vec<&str> = there.iter().map(String::as_str).collect();
    served.is_gone.store(true, Ordering::SeqCst);
    for client in lock(&served.clients).iter() {
        client.close();
    }
    wait_for_names(&source, &[]);
    assert_eq!(names(&source), [""; 0]);
    assert_eq!(source.reader_events(), 5);
    assert!(source.session().is_err());
    served.is_gone.store(false, Ordering::SeqCst);
    wait_for_names(&source, &there);
    assert_eq!(names(&source), there);
    assert_eq!(source.reader_events(), 7);
}
