//! Many processes at once, of which one is killed every 100 ms. `scripts/stress` runs this for a minute.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pcsc_tests::{artifacts, Share, Usage};

use crate::many::{check_readers, wait_until_as};

const CLIENTS: usize = 64;
const READERS: usize = 8;
const EVERY: Duration = Duration::from_millis(100);
/// How long it lasts by default, in seconds.
const DEFAULT: u64 = 3;
/// How many killed clients may still have a thread and a descriptor.
const ENDING: usize = 8;
/// The limit of every wait: for the server to serve a new client or to end a killed one's thread, and for a
/// call or a round of calls of a client that lives. A call that waits for a killed client exceeds it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client is doing when it is killed.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Whatever it does at the time.
    Any,
    /// A transaction, with a command in progress.
    Transaction,
    /// A transaction, in the middle of a message.
    Message,
}

/// A process that is a client.
struct Stressed {
    child: Child,
    orders: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    fate: Fate,
    /// Its longest call and its longest round of calls, in microseconds.
    longest: [u64; 2],
}

impl Stressed {
    fn start(share: &Share, place: usize, number: usize) -> Stressed {
        let fate = [Fate::Any, Fate::Transaction, Fate::Message][number % 3];
        let mut child = Command::new(artifacts::binary("pcsc-tests", "stress"))
            .arg(share.socket())
            .arg(format!("Gemalto GemPC Express {:02X} 00", place % READERS))
            .arg((2 + number % 5).to_string())
            .arg(match fate {
                Fate::Message => "message",
                _ => "transaction",
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        Stressed {
            orders: child.stdin.take(),
            output: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            fate,
            longest: [0; 2],
        }
    }

    /// Reads a line. Returns whether the times have been received.
    fn read(&mut self) -> bool {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a pipe");
        let times = line.trim().split_once(' ');
        let Some((call, round)) = times else {
            return false;
        };
        self.longest = [call, round].map(|time| time.parse().expect("a time"));
        true
    }

    /// Kills it in the state that its fate says, and returns its longest call and round.
    fn kill(mut self) -> [u64; 2] {
        if !matches!(self.fate, Fate::Any) {
            let mut orders = self.orders.as_ref().expect("a client that was not told to end");
            orders.write_all(b"\n").expect("the client runs");
            while self.read() {}
        }
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
        while self.read() {}
        self.longest
    }

    /// Lets it end, and returns its longest call and round.
    fn end(mut self) -> [u64; 2] {
        self.orders = None;
        while self.read() {}
        let status = self.child.wait().expect("our child");
        assert!(status.success(), "a client has failed: {status}");
        self.longest
    }
}

impl Drop for Stressed {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn processes_that_are_killed_leave_nothing_behind() {
    let seconds = env::var("PCSC_TESTS_STRESS").map_or(DEFAULT, |text| text.parse().expect("seconds"));
    // The server's own limit must not free a card that a killed client has left in mid-message.
    let readers = format!("sim:{}", ["gempc-express"; READERS].join(","));
    let share = Share::start_with(&["--patience", "600", &readers]);
    let before = Usage::of(share.pid());
    let mut clients: Vec<Stressed> = (0..CLIENTS)
        .map(|number| Stressed::start(&share, number, number))
        .collect();
    // Those that come late would count as growth. `before` may have a thread of the client that has waited
    // for the server's start.
    let deadline = Instant::now() + PATIENCE;
    while Usage::of(share.pid()).threads < before.threads + (CLIENTS - ENDING) as u64 {
        assert!(Instant::now() < deadline, "{:?}", Usage::of(share.pid()));
        thread::sleep(Duration::from_millis(2));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut samples = Vec::new();
    let mut next = Instant::now();
    let mut started = CLIENTS;
    let mut times = thread::scope(|scope| {
        let mut killers = Vec::new();
        while Instant::now() < end {
            next += EVERY;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            // 64 and 7 have no common divisor: each client has its turn.
            let victim = started * 7 % CLIENTS;
            let new = Stressed::start(&share, victim, started);
            let old = std::mem::replace(&mut clients[victim], new);
            // It takes some time until it is in the state that it is to end in.
            killers.push(scope.spawn(|| old.kill()));
            started += 1;
            for client in &mut clients {
                let ended = client.child.try_wait().expect("our child");
                assert!(ended.is_none(), "a client has failed: {ended:?}");
            }
            // On a busy machine the threads of killed clients end late.
            let deadline = Instant::now() + PATIENCE;
            let now = loop {
                let now = Usage::of(share.pid());
                let alive = CLIENTS + killers.iter().filter(|killer| !killer.is_finished()).count();
                let most = alive + ENDING;
                if now.threads <= before.threads + most as u64 && now.descriptors <= before.descriptors + most
                {
                    break now;
                }
                assert!(Instant::now() < deadline, "{alive} clients, {now:?}");
                thread::sleep(Duration::from_millis(2));
            };
            samples.push(now);
        }
        let killed = killers
            .into_iter()
            .map(|killer| killer.join().expect("a client that can be killed"));
        killed.collect::<Vec<_>>()
    });
    times.extend(clients.into_iter().map(Stressed::end));
    let [call, round] = [0, 1].map(|which| times.iter().map(|times| times[which]).max().unwrap_or(0));
    let (first, last) = samples.split_at(samples.len() / 2);
    let most = |samples: &[Usage]| Usage {
        threads: samples.iter().map(|usage| usage.threads).max().unwrap_or(0),
        descriptors: samples.iter().map(|usage| usage.descriptors).max().unwrap_or(0),
        memory: samples.iter().map(|usage| usage.memory).max().unwrap_or(0),
    };
    let [first, last] = [first, last].map(most);
    println!(
        "{} of {started} clients were killed in {seconds} s",
        started - CLIENTS
    );
    println!(
        "the longest call took {} ms, the longest round of 17 calls {} ms",
        call / 1000,
        round / 1000
    );
    for (what, time) in [("call", call), ("round of calls", round)] {
        let time = Duration::from_micros(time);
        assert!(time < PATIENCE, "a {what} took {time:?}");
    }
    println!("the server at its start: {before:?}");
    println!("at most in the first half: {first:?}\nat most in the second half: {last:?}");
    assert!(
        last.memory < first.memory + 2048,
        "the memory grows: {first:?}, {last:?}"
    );
    wait_until_as(&share, before);
    check_readers(&share);
}
