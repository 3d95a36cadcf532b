//! The readers of other daemons, served by ours.

use std::collections::HashSet;
use std::ffi::CString;
use std::process::Command;
use std::sync::{mpsc, Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pcsc_client::{Card, Context, Disposition, Error, Protocols, ReaderState, ShareMode, State};
use pcsc_tests::scripted::{reader, Answer, Script, Scripted};
use pcsc_tests::{artifacts, atr, client, run, Pcscd, Share, WireClient};
use pcsc_wire::{DisconnectBody, ReaderEventsBody, ReaderStateRecords, RequestCode as Request};
use rustix::process::{kill_process, Pid, Signal};

use super::{connect, list, transmit, NAME, PATIENCE};

fn source(path: &std::path::Path) -> String {
    format!("daemon:{}", path.display())
}

/// A server of pcscd's readers.
fn share(pcscd: &Pcscd) -> Share {
    Share::start_with(&[&source(&pcscd.socket())])
}

/// Waits until the list of readers changes from what it is when `what` begins.
fn until_list_changes(context: &Context, known: &mut [ReaderState], what: impl FnOnce()) {
    what();
    context.get_status_change(PATIENCE, known).unwrap();
    known[0].sync_current_state();
}

#[test]
fn clients_of_all_versions_use_daemons_of_all_versions() {
    for upstream in 2..=6 {
        let daemon = Scripted::start(Script::new(upstream));
        let share = Share::start_with(&[&source(daemon.path())]);
        for minor in 2..=6 {
            let what = format!("a client of 4.{minor}, and a daemon of 4.{upstream}");
            let mut client = WireClient::connect(&share.socket(), minor);
            let states = client.wait();
            let state = ReaderStateRecords::new(&states, client.endian()).find(b"Scripted 00");
            let state = state.unwrap_or_else(|| panic!("{what}: no reader"));
            assert_eq!(state.atr, [0x3B, 0x80, 0x01, 0x81], "{what}");
            // Another card.
            daemon.change(|readers| {
                readers[0].event_counter += 2;
            });
            assert_eq!(client.event(), 0, "{what}");
            client.is_in_step();
            let context = client.establish();
            let connected = client.connect_card(context, "Scripted 00", 2);
            assert_eq!(connected.rv, 0, "{what}");
            let (rv, answer) = client.transmit(connected.card, &[0, 0xA4, 4, 0]);
            assert_eq!(rv, 0, "{what}: {answer:02X?}");
        }
        // One that comes and one that goes.
        let mut client = WireClient::connect(&share.socket(), 6);
        client.wait();
        daemon.change(|readers| {
            readers[1] = reader(1);
        });
        assert_eq!(client.event(), 0);
        client.request(Request::GetReaderEvents);
        let events: ReaderEventsBody = client.receive();
        assert_eq!((events.events, events.rv), (3, 0), "a daemon of 4.{upstream}");
    }
}

#[test]
fn no_more_than_255_readers_are_taken_from_a_daemon() {
    let daemon = Scripted::start(Script {
        readers: 300,
        slots: 300,
        ..Script::new(6)
    });
    let share = Share::start_with(&[&source(daemon.path())]);
    let names = list(&share.context());
    assert_eq!(names.len(), 255, "{names:?}");
}

#[test]
fn programs_use_pcscd_through_the_server() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let share = share(&pcscd);
    for is_ours in [false, true] {
        let mut command: Command = client("opensc-tool");
        command.args(["--atr"]).env("PCSCLITE_CSOCK_NAME", share.socket());
        if is_ours {
            command.env("LD_LIBRARY_PATH", artifacts::library_folder());
        }
        let output = run(&mut command, Duration::from_secs(60)).stdout();
        assert!(output.contains("54:3d:31:21"), "{output}");
    }
}

#[test]
fn transactions_bind_clients_on_both_sides() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let share = share(&pcscd);
    let mut direct = pcscd.connect(0);
    let mut through = connect(&share.context());
    // Only the pauses between its requests have a limit: a request that is given up costs the connection.
    let begin = |card: &mut Card| card.transaction_timeout(Duration::from_secs(1)).map(drop);
    let transaction = direct.transaction().unwrap();
    assert_eq!(begin(&mut through).unwrap_err().error(), Error::Timeout);
    transaction.end(Disposition::LeaveCard).unwrap();
    assert_eq!(transmit(&through).unwrap(), b"Hello world!\x90\x00");

    let transaction = through.transaction().unwrap();
    assert_eq!(begin(&mut direct).unwrap_err().error(), Error::Timeout);
    // The card is reset, and both see it.
    transaction.end(Disposition::ResetCard).unwrap();
    assert_eq!(transmit(&direct).unwrap_err(), Error::ResetCard);
}

