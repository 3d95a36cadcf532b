//! Daemons that misbehave, forks, signals and scarce descriptors: each gives the right error at once, and no
//! answer is taken for that of another request.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use pcsc_client::internals::{Options, Pci, Session, Watched};
use pcsc_client::{
    Attribute, Card, Cause, Choice, Context, Error, Failure, Protocols, ReaderState, ShareMode, State,
};
use pcsc_tests::scripted::{reader, Answer, Script, Scripted, Trick, LONG};
use pcsc_wire::{Command, Version, EVENT_SIZE, READER_STATE_SIZE};
use proptest::prelude::*;
use tempfile::TempDir;

const READER: &CStr = c"Scripted 00";

struct Rig {
    _folder: TempDir,
    daemon: Scripted,
}

impl Rig {
    fn new(script: Script) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Scripted::start(&folder.path().join("comm"), script);
        Rig {
            _folder: folder,
            daemon,
        }
    }

    /// A daemon of version 4.`minor` that answers otherwise.
    fn with(
        minor: i32,
        trick: impl Fn(Command, Vec<u8>, &mut bool) -> Answer + Send + Sync + 'static,
    ) -> Rig {
        let trick: Box<Trick> = Box::new(trick);
        Rig::new(Script {
            trick: Some(trick),
            ..Script::new(minor)
        })
    }

    fn establish(&self) -> Result<Context, Failure> {
        Context::builder()
            .socket_path(self.daemon.path())
            .answer_limit(LONG)
            .establish()
    }

    fn context(&self) -> Context {
        self.establish().unwrap()
    }
}

fn connect(context: &Context) -> Result<Card, Error> {
    context.connect(READER, ShareMode::Shared, Protocols::ANY)
}

/// Makes each call once. Returns the first error.
fn all_calls(context: &Context) -> Result<(), Error> {
    context.list_readers_owned()?;
    let mut states = [ReaderState::new(READER, State::EMPTY)];
    context.get_status_change(Duration::from_secs(1), &mut states)?;
    let mut card = connect(context)?;
    card.reconnect(
        ShareMode::Shared,
        Protocols::ANY,
        pcsc_client::Disposition::LeaveCard,
    )?;
    card.transaction()?
        .end(pcsc_client::Disposition::LeaveCard)
        .map_err(|(_, error)| error)?;
    card.transmit(b"0123456789", &mut [0; 64])?;
    card.control(1, b"0123456789", &mut [0; 64]).map(drop)?;
    card.status2_owned()?;
    card.get_attribute_owned(Attribute::AtrString)?;
    card.disconnect(pcsc_client::Disposition::LeaveCard)
        .map_err(|(_, error)| error)
}

#[test]
fn an_event_may_come_anywhere_among_the_replies() {
    for minor in 2..=6 {
        for place in 0..5 {
            let before = move |command| match (place, command) {
                (0, Command::GetReadersStateSize | Command::GetReadersState) => true,
                (0, Command::WaitReaderStateChange) => (4..=5).contains(&minor),
                (1, Command::GetReadersStateArray) => true,
                (2, Command::GetReaderEvents) => true,
                (3, Command::Version) => true,
                _ => false,
            };
            let rig = Rig::with(minor, move |command, answer, waits| {
                if *waits && before(command) {
                    *waits = false;
                    return Answer::Send([vec![0; EVENT_SIZE], answer].concat());
                }
                Answer::Send(answer)
            });
            let context = rig.context();
            let mut states = [
                ReaderState::new(pcsc_client::PNP_NOTIFICATION(), State::UNAWARE),
                ReaderState::new(READER, State::PRESENT),
            ];
            for _ in 0..3 {
                let waited = context.get_status_change(Duration::from_millis(20), &mut states);
                assert_eq!(waited, Err(Error::Timeout), "4.{minor}, place {place}");
                assert_eq!(states[1].event_count(), 1);
                assert_eq!(context.list_readers_owned().unwrap(), [READER.to_owned()]);
            }
        }
    }
}

