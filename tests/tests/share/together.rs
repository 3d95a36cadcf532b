//! Unmodified programs that share a reader, as they do with pcscd.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pcsc_constants::{SCARD_E_SHARING_VIOLATION, SCARD_SHARE_SHARED};
use pcsc_tests::{assert_same, atr, client, Live, Pcscd, Reader, Share, WireClient};
use pcsc_wire::{RequestCode as Request, StatusBody};
use rustix::process::{kill_process, Pid, Signal};

const LIMIT: Duration = Duration::from_secs(120);
const SELECT: &str = "00 A4 04 00 0A A0 00 00 00 62 03 01 0C 06 01";

/// The programs on a daemon with two readers; what those that end have printed.
fn play(socket: &Path, reader: impl Fn(usize) -> Reader) -> String {
    let started = |mut command: Command| {
        command.env("PCSCLITE_CSOCK_NAME", socket);
        Live::start(command)
    };
    for number in 0..2 {
        reader(number).insert(atr::T1);
    }
    let mut scan = client("stdbuf");
    scan.args(["-oL", "pcsc_scan", "-n"]);
    let mut scan = started(scan);
    scan.until("Reader 1: pcsc-tests 01 00");
    scan.until("Card inserted");

    // Each of its APDUs takes so long that it is stopped during a transaction.
    reader(0).delay(Duration::from_millis(100));
    let mut probe = Probe::new(socket, &reader(0).name());
    let mut tool = client("opensc-tool");
    tool.args([
        "--reader",
        "0",
        "--card-driver",
        "default",
        "-s",
        SELECT,
        "-s",
        "00000000",
    ]);
    let tool = started(tool);
    probe.stop_in_a_transaction(&tool);
    reader(0).delay(Duration::ZERO);

    for _ in 0..2 {
        reader(1).remove();
        scan.until("Reader 1: pcsc-tests 01 00");
        scan.until("Card removed");
        reader(1).insert(atr::T1);
        scan.until("Reader 1: pcsc-tests 01 00");
        scan.until("Card inserted");
    }
    let mut scriptor = client("scriptor");
    scriptor.args(["-r", "pcsc-tests 00 00"]).stdin(Stdio::piped());
    let mut scriptor = started(scriptor);
    scriptor.tell(&format!("{SELECT}\n00 00 00 00\n"));
    assert!(probe.meets_a_transaction(), "it has ended");

    signal(&tool, Signal::CONT);
    [tool.whole(), scriptor.whole()].join("\n")
}

/// A client that notices other programs' transactions.
struct Probe {
    client: WireClient,
    card: i32,
}

impl Probe {
    fn new(socket: &Path, reader: &str) -> Probe {
        let mut client = WireClient::connect(socket, 4);
        let context = client.establish();
        let connected = client.connect_card(context, reader, SCARD_SHARE_SHARED);
        assert_eq!(connected.rv, 0);
        Probe {
            client,
            card: connected.card,
        }
    }

    fn meets_a_transaction(&mut self) -> bool {
        let body = StatusBody {
            card: self.card,
            rv: 0,
        };
        match self.client.call(Request::Status, body).rv {
            0 => false,
            rv => {
                assert_eq!(rv, SCARD_E_SHARING_VIOLATION);
                true
            }
        }
    }

    /// Stops a program that is in a transaction from then on.
    fn stop_in_a_transaction(&mut self, program: &Live) {
        let deadline = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < deadline, "no transaction");
            if self.meets_a_transaction() {
                signal(program, Signal::STOP);
                wait_until_stopped(program);
                // The transaction may have ended, but no other one begins.
                if self.meets_a_transaction() {
                    return;
                }
                signal(program, Signal::CONT);
            }
        }
    }
}

/// A signal is sent before it has its effect.
fn wait_until_stopped(program: &Live) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.id())).expect("our child");
        let (_, fields) = stat.rsplit_once(')').expect("the name of the program");
        if fields.starts_with(" T") {
            return;
        }
        assert!(Instant::now() < deadline && !fields.starts_with(" Z"), "{stat}");
    }
}

fn signal(program: &Live, signal: Signal) {
    let pid = Pid::from_raw(program.id() as i32).expect("a process");
    kill_process(pid, signal).expect("our child");
}

#[test]
fn a_program_in_a_transaction_does_not_hold_up_one_that_watches() {
    let pcscd = Pcscd::start(2);
    let with_pcscd = play(&pcscd.socket(), |number| pcscd.reader(number));
    let share = Share::start(2);
    let served = play(&share.socket(), |number| share.reader(number));
    assert_same(
        "programs",
        ("with pcscd", &with_pcscd),
        ("with our server", &served),
    );
    let answers = served.matches("Hello world!").count() + served.matches("48 65 6C 6C 6F").count();
    assert!(answers >= 2, "{served}");
}
