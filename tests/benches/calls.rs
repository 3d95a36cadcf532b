//! Every call on Debian's library and on ours, interleaved against the same pcscd with an instant card,
//! client and daemon on one processor; for a transmit also a hand-written floor: one send, one poll, one
//! recv.
//!
//! Times are ratios of medians. System calls and instructions are exact: strace and callgrind count those of
//! 100 and of 200 calls, and the difference is shown.
//!
//! `cargo bench -p pcsc-tests --bench calls`, or scripts/bench.

use std::ffi::{c_char, c_long, c_ulong, c_void, CString};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use libloading::{Library, Symbol};
use pcsc_tests::{artifacts, atr, run, stock, Pcscd};
use pcsc_wire::{self as wire, Body, Endian, Header, Version};

const READER: &str = "pcsc-tests 00 00";
const BATCHES: usize = 60;
const APDU: [u8; 16] = [0x80, 0xEC, 0, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0];

#[repr(C)]
struct IoRequest {
    protocol: c_ulong,
    length: c_ulong,
}

#[repr(C)]
struct ReaderState {
    reader: *const c_char,
    user_data: *mut c_void,
    current: c_ulong,
    event: c_ulong,
    atr_length: c_ulong,
    atr: [u8; 33],
}

type Transmit = unsafe extern "C" fn(
    c_long,
    *const IoRequest,
    *const u8,
    c_ulong,
    *mut IoRequest,
    *mut u8,
    *mut c_ulong,
) -> c_long;

/// A library with a context and a connection.
struct Client {
    library: Library,
    /// Looked up once, as in a linked program.
    transmit: Transmit,
    context: c_long,
    card: c_long,
    reader: CString,
    response: Vec<u8>,
}

/// Calls a function of the library by its name.
macro_rules! call {
    ($client:expr, $name:literal, $($argument:expr => $type:ty),*) => {{
        // SAFETY: the function has this signature in winscard.h, and the arguments outlive the call.
        unsafe {
            let function: Symbol<'_, unsafe extern "C" fn($($type),*) -> c_long> =
                $client.library.get(concat!($name, "\0").as_bytes()).expect($name);
            function($($argument),*)
        }
    }};
}

impl Client {
    fn new(path: &Path) -> Client {
        // SAFETY: the constructors of a libpcsclite have no preconditions.
        let library = unsafe { Library::new(path) }.unwrap();
        // SAFETY: winscard.h has this signature.
        let transmit = unsafe { *library.get::<Transmit>(b"SCardTransmit\0").unwrap() };
        let mut client = Client {
            library,
            transmit,
            context: 0,
            card: 0,
            reader: CString::new(READER).unwrap(),
            response: vec![0; 70_000],
        };
        client.context = client.establish();
        client.card = client.connect();
        client
    }

    fn establish(&self) -> c_long {
        let mut context = 0;
        let code = call!(self, "SCardEstablishContext", 2 => c_ulong, null() => *const c_void, null() => *const c_void,
            &mut context => *mut c_long);
        assert_eq!(code, 0);
        context
    }

    fn release(&self, context: c_long) {
        assert_eq!(call!(self, "SCardReleaseContext", context => c_long), 0);
    }

    fn connect(&self) -> c_long {
        let (mut card, mut protocol) = (0, 0);
        let code = call!(self, "SCardConnect", self.context => c_long, self.reader.as_ptr() => *const c_char,
            2 => c_ulong, 3 => c_ulong, &mut card => *mut c_long, &mut protocol => *mut c_ulong);
        assert_eq!(code, 0);
        card
    }

    fn transmit(&mut self, apdu: &[u8]) {
        let pci = IoRequest {
            protocol: 2,
            length: 16,
        };
        let mut length = self.response.len() as c_ulong;
        let (sent, room) = (apdu.as_ptr(), self.response.as_mut_ptr());
        // SAFETY: the buffers have these lengths and outlive the call.
        let code = unsafe {
            (self.transmit)(
                self.card,
                &pci,
                sent,
                apdu.len() as c_ulong,
                null_mut(),
                room,
                &mut length,
            )
        };
        assert_eq!(code, 0);
    }

