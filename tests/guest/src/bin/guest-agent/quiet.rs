//! What a process without a daemon leaves alone: processors, nodes that it may not open, a parent's readers,
//! memory of its own.

use crate::actor::Actor;
use crate::echo::EchoReader;
use crate::path::appear;
use crate::sharing::{plug, standalone};
use crate::simulated::{base_name, Simulated};
use crate::{argument, fact, Result, LIMIT};
use pcsc_client::State;
use pcsc_sim::card::apps::Echo;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::SimDevice;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The length of a window in which nothing may happen.
const WHILE: Duration = Duration::from_secs(5);

/// Nothing wakes while nothing happens on readers that notify; one that does not is polled.
pub fn idle() -> Result<()> {
    let device = SimDevice::named("scr3310").ok_or("no such reader")?;
    let base = base_name(device.model());
    let mut simulated = Simulated::new(vec![device], 16);
    let card = SimCard::good(Profile::new(&[Offer::T0]), Box::new(Echo));
    simulated.insert(0, card);
    let device = plug(simulated)?;

    let mut actor = Actor::start()?;
    let id = actor.id();
    fact("threads-before", switches(id)?.len());
    actor.ask("establish")?;
    fact("connects", actor.ask(&format!("connect {base}"))?);
    actor.ask("disconnect")?;
    actor.tell(&format!("wait {base}"))?;
    // Cards that are not used are powered down after a while.
    let is_off = |simulated: &mut Simulated| {
        let contact = simulated.reader(0).and_then(|reader| reader.contact(0));
        contact.is_some_and(|contact| !contact.powered())
    };
    fact("powered-down", device.wait_for(LIMIT, is_off));
    // What was plugged before this scenario is no event any more. A look at it, and the other cards' power,
    // may come late.
    settle()?;
    for windows_left in (0..6).rev() {
        let (before, transfers) = (switches(id)?, device.transfers(0x01));
        thread::sleep(WHILE);
        let after = switches(id)?;
        let transfers = device.transfers(0x01) - transfers;
        if windows_left > 0 && (before != after || transfers != 0) {
            continue;
        }
        fact("threads", after.len());
        fact("same-threads", before.len() == after.len());
        let woken = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after);
        let woken: Vec<_> = woken
            .map(|(before, after)| format!("{before:?} {after:?}"))
            .collect();
        fact("woken", woken.join(", "));
        fact("transfers", transfers);
        break;
    }

    device.unplug()?;
    fact("told", actor.hear()?);
    actor.ask("release")?;
    fact("threads-after", threads_at_last(id)?);
    Ok(())
}

/// Waits until udev has done with what was plugged.
pub fn settle() -> Result<()> {
    let settled = Command::new("udevadm")
        .args(["settle", &format!("--timeout={}", LIMIT.as_secs())])
        .status()?;
    match settled.success() {
        true => Ok(()),
        false => Err("udev does not come to rest".into()),
    }
}

/// How many threads a process has that is to have one alone. A thread that was joined is listed until the
/// kernel has done with it.
pub fn threads_at_last(process: u32) -> Result<usize> {
    let end = Instant::now() + LIMIT;
    loop {
        let threads = fs::read_dir(format!("/proc/{process}/task"))?.count();
        if threads == 1 || Instant::now() > end {
            return Ok(threads);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The names of a process's threads, and how often each went to sleep.
pub fn switches(process: u32) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // It may end just now.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        all.push((field("Name:"), field("voluntary_ctxt_switches:")));
    }
    Ok(all)
}

/// A user without permission to open the reader's device node.
pub fn permission() -> Result<()> {
    let device = plug(EchoReader::with_card())?;
    let context = standalone()?;
    appear(&context, "Gnuk", State::PRESENT)?;
    drop(context);
    let output = opensc(
        &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
        &["--list-readers"],
    )?;
    fact("nobody-lists", one_line(&output.stdout));
    fact("nobody-logs", one_line(&output.stderr));
    let output = opensc(&["env"], &["--list-readers"])?;
    fact("root-lists", one_line(&output.stdout));
    Ok(device.unplug()?)
}

/// Runs opensc-tool on our library, which logs to standard error, by a program that runs another.
pub fn opensc(with: &[&str], arguments: &[&str]) -> Result<Output> {
    let (program, options) = with.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(options).arg("opensc-tool").args(arguments);
    command
        .env("LD_LIBRARY_PATH", argument(2)?)
        .env("PCSCLITE_DEBUG", "1");
    Ok(command.stdin(Stdio::null()).output()?)
}

/// The lines of a text, separated by bars.
pub fn one_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .lines()
        .collect::<Vec<_>>()
        .join(" | ")
}

/// A child that was forked off, and a library that is unloaded, by a program that uses the C interface.
pub fn fork() -> Result<()> {
    let device = plug(EchoReader::with_card())?;
    let context = standalone()?;
    appear(&context, "Gnuk", State::PRESENT)?;
    drop(context);
    let script = argument(4)?.replace("client.py", "driverless.py");
    let output = Command::new("/usr/bin/python3")
        .arg(script)
        .arg(format!("{}/libpcsclite.so.1", argument(2)?))
        .arg("Gnuk")
        .stdin(Stdio::null())
        .output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    fact("status", format!("{:?}", output.status.code()));
    Ok(device.unplug()?)
}