#[test]
fn the_table_may_grow_between_its_size_and_itself() {
    let rig = Rig::with(6, |command, mut answer, _| {
        if command == Command::GetReadersStateArray {
            let state = answer[..READER_STATE_SIZE].to_vec();
            answer.extend(
                state
                    .iter()
                    .enumerate()
                    .map(|(at, byte)| if at == 10 { b'7' } else { *byte }),
            );
        }
        Answer::Send(answer)
    });
    let context = rig.context();
    for _ in 0..3 {
        let names = context.list_readers_owned().unwrap();
        assert_eq!((names.len(), names[1].to_bytes()), (2, &b"Scripted 07"[..]));
    }
}

#[test]
fn a_daemon_may_die_at_every_byte_of_every_answer() {
    for minor in 2..=6 {
        let complete = Rig::new(Script::new(minor));
        assert_eq!(all_calls(&complete.context()), Ok(()));
        let commands = [
            Command::Version,
            Command::EstablishContext,
            Command::Connect,
            Command::Reconnect,
            Command::BeginTransaction,
            Command::EndTransaction,
            Command::Transmit,
            Command::Control,
            Command::Status,
            Command::GetAttrib,
            Command::Disconnect,
            Command::GetReadersState,
            Command::GetReadersStateSize,
            Command::GetReadersStateArray,
            Command::WaitReaderStateChange,
        ];
        for command in commands {
            for cut in [0, 1, 3, 4, 7, 8, 11, 12, 31, 32, 41, 183, 184, 200, 279, 2943] {
                let cuts = Arc::new(AtomicUsize::new(0));
                let counted = cuts.clone();
                let rig = Rig::with(minor, move |served, mut answer, _| {
                    if served != command || answer.len() <= cut {
                        return Answer::Send(answer);
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    answer.truncate(cut);
                    Answer::SendThenClose(answer)
                });
                let error = match rig.establish() {
                    Ok(context) => {
                        let result = all_calls(&context);
                        if result.is_err() {
                            assert_eq!(context.list_readers_owned(), Err(Error::NoService));
                            assert_eq!(context.is_valid(), Err(Error::InvalidHandle));
                        }
                        result.err()
                    }
                    Err(failure) => Some(failure.error()),
                };
                if cuts.load(Ordering::SeqCst) == 0 {
                    assert_eq!(error, None, "{command:?} of 4.{minor} cut at {cut}");
                    continue;
                }
                // In 4.2 the handshake asks for the states.
                let is_first = matches!(command, Command::Version | Command::EstablishContext)
                    || (minor == 2 && command == Command::GetReadersState);
                let expected = if is_first {
                    Error::SecurityViolation
                } else {
                    Error::CommError
                };
                // The answer to VERSION also marks the end of the states.
                assert!(
                    error == Some(expected) || (is_first && error == Some(Error::CommError)),
                    "{command:?} of 4.{minor} cut at {cut}: {error:?}"
                );
            }
        }
    }
}

#[test]
fn refusals_name_their_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("comm");
    let establish = |path: PathBuf, limit: Duration| {
        Context::builder()
            .socket_path(path)
            .answer_limit(limit)
            .establish()
            .unwrap_err()
    };

    // No socket, and a path that is too long for an address.
    let failure = establish(path.clone(), LONG);
    assert!(
        matches!(
            (failure.error(), failure.cause()),
            (Error::NoService, Some(Cause::Connect { .. }))
        ),
        "{failure}"
    );
    let failure = establish(PathBuf::from(format!("/{}", "x".repeat(108))), LONG);
    assert!(failure.to_string().contains("109 bytes"), "{failure}");
    assert_eq!(failure.error(), Error::NoService);

    // Refused by Polkit, or by the limit of clients.
    let listener = UnixListener::bind(&path).unwrap();
    let refuser = std::thread::spawn({
        let listener = listener.try_clone().unwrap();
        move || (0..20).for_each(|_| drop(listener.accept().unwrap()))
    });
    for _ in 0..20 {
        let failure = establish(path.clone(), LONG);
        assert_eq!(failure.error(), Error::SecurityViolation, "{failure}");
        let text = failure.to_string();
        assert!(
            text.contains("Polkit") && text.contains("pcscd --max-thread"),
            "{text}"
        );
    }
    refuser.join().unwrap();

    // A silent daemon.
    let failure = establish(path.clone(), Duration::from_millis(100));
    assert!(
        matches!(
            (failure.error(), failure.cause()),
            (Error::NoService, Some(Cause::Silent))
        ),
        "{failure}"
    );
    drop(listener);
    let failure = establish(path, LONG);
    assert!(
        matches!(
            (failure.error(), failure.cause()),
            (Error::NoService, Some(Cause::Connect { .. }))
        ),
        "{failure}"
    );
}

