//! A process without a daemon: the choice of the backend, readers in use by another process, and the cost of
//! idling.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use pcsc_client::{BackendKind, Context, Error, Scope};
use pcsc_tests::{
    artifacts, atr, context_switches, in_namespace, run, sleeps_since, Pcscd, Share, Simulation, Usage, USB,
};

const LIMIT: Duration = Duration::from_secs(300);
const SHARED: &str = "2 3";

/// A process with our library, which reads one command a line.
struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn start(environment: &[(&str, String)]) -> Client {
        let mut command = Command::new(artifacts::binary("pcsc-tests", "winscard"));
        command
            .arg(artifacts::library())
            .envs(environment.iter().cloned());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Client {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn say(&mut self, command: &str) -> String {
        self.send(command);
        self.hear()
    }

    fn send(&mut self, command: &str) {
        writeln!(self.input, "{command}").unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Ends the process like a crash.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Runs one of the tests below in a process and a namespace of its own, with a /run/pcscd that is `daemon`
/// and a /sys of these folders.
fn run_test(test: &str, daemon: &Path, socket: &Path, folders: &str) {
    let mut command = in_namespace(daemon, folders, std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env("TEST_SOCKET", socket)
        .env_remove("PCSCLITE_CSOCK_NAME")
        .env_remove("PCSCLITE_BACKEND")
        .env("XDG_RUNTIME_DIR", daemon);
    let text = run(&mut command, LIMIT).stdout();
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "is run by the next one in a namespace"]
fn inner_a_daemon_comes_and_goes() {
    let establish = || Context::establish(Scope::User).unwrap();
    let alone = establish();
    assert_eq!(alone.backend(), BackendKind::Standalone);
    assert_eq!(alone.list_readers_owned(), Ok(Vec::new()));
    assert_eq!(establish().backend(), BackendKind::Standalone);

    let link = PathBuf::from("/run/pcscd/pcscd.comm");
    symlink(std::env::var_os("TEST_SOCKET").unwrap(), &link).unwrap();
    let served = establish();
    assert!(matches!(served.backend(), BackendKind::Daemon { .. }));
    assert_eq!(served.list_readers_owned().map(|names| names.len()), Ok(1));
    // The daemon has the readers now. Calls of the old context fail.
    assert_eq!(alone.is_valid(), Err(Error::InvalidHandle));
    let failure = alone.try_list_readers().unwrap_err();
    assert_eq!(failure.error(), Error::NoService);
    assert!(failure.to_string().contains("new context"), "{failure}");
    drop(alone);

    std::fs::remove_file(&link).unwrap();
    let alone = establish();
    assert_eq!(alone.backend(), BackendKind::Standalone);
    // A new socket on which no process listens does not count as a daemon.
    drop(std::os::unix::net::UnixListener::bind(&link).unwrap());
    assert_eq!(establish().backend(), BackendKind::Standalone);
}

#[test]
fn a_daemon_comes_and_goes() {
    let pcscd = Pcscd::start(1);
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    run_test(
        "inner_a_daemon_comes_and_goes",
        folder.path(),
        &pcscd.socket(),
        USB,
    );
}

#[test]
#[ignore = "is run by the next one in a namespace"]
fn inner_threads_that_come_first_at_once_share_the_readers() {
    const THREADS: usize = 8;
    let start = Barrier::new(THREADS);
    for _ in 0..50 {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    let context = Context::establish(Scope::User);
                    // Each thread has established its context by then.
                    start.wait();
                    let context = context.unwrap();
                    assert_eq!(context.backend(), BackendKind::Standalone);
                    assert_eq!(context.list_readers_owned(), Ok(Vec::new()));
                });
            }
        });
    }
}

#[test]
fn threads_that_come_first_at_once_share_the_readers() {
    let folder = tempfile::tempdir().unwrap();
    // A daemon has left its socket behind, which does not make it one that has come.
    let socket = folder.path().join("pcscd.comm");
    drop(UnixListener::bind(&socket).unwrap());
    run_test(
        "inner_threads_that_come_first_at_once_share_the_readers",
        folder.path(),
        &socket,
        USB,
    );
}

