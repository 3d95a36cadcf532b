//! `pcsc share` against Debian's pcscd. Both have the same driver on the same simulated readers, which take
//! extended APDUs: pcscd has it as its IFD handler `pcsc-ifd`, our server in `pcsc-manager`. The cards differ
//! in their ATRs. Debian's library with each server, and ours with ours, take turns.
//!
//! The times of one client are medians, with all processes on one processor, or with the servers on the
//! second one (`-- apart`); compare their ratios. What a transmit costs beyond the driver's own time is its
//! overhead. System calls and context switches are those of the server, for one call: strace counts those of
//! 100 and of 200 calls, and the difference is shown.
//!
//! `cargo bench -p pcsc-tests --bench server`, or scripts/bench.

#[path = "../library/mod.rs"]
mod library;
mod worker;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use library::{median, system_calls, time, What, APDU};
use pcsc_client::Context;
use pcsc_manager::{Simulated, Slot};
use pcsc_tests::{artifacts, context_switches, processor_time, stock, Pcscd, Share, Usage};
use rustix::process::{kill_process, Pid, Signal};
use rustix::thread::{sched_setaffinity, CpuSet};
use worker::Worker;

const MODEL: &str = "omnikey-3x21";
const READERS: usize = 8;
const CLIENTS: usize = 64;
const BATCHES: usize = 60;
/// Those of many clients.
const ROUNDS: usize = 10;

/// The call, its name, and the number of calls in a batch.
const CALLS: [(What, &str, u32); 8] = [
    (What::TransmitShort, "transmit, room for 258 bytes", 100),
    (What::Transmit, "transmit, room for 64 KiB", 100),
    (What::ConnectDisconnect, "connect + disconnect", 50),
    (What::Status, "status", 100),
    (What::StatusChange, "status change, timeout 0", 50),
    (What::EstablishRelease, "establish + release", 20),
    (What::ListReaders, "list readers", 100),
    (What::Round, "connect + transmit + disconnect", 20),
];
const TRANSMIT: usize = 0;
const ROUND: usize = 7;

/// Both servers.
struct Servers {
    pcscd: Pcscd,
    share: Share,
}

/// A library and a server for it.
struct Pair {
    name: &'static str,
    library: PathBuf,
    socket: PathBuf,
    server: u32,
    readers: Vec<String>,
}

impl Servers {
    fn start() -> Servers {
        let pcscd = Pcscd::start_driver(&[MODEL; READERS]);
        (0..READERS).for_each(|reader| pcscd.reader(reader).insert_named("t1"));
        let share = Share::start_with(&[&format!("sim:{}", [MODEL; READERS].join(","))]);
        Servers { pcscd, share }
    }

    fn pairs(&self) -> [Pair; 3] {
        let of_pcscd = (self.pcscd.socket(), self.pcscd.pid());
        let of_share = (self.share.socket(), self.share.pid());
        [
            ("stock → pcscd", stock::library(), of_pcscd),
            ("stock → share", stock::library(), of_share.clone()),
            ("ours → share", artifacts::library(), of_share),
        ]
        .map(|(name, library, (socket, server))| Pair {
            name,
            readers: readers(&socket),
            library,
            socket,
            server,
        })
    }
}

fn readers(socket: &Path) -> Vec<String> {
    let context = Context::builder()
        .socket_path(socket)
        .establish()
        .expect("a server");
    let names = context.list_readers_owned().expect("readers").into_iter();
    names.map(|name| name.into_string().expect("a name")).collect()
}

impl Pair {
    fn worker(&self, number: usize) -> Worker {
        Worker::start(&self.library, &self.socket, &self.readers[number % READERS])
    }

    /// The server's system calls for one call.
    fn system_calls(&self, worker: &mut Worker, call: usize) -> f64 {
        let counts = [100, 200].map(|count| {
            let mut strace = Command::new("strace")
                .args(["-f", "-c", "-p", &self.server.to_string()])
                .stderr(Stdio::piped())
                .spawn()
                .expect("strace");
            let mut output = BufReader::new(strace.stderr.take().expect("a pipe"));
            let mut text = String::new();
            // When it has attached.
            output.read_line(&mut text).expect("strace's output");
            worker.call(call, count);
            kill_process(Pid::from_child(&strace), Signal::INT).expect("our child");
            output.read_to_string(&mut text).expect("strace's output");
            strace.wait().expect("our child");
            system_calls(&text)
        });
        (counts[1] as f64 - counts[0] as f64) / 100.0
    }

    /// The server's context switches for one call. Of threads that end they are not known.
    fn switches(&self, worker: &mut Worker, call: usize) -> Option<f64> {
        const COUNT: u32 = 200;
        if CALLS[call].0 == What::EstablishRelease {
            return None;
        }
        let sum = || context_switches(self.server).values().flatten().sum::<u64>();
        let before = sum();
        worker.call(call, COUNT);
        Some((sum() - before) as f64 / f64::from(COUNT))
    }
}

/// The driver's own time of a transmit, in this process.
fn driver() -> impl FnMut() {
    let mut found = Simulated::new(MODEL).expect("a model").found();
    let mut slot: Box<dyn Slot> = found.slots.remove(0).0;
    slot.presence().expect("a card");
    let powered = slot.power_up(false, None).expect("a card");
    slot.set_protocol(powered.offered & 2, None).expect("T=1");
    let mut response = [0; 258];
    move || {
        let length = slot.transmit(&APDU, &mut response, None).expect("an answer");
        assert_eq!(length, 12);
    }
}