#[test]
fn a_version_that_nobody_speaks_is_named() {
    for (major, minor) in [(4, 1), (4, 7), (5, 4), (0, 0), (-1, i32::MAX)] {
        let rig = Rig::new(Script {
            version: Version { major, minor },
            ..Script::new(4)
        });
        let failure = rig.establish().unwrap_err();
        assert_eq!(failure.error(), Error::ServiceStopped);
        let text = failure.to_string();
        assert!(
            text.contains(&format!("{major}.{minor}")) && text.contains("4.2 to 4.6"),
            "{text}"
        );
    }
    // pcsc-lite up to 1.8.3, whose version is that of 1.8.8; the second time it is asked for it at once.
    for _ in 0..2 {
        let rig = Rig::new(Script {
            name_size: 100,
            ..Script::new(2)
        });
        let failure = rig.establish().unwrap_err();
        assert_eq!(failure.error(), Error::ServiceStopped);
        assert!(
            matches!(failure.cause(), Some(Cause::ShortNames { .. })),
            "{failure}"
        );
        assert!(failure.to_string().contains("1.8.4 or later"), "{failure}");
    }
    // A later daemon that accepts our version.
    let rig = Rig::new(Script {
        version: Version { major: 4, minor: 7 },
        takes_older: true,
        ..Script::new(6)
    });
    assert_eq!(rig.context().list_readers_owned().unwrap().len(), 1);
    // A daemon that refuses its own version: no endless retry.
    let rig = Rig::with(4, |command, mut answer, _| {
        if command == Command::Version {
            answer[8..].copy_from_slice(&Error::ServiceStopped.code().to_ne_bytes());
        }
        Answer::Send(answer)
    });
    assert_eq!(rig.establish().unwrap_err().error(), Error::ServiceStopped);
    assert_eq!(rig.daemon.connections(), 1);
}

