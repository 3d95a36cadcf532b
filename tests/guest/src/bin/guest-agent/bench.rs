//! What a short APDU costs on the way to one reader: through our library in the client's process, through
//! Debian's, pcscd and libccid, and by the system calls alone.

use crate::daemon::Pcscd;
use crate::echo::EchoReader;
use crate::path::appear;
use crate::quiet::switches;
use crate::sharing::{plug, standalone};
use crate::{argument, fact, Result};
use pcsc_ccid::usb;
use pcsc_client::{Context, State};
use rustix::process::{kill_process, Pid, Signal};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What [`EchoReader`] is called.
const ECHO: &str = "Gnuk";

/// How often the three take turns.
const ROUNDS: usize = 8;

/// A turn: the number of batches, and of exchanges in each.
const BATCHES: usize = 20;
const BATCH: usize = 25;

/// Costs that are counted are those of the second number of exchanges, less those of the first.
const COUNTED: [usize; 2] = [100, 300];

/// Arguments: the folder of our library, and the program `transmits`.
pub fn scenario() -> Result<()> {
    let device = plug(EchoReader::with_card())?;
    let context = standalone()?;
    present(&context)?;
    drop(context);
    let node = node()?;
    for _ in 0..ROUNDS {
        let turn = |way| run(way, &node, BATCHES, BATCH, &[]);
        fact("floor", times(&turn(Way::Calls)?));
        fact("ours", times(&turn(Way::Ours)?));
        let (pcscd, context) = Pcscd::start_quietly()?;
        present(&context)?;
        drop(context);
        fact("stock", times(&turn(Way::Stock)?));
        drop(pcscd);
    }

    for way in [Way::Calls, Way::Ours] {
        let costs = |size| -> Result<[u64; 2]> {
            let told = run(way, &node, 1, size, &[])?;
            Ok([number(&told, "switches ")?, traced(way, &node, size)?])
        };
        tell(way, "client", &[costs(COUNTED[0])?, costs(COUNTED[1])?]);
    }
    let (pcscd, context) = Pcscd::start_quietly()?;
    present(&context)?;
    drop(context);
    let mut client = Vec::new();
    let mut daemon = Vec::new();
    for size in COUNTED {
        let [slept, daemon_slept] = sleeps(&pcscd, &node, size)?;
        client.push([slept, traced(Way::Stock, &node, size)?]);
        let strace = Strace::attach(pcscd.id())?;
        run(Way::Stock, &node, 1, size, &[])?;
        daemon.push([daemon_slept, strace.end()?]);
    }
    tell(Way::Stock, "client", &client);
    tell(Way::Stock, "daemon", &daemon);
    drop(pcscd);
    Ok(device.unplug()?)
}

/// A way to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Ours,
    Stock,
    Calls,
}

/// Sleeps and system calls of one exchange.
fn tell(way: Way, who: &str, costs: &[[u64; 2]]) {
    let [few, many] = costs else { return };
    let exchanges = (COUNTED[1] - COUNTED[0]) as f64;
    for (index, name) in ["switches", "calls"].into_iter().enumerate() {
        let cost = many[index].saturating_sub(few[index]) as f64 / exchanges;
        fact(
            &format!("{way:?}/{who}/{name}").to_lowercase(),
            format!("{cost:.2}"),
        );
    }
}

fn present(context: &Context) -> Result<()> {
    appear(context, ECHO, State::PRESENT)?;
    Ok(())
}

fn node() -> Result<String> {
    let listing = usb::list()?;
    let found = listing
        .readers
        .iter()
        .find(|known| known.name_identity().base_name().contains(ECHO));
    let place = found.ok_or("the reader is not listed")?.place;
    Ok(place.node().display().to_string())
}

/// How often the client sleeps, and the daemon for it.
fn sleeps(pcscd: &Pcscd, node: &str, size: usize) -> Result<[u64; 2]> {
    let before = sum(pcscd.id())?;
    let mut client = command(Way::Stock, node, 1, size, &[])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = client.stdout.take().ok_or("no output")?;
    let mut own = None;
    for line in BufReader::new(output).lines() {
        own = line?.strip_prefix("switches ").map(str::parse);
        if own.is_some() {
            break;
        }
    }
    // The daemon's thread for this client goes with it, and so does its count.
    let daemon = sum(pcscd.id())? - before;
    drop(client.stdin.take());
    if !client.wait()?.success() {
        return Err("the client failed".into());
    }
    Ok([own.ok_or("a number is missing")??, daemon])
}

/// Runs the client; gives what it printed.
fn run(way: Way, node: &str, batches: usize, size: usize, with: &[&str]) -> Result<String> {
    let output = command(way, node, batches, size, with)?
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(format!("{way:?}: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(text)
}

fn command(way: Way, node: &str, batches: usize, size: usize, with: &[&str]) -> Result<Command> {
    let words: Vec<String> = with
        .iter()
        .map(|word| (*word).to_owned())
        .chain([argument(3)?])
        .collect();
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).args(match way {
        Way::Calls => ["usbfs", node],
        _ => ["pcsc", ECHO],
    });
    command.args([batches.to_string(), size.to_string()]);
    if way == Way::Ours {
        command.env("LD_LIBRARY_PATH", argument(2)?);
    }
    Ok(command)
}

/// The system calls of a client's run, of the thread that makes the calls of PC/SC. An exchange over our
/// library is that thread's work alone. The others watch the USB, and what they do takes no part in it.
fn traced(way: Way, node: &str, size: usize) -> Result<u64> {
    let file = "/run/client.strace";
    run(way, node, 1, size, &["strace", "-c", "-o", file])?;
    total(file)
}

fn times(text: &str) -> String {
    let times = text.lines().filter_map(|line| line.strip_prefix("nanoseconds "));
    times.collect::<Vec<_>>().join(" ")
}

fn number(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.ok_or("a number is missing")?.parse()?)
}

/// How often the threads of a process slept.
fn sum(process: u32) -> Result<u64> {
    let switches = switches(process)?;
    Ok(switches
        .iter()
        .filter_map(|(_, count)| count.parse::<u64>().ok())
        .sum())
}

/// The count in the last line of strace's table, less the looks at the clock: they are calls in this guest,
/// whose clock is QEMU's, and none on a real machine.
fn total(file: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let count = |name: &str| -> Option<u64> {
        let line = text.lines().rev().find(|line| line.trim_end().ends_with(name))?;
        line.split_whitespace().nth(3)?.parse().ok()
    };
    let total = count(" total").ok_or("strace counted nothing")?;
    Ok(total - count(" clock_gettime").unwrap_or(0))
}

/// strace, at all threads of a process that runs: a daemon may serve a client with several of them.
struct Strace(Child);

const DAEMON: &str = "/run/daemon.strace";

impl Strace {
    fn attach(process: u32) -> Result<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o", DAEMON, "-p", &process.to_string()]);
        let child = command.stderr(Stdio::null()).spawn()?;
        let end = Instant::now() + Duration::from_secs(30);
        let is_traced = |folder: &fs::DirEntry| {
            let status = fs::read_to_string(folder.path().join("status")).unwrap_or_default();
            !status.contains("TracerPid:\t0\n")
        };
        loop {
            let tasks = fs::read_dir(format!("/proc/{process}/task"))?;
            if tasks.flatten().all(|task| is_traced(&task)) {
                return Ok(Self(child));
            }
            if Instant::now() > end {
                return Err("strace does not attach".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(mut self) -> Result<u64> {
        kill_process(Pid::from_child(&self.0), Signal::INT)?;
        self.0.wait()?;
        total(DAEMON)
    }
}