#[test]
fn the_readers_of_a_daemon_go_and_come_with_it() {
    let mut pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let share = share(&pcscd);
    let watcher = share.context();
    let card = connect(&watcher);
    assert_eq!(transmit(&card).unwrap(), b"Hello world!\x90\x00");
    let mut known = [ReaderState::new(pcsc_client::PNP_NOTIFICATION(), State::UNAWARE)];
    // Learns the count.
    let _ = watcher.get_status_change(Duration::ZERO, &mut known);
    known[0].sync_current_state();

    until_list_changes(&watcher, &mut known, || pcscd.kill());
    assert_eq!(list(&watcher), [""; 0]);
    assert_eq!(transmit(&card).unwrap_err(), Error::ReaderUnavailable);
    let name = CString::new(NAME).unwrap();
    let connected = watcher.connect(&name, ShareMode::Shared, Protocols::ANY);
    assert_eq!(connected.err(), Some(Error::UnknownReader));

    until_list_changes(&watcher, &mut known, || pcscd.restart());
    assert_eq!(list(&watcher), [NAME]);
    pcscd.reader(0).insert(atr::T1);
    // The connection was with the daemon that has gone.
    assert_eq!(transmit(&card).unwrap_err(), Error::ReaderUnavailable);
    assert_eq!(transmit(&connect(&watcher)).unwrap(), b"Hello world!\x90\x00");
    let log = share.log();
    let serious = log.lines().filter(|line| {
        ["pcsc: warn: ", "pcsc: error: "]
            .iter()
            .any(|start| line.starts_with(start))
    });
    let at = pcscd.socket().display().to_string();
    let gone = format!("pcsc: warn: the daemon at {at} is gone: it has closed the connection");
    assert_eq!(serious.collect::<Vec<_>>(), [gone], "{log}");
}

/// Programs compare counts, and sleep on where the count is the same.
#[test]
fn a_reader_whose_daemon_goes_before_its_first_event_is_counted() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    // The source is the daemon's only client that waits.
    let daemon = Scripted::with(5, move |request, answer, _| {
        if request == Request::WaitReaderStateChange {
            // Nothing is sent: this returns when the test drops the other end.
            let _ = released.lock().unwrap().recv();
            return Answer::SendThenClose(Vec::new());
        }
        Answer::Send(answer)
    });
    // Dropped before the daemon, which waits for its threads.
    let release = release;
    let share = Share::start_with(&[&source(daemon.path())]);
    let mut client = WireClient::connect(&share.socket(), 6);
    let count = |client: &mut WireClient| {
        client.request(Request::GetReaderEvents);
        client.receive::<ReaderEventsBody>().events
    };
    let before = count(&mut client);
    let states = client.wait();
    let shown = ReaderStateRecords::new(&states, client.endian()).find(b"Scripted 00");
    assert!(shown.is_some());
    drop(release);
    assert_eq!(client.event(), 0);
    assert_ne!(count(&mut client), before);
}

#[test]
fn a_call_ends_with_its_daemon() {
    let mut pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let share = share(&pcscd);
    let card = connect(&share.context());
    pcscd.reader(0).delay(Duration::from_secs(60));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| transmit(&card));
        while pcscd.reader(0).counts().transmits == 0 {
            std::thread::yield_now();
        }
        pcscd.kill();
        assert_eq!(call.join().unwrap(), Err(Error::ReaderUnavailable));
    });
}