#[test]
fn absurd_answers_end_the_context_and_nothing_else() {
    let cases: [(i32, Command, usize, u32); 9] = [
        (6, Command::GetReadersStateSize, 0, 0),
        (6, Command::GetReadersStateSize, 0, u32::MAX),
        (6, Command::GetReadersStateSize, 0, i32::MAX as u32),
        (4, Command::Transmit, 24, u32::MAX),
        (4, Command::Transmit, 24, 65),
        (4, Command::Transmit, 24, 9),
        (4, Command::Control, 16, 1 << 31),
        (4, Command::Control, 16, 65),
        (4, Command::Control, 16, 3),
    ];
    for (minor, command, at, value) in cases {
        let rig = Rig::with(minor, move |served, mut answer, _| {
            if served == command {
                answer[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            }
            Answer::Send(answer)
        });
        let context = rig.context();
        assert_eq!(
            all_calls(&context),
            Err(Error::CommError),
            "{command:?} {value:#x}"
        );
        assert_eq!(context.list_readers_owned(), Err(Error::NoService));
        assert!(rig.establish().is_ok());
    }

    // An attribute longer than its field, an ATR longer than an ATR, a name without an end.
    let rig = Rig::with(4, |command, mut answer, _| {
        match command {
            Command::GetAttrib => answer[272..276].copy_from_slice(&u32::MAX.to_ne_bytes()),
            Command::GetReadersState => {
                answer[176..180].copy_from_slice(&34u32.to_ne_bytes());
                answer[READER_STATE_SIZE..READER_STATE_SIZE + 128].fill(b'n');
            }
            _ => (),
        }
        Answer::Send(answer)
    });
    let context = rig.context();
    let card = connect(&context).unwrap();
    assert_eq!(card.get_attribute_owned(Attribute::AtrString).unwrap().len(), 264);
    assert!(card.status2_owned().unwrap().atr().is_empty());
    assert_eq!(context.list_readers_owned().unwrap()[1].to_bytes(), [b'n'; 128]);
}

#[test]
fn a_foreign_handle_ends_the_connection_and_the_next_context_works() {
    let rig = Rig::with(4, |command, answer, _| match command {
        Command::Disconnect => Answer::SendThenClose(Vec::new()),
        _ => Answer::Send(answer),
    });
    let context = rig.context();
    let card = connect(&context).unwrap();
    let (card, error) = card.disconnect(pcsc_client::Disposition::LeaveCard).unwrap_err();
    assert_eq!(error, Error::CommError);
    assert_eq!(card.transmit(b"x", &mut [0; 8]), Err(Error::NoService));
    assert!(connect(&rig.context()).is_ok());
}

#[test]
fn calls_with_a_timeout_end_with_it() {
    let rig = Rig::with(4, |command, answer, _| match command {
        Command::Transmit => Answer::Send(Vec::new()),
        _ => Answer::Send(answer),
    });
    let context = rig.context();
    let card = connect(&context).unwrap();
    let transmitted = card
        .transmit_timeout(b"x", &mut [0; 8], Duration::from_millis(20))
        .map(<[u8]>::to_vec);
    assert_eq!(transmitted.map_err(Error::from), Err(Error::Timeout));
    assert_eq!(context.list_readers_owned(), Err(Error::NoService));

    let rig = Rig::with(4, |command, answer, _| match command {
        Command::Connect => Answer::Send(Vec::new()),
        _ => Answer::Send(answer),
    });
    let context = rig.context();
    let timeout = Duration::from_millis(20);
    let connected = context.connect_timeout(READER, ShareMode::Shared, Protocols::ANY, timeout);
    assert_eq!(connected.map(drop).map_err(Error::from), Err(Error::Timeout));
}

#[test]
fn a_silent_daemon_is_given_up_in_calls_that_need_no_card() {
    type Call = dyn Fn(Context) -> Result<(), Error>;
    let wait = |context: Context| {
        let mut states = [ReaderState::new(READER, State::EMPTY)];
        context.get_status_change(LONG, &mut states)
    };
    let status = |context: Context| connect(&context)?.status2_owned().map(drop);
    let release = |context: Context| context.release().map_err(|(_, error)| error);
    for minor in 3..=6 {
        let states = if minor == 6 {
            Command::GetReadersStateArray
        } else {
            Command::GetReadersState
        };
        let calls: [(Command, &Call); 4] = [
            (Command::ReleaseContext, &release),
            (states, &|context| context.list_readers_owned().map(drop)),
            (states, &wait),
            (states, &status),
        ];
        for (silent, call) in calls {
            let rig = Rig::with(minor, move |command, answer, _| {
                // The answer to WAIT holds states too.
                let is_silent =
                    command == silent || (silent == states && command == Command::WaitReaderStateChange);
                Answer::Send(if is_silent { Vec::new() } else { answer })
            });
            let context = Context::builder()
                .socket_path(rig.daemon.path())
                .answer_limit(Duration::from_millis(50))
                .establish()
                .unwrap();
            assert_eq!(call(context), Err(Error::CommError), "{silent:?}, 4.{minor}");
        }
    }
}

#[test]
fn contexts_do_not_wait_for_each_other() {
    let (free, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let rig = Rig::with(4, move |command, answer, _| {
        if command == Command::Transmit {
            held.lock().unwrap().recv().unwrap();
        }
        Answer::Send(answer)
    });
    let (slow, quick) = (rig.context(), rig.context());
    std::thread::scope(|scope| {
        let card = connect(&slow).unwrap();
        let slow_call = scope.spawn(move || card.transmit(b"x", &mut [0; 8]).map(<[u8]>::to_vec));
        for _ in 0..50 {
            assert_eq!(quick.list_readers_owned().unwrap().len(), 1);
        }
        assert!(!slow_call.is_finished());
        free.send(()).unwrap();
        assert_eq!(slow_call.join().unwrap().unwrap(), b"x");
    });
}

#[test]
fn first_calls_of_many_threads_at_once() {
    let rig = Rig::new(Script::new(5));
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| assert_eq!(all_calls(&rig.context()), Ok(())));
        }
    });
}

