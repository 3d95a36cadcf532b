//! Every call on Debian's library and on ours, interleaved against the same pcscd with an instant card,
//! client and daemon on one processor; for a transmit also a hand-written floor: one send, one poll, one
//! recv, and a yield where the answer has come in part.
//!
//! Last comes what it costs to load each library, beyond a process that loads none.
//!
//! Times are ratios of medians. System calls and instructions are exact: strace and callgrind count those of
//! 100 and of 200 calls, and the difference is shown.
//!
//! `cargo bench -p pcsc-tests --bench calls`, or scripts/bench.

mod library;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libloading::Library;
use library::{median, system_calls, time, Client, What, APDU};
use pcsc_constants::SCARD_SHARE_SHARED;
use pcsc_tests::{artifacts, atr, run, stock, Pcscd, WireClient};
use pcsc_wire::{Body, Endian, Header, RequestCode, TransmitBody, MAX_PAYLOAD};

const READER: &str = "pcsc-tests 00 00";
const BATCHES: usize = 60;

/// The call, its name, and the number of calls in a batch.
const CALLS: [(What, &str, u32); 12] = [
    (What::Transmit, "transmit, 16 bytes", 200),
    (What::TransmitLong, "transmit, 8 KiB back", 100),
    (What::Status, "status", 100),
    (What::StatusChange, "status change, timeout 0", 20),
    (What::ListReaders, "list readers", 100),
    (What::Transaction, "begin + end transaction", 100),
    (What::Attribute, "get attribute", 100),
    (What::Control, "control", 100),
    (What::ConnectDisconnect, "connect + disconnect", 20),
    (What::EstablishRelease, "establish + release", 20),
    (What::IsValid, "is valid", 2000),
    (What::Cancel, "cancel, nothing waits", 2000),
];

/// A connection without a library: the least that a transmit costs.
struct Floor {
    client: WireClient,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Floor {
    fn new(socket: &Path) -> Floor {
        let mut client = WireClient::connect(socket, 4);
        let context = client.establish();
        let card = client.connect_card(context, READER, SCARD_SHARE_SHARED);
        assert_eq!(card.rv, 0);
        let transmit = TransmitBody {
            card: card.card,
            send_protocol: 2,
            send_pci_length: 16,
            send_length: APDU.len() as u32,
            receive_protocol: 3,
            receive_pci_length: 16,
            // The same room as for the libraries, since drivers may clear it.
            receive_length: MAX_PAYLOAD as u32,
            rv: 0,
        };
        let mut request = vec![0; Header::SIZE + TransmitBody::SIZE];
        transmit.emit_request(RequestCode::Transmit, Endian::NATIVE, &mut request);
        request.extend(APDU);
        Floor {
            client,
            request,
            reply: vec![0; 400],
        }
    }

    fn transmit(&mut self) {
        use rustix::event::{poll, PollFd, PollFlags};
        use rustix::net::{recv, send, RecvFlags, SendFlags};
        let stream = self.client.stream();
        let sent = send(&*stream, &self.request, SendFlags::NOSIGNAL).unwrap();
        assert_eq!(sent, self.request.len());
        let mut got = 0;
        // The daemon writes the body and the response one after the other.
        while got < TransmitBody::SIZE + 12 {
            if got > 0 {
                std::thread::yield_now();
            }
            poll(&mut [PollFd::new(stream, PollFlags::IN)], None).unwrap();
            got += recv(&*stream, &mut self.reply[got..], RecvFlags::DONTWAIT)
                .unwrap()
                .0;
        }
    }
}

/// One kind of cost of a call, over 100 calls.
fn counted(library: &Path, call: usize, socket: &Path, tool: &[&str], read: impl Fn(&str) -> u64) -> f64 {
    let costs = [100, 200].map(|count| {
        let mut command = Command::new(tool[0]);
        command
            .args(&tool[1..])
            .arg(std::env::current_exe().unwrap())
            .arg("worker")
            .arg(library);
        command
            .arg(call.to_string())
            .arg(count.to_string())
            .env("PCSCLITE_CSOCK_NAME", socket);
        let output = run(&mut command, Duration::from_secs(120));
        let text = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&text)
        );
        read(&String::from_utf8_lossy(&text))
    });
    costs[1].saturating_sub(costs[0]) as f64 / 100.0
}

