//! The safe API on each backend: effects on the card, and results. With a real pcscd, without one, and with
//! Debian's library and ours in the part of the system's library.

use std::ffi::CString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pcsc_client::{
    ctl_code, Attribute, Card, Choice, Context, Disposition, Error, Event, Protocol, Protocols, ReaderState,
    ShareMode, State, Status, Transaction, MAX_BUFFER_SIZE_EXTENDED,
};
use pcsc_tests::{artifacts, atr, run, stock, Counts, Pcscd, Reader, Simulation};

const SELECT: &[u8] = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
const LIMIT: Duration = Duration::from_secs(300);

/// The owner of the readers, and how it is reached.
enum Owner {
    Pcscd(Pcscd),
    /// pcscd through a library, which takes the socket from the environment of this process.
    Library {
        pcscd: Pcscd,
        library: PathBuf,
        _turn: MutexGuard<'static, ()>,
    },
    /// This process, which has one set of simulated readers at a time.
    Process {
        simulation: Simulation,
        _turn: MutexGuard<'static, ()>,
    },
}

fn take_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Owner {
    fn pcscd(readers: usize) -> Owner {
        Owner::Pcscd(Pcscd::start(readers))
    }

    fn library(readers: usize, library: PathBuf) -> Owner {
        let _turn = take_turn();
        let pcscd = Pcscd::start(readers);
        std::env::set_var("PCSCLITE_CSOCK_NAME", pcscd.socket());
        Owner::Library {
            pcscd,
            library,
            _turn,
        }
    }

    fn process(readers: usize) -> Owner {
        let _turn = take_turn();
        let simulation = Simulation::start(readers);
        std::env::set_var("PCSCLITE_SIMULATED", simulation.socket());
        Owner::Process { simulation, _turn }
    }

    fn reader(&self, number: usize) -> Reader {
        match self {
            Owner::Pcscd(pcscd) | Owner::Library { pcscd, .. } => pcscd.reader(number),
            Owner::Process { simulation, .. } => simulation.reader(number),
        }
    }
}

/// Runs one of these tests in a process of its own: Debian's library reads the environment once.
fn in_a_process(test: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", test, "--nocapture"]);
    let text = run(&mut command, LIMIT).stdout();
    assert!(text.contains("1 passed"), "{text}");
}

/// Runs scenarios on each backend, with this number of readers.
macro_rules! on_each {
    ($($scenario:ident($readers:expr);)+) => {
        mod with_pcscd { $(
            #[test]
            fn $scenario() {
                super::$scenario(&super::Owner::pcscd($readers));
            }
        )+ }

        mod with_stock_library { $(
            #[test]
            fn $scenario() {
                super::in_a_process(concat!("inner_with_stock_library::", stringify!($scenario)));
            }
        )+ }

        mod inner_with_stock_library { $(
            #[test]
            #[ignore = "is run by the one above in a process of its own"]
            fn $scenario() {
                super::$scenario(&super::Owner::library($readers, super::stock::library()));
            }
        )+ }

        mod with_our_library { $(
            #[test]
            fn $scenario() {
                super::$scenario(&super::Owner::library($readers, super::artifacts::library()));
            }
        )+ }

        mod without_daemon { $(
            #[test]
            fn $scenario() {
                super::$scenario(&super::Owner::process($readers));
            }
        )+ }
    };
}

on_each! {
    a_card_is_used_in_every_way(1);
    dropping_a_card_does_the_chosen_disposition(1);
    transactions_exclude_others_and_report_resets(1);
    events_and_waits_follow_the_cards(2);
}

fn context(owner: &Owner) -> Context {
    match owner {
        Owner::Pcscd(pcscd) => pcscd.context(),
        Owner::Library { library, .. } => Context::builder()
            .choose_backend(Choice::System)
            .system_library(library)
            .establish()
            .unwrap(),
        Owner::Process { .. } => Context::builder()
            .choose_backend(Choice::Simulated)
            .establish()
            .unwrap(),
    }
}

fn name(owner: &Owner, number: usize) -> CString {
    CString::new(owner.reader(number).name()).unwrap()
}

fn connect(context: &Context, reader: &CString) -> Card {
    context
        .connect(reader, ShareMode::Shared, Protocols::ANY)
        .unwrap()
}

#[test]
fn contexts_and_cards_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Context>();
    shared::<Card>();
    shared::<ReaderState>();
    shared::<Transaction<'static>>();
}