#[test]
#[ignore = "is run by the next one in a namespace"]
fn inner_the_users_server_comes_second() {
    let establish = || Context::establish(Scope::User).unwrap();
    let alone = establish();
    assert_eq!(alone.backend(), BackendKind::Standalone);
    let folder = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR").unwrap()).join("pcsc");
    std::fs::create_dir(&folder).unwrap();
    let socket = std::env::var_os("TEST_SOCKET").unwrap();
    let own = folder.join("pcscd.comm");
    // The file itself: a link would not count.
    std::fs::hard_link(&socket, &own).unwrap();
    let served = establish();
    assert!(matches!(served.backend(), BackendKind::Daemon { path, .. } if path == own));
    assert_eq!(served.list_readers_owned().map(|names| names.len()), Ok(1));
    assert_eq!(alone.is_valid(), Err(Error::InvalidHandle));

    let system = PathBuf::from("/run/pcscd/pcscd.comm");
    symlink(&socket, &system).unwrap();
    assert!(matches!(establish().backend(), BackendKind::Daemon { path, .. } if path == system));
    std::fs::remove_file(&system).unwrap();
    assert!(matches!(establish().backend(), BackendKind::Daemon { path, .. } if path == own));
    // Nobody listens there, or another user's server does.
    std::fs::remove_file(&own).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&own).unwrap());
    assert_eq!(establish().backend(), BackendKind::Standalone);
    std::fs::remove_file(&own).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(65534), None).unwrap();
    assert_eq!(establish().backend(), BackendKind::Standalone);
}

#[test]
fn the_users_server_comes_second() {
    let share = Share::start(1);
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    run_test(
        "inner_the_users_server_comes_second",
        folder.path(),
        &share.socket(),
        USB,
    );
}

#[test]
#[ignore = "is run by the next one in a namespace"]
fn inner_without_usb_there_is_no_service() {
    assert_eq!(Context::establish(Scope::User).map(drop), Err(Error::NoService));
    let simulated = Context::builder()
        .simulate_if_no_reader(true)
        .establish()
        .unwrap();
    assert_eq!(simulated.backend(), BackendKind::Simulated);
}

#[test]
fn without_usb_there_is_no_service() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let nowhere = PathBuf::from("/nonexistent");
    run_test(
        "inner_without_usb_there_is_no_service",
        folder.path(),
        &nowhere,
        "bus",
    );
}

#[test]
fn a_reader_in_use_by_another_process_is_listed_and_used_once_it_is_free() {
    let simulation = Simulation::start(2);
    simulation.reader(0).insert(atr::T1);
    let names = [0, 1].map(|number| simulation.reader(number).name());
    let connect = format!("connect {SHARED} {}", names[0]);

    let mut first = Client::start(&simulation.environment());
    assert_eq!(first.say("establish"), "00000000");
    assert!(first.say(&connect).starts_with("00000000"));
    let mut second = Client::start(&simulation.environment());
    assert_eq!(second.say("establish"), "00000000");
    assert_eq!(second.say("list"), format!("00000000 {}", names.join("|")));
    assert!(second.say(&connect).starts_with("8010000B"));
    // The wait ends once the reader is free and the card in it can be seen.
    second.send(&format!("watch 30000 8 {}", names[0]));
    // In the middle of an APDU of a second.
    first.send("transmit 80DE0400");
    first.kill();
    let seen = second.hear();
    assert!(seen.starts_with("00000000") && seen.contains("3B84"), "{seen}");
    assert!(second.say(&connect).starts_with("00000000"));
    assert_eq!(
        second.say("transmit 00000000"),
        "00000000 48656C6C6F20776F726C64219000"
    );
}