/// Has this thread, and the processes that it starts from now on, run on one processor.
fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).expect("a processor");
}

/// One client.
fn calls(processor_of_servers: usize) {
    pin(processor_of_servers);
    let servers = Servers::start();
    pin(0);
    let pairs = servers.pairs();
    let mut workers = pairs.each_ref().map(|pair| pair.worker(0));
    let mut driver = driver();
    println!(
        "| call | {} | {} | {} | share / pcscd | system calls | context switches |\n\
         |---|---|---|---|---|---|---|",
        pairs[0].name, pairs[1].name, pairs[2].name
    );
    let mut overhead = String::new();
    for (number, (what, name, count)) in CALLS.into_iter().enumerate() {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        let mut own = Vec::new();
        for _ in 0..BATCHES {
            for (worker, times) in workers.iter_mut().zip(&mut times) {
                times.push(worker.call(number, count));
            }
            own.push(time(&mut driver, count));
        }
        let [pcscd, share, ours] = times.map(median);
        let mut each = |count: &dyn Fn(&Pair, &mut Worker) -> String| {
            let counts = pairs
                .iter()
                .zip(&mut workers)
                .map(|(pair, worker)| count(pair, worker));
            counts.collect::<Vec<_>>().join(" → ")
        };
        let calls = each(&|pair, worker| format!("{:.1}", pair.system_calls(worker, number)));
        let switches = each(&|pair, worker| {
            let switches = pair.switches(worker, number);
            switches.map_or("?".into(), |switches| format!("{switches:.1}"))
        });
        println!(
            "| {name} | {:.1} µs | {:.1} µs | {:.1} µs | {:.2} | {calls} | {switches} |",
            pcscd / 1e3,
            share / 1e3,
            ours / 1e3,
            share / pcscd,
        );
        if matches!(what, What::Transmit | What::TransmitShort) {
            let driver = median(own);
            let _ = writeln!(
                overhead,
                "Of {name}, the driver takes {:.1} µs. The overhead is {:.2} of pcscd's, with our library \
                 {:.2}.",
                driver / 1e3,
                (share - driver) / (pcscd - driver),
                (ours - driver) / (pcscd - driver),
            );
        }
    }
    println!("\n{overhead}");
}

/// Many clients.
fn throughput() {
    let servers = Servers::start();
    let pairs = servers.pairs();
    let mut memory = Vec::new();
    let mut groups: Vec<Vec<Worker>> = Vec::new();
    for pair in &pairs {
        let before = Usage::of(pair.server).memory;
        let mut workers: Vec<Worker> = (0..CLIENTS).map(|number| pair.worker(number)).collect();
        workers.iter_mut().for_each(|worker| {
            worker.call(TRANSMIT, 10);
        });
        memory.push((Usage::of(pair.server).memory - before) as f64 / CLIENTS as f64);
        groups.push(workers);
    }
    println!(
        "| {CLIENTS} clients, {READERS} readers | {} | {} | {} | share / pcscd |\n|---|---|---|---|---|",
        pairs[0].name, pairs[1].name, pairs[2].name
    );
    let mut used = Vec::new();
    for (call, count) in [(TRANSMIT, 300), (ROUND, 100)] {
        let mut rates = [Vec::new(), Vec::new(), Vec::new()];
        let mut times = [0.0; 3];
        for _ in 0..ROUNDS {
            let groups = groups.iter_mut().zip(&pairs);
            for ((workers, pair), (rates, time)) in groups.zip(rates.iter_mut().zip(&mut times)) {
                let before = processor_time(pair.server);
                let start = Instant::now();
                workers.iter_mut().for_each(|worker| worker.order(call, count));
                workers.iter_mut().for_each(|worker| {
                    worker.answer();
                });
                let total = CLIENTS as f64 * f64::from(count);
                rates.push(total / start.elapsed().as_secs_f64());
                *time += (processor_time(pair.server) - before) / total / ROUNDS as f64;
            }
        }
        let [pcscd, share, ours] = rates.map(median);
        println!(
            "| {}, per second | {pcscd:.0} | {share:.0} | {ours:.0} | {:.2} |",
            CALLS[call].1,
            share / pcscd
        );
        used.push((CALLS[call].1, times.map(|time| time * 1e6)));
    }
    for (name, [pcscd, share, ours]) in used {
        println!(
            "| {name}, processor time of the server | {pcscd:.1} µs | {share:.1} µs | {ours:.1} µs | {:.2} |",
            share / pcscd
        );
    }
    println!(
        "| memory of the server for each client | {:.0} KiB | {:.0} KiB | {:.0} KiB | {:.2} |",
        memory[0],
        memory[1],
        memory[2],
        memory[1] / memory[0]
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "worker") {
        return worker::work(&arguments[at + 1], &arguments[at + 2]);
    }
    let is_asked = |part| arguments.iter().any(|argument| argument == part);
    if is_asked("calls") {
        calls(0);
    } else if is_asked("apart") {
        calls(1);
    } else if is_asked("throughput") {
        throughput();
    } else {
        // Each in a process of its own: what it starts has its processors.
        for part in ["calls", "throughput"] {
            let program = std::env::current_exe().expect("this program");
            let status = Command::new(program).arg(part).status().expect("a process");
            assert!(status.success(), "{part}: {status}");
        }
    }
}