fn a_card_is_used_in_every_way(owner: &Owner) {
    owner.reader(0).insert(atr::T1);
    let (context, reader) = (context(owner), name(owner, 0));
    assert_eq!(context.list_readers_len().unwrap(), reader.as_bytes().len() + 2);
    assert_eq!(
        context.list_readers(&mut [0; 4]).err(),
        Some(Error::InsufficientBuffer)
    );
    let mut buffer = [0; 200];
    assert!(context.list_readers(&mut buffer).unwrap().eq([&*reader]));

    let readers = context.readers().unwrap();
    assert_eq!(readers.len(), 1);
    assert_eq!((&readers[0].name, &readers[0].atr[..]), (&reader, atr::T1));
    assert!(readers[0].state.contains(State::PRESENT));
    assert_eq!(readers[0].identity.slot, Some(0));

    let mut card = connect(&context, &reader);
    assert_eq!(card.active_protocol(), Some(Protocol::T1));
    let status = card.status2_owned().unwrap();
    assert_eq!((status.atr(), status.protocol()), (atr::T1, Protocol::T1));
    assert_eq!(status.reader_names(), std::slice::from_ref(&reader));
    assert!(status.status().contains(Status::PRESENT | Status::POWERED));
    let (name_length, atr_length) = card.status2_len().unwrap();
    let (mut names, mut bytes) = (vec![0; name_length], vec![0; atr_length]);
    assert_eq!(card.status2(&mut names, &mut bytes).unwrap().atr(), atr::T1);
    assert_eq!(
        card.status2(&mut [], &mut []).err(),
        Some(Error::InsufficientBuffer)
    );

    let mut response = vec![0; MAX_BUFFER_SIZE_EXTENDED];
    assert_eq!(card.transmit(SELECT, &mut response).unwrap(), [0x90, 0]);
    assert_eq!(
        card.transmit(&[0; 4], &mut response).unwrap(),
        b"Hello world!\x90\x00"
    );
    assert_eq!(
        card.transmit(b"\x80\xE2\x02\x00", &mut response).unwrap().len(),
        65_548
    );
    assert_eq!(
        card.transmit2(&[0; 4], &mut [0; 3]).err().map(|(error, _)| error),
        Some(Error::InsufficientBuffer)
    );
    assert_eq!(card.control(ctl_code(1), b"abc", &mut response).unwrap(), b"abc");
    assert_eq!(
        card.control(ctl_code(2), b"abc", &mut response),
        Err(Error::UnsupportedFeature)
    );
    assert_eq!(card.get_attribute_owned(Attribute::AtrString).unwrap(), atr::T1);
    assert_eq!(
        card.get_attribute(Attribute::AtrString, &mut [0; 2]),
        Err(Error::InsufficientBuffer)
    );
    assert_eq!(card.get_attribute_len(Attribute::AtrString), Ok(atr::T1.len()));
    assert_eq!(
        card.set_attribute(Attribute::CurrentF, b"x"),
        Err(Error::UnsupportedFeature)
    );

    card.reconnect(ShareMode::Exclusive, Protocols::ANY, Disposition::ResetCard)
        .unwrap();
    let refused = context
        .connect(&reader, ShareMode::Shared, Protocols::ANY)
        .map(drop);
    assert_eq!(refused, Err(Error::SharingViolation));
    let (context, error) = context.release().unwrap_err();
    assert_eq!(error, Error::CantDispose);
    card.disconnect(Disposition::LeaveCard)
        .map_err(|(_, error)| error)
        .unwrap();
    context.release().map_err(|(_, error)| error).unwrap();
}

fn dropping_a_card_does_the_chosen_disposition(owner: &Owner) {
    let reader_box = owner.reader(0);
    reader_box.insert(atr::T1);
    let (context, reader) = (context(owner), name(owner, 0));
    let resets = |act: &mut dyn FnMut()| {
        let Counts { resets: before, .. } = reader_box.counts();
        act();
        reader_box.counts().resets - before
    };
    assert_eq!(
        resets(&mut || drop(connect(&context, &reader))),
        1,
        "as the pcsc crate does"
    );
    assert_eq!(
        resets(&mut || {
            let mut card = connect(&context, &reader);
            card.set_drop_disposition(Disposition::LeaveCard);
            assert_eq!(card.drop_disposition(), Disposition::LeaveCard);
        }),
        0
    );
    let mut card = connect(&context, &reader);
    assert_eq!(resets(&mut || drop(card.transaction().unwrap())), 0);
    assert_eq!(
        resets(&mut || {
            let mut transaction = card.transaction2().map_err(|(_, error)| error).unwrap();
            transaction.set_drop_disposition(Disposition::ResetCard);
        }),
        1
    );
}

