//! Threads that use contexts of their own and a shared one at the same time: calls, waits, cancels and
//! changes of the readers. `scripts/tsan` runs these tests under ThreadSanitizer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use pcsc_client::{
    Card, Choice, Context, Disposition, Error, Protocols, ReaderState, ShareMode, State, PNP_NOTIFICATION,
};
use pcsc_tests::scripted::{reader, Script, Scripted};

/// How many threads have a context of their own.
const THREADS: usize = 3;
/// How often each of them does everything.
const ROUNDS: usize = 5;
/// The bundled card's echo. The scripted daemon answers with the command itself.
const COMMAND: &[u8] = b"\x80\xEC\x00\x00\x04\x01\x02\x03\x04\x00";
/// The bundled card's answer.
const ECHOED: &[u8] = b"\x01\x02\x03\x04\x90\x00";

/// Each of the threads uses a context of its own, and a context and a card that all share. One more waits in
/// the shared context while another one cancels it. `change` is called over and over, until they have ended.
fn exercise(establish: &(dyn Fn() -> Context + Sync), answer: &[u8], change: &(dyn Fn(usize) + Sync)) {
    let shared = establish();
    let card = connect(&shared);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let changing = scope.spawn(|| {
            (0..)
                .take_while(|_| !is_done.load(Ordering::Relaxed))
                .for_each(change);
        });
        let own: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let context = establish();
                        watch(&context);
                        transact(&context, answer);
                        watch(&shared);
                        transmit(&card, answer);
                    }
                })
            })
            .collect();
        let waiting = scope.spawn(|| {
            let mut cancelled = 0;
            while cancelled < ROUNDS {
                match wait(&shared, None) {
                    Err(Error::Cancelled) => cancelled += 1,
                    changed => changed.unwrap(),
                }
            }
        });
        while !waiting.is_finished() {
            shared.cancel().unwrap();
            thread::yield_now();
        }
        let ended: Vec<_> = own
            .into_iter()
            .chain([waiting])
            .map(ScopedJoinHandle::join)
            .collect();
        is_done.store(true, Ordering::Relaxed);
        changing.join().unwrap();
        ended.into_iter().for_each(Result::unwrap);
    });
}

/// A wait for any change of the list of readers, or of the first reader's state.
fn wait(context: &Context, limit: Option<Duration>) -> Result<(), Error> {
    let mut states = vec![ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)];
    if let Some(first) = context.list_readers_owned()?.into_iter().next() {
        states.push(ReaderState::new(first, State::UNAWARE));
    }
    // The first call gives the states.
    context
        .get_status_change(Duration::ZERO, &mut states)
        .or_else(ignore)?;
    states.iter_mut().for_each(ReaderState::sync_current_state);
    context.get_status_change(limit, &mut states)
}

/// No change is no fault.
fn ignore(error: Error) -> Result<(), Error> {
    match error {
        Error::Timeout => Ok(()),
        error => Err(error),
    }
}

/// A status change that comes or does not. The cancels are for all that wait in the shared context.
fn watch(context: &Context) {
    let waited = wait(context, Some(Duration::from_millis(1)));
    assert!(
        matches!(waited, Ok(()) | Err(Error::Timeout | Error::Cancelled)),
        "{waited:?}"
    );
}

fn connect(context: &Context) -> Card {
    let readers = context.list_readers_owned().unwrap();
    context
        .connect(&readers[0], ShareMode::Shared, Protocols::ANY)
        .unwrap()
}

fn transmit(card: &Card, answer: &[u8]) {
    let mut buffer = [0; 64];
    assert_eq!(card.transmit(COMMAND, &mut buffer), Ok(answer));
}

/// A command in a transaction. The card is not reset: the other connections would be notified of that.
fn transact(context: &Context, answer: &[u8]) {
    let mut card = connect(context);
    let transaction = card.transaction().unwrap();
    transmit(&transaction, answer);
    assert!(transaction.status2_owned().is_ok());
    transaction
        .end(Disposition::LeaveCard)
        .map_err(|(_, error)| error)
        .unwrap();
    card.disconnect(Disposition::LeaveCard)
        .map_err(|(_, error)| error)
        .unwrap();
}

#[test]
fn a_daemons_contexts_are_used_by_many_threads() {
    for minor in [3, 4, 6] {
        let mut script = Script::new(minor);
        script.readers = 2;
        let daemon = Scripted::start(script);
        let establish = || Context::builder().socket_path(daemon.path()).establish().unwrap();
        // The second reader comes and goes.
        exercise(&establish, COMMAND, &|round| {
            daemon.change(|readers| {
                readers[1].name = match round % 2 {
                    0 => String::new(),
                    _ => reader(1).name,
                };
            });
            thread::yield_now();
        });
    }
}

#[test]
fn simulated_readers_are_used_by_many_threads() {
    let establish = || {
        Context::builder()
            .choose_backend(Choice::Simulated)
            .establish()
            .unwrap()
    };
    // Contexts that come and go: at times one of them is the first or the last.
    exercise(&establish, ECHOED, &|_| drop(establish()));
    for _ in 0..ROUNDS {
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| transact(&establish(), ECHOED));
            }
        });
    }
}