#[test]
fn no_descriptor_is_left_or_inherited() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("comm");
    let listener = UnixListener::bind(&path).unwrap();
    let refuser = std::thread::spawn(move || (0..10_000).for_each(|_| drop(listener.accept().unwrap())));
    let before = descriptors();
    let mut most = before;
    for round in 0..10_000 {
        let builder = Context::builder().socket_path(&path);
        assert_eq!(builder.establish().unwrap_err().error(), Error::SecurityViolation);
        if round % 1000 == 0 {
            most = most.max(descriptors());
        }
    }
    refuser.join().unwrap();
    // Other tests of this process open some, but not ten thousand.
    assert!(most < before + 500, "{before} descriptors, then {most}");

    let rig = Rig::new(Script::new(4));
    let context = rig.context();
    let mut states = [ReaderState::new(READER, State::PRESENT)];
    assert_eq!(
        context.get_status_change(Duration::from_millis(1), &mut states),
        Err(Error::Timeout)
    );
    let inherited = std::process::Command::new("ls")
        .args(["-l", "/proc/self/fd"])
        .output()
        .unwrap();
    let inherited = String::from_utf8_lossy(&inherited.stdout).into_owned();
    assert!(
        !inherited.contains("socket:") && !inherited.contains("eventfd"),
        "{inherited}"
    );
}

#[test]
fn descriptors_above_1024_work() {
    use rustix::process::{getrlimit, setrlimit, Resource};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map(|maximum| maximum.min(8192)).or(Some(8192));
    setrlimit(Resource::Nofile, limit).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let mut ballast: Vec<OwnedFd> = Vec::new();
    while ballast.last().is_none_or(|fd| fd.as_raw_fd() < 1500) {
        ballast.push(null.try_clone().unwrap().into());
    }
    let rig = Rig::new(Script::new(4));
    assert_eq!(all_calls(&rig.context()), Ok(()));
    let context = rig.context();
    let mut states = [ReaderState::new(READER, State::PRESENT)];
    assert_eq!(
        context.get_status_change(Duration::from_millis(1), &mut states),
        Err(Error::Timeout)
    );
}

#[test]
fn signals_are_invisible() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing; without SA_RESTART every blocking call is interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut());
    }
    let rig = Rig::new(Script::new(4));
    let (sender, receiver) = mpsc::channel();
    let worker = std::thread::spawn({
        let context = rig.context();
        move || {
            // SAFETY: has no preconditions.
            sender.send(unsafe { libc::pthread_self() } as usize).unwrap();
            let mut states = [ReaderState::new(READER, State::PRESENT)];
            let card = connect(&context).unwrap();
            let mut buffer = vec![0; 65_548];
            let command = vec![9; 65_548];
            for _ in 0..50 {
                assert_eq!(card.transmit(&command, &mut buffer).unwrap().len(), 65_548);
                let waited = context.get_status_change(Duration::from_millis(2), &mut states);
                assert_eq!(waited, Err(Error::Timeout));
            }
        }
    });
    let thread = receiver.recv().unwrap();
    while !worker.is_finished() {
        // SAFETY: the thread is joined below, so its identifier is valid.
        unsafe { libc::pthread_kill(thread as libc::pthread_t, libc::SIGUSR2) };
        std::thread::yield_now();
    }
    worker.join().unwrap();
}