    fn call(&mut self, what: What) {
        let (context, card) = (self.context, self.card);
        let mut length: c_ulong = 264;
        let code = match what {
            What::Transmit => return self.transmit(&APDU),
            What::TransmitLong => return self.transmit(&[0x80, 0xE0, 0x20, 0x00]),
            What::EstablishRelease => return self.release(self.establish()),
            What::ConnectDisconnect => {
                let card = self.connect();
                call!(self, "SCardDisconnect", card => c_long, 0 => c_ulong)
            }
            What::Status => {
                let (mut state, mut protocol, mut atr_length) = (0, 0, 33);
                let (name, rest) = self.response.split_at_mut(300);
                length = 300;
                call!(self, "SCardStatus", card => c_long, name.as_mut_ptr().cast() => *mut c_char,
                    &mut length => *mut c_ulong, &mut state => *mut c_ulong, &mut protocol => *mut c_ulong,
                    rest.as_mut_ptr() => *mut u8, &mut atr_length => *mut c_ulong)
            }
            What::StatusChange => {
                let mut state = ReaderState {
                    reader: self.reader.as_ptr(),
                    user_data: null_mut(),
                    current: 0x20 | 0x100,
                    event: 0,
                    atr_length: 0,
                    atr: [0; 33],
                };
                let code = call!(self, "SCardGetStatusChange", context => c_long, 0 => c_ulong,
                    &mut state => *mut ReaderState, 1 => c_ulong);
                assert_eq!(code, 0x8010_000A);
                0
            }
            What::ListReaders => {
                length = 4096;
                call!(self, "SCardListReaders", context => c_long, null() => *const c_char,
                    self.response.as_mut_ptr().cast() => *mut c_char, &mut length => *mut c_ulong)
            }
            What::Transaction => {
                assert_eq!(call!(self, "SCardBeginTransaction", card => c_long), 0);
                call!(self, "SCardEndTransaction", card => c_long, 0 => c_ulong)
            }
            What::Attribute => call!(self, "SCardGetAttrib", card => c_long, 0x0009_0303 => c_ulong,
                self.response.as_mut_ptr() => *mut u8, &mut length => *mut c_ulong),
            What::Control => call!(self, "SCardControl", card => c_long, 0x4200_0001 => c_ulong,
                APDU.as_ptr().cast() => *const c_void, 8 => c_ulong,
                self.response.as_mut_ptr().cast() => *mut c_void, 300 => c_ulong, &mut length => *mut c_ulong),
            What::IsValid => call!(self, "SCardIsValidContext", context => c_long),
            What::Cancel => call!(self, "SCardCancel", context => c_long),
        };
        assert_eq!(code, 0, "{what:?}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Transmit,
    TransmitLong,
    Status,
    StatusChange,
    ListReaders,
    Transaction,
    Attribute,
    Control,
    ConnectDisconnect,
    EstablishRelease,
    IsValid,
    Cancel,
}

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

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn time(mut batch: impl FnMut(), count: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        batch();
    }
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

/// A connection without a library: the least that a transmit costs.
struct Floor {
    stream: UnixStream,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Floor {
    fn new(socket: &Path) -> Floor {
        let mut stream = UnixStream::connect(socket).unwrap();
        let mut ask = |command, body: &dyn Fn(&mut [u8]) -> usize, size: usize| {
            let mut bytes = [0; 300];
            let length = body(&mut bytes);
            let _: wire::Command = command;
            stream.write_all(&bytes[..length]).unwrap();
            let mut reply = vec![0; size];
            stream.read_exact(&mut reply).unwrap();
            reply
        };
        let version = wire::VersionExchange::new(Version { major: 4, minor: 4 });
        ask(
            wire::Command::Version,
            &|out| version.emit_request(wire::Command::Version, Endian::NATIVE, out),
            12,
        );
        let establish = wire::Establish {
            scope: 0,
            context: 0,
            rv: 0,
        };
        let command = wire::Command::EstablishContext;
        let reply = ask(
            command,
            &|out| establish.emit_request(command, Endian::NATIVE, out),
            12,
        );
        let context = wire::Establish::parse(&reply, Endian::NATIVE).unwrap().context;
        let mut reader = [0; 128];
        reader[..READER.len()].copy_from_slice(READER.as_bytes());
        let connect = wire::Connect {
            context,
            reader,
            share: 2,
            protocols: 3,
            card: 0,
            active: 0,
            rv: 0,
        };
        let command = wire::Command::Connect;
        let reply = ask(
            command,
            &|out| connect.emit_request(command, Endian::NATIVE, out),
            wire::Connect::SIZE,
        );
        let card = wire::Connect::parse(&reply, Endian::NATIVE).unwrap();
        assert_eq!(card.rv, 0);
        let transmit = wire::Transmit {
            card: card.card,
            send_protocol: 2,
            send_pci_length: 16,
            send_length: APDU.len() as u32,
            receive_protocol: 3,
            receive_pci_length: 16,
            // The same room as for the libraries, since drivers may clear it.
            receive_length: wire::MAX_PAYLOAD as u32,
            rv: 0,
        };
        let mut request = vec![0; Header::SIZE + wire::Transmit::SIZE];
        transmit.emit_request(wire::Command::Transmit, Endian::NATIVE, &mut request);
        request.extend(APDU);
        Floor {
            stream,
            request,
            reply: vec![0; 400],
        }
    }

    fn transmit(&mut self) {
        use rustix::event::{poll, PollFd, PollFlags};
        use rustix::net::{recv, send, RecvFlags, SendFlags};
        let sent = send(&self.stream, &self.request, SendFlags::NOSIGNAL).unwrap();
        assert_eq!(sent, self.request.len());
        let mut got = 0;
        // The daemon writes the body and the response one after the other.
        while got < wire::Transmit::SIZE + 12 {
            poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], None).unwrap();
            got += recv(&self.stream, &mut self.reply[got..], RecvFlags::DONTWAIT)
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

fn system_calls(text: &str) -> u64 {
    let total = text
        .lines()
        .rev()
        .find(|line| line.trim_end().ends_with("total"))
        .expect("strace's total");
    total
        .split_whitespace()
        .nth(3)
        .expect("a count")
        .parse()
        .expect("a number")
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

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "worker") {
        let number = |offset: usize| arguments[at + offset].parse::<usize>().unwrap();
        let mut client = Client::new(Path::new(&arguments[at + 1]));
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
    let mut clients = libraries.each_ref().map(|path| Client::new(path));
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
    let file = artifacts::library().with_file_name("bench.md");
    std::fs::write(&file, table).unwrap();
    println!("\nwritten to {}", file.display());
}