#[test]
fn a_daemon_that_hangs_takes_no_other_readers_along() {
    let (frozen, other) = (Pcscd::start(1), Scripted::start(Script::new(6)));
    let share = Share::start_with(&[&source(&frozen.socket()), &source(other.path())]);
    let context = share.context();
    assert_eq!(list(&context).len(), 2);
    let pid = Pid::from_raw(frozen.pid() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while list(&context) != ["Scripted 00 (source 2)"] {
        assert!(Instant::now() < deadline, "{:?}", list(&context));
    }
    let name = CString::new("Scripted 00 (source 2)").unwrap();
    let card = context.connect(&name, ShareMode::Shared, Protocols::ANY).unwrap();
    transmit(&card).unwrap();
    share.wait_for_log("is gone: it has not answered in time");
    kill_process(pid, Signal::CONT).unwrap();
    let mut known = [ReaderState::new(pcsc_client::PNP_NOTIFICATION(), State::UNAWARE)];
    while list(&context).len() < 2 {
        let _ = context.get_status_change(Duration::from_secs(1), &mut known);
        assert!(Instant::now() < deadline, "{:?}", list(&context));
    }
}

/// Daemons that do not answer a look at their readers before all of them have been asked for one, while they
/// are armed. To a server that asks one after another, each but the last one hangs.
struct Together {
    asked: Mutex<Option<HashSet<usize>>>,
    changed: Condvar,
}

impl Together {
    const COUNT: usize = 2;

    fn start() -> (Arc<Together>, [Scripted; Together::COUNT]) {
        let together = Arc::new(Together {
            asked: Mutex::new(None),
            changed: Condvar::new(),
        });
        let daemons = [0, 1].map(|number| {
            let together = together.clone();
            Scripted::with(5, move |request, answer, _| {
                if request == Request::GetReadersState {
                    together.wait(number);
                }
                Answer::Send(answer)
            })
        });
        (together, daemons)
    }

    fn wait(&self, number: usize) {
        let mut asked = self.asked.lock().unwrap();
        if let Some(asked) = &mut *asked {
            asked.insert(number);
            self.changed.notify_all();
        }
        let is_one_left = |asked: &mut Option<HashSet<usize>>| {
            asked.as_ref().is_some_and(|asked| asked.len() < Together::COUNT)
        };
        drop(
            self.changed
                .wait_timeout_while(asked, PATIENCE, is_one_left)
                .unwrap(),
        );
    }

    /// Has the looks from now on wait for each other.
    fn arm(&self) {
        *self.asked.lock().unwrap() = Some(HashSet::new());
    }
}

#[test]
fn daemons_that_begin_to_hang_delay_a_list_by_no_more_than_one_of_them() {
    let (together, daemons) = Together::start();
    let [first, second] = daemons.each_ref().map(|daemon| source(daemon.path()));
    let share = Share::start_with(&[&first, &second]);
    let context = share.context();
    let names = ["Scripted 00", "Scripted 00 (source 2)"];
    assert_eq!(list(&context), names);
    together.arm();
    assert_eq!(list(&context), names);
    // So does a connect to a reader that may have just come.
    together.arm();
    let nobody = context.connect(c"Nobody", ShareMode::Shared, Protocols::ANY);
    assert_eq!(nobody.err(), Some(Error::UnknownReader));
    assert_eq!(list(&context), names);
    assert!(!share.log().contains("is gone"), "{}", share.log());
}

#[test]
fn connects_to_a_reader_ask_no_other_source() {
    const CONNECTS: usize = 20;
    let daemons = [(); 2].map(|()| Scripted::start(Script::new(6)));
    let [first, second] = daemons.each_ref().map(|daemon| source(daemon.path()));
    let share = Share::start_with(&[&first, &second]);
    let mut client = WireClient::connect(&share.socket(), 6);
    client.wait();
    daemons[1].change(|readers| readers[0].event_counter += 2);
    // The server has the event, and with it the names of the readers there.
    assert_eq!(client.event(), 0);
    let context = client.establish();
    let before = daemons.each_ref().map(Scripted::rounds);
    for _ in 0..CONNECTS {
        let connected = client.connect_card(context, "Scripted 00 (source 2)", 2);
        assert_eq!(connected.rv, 0);
        let body = DisconnectBody {
            card: connected.card,
            disposition: 0,
            rv: 0,
        };
        assert_eq!(client.call(Request::Disconnect, body).rv, 0);
    }
    let [other, own] = [0, 1].map(|number| daemons[number].rounds() - before[number]);
    // The looks that follow the start and the event may fall into this time, and so does the handshake of the
    // first connect.
    assert!(other < CONNECTS / 2, "{other} round trips of another source");
    let expected = 2 * CONNECTS..3 * CONNECTS;
    assert!(
        expected.contains(&own),
        "{own} round trips of the reader's source"
    );
}

#[test]
fn readers_of_several_sources_are_told_apart_by_the_source() {
    let pcscd = [Pcscd::start(1), Pcscd::start(1), Pcscd::start(1)];
    let [first, second, third] = pcscd.each_ref().map(|pcscd| source(&pcscd.socket()));
    let mut share = Share::start_with(&[&first, &second, &format!("front desk={third}")]);
    let names = [
        NAME,
        "pcsc-tests (source 2) 00 00",
        "pcsc-tests (front desk) 00 00",
    ];
    let context_of_all = share.context();
    assert_eq!(list(&context_of_all), names);
    for (number, name) in names.into_iter().enumerate() {
        pcscd[number].reader(0).insert(atr::T1);
        let c_name = CString::new(name).unwrap();
        let mut known = [ReaderState::new(c_name.clone(), State::EMPTY)];
        context_of_all.get_status_change(PATIENCE, &mut known).unwrap();
        let card = context_of_all
            .connect(&c_name, ShareMode::Shared, Protocols::ANY)
            .unwrap();
        assert_eq!(transmit(&card).unwrap(), b"Hello world!\x90\x00");
        // The name by which a program finds the reader again.
        let mut value = [0; 264];
        let id = pcsc_client::Attribute::DeviceFriendlyName;
        let attribute = card.get_attribute(id, &mut value).unwrap();
        assert_eq!(attribute, c_name.to_bytes_with_nul(), "{name}");
        assert_eq!(pcscd[number].reader(0).counts().transmits, 1, "{name}");
    }
    share.kill();
    // Whether the first source is there does not matter.
    let share = Share::start_with(&["daemon:/nonexistent", &second]);
    assert_eq!(list(&share.context()), [names[1]]);
    let absent = "pcsc: warn: the daemon at /nonexistent does not answer: cannot connect: No such file";
    share.wait_for_log(absent);
}
