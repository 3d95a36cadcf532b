//! Many threads on few simulated readers whose cards come, go and fail: no deadlock, no wrong answer, and the
//! right state of every connection at the end.
//!
//! `STANDALONE_STRESS_OPERATIONS` and `STANDALONE_STRESS_SEED` choose another run.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

use pcsc_client::internals::{Calls, Outcome, Pci, StandaloneContext as Session, Watched, PNP_NAME};
use pcsc_client::Error;
use pcsc_manager::{FixedBus, Manager, Settings, Simulated};
use pcsc_sim::card::apps::Several;
use pcsc_sim::card::{Behaviour, Offer, Profile, SimCard};
use pcsc_wire::ReaderStateRecord;

const THREADS: u64 = 64;
const CONTEXTS: usize = 16;
const MODELS: [&str; 4] = ["gempc-express", "au9540", "omnikey-3x21", "scr3310"];
const EXCHANGES_TPDUS: [bool; 4] = [true, false, false, true];
const LIMIT: Duration = Duration::from_secs(300);

const EXCLUSIVE: u32 = 1;
const SHARED: u32 = 2;
const DIRECT: u32 = 3;
const ANY: u32 = 3;

/// Pseudo-random numbers (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// The transactions with a reader, as the threads that are in one have recorded them.
#[derive(Default)]
struct Holder {
    now: Option<u64>,
    /// Two threads that were in one at once. One of them has lost it to a removal; it is not known which.
    together: Vec<[u64; 2]>,
    /// The number of transactions that ended without an error.
    well: HashSet<u64>,
}

struct World {
    readers: Vec<Simulated>,
    names: Vec<String>,
    holders: Vec<Mutex<Holder>>,
    transactions: AtomicU64,
    exchanges: AtomicU64,
    is_over: AtomicBool,
}

fn card(behaviour: Behaviour) -> SimCard {
    let mut profile = Profile::new(&[Offer::T0, Offer::T1]);
    profile.ta1 = Some(0x95);
    SimCard::new(profile, behaviour, Box::new(Several::demo()))
}

/// Inserts and removes cards until the other threads are done.
fn move_cards(world: &World, seed: u64) {
    let mut numbers = Numbers::new(seed);
    while !world.is_over.load(Ordering::Relaxed) {
        let number = numbers.below(4) as usize;
        let reader = &world.readers[number];
        let good = Behaviour::default();
        let behaviour = match numbers.below(12) {
            0 => Behaviour { mute: true, ..good },
            // The protocol engine of an APDU level reader is in the simulation.
            1 if EXCHANGES_TPDUS[number] => Behaviour {
                corrupt_every: Some(7),
                ..good
            },
            2 => Behaviour {
                fails_above: Some(20_000),
                ..good
            },
            3 => Behaviour::wtx_for_ever(),
            4 => Behaviour {
                removed_after: Some(500),
                ..good
            },
            _ => good,
        };
        if numbers.one_in(3) {
            reader.device().remove(0);
        } else {
            reader.device().insert(0, card(behaviour));
        }
        std::thread::sleep(Duration::from_micros(numbers.below(3_000)));
    }
}

/// Sends an echo APDU.
fn transmit(session: &Session, handle: i32, protocol: u32, data: &[u8]) -> Result<Vec<u8>, u32> {
    let mut command = vec![0x80, 0xEC, 0, 0, data.len() as u8];
    command.extend(data);
    if protocol == 2 {
        command.push(0);
    }
    let mut response = [0; 300];
    let pci = Pci { protocol, length: 16 };
    let transmitted = session.transmit(handle, pci, pci, &command, &mut response, None);
    Ok(response[..code(transmitted)?.length].to_vec())
}

fn code<T>(outcome: Outcome<T>) -> Result<T, u32> {
    outcome.map_err(|failure| failure.code())
}

/// Succeeds, or fails as [`is_expected`].
fn check<T>(what: &str, outcome: Outcome<T>) -> Option<T> {
    match code(outcome) {
        Ok(value) => Some(value),
        Err(rv) => {
            assert!(is_expected(rv), "{what}: {rv:#x}");
            None
        }
    }
}

struct Connection {
    handle: i32,
    reader: usize,
    protocol: u32,
    /// The number of the current transaction.
    transaction: Option<u64>,
}

