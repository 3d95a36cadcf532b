//! What calls cost: system calls and yields, counted by strace, and locks of mutexes, counted by callgrind.
//! But for the number of yields, these numbers do not depend on the machine.

mod yields;

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pcsc_client::{Choice, Context, Protocols, ShareMode};
use pcsc_tests::{artifacts, atr, run, stock, Pcscd};

/// The most times that the calls are counted. A count depends on the order in which client and daemon run.
const LOOKS: usize = 20;

/// The system calls of a client on its socket for a line of commands, after those that open it.
fn socket_calls(pcscd: &Pcscd, library: &Path, commands: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (script, trace) = (folder.path().join("script"), folder.path().join("trace"));
    std::fs::write(&script, commands).unwrap();
    let mut command = Command::new("strace");
    command
        .args([
            "-e",
            "trace=network,poll,ppoll,read,readv,write,writev,select,fcntl",
            "-o",
        ])
        .arg(&trace);
    command
        .arg(artifacts::binary("pcsc-tests", "winscard"))
        .arg(library)
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    command.stdin(Stdio::from(std::fs::File::open(&script).unwrap()));
    let text = run(&mut command, Duration::from_secs(300)).stdout();
    assert!(
        text.lines()
            .all(|line| line.starts_with("00000000") || line.starts_with("8010000A")),
        "{text}"
    );
    let trace = std::fs::read_to_string(trace).unwrap();
    let connected = trace
        .lines()
        .position(|line| line.contains("pcscd.comm"))
        .expect("a connection");
    trace
        .lines()
        .skip(connected + 1)
        .filter(|line| !line.starts_with("read(0") && !line.starts_with("write(1") && !line.starts_with('+'))
        .map(|line| line.split('(').next().unwrap().to_owned())
        .collect()
}

/// The least numbers of system calls seen of eleven equal commands and of one. A client that runs between two
/// writes of the daemon needs more of them.
struct Least([usize; 2]);

impl Least {
    /// Runs the commands again.
    fn look(&mut self, pcscd: &Pcscd, library: &Path, command: &str) {
        for (least, count) in self.0.iter_mut().zip([11, 1]) {
            let commands = format!("{command}\n").repeat(count);
            let script = format!("establish\nconnect 2 3 pcsc-tests 00 00\n{commands}");
            *least = socket_calls(pcscd, library, &script).len().min(*least);
        }
    }

    /// The number of ten commands.
    fn of_ten(&self) -> usize {
        self.0[0] - self.0[1]
    }
}

#[test]
fn no_call_costs_more_system_calls_than_stock_and_one_exchange_three() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let (ours, stock) = (artifacts::library(), stock::library());
    for command in [
        "transmit 80EC00000401020304",
        "status",
        "list",
        "attribute 90303",
        // Two calls. The answer to the first also serves the second.
        "sized-list",
        "sized-attribute 10100",
        "control 42000001 01020304",
    ] {
        let mut least = [Least([usize::MAX; 2]), Least([usize::MAX; 2])];
        let is_right = |counts: [usize; 2]| counts[1] == 30 && counts[1] <= counts[0];
        let mut counts = [0; 2];
        for _ in 0..LOOKS {
            for (least, library) in least.iter_mut().zip([&stock, &ours]) {
                least.look(&pcscd, library, command);
            }
            counts = least.each_ref().map(Least::of_ten);
            if is_right(counts) {
                break;
            }
        }
        println!(
            "{command}: stock {}, ours {} system calls for ten",
            counts[0], counts[1]
        );
        assert!(is_right(counts), "{command}: {counts:?}");
    }
}

/// How often each function has locked a mutex of std, in callgrind's output. A function has its name there
/// once, and then its number. The locks of the driver's helper count for its callers.
///
/// A driver's mutex locks its gate when it is unlocked while another thread waits for it. That is not
/// counted: the thread that watches the reader may wait during any number of transmits.
fn locks(callgrind: &str) -> BTreeMap<&str, usize> {
    const HELPER: &str = "pcsc_ccid::shared::sync::lock";
    let mut names = HashMap::new();
    let mut name_of = |text| {
        let (number, name) = str::split_once(text, ' ').unwrap_or((text, ""));
        if !name.is_empty() {
            names.insert(number, name);
        }
        names[number]
    };
    let (mut caller, mut callee) = ("", "");
    let mut locks = BTreeMap::new();
    for line in callgrind.lines() {
        match line.split_once('=') {
            Some(("fn", name)) => caller = name_of(name),
            Some(("cfn", name)) => callee = name_of(name),
            Some(("calls", counts)) => {
                let is_of_std = callee.starts_with("std::")
                    && (callee.ends_with("Mutex<T>::lock") || callee.ends_with("Mutex<T>::try_lock"));
                let is_lock = callee == HELPER || is_of_std && caller != HELPER;
                if is_lock && !caller.contains("timed_mutex::Unlock") {
                    let count: usize = counts.split(' ').next().unwrap().parse().unwrap();
                    *locks.entry(caller).or_default() += count;
                }
            }
            _ => (),
        }
    }
    locks
}

/// Through the manager and the driver, on the bundled reader. The locks are, in this order: the connections
/// of the client, the slot's driver, its state, the reader that slots share, and the simulated device to send
/// and to receive. In the test profile a lock is a call, which callgrind sees.
#[test]
fn a_transmit_without_a_daemon_locks_six_mutexes() {
    const COUNT: &str = "PCSC_TESTS_TRANSMITS";
    if let Ok(count) = env::var(COUNT) {
        let context = Context::builder()
            .choose_backend(Choice::Simulated)
            .establish()
            .unwrap();
        let name = context.list_readers_owned().unwrap().remove(0);
        let card = context.connect(&name, ShareMode::Shared, Protocols::ANY).unwrap();
        for _ in 0..count.parse().unwrap() {
            card.transmit(b"\x80\xCA\0\0\0", &mut [0; 258]).unwrap();
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let calls_of = |count: &str| {
        let out = folder.path().join(count);
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--separate-threads=yes"])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(env::current_exe().unwrap())
            .args(["--exact", "a_transmit_without_a_daemon_locks_six_mutexes"])
            .env(COUNT, count);
        run(&mut command, Duration::from_secs(120)).stdout();
        // The first thread is the harness, the second one the test.
        std::fs::read_to_string(folder.path().join(format!("{count}-02"))).unwrap()
    };
    let [few, many] = ["1", "101"].map(calls_of);
    let (few, many) = (locks(&few), locks(&many));
    // What a connection locks depends on how far the reader's thread is, by less than half of this.
    let per_transmit = |more: usize| (more + 50) / 100;
    let more = |(name, count): (&&str, &usize)| {
        let more = count.saturating_sub(few.get(name).copied().unwrap_or(0));
        (more > 0).then(|| (name.to_string(), more))
    };
    let more: Vec<(String, usize)> = many.iter().filter_map(more).collect();
    let sum = more.iter().map(|(_, count)| count).sum();
    assert_eq!(per_transmit(sum), 6, "a hundred transmits: {more:#?}");
}
