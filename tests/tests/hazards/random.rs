//! A peer that sends any bytes.

use super::*;

/// A daemon that answers the handshake, and then any request with these bytes, in pieces. It reads all
/// requests.
fn babbler(hello: Vec<u8>, noise: Vec<u8>, piece: usize) -> (TempDir, PathBuf, std::thread::JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("comm");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        for _ in 1..*CONNECTS {
            drop(listener.accept().unwrap());
        }
        let (mut stream, _) = listener.accept().unwrap();
        for bytes in [hello, noise].concat().chunks(piece) {
            if stream.write_all(bytes).is_err() {
                return;
            }
        }
        // The client sees the end of the bytes, and can go on sending.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    (folder, path, thread)
}

/// One call of each kind, on a connection that need not exist.
fn one_call(number: usize, session: &Session) -> Result<(), Failure> {
    const CARD: i32 = 7;
    let reader = READER.to_bytes();
    let mut watched = [Watched::new(reader, State::PRESENT.bits() as u32)];
    let pci = Pci {
        protocol: 1,
        length: 16,
    };
    match number {
        0 => session.each_reader(&mut |reader| assert!(!reader.name.is_empty())),
        1 => session.status_change(Some(Duration::ZERO), &mut watched, false),
        2 => session.status_change(Some(Duration::from_millis(1)), &mut watched, false),
        3 => session.connect(reader, 2, 3, None).map(drop),
        4 => session.reconnect(CARD, 2, 3, 0, None).map(drop),
        5 => session.begin_transaction(CARD, None).map(drop),
        6 => session
            .transmit(CARD, pci, pci, b"0123456789", &mut [0; 64], None)
            .map(drop),
        7 => session
            .control(CARD, 1, b"0123456789", &mut [0; 64], None)
            .map(drop),
        8 => session.status(CARD, reader).map(drop),
        9 => session.get_attribute(CARD, 1, false).map(drop),
        _ => session.release(),
    }
}

const CALLS: usize = 11;

/// Pseudo-random bytes, most of them 0 and 4, as in real answers.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        // Knuth's MMIX generator, of which the high bits are the most random ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length)
        .map(|_| match next() % 6 {
            0 => next(),
            1 => 4,
            _ => 0,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    /// Any bytes after a valid handshake give an error or an answer at once, and no panic.
    #[test]
    fn no_bytes_make_a_call_panic_or_hang(
        minor in 3..=6i32, refused: bool, piece in 1usize..400, first in 0..CALLS,
        seed: u64, length in 0usize..4000,
    ) {
        let noise = noise(seed, length);
        let version = |rv: u32| [4, minor as u32, rv].map(|value| number(endian(), value)).concat();
        let established = [[0u8; 4], [1; 4], [0; 4]].concat();
        let hello = if refused && minor != 6 {
            [version(Error::ServiceStopped.code()), established, version(0)].concat()
        } else {
            [version(0), established].concat()
        };
        let has_answer = noise.len() >= 280;
        let (_folder, socket, thread) = babbler(hello, noise, piece);
        let started = Instant::now();
        let session = Session::establish(&SessionOptions {
            backend: Choice::Daemon, socket: Some(socket), limit: LONG, ..SessionOptions::default()
        }).unwrap();
        for number in (first..CALLS).chain(0..first) {
            let outcome = one_call(number, &session);
            if number == first {
                // The first call has read the noise: neither its request nor its answer was lost.
                let is_lost = matches!(&outcome, Err(failure) if failure.error() == Error::NoService
                    || (matches!(failure.cause(), Some(Cause::Closed))
                        && has_answer
                        && (3..8).contains(&first)));
                prop_assert!(!is_lost, "{number}: {outcome:?}");
            }
        }
        drop(session);
        thread.join().unwrap();
        prop_assert!(started.elapsed() < LONG);
    }
}