fn instructions(text: &str) -> u64 {
    let line = text
        .lines()
        .find(|line| line.contains("Collected"))
        .expect("callgrind's sum");
    line.rsplit(' ')
        .next()
        .expect("a count")
        .parse()
        .expect("a number")
}

/// How long a process takes that loads a library, if there is one, and ends; in nanoseconds.
fn time_of_process(library: Option<&Path>) -> f64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("load").args(library);
    time(|| assert!(command.status().unwrap().success()), 1)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "load") {
        if let Some(library) = arguments.get(at + 1) {
            // SAFETY: both libraries may be loaded at any time.
            let loaded = unsafe { Library::new(library) }.unwrap();
            // Unloaded by the end of the process, as in a linked program.
            std::mem::forget(loaded);
        }
        return;
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "worker") {
        let number = |offset: usize| arguments[at + offset].parse::<usize>().unwrap();
        let mut client = Client::new(Path::new(&arguments[at + 1]), READER);
        (0..number(3)).for_each(|_| client.call(CALLS[number(2)].0));
        return;
    }
    let mut processors = rustix::thread::CpuSet::new();
    processors.set(0);
    rustix::thread::sched_setaffinity(None, &processors).unwrap();

    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    std::env::set_var("PCSCLITE_CSOCK_NAME", pcscd.socket());
    let libraries: [PathBuf; 2] = [stock::library(), artifacts::library()];
    let mut table = String::from(
        "| call | stock | ours | ours / stock | system calls | instructions |\n|---|---|---|---|---|---|\n",
    );
    let mut clients = libraries.each_ref().map(|path| Client::new(path, READER));
    for (number, (what, name, count)) in CALLS.into_iter().enumerate() {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..BATCHES {
            for (client, times) in clients.iter_mut().zip(&mut times) {
                times.push(time(|| client.call(what), count));
            }
        }
        let [stock, ours] = times.map(median);
        let [calls, work] = [
            (&["strace", "-f", "-c"][..], system_calls as fn(&str) -> u64),
            (
                &["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"][..],
                instructions,
            ),
        ]
        .map(|(tool, read)| {
            libraries
                .each_ref()
                .map(|library| counted(library, number, &pcscd.socket(), tool, read))
        });
        let line = format!(
            "| {name} | {:.1} µs | {:.1} µs | {:.2} | {} → {} | {} → {} |",
            stock / 1e3,
            ours / 1e3,
            ours / stock,
            calls[0],
            calls[1],
            work[0].round(),
            work[1].round(),
        );
        println!("{line}");
        let _ = writeln!(table, "{line}");
    }

    let mut floor = Floor::new(&pcscd.socket());
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..4 * BATCHES {
        times[0].push(time(|| floor.transmit(), 200));
        times[1].push(time(|| clients[1].call(What::Transmit), 200));
    }
    let [least, ours] = times.map(median);
    let line = format!(
        "\nThe floor of a 16-byte transmit is {:.1} µs; ours takes {:.1} µs, {:.1} % more.",
        least / 1e3,
        ours / 1e3,
        (ours / least - 1.0) * 100.0
    );
    println!("{line}");
    let _ = writeln!(table, "{line}");

    let [stock, ours] = libraries.each_ref().map(|library| Some(library.as_path()));
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..4 * BATCHES {
        for (times, library) in times.iter_mut().zip([None, stock, ours]) {
            times.push(time_of_process(library));
        }
    }
    let [none, stock, ours] = times.map(median);
    let line = format!(
        "\nTo load the library takes {:.0} µs, the stock library {:.0} µs.",
        (ours - none) / 1e3,
        (stock - none) / 1e3
    );
    println!("{line}");
    let _ = writeln!(table, "{line}");
    let file = artifacts::library().with_file_name("bench.md");
    std::fs::write(&file, table).unwrap();
    println!("\nwritten to {}", file.display());
}
