//! Daemons that misbehave, forks, signals and scarce descriptors: each call returns the right error at once,
//! and no answer is taken for that of another request.

mod answers;
mod process;
mod random;

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, LazyLock};
use std::time::{Duration, Instant};

use pcsc_client::internals::{Pci, Session, SessionOptions, Watched};
use pcsc_client::{
    Attribute, Card, Cause, Choice, Context, Error, Failure, Protocols, ReaderState, ShareMode, State,
};
use pcsc_tests::scripted::{
    endian, number, reader, repeat_with_other_endian, Answer, Script, Scripted, LONG,
};
use pcsc_wire::{Endian, RequestCode, Version, EVENT_SIZE, READER_STATE_SIZE};
use proptest::prelude::*;
use tempfile::TempDir;

const READER: &CStr = c"Scripted 00";

/// The connections that the first context with a scripted daemon takes.
static CONNECTS: LazyLock<usize> = LazyLock::new(|| 1 + usize::from(endian() != Endian::NATIVE));

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
        // Each context tries both byte orders.
        move || (0..40).for_each(|_| drop(listener.accept().unwrap()))
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
fn a_version_that_is_not_supported_is_named() {
    for (major, minor) in [(4, 1), (4, 7), (5, 4), (0, 0), (-1, i32::MAX)] {
        let daemon = Scripted::start(Script {
            version: Version { major, minor },
            ..Script::new(4)
        });
        let failure = daemon.establish().unwrap_err();
        assert_eq!(failure.error(), Error::ServiceStopped);
        let text = failure.to_string();
        assert!(
            text.contains(&format!("{major}.{minor}")) && text.contains("4.2 to 4.6"),
            "{text}"
        );
    }
    // pcsc-lite up to 1.8.3, whose version is that of 1.8.8; the second time it is asked for it at once.
    for _ in 0..2 {
        let daemon = Scripted::start(Script {
            name_size: 100,
            ..Script::new(2)
        });
        let failure = daemon.establish().unwrap_err();
        assert_eq!(failure.error(), Error::ServiceStopped);
        assert!(
            matches!(failure.cause(), Some(Cause::ShortNames { .. })),
            "{failure}"
        );
        assert!(failure.to_string().contains("1.8.4 or later"), "{failure}");
    }
    // A later daemon that accepts our version.
    let daemon = Scripted::start(Script {
        version: Version { major: 4, minor: 7 },
        takes_older: true,
        ..Script::new(6)
    });
    assert_eq!(daemon.context().list_readers_owned().unwrap().len(), 1);
    // A daemon that refuses its own version: no endless retry.
    let daemon = Scripted::with(4, |command, mut answer, _| {
        if command == RequestCode::Version {
            answer[8..].copy_from_slice(&number(endian(), Error::ServiceStopped.code()));
        }
        Answer::Send(answer)
    });
    assert_eq!(daemon.establish().unwrap_err().error(), Error::ServiceStopped);
    assert_eq!(daemon.connections(), *CONNECTS);
}

#[test]
fn a_foreign_handle_ends_the_connection_and_the_next_context_works() {
    let daemon = Scripted::with(4, |command, answer, _| match command {
        RequestCode::Disconnect => Answer::SendThenClose(Vec::new()),
        _ => Answer::Send(answer),
    });
    let context = daemon.context();
    let card = connect(&context).unwrap();
    let (card, error) = card.disconnect(pcsc_client::Disposition::LeaveCard).unwrap_err();
    assert_eq!(error, Error::CommError);
    assert_eq!(card.transmit(b"x", &mut [0; 8]), Err(Error::NoService));
    assert!(connect(&daemon.context()).is_ok());
}

#[test]
fn calls_with_a_timeout_end_with_it() {
    let daemon = Scripted::with(4, |command, answer, _| match command {
        RequestCode::Transmit => Answer::Send(Vec::new()),
        _ => Answer::Send(answer),
    });
    let context = daemon.context();
    let card = connect(&context).unwrap();
    let transmitted = card
        .transmit_timeout(b"x", &mut [0; 8], Duration::from_millis(20))
        .map(<[u8]>::to_vec);
    assert_eq!(transmitted.map_err(Error::from), Err(Error::Timeout));
    assert_eq!(context.list_readers_owned(), Err(Error::NoService));

    let daemon = Scripted::with(4, |command, answer, _| match command {
        RequestCode::Connect => Answer::Send(Vec::new()),
        _ => Answer::Send(answer),
    });
    let context = daemon.context();
    let timeout = Duration::from_millis(20);
    let connected = context.connect_timeout(READER, ShareMode::Shared, Protocols::ANY, timeout);
    assert_eq!(connected.map(drop).map_err(Error::from), Err(Error::Timeout));
}

#[test]
fn calls_that_need_no_card_end_if_the_daemon_does_not_answer() {
    type Call = dyn Fn(Context) -> Result<(), Error> + Sync;
    let wait = |context: Context| {
        let mut states = [ReaderState::new(READER, State::EMPTY)];
        context.get_status_change(LONG, &mut states)
    };
    let status = |context: Context| connect(&context)?.status2_owned().map(drop);
    let release = |context: Context| context.release().map_err(|(_, error)| error);
    let list = |context: Context| context.list_readers_owned().map(drop);
    // The other answers have to come within the limit, on a busy machine too. All calls wait at once.
    let limit = Duration::from_secs(10);
    std::thread::scope(|scope| {
        for minor in 3..=6 {
            let states = if minor == 6 {
                RequestCode::GetReadersStateArray
            } else {
                RequestCode::GetReadersState
            };
            let calls: [(RequestCode, &Call); 4] = [
                (RequestCode::ReleaseContext, &release),
                (states, &list),
                (states, &wait),
                (states, &status),
            ];
            for (silent, call) in calls {
                scope.spawn(move || {
                    let daemon = Scripted::with(minor, move |command, answer, _| {
                        // The answer to WAIT holds states too.
                        let is_silent = command == silent
                            || (silent == states && command == RequestCode::WaitReaderStateChange);
                        Answer::Send(if is_silent { Vec::new() } else { answer })
                    });
                    let builder = Context::builder().socket_path(daemon.path());
                    let context = builder.answer_limit(limit).establish().unwrap();
                    assert_eq!(call(context), Err(Error::CommError), "{silent:?}, 4.{minor}");
                });
            }
        }
    });
}

#[test]
fn contexts_do_not_wait_for_each_other() {
    let (free, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let daemon = Scripted::with(4, move |command, answer, _| {
        if command == RequestCode::Transmit {
            held.lock().unwrap().recv().unwrap();
        }
        Answer::Send(answer)
    });
    let (slow, quick) = (daemon.context(), daemon.context());
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
fn the_same_with_daemons_of_the_other_byte_order() {
    repeat_with_other_endian("the_same_with_daemons_of_the_other_byte_order");
}