#[test]
fn a_forked_child_is_refused_and_the_parent_undisturbed() {
    let rig = Rig::new(Script::new(4));
    let context = rig.context();
    let mut card = connect(&context).unwrap();
    let rounds = rig.daemon.rounds();
    // SAFETY: the child calls what is under test, and ends by _exit; what it allocates, it allocates in a
    // process whose other threads do not hold the allocator for long, and glibc makes fork safe for malloc.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut wrong = 0;
        let mut check = |ok: bool| wrong = wrong * 2 + i32::from(!ok);
        let invalid = Some(Error::InvalidHandle);
        check(context.list_readers_owned().err() == invalid);
        check(context.is_valid().err() == invalid);
        check(context.cancel().err() == invalid);
        check(card.transmit(b"x", &mut [0; 8]).err() == invalid);
        check(card.status2_owned().err() == invalid);
        check(card.transaction().map(drop).err() == invalid);
        check(
            card.disconnect(pcsc_client::Disposition::ResetCard)
                .map_err(|(_, error)| error)
                .err()
                == invalid,
        );
        check(rig.establish().is_ok());
        drop(context);
        // SAFETY: ends the child without the parent's clean-up.
        unsafe {
            libc::_exit(if wrong == 0 {
                7
            } else {
                100 + wrong.trailing_zeros() as i32
            })
        };
    }
    let mut status = 0;
    // SAFETY: `child` is a child of this process and `status` is writable.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(libc::WEXITSTATUS(status), 7);
    // One establish and one release of the child's own, and nothing on the parent's connection.
    assert!(
        rig.daemon.rounds() - rounds <= 2,
        "{}",
        rig.daemon.rounds() - rounds
    );
    assert_eq!(card.transmit(b"x", &mut [0; 8]).unwrap(), b"x");
    assert_eq!(context.list_readers_owned().unwrap().len(), 1);
}

/// A daemon that answers the handshake, and then any request with these bytes, in pieces. It reads all
/// requests.
fn babbler(hello: Vec<u8>, noise: Vec<u8>, piece: usize) -> (TempDir, PathBuf, std::thread::JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("comm");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
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
        let version = |rv: u32| [&4i32.to_ne_bytes()[..], &minor.to_ne_bytes(), &rv.to_ne_bytes()].concat();
        let established = [[0u8; 4], [1; 4], [0; 4]].concat();
        let hello = if refused && minor != 6 {
            [version(Error::ServiceStopped.code()), established, version(0)].concat()
        } else {
            [version(0), established].concat()
        };
        let has_answer = noise.len() >= 280;
        let (_folder, socket, thread) = babbler(hello, noise, piece);
        let started = Instant::now();
        let session = Session::establish(&Options {
            backend: Choice::Daemon, socket: Some(socket), limit: LONG, ..Options::default()
        }).unwrap();
        for number in (first..CALLS).chain(0..first) {
            let outcome = one_call(number, &session);
            if number == first {
                // The first call has read the noise: neither its request nor its answer was lost.
                let is_lost = matches!(&outcome, Err(failure) if failure.error() == Error::NoService
                    || (matches!(failure.cause(), Some(Cause::Closed)) && has_answer && (3..8).contains(&first)));
                prop_assert!(!is_lost, "{number}: {outcome:?}");
            }
        }
        drop(session);
        thread.join().unwrap();
        prop_assert!(started.elapsed() < LONG);
    }
}

#[test]
fn odd_reader_names_are_passed_on() {
    let rig = Rig::new(Script::new(6));
    rig.daemon.change(|readers| {
        readers[1] = pcsc_tests::scripted::Reader {
            name: "\u{fc}\u{1F4B3} ".into(),
            ..reader(1)
        };
    });
    let context = rig.context();
    let names = context.list_readers_owned().unwrap();
    assert!(context
        .connect(&names[1], ShareMode::Shared, Protocols::ANY)
        .is_ok());
    let long = std::ffi::CString::new(vec![b'x'; 5000]).unwrap();
    let connected = context
        .connect(&long, ShareMode::Shared, Protocols::ANY)
        .map(drop);
    assert_eq!(connected, Err(Error::UnknownReader));
}