fn work(world: &World, session: &Session, seed: u64, operations: u64) {
    let mut numbers = Numbers::new(seed);
    let mut connection: Option<Connection> = None;
    for _ in 0..operations {
        if numbers.one_in(50) {
            session.cancel().unwrap();
        }
        let Some(open) = &mut connection else {
            if numbers.one_in(8) {
                look(world, session, &mut numbers);
            } else {
                connection = connect(world, session, &mut numbers);
            }
            continue;
        };
        match numbers.below(16) {
            0..=5 => echo(world, session, open, &mut numbers),
            6..=8 => match open.transaction {
                None => begin(world, session, open),
                Some(_) => end(world, session, open, numbers.below(6)),
            },
            9 => {
                let name = world.names[open.reader].as_bytes();
                check("status", session.status(open.handle, name));
            }
            10 => {
                let value = session.get_attribute(open.handle, 0x0009_0303);
                if !matches!(&value, Err(failure) if failure.error() == Error::UnsupportedFeature) {
                    check("attribute", value);
                }
            }
            11 => {
                // A wait for exclusive use would never end, since the others wait for this thread.
                let share = if numbers.one_in(5) { DIRECT } else { SHARED };
                let initialization = numbers.below(3) as u32;
                let protocol = session.reconnect(open.handle, share, ANY, initialization, None);
                open.protocol = check("reconnect", protocol).unwrap_or(open.protocol);
            }
            12 => look(world, session, &mut numbers),
            _ => {
                // The transaction ends with the connection.
                if let Some(mine) = open.transaction.take() {
                    world.holders[open.reader].lock().unwrap().leave(mine);
                }
                let disposition = numbers.below(4) as u32;
                session.disconnect(open.handle, disposition).unwrap();
                connection = None;
            }
        }
    }
    if let Some(mut open) = connection {
        end(world, session, &mut open, 0);
        session.disconnect(open.handle, 0).unwrap();
    }
}

fn connect(world: &World, session: &Session, numbers: &mut Numbers) -> Option<Connection> {
    let reader = numbers.below(4) as usize;
    let share = [SHARED, SHARED, SHARED, SHARED, EXCLUSIVE, DIRECT][numbers.below(6) as usize];
    let name = world.names[reader].as_bytes();
    let connected = check("connect", session.connect(name, share, ANY, None))?;
    Some(Connection {
        handle: connected.card,
        reader,
        protocol: connected.protocol,
        transaction: None,
    })
}

fn echo(world: &World, session: &Session, open: &Connection, numbers: &mut Numbers) {
    let length = numbers.below(60);
    let data: Vec<u8> = (0..=length).map(|_| numbers.below(256) as u8).collect();
    match transmit(session, open.handle, open.protocol, &data) {
        Ok(answer) if open.protocol == 2 => {
            let expected = [&data[..], b"\x90\x00"].concat();
            assert_eq!(answer, expected, "{}", world.names[open.reader]);
            world.exchanges.fetch_add(1, Ordering::Relaxed);
        }
        // T=0 announces the length of the response, but has no checksum that would detect a damaged byte.
        Ok(answer) => assert!(
            matches!(answer[..], [0x61, n] if [data.len() as u8, data.len() as u8 ^ 0x5A].contains(&n))
                || matches!(answer[..], [.., 0x90, 0x00 | 0x5A]),
            "{answer:02X?}"
        ),
        Err(rv) => assert!(is_expected(rv), "transmit: {rv:#x}"),
    }
}

impl Holder {
    fn enter(&mut self, mine: u64) {
        if let Some(other) = self.now.replace(mine) {
            self.together.push([other, mine]);
        }
    }

    fn leave(&mut self, mine: u64) {
        self.now.take_if(|now| *now == mine);
    }
}

fn begin(world: &World, session: &Session, open: &mut Connection) {
    match code(session.begin_transaction(open.handle, None)) {
        Ok(()) => {
            let mine = world.transactions.fetch_add(1, Ordering::Relaxed) + 1;
            world.holders[open.reader].lock().unwrap().enter(mine);
            open.transaction = Some(mine);
        }
        // It waits for the other transactions only.
        Err(rv) => {
            let told = [Error::ResetCard.code(), Error::RemovedCard.code()];
            assert!(told.contains(&rv), "begin: {rv:#x}");
        }
    }
}

fn end(world: &World, session: &Session, open: &mut Connection, disposition: u64) {
    let Some(mine) = open.transaction.take() else {
        return;
    };
    world.holders[open.reader].lock().unwrap().leave(mine);
    let disposition = if disposition > 2 { 0 } else { disposition as u32 };
    if check("end", session.end_transaction(open.handle, disposition)).is_some() {
        world.holders[open.reader].lock().unwrap().well.insert(mine);
    }
}

/// Waits a short time for a change.
fn look(world: &World, session: &Session, numbers: &mut Numbers) {
    let name = match numbers.below(5) {
        4 => PNP_NAME,
        reader => world.names[reader as usize].as_bytes(),
    };
    let current = [0, 0x10, 0x20, 0x122, 1 << 16][numbers.below(5) as usize];
    let timeout = Duration::from_micros(numbers.below(2_000));
    let mut watched = [Watched::new(name, current)];
    let looked = session.status_change(Some(timeout), &mut watched, numbers.one_in(2));
    if let Err(failure) = looked {
        let is_expected = [Error::Timeout, Error::Cancelled].contains(&failure.error());
        assert!(is_expected, "{failure}");
    }
}

/// Errors of a card that comes, goes, fails or is used by another thread.
fn is_expected(rv: u32) -> bool {
    let expected = [
        Error::SharingViolation,
        Error::NoSmartcard,
        Error::UnpoweredCard,
        Error::UnresponsiveCard,
        Error::ProtoMismatch,
        Error::ResetCard,
        Error::RemovedCard,
        Error::NotTransacted,
    ];
    expected.iter().any(|error| error.code() == rv)
}