fn transactions_exclude_others_and_report_resets(owner: &Owner) {
    owner.reader(0).insert(atr::T1);
    let reader = name(owner, 0);
    let (one, two) = (context(owner), context(owner));
    let (mut first, mut second) = (connect(&one, &reader), connect(&two, &reader));
    let transaction = first.transaction().unwrap();
    let waited = second.transaction_timeout(Duration::from_millis(50)).map(drop);
    assert_eq!(waited.map_err(Error::from), Err(Error::Timeout));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| second.transaction_timeout(LIMIT).map(drop));
        transaction.transmit(SELECT, &mut [0; 300]).unwrap();
        transaction
            .end(Disposition::ResetCard)
            .map_err(|(_, error)| error)
            .unwrap();
        assert_eq!(waiter.join().unwrap().map_err(Error::from), Err(Error::ResetCard));
    });
    second
        .reconnect(ShareMode::Shared, Protocols::ANY, Disposition::LeaveCard)
        .unwrap();
    assert!(second.transaction().is_ok());
    owner.reader(0).remove();
    assert_eq!(second.transmit(SELECT, &mut [0; 300]), Err(Error::RemovedCard));
    assert_eq!(
        one.connect(&reader, ShareMode::Shared, Protocols::ANY).map(drop),
        Err(Error::NoSmartcard)
    );
    let direct = one
        .connect(&reader, ShareMode::Direct, Protocols::UNDEFINED)
        .unwrap();
    assert_eq!(direct.active_protocol(), None);
    assert_eq!(direct.transmit(SELECT, &mut [0; 300]), Err(Error::ProtoMismatch));
}

fn events_and_waits_follow_the_cards(owner: &Owner) {
    let context = context(owner);
    let [first, second] = [0, 1].map(|number| name(owner, number));
    let mut events = context.events();
    let mut next = || events.next_timeout(LIMIT).unwrap().unwrap();
    assert_eq!(
        next(),
        Event::ReaderAdded {
            reader: first.clone()
        }
    );
    assert_eq!(
        next(),
        Event::ReaderAdded {
            reader: second.clone()
        }
    );
    for card in [atr::T0, atr::T1] {
        owner.reader(1).insert(card);
        assert_eq!(
            next(),
            Event::CardInserted {
                reader: second.clone(),
                atr: card.to_vec()
            }
        );
        owner.reader(1).remove();
        assert_eq!(
            next(),
            Event::CardRemoved {
                reader: second.clone()
            }
        );
    }
    assert!(events.next_timeout(Duration::from_millis(1)).is_none());
    context.cancel().unwrap();
    assert!(events.next().is_none());

    let mut states = [ReaderState::new(first, State::UNAWARE)];
    context.get_status_change(LIMIT, &mut states).unwrap();
    assert_eq!(states[0].event_state(), State::CHANGED | State::EMPTY);
    states[0].sync_current_state();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| context.get_status_change(None, &mut states));
        owner.reader(0).insert(atr::T1);
        waiter.join().unwrap().unwrap();
    });
    assert_eq!(states[0].atr(), atr::T1);
    let mut unknown = [ReaderState::new(c"nobody", State::UNAWARE)];
    assert_eq!(
        context.get_status_change(LIMIT, &mut unknown),
        Err(Error::UnknownReader)
    );
}

#[test]
fn two_daemons_and_the_simulated_reader_at_once() {
    let (one, mut two) = (Pcscd::start(1), Pcscd::start(2));
    let contexts = (one.context(), two.context());
    let _turn = take_turn();
    std::env::remove_var("PCSCLITE_SIMULATED");
    let simulated = Context::builder()
        .choose_backend(Choice::Simulated)
        .establish()
        .unwrap();
    let names = |context: &Context| context.list_readers_owned().unwrap();
    assert_eq!((names(&contexts.0).len(), names(&contexts.1).len()), (1, 2));
    let reader = names(&simulated).remove(0);
    let card = connect(&simulated, &reader);
    card.transmit(SELECT, &mut [0; 300]).unwrap();
    assert_eq!(
        card.transmit(&[0; 4], &mut [0; 300]).unwrap(),
        b"Hello world!\x90\x00"
    );

    two.kill();
    assert_eq!(contexts.1.is_valid(), Err(Error::InvalidHandle));
    assert_eq!(contexts.1.list_readers_owned(), Err(Error::NoService));
    assert_eq!(names(&contexts.0).len(), 1);
    two.restart();
    assert_eq!(names(&two.context()).len(), 2);
}