#[test]
fn a_process_that_neither_connects_nor_waits_for_cards_claims_no_reader() {
    let simulation = Simulation::start(1);
    simulation.reader(0).insert(atr::T1);
    let name = simulation.reader(0).name();
    let connect = format!("connect {SHARED} {name}");

    let [mut first, mut second] = [(); 2].map(|()| Client::start(&simulation.environment()));
    for client in [&mut first, &mut second] {
        assert_eq!(client.say("establish"), "00000000");
        assert_eq!(client.say("list"), format!("00000000 {name}"));
    }
    // One process waits for readers to come and go, the other one uses the card.
    second.send(r"watch 1500 0 \\?PnP?\Notification");
    assert!(first.say(&connect).starts_with("00000000"));
    assert!(second.hear().starts_with("8010000A"));
    assert!(second.say(&connect).starts_with("8010000B"));
    // After the end of the connection the device is released, while the context stays.
    second.send(&format!("watch 30000 8 {name}"));
    assert_eq!(first.say("disconnect 0"), "00000000");
    let seen = second.hear();
    assert!(seen.starts_with("00000000") && seen.contains("3B84"), "{seen}");
    assert!(second.say(&connect).starts_with("00000000"));
    assert!(first.say(&connect).starts_with("8010000B"));
}

#[test]
fn readers_are_ignored_and_renamed_by_the_environment() {
    let simulated = |names: &[(&str, &str)]| {
        let mut environment = vec![
            ("PCSCLITE_BACKEND", "simulated".to_owned()),
            ("PCSCLITE_SIMULATED", "au9540,scr331-di,scr3310".to_owned()),
        ];
        environment.extend(names.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut client = Client::start(&environment);
        assert_eq!(client.say("establish"), "00000000");
        client.say("list")
    };
    assert_eq!(
        simulated(&[]),
        "00000000 Alcor Micro AU9540 00 00|SCM Microsystems Inc. SCR 331-DI [CCID Interface] 01 00|\
         SCM Microsystems Inc. SCR 331-DI [CCID Interface] 01 01|SCM Microsystems Inc. SCR 3310 [CCID \
         Interface] 02 00"
    );
    assert_eq!(
        simulated(&[
            ("PCSCLITE_FILTER_IGNORE_READER_NAMES", "nothing:331-DI"),
            ("PCSCLITE_FILTER_EXTEND_READER_NAMES", " here"),
        ]),
        "00000000 Alcor Micro AU9540 here 00 00|SCM Microsystems Inc. SCR 3310 [CCID Interface] here 01 00"
    );
}

#[test]
fn idling_costs_nothing_and_a_release_ends_the_threads() {
    let environment = [
        ("PCSCLITE_BACKEND", "simulated".to_owned()),
        ("PCSCLITE_SIMULATED", "gempc-express,scr331-di".to_owned()),
    ];
    let mut client = Client::start(&environment);
    assert_eq!(client.say("establish"), "00000000");
    // Until the unused cards are powered down, the threads have work to do.
    let list = client.say("list");
    let name = list.trim_start_matches("00000000 ").split('|').next().unwrap();
    let seen = client.say(&format!("watch 0 0 {name}"));
    assert!(seen.starts_with("00000000"), "{seen}");
    std::thread::sleep(Duration::from_secs(7));
    let process = client.child.id();
    // On a busy machine the threads come to rest later. One of several windows must be quiet.
    let mut found = Vec::new();
    for _ in 0..6 {
        client.send(&format!("watch 10000 20 {name}"));
        std::thread::sleep(Duration::from_secs(1));
        let before = context_switches(process);
        std::thread::sleep(Duration::from_secs(7));
        found.push(sleeps_since(process, &before));
        assert!(client.hear().starts_with("8010000A"));
        if found.last().is_some_and(BTreeMap::is_empty) {
            break;
        }
    }
    let is_quiet = found.last().is_some_and(BTreeMap::is_empty);
    assert!(is_quiet, "wake-ups in each window: {found:?}");

    let threads = || Usage::of(process).threads;
    assert!(threads() > 1);
    let start = Instant::now();
    assert_eq!(client.say("release"), "00000000");
    assert!(start.elapsed() < LIMIT);
    // A thread that was joined is listed until the kernel has removed it.
    while threads() > 1 {
        assert!(start.elapsed() < LIMIT, "{} threads", threads());
        std::thread::sleep(Duration::from_millis(1));
    }
}