fn run(operations: u64, seed: u64) {
    let readers: Vec<Simulated> = MODELS
        .iter()
        .map(|model| Simulated::new(model).unwrap())
        .collect();
    let manager =
        Arc::new(Manager::start(Arc::new(FixedBus::of_simulated(&readers)), Settings::default()).unwrap());
    let names = manager
        .readers()
        .iter()
        .map(|reader| reader.name().to_owned())
        .collect();
    let world = World {
        readers,
        names,
        holders: (0..4).map(|_| Mutex::default()).collect(),
        transactions: AtomicU64::new(0),
        exchanges: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    let sessions: Vec<Session> = (0..CONTEXTS).map(|_| Session::on(manager.clone())).collect();
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| move_cards(&world, seed));
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let session = &sessions[number as usize % CONTEXTS];
                let world = &world;
                scope.spawn(move || work(world, session, seed ^ ((number + 1) << 20), operations / THREADS))
            })
            .collect();
        let outcomes: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        world.is_over.store(true, Ordering::Relaxed);
        mover.join().unwrap();
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    });
    println!(
        "{} transactions, {} echoes over T=1",
        world.transactions.load(Ordering::Relaxed),
        world.exchanges.load(Ordering::Relaxed)
    );
    // Enough transactions end without an error for the test to be meaningful.
    let counts = [&world.transactions, &world.exchanges].map(|count| count.load(Ordering::Relaxed));
    assert!(
        counts.iter().all(|count| *count > operations / 1000),
        "{counts:?}"
    );
    for holder in &world.holders {
        let holder = holder.lock().unwrap();
        let ended_well = |pair: &&[u64; 2]| pair.iter().all(|one| holder.well.contains(one));
        assert_eq!(
            holder.together.iter().find(ended_well),
            None,
            "two were in a transaction, and both ended well"
        );
    }
    for (reader, name) in world.readers.iter().zip(&world.names) {
        check_end(reader, name, &sessions);
    }
    drop(sessions);
    assert_eq!(Arc::strong_count(&manager), 1);
}

/// No connection is left; a good card works; each connection learns of a reset and of a removal.
fn check_end(reader: &Simulated, name: &str, sessions: &[Session]) {
    // The device stays open, however long this thread is not scheduled between two calls.
    let _watching = sessions[0].manager().watching([name.as_bytes()]);
    reader.device().remove(0);
    wait_for(&sessions[0], name, 0x10);
    reader.device().insert(0, card(Behaviour::default()));
    wait_for(&sessions[0], name, 0x20);
    let mut sharing = None;
    let note = &mut |reader: ReaderStateRecord<'_>| {
        if reader.name == name.as_bytes() {
            sharing = Some(reader.sharing);
        }
    };
    sessions[0].each_reader(note).unwrap();
    assert_eq!(sharing, Some(0), "{name}");

    let connect = |session: &Session| session.connect(name.as_bytes(), SHARED, ANY, None).unwrap().card;
    let connected: Vec<i32> = sessions.iter().map(connect).collect();
    let status = |at: usize| code(sessions[at].status(connected[at], name.as_bytes()).map(drop));
    sessions[0].reconnect(connected[0], SHARED, ANY, 1, None).unwrap();
    assert_eq!(status(0), Ok(()));
    for at in 1..CONTEXTS {
        assert_eq!(status(at), Err(Error::ResetCard.code()));
        let protocol = sessions[at]
            .reconnect(connected[at], SHARED, ANY, 0, None)
            .unwrap();
        assert_eq!(status(at), Ok(()));
        let answer = transmit(&sessions[at], connected[at], protocol, b"right").unwrap();
        assert!(
            answer == b"right\x90\x00" || answer == b"\x61\x05",
            "{answer:02X?}"
        );
    }
    reader.device().remove(0);
    wait_for(&sessions[0], name, 0x10);
    for at in 0..CONTEXTS {
        assert_eq!(status(at), Err(Error::RemovedCard.code()));
        sessions[at].disconnect(connected[at], 0).unwrap();
    }
}

/// Waits until a reader's state has this bit.
fn wait_for(session: &Session, name: &str, bit: u32) {
    let mut current = 0;
    while current & bit == 0 {
        let mut watched = [Watched::new(name.as_bytes(), current)];
        session
            .status_change(Some(Duration::from_secs(60)), &mut watched, false)
            .unwrap();
        current = watched[0].event().unwrap() & !2;
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn threads_contexts_readers_and_failing_cards() {
    let operations = number("STANDALONE_STRESS_OPERATIONS").unwrap_or(100_000);
    let seed = number("STANDALONE_STRESS_SEED").unwrap_or(20_240_607);
    let (sender, done) = mpsc::channel();
    let runner = std::thread::spawn(move || {
        run(operations, seed);
        let _ = sender.send(());
    });
    match done.recv_timeout(LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("no end after {LIMIT:?}; the seed is {seed}"),
        _ => runner.join().unwrap_or_else(|_| panic!("the seed is {seed}")),
    }
}
