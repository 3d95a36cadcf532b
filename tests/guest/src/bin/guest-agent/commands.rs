//! What the command `pcsc` prints of a reader on the bus: without a daemon, with Debian's, and with its own
//! server.

use crate::daemon::Pcscd;
use crate::doctor::pcsc;
use crate::path::appear;
use crate::quiet::one_line;
use crate::sharing::{plug, standalone};
use crate::simulated::Simulated;
use crate::tries::Tries;
use crate::{argument, fact, Result, LIMIT};
use pcsc_client::State;
use pcsc_guest_tests::usbip::Plugged;
use pcsc_sim::card::apps::Hello;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::SimDevice;
use rustix::process::{kill_process, Pid, Signal};
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SERIAL: &str = "SN-0001";
const OTHER: &str = "SN-0002";
/// The ATR of the card, as the command prints it.
const ATR: &str = "3B 85 81 31 FE 45 68 65 6C 6C 6F EC";
const SELECT: &str = "a40400:a00000006203010c0601=";

/// Where `pcsc share` listens.
const SOCKET: &str = "/run/share.comm";

/// Arguments: last the command `pcsc`.
pub fn scenario() -> Result<()> {
    let device = plugged(SERIAL)?;
    let port = device.port()?.ok_or("the kernel has no such device")?;
    fact("port", &port);
    let context = standalone()?;
    appear(&context, "SCR", State::PRESENT)?;
    drop(context);

    let own = ["--backend", "standalone"];
    all("standalone", &own, &port)?;
    said("standalone/bench", &[&["bench", "-r", SERIAL], &own[..]].concat())?;
    said(
        "standalone/bench/json",
        &[&["bench", "--json", "-r", &port, "--apdu", "b0/10"], &own[..]].concat(),
    )?;
    programs()?;
    watched(&device)?;
    waited_for()?;
    shared(&port)?;

    let names = ["433-Swap", "SCR"];
    let (pcscd, context, _) = Tries::LIBCCID.start(Pcscd::start_quietly, &names, State::PRESENT)?;
    drop(context);
    let daemon = ["--backend", "daemon"];
    all("daemon", &daemon, &port)?;
    let bench = [&["bench", "-r", SERIAL], &daemon[..]].concat();
    fact("daemon/bench", pcsc(&bench)?);
    drop(pcscd);
    Ok(device.unplug()?)
}

fn plugged(serial: &str) -> Result<Plugged<Simulated>> {
    let device = SimDevice::named("scr3310").ok_or("no such reader")?;
    let mut simulated = Simulated::new(vec![device], 16).with_serial(serial);
    simulated.insert(0, card());
    plug(simulated)
}

fn card() -> SimCard {
    let mut profile = Profile::new(&[Offer::T1]);
    profile.historical = "hello".into();
    SimCard::good(profile, Box::new(Hello::default()))
}

/// The commands that ask a reader, each with its text and its JSON. The reader is named in every way.
fn all(way: &str, options: &[&str], port: &str) -> Result<()> {
    for (name, command) in [
        ("list", &["list", "-r", SERIAL][..]),
        ("watch", &["watch", "--once", "-r", port]),
        ("apdu", &["apdu", "-r", "scr", SELECT, "00=", "reset"]),
        ("atr", &["atr", "-r", port]),
        ("features", &["features", "-r", SERIAL]),
        ("doctor", &["doctor"]),
    ] {
        let text = [command, options].concat();
        match name {
            "features" => features(way, &text, options)?,
            _ => said(&format!("{way}/{name}"), &text)?,
        }
        let json = [command, options, &["--json"]].concat();
        fact(&format!("{way}/{name}/json"), pcsc(&json)?);
    }
    Ok(())
}

/// The features of the reader, with the ATR of its card. A card that nothing has used for five seconds has no
/// power, and no attribute with its ATR: it is used before, again if the machine was too slow.
fn features(way: &str, command: &[&str], options: &[&str]) -> Result<()> {
    let mut tries = 3;
    let text = loop {
        pcsc(&[&["apdu", "-r", "scr", "00="], options].concat())?;
        let text = pcsc(command)?;
        tries -= 1;
        if tries == 0 || text.contains(ATR) {
            break text;
        }
        eprintln!("{way}: the card has lost its power, and is tried again: {text}");
    };
    fact(&format!("{way}/features"), text);
    Ok(())
}

/// Programs of others, by `pcsc with` and `pcsc spy`.
fn programs() -> Result<()> {
    let own = ["--backend", "standalone"];
    said(
        "with",
        &[&["with"], &own[..], &["opensc-tool", "--list-readers"]].concat(),
    )?;
    let run = [
        "sh",
        "-c",
        "scriptor -r \"$(pcsc_scan -r | sed -n 's/^[0-9]*: \\(SCR.*\\|SCM.*\\)/\\1/p')\" /run/hello",
    ];
    std::fs::write(
        "/run/hello",
        "00 A4 04 00 0A A0 00 00 00 62 03 01 0C 06 01\n00 00 00 00\n",
    )?;
    said(
        "spy/json",
        &[&["spy", "--json", "-o", "/run/calls"], &own[..], &run].concat(),
    )?;
    fact("spy/calls", one_line(&std::fs::read("/run/calls")?));
    said("spy/read", &["spy", "--read", "/run/calls"])
}

/// A watch, while the card is taken out and put in again.
fn watched(device: &Plugged<Simulated>) -> Result<()> {
    for options in [&[][..], &["--json"]] {
        let command = [&["watch", "-r", SERIAL, "--backend", "standalone"], options].concat();
        let mut watch = Running::start(&command)?;
        let name = format!("watched{}", options.concat());
        watch.until(&name, "hello")?;
        device.with(|reader| reader.remove(0));
        watch.until(&name, "removed")?;
        device.with(|reader| reader.insert(0, card()));
        watch.until(&name, "hello")?;
        fact(&format!("{name}/end"), watch.end()?);
    }
    Ok(())
}

/// `pcsc list --wait`, while a second reader is plugged in.
fn waited_for() -> Result<()> {
    let command = ["list", "--wait", "--json", "-r", OTHER, "--backend", "standalone"];
    let mut list = Running::start(&command)?;
    let device = plugged(OTHER)?;
    let rest: Vec<String> = list.lines.by_ref().map_while(std::result::Result::ok).collect();
    fact("waited", one_line(rest.join("\n").as_bytes()));
    fact("waited/end", list.child.wait()?);
    Ok(device.unplug()?)
}

/// The server, with its own client and those of others on the system's library.
fn shared(port: &str) -> Result<()> {
    let server = Running::start(&["share", "--socket", SOCKET])?;
    let end = Instant::now() + LIMIT;
    while UnixStream::connect(SOCKET).is_err() {
        if Instant::now() > end {
            return Err("pcsc share does not listen".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let options = ["--socket", SOCKET];
    for (name, command) in [
        ("list", &["list", "-r", SERIAL][..]),
        ("list/json", &["list", "-r", port, "--json"]),
        ("apdu", &["apdu", "-r", port, SELECT, "00="]),
    ] {
        said(&format!("share/{name}"), &[command, &options].concat())?;
    }
    let command = [&["features", "-r", SERIAL], &options[..]].concat();
    features("share", &command, &options)?;
    for (name, program, arguments) in [
        ("share/stock-list", "opensc-tool", &["--list-readers"][..]),
        ("share/stock-scan", "pcsc_scan", &["-r"]),
    ] {
        let mut command = Command::new(program);
        command.args(arguments).env("PCSCLITE_CSOCK_NAME", SOCKET);
        let output = command.stdin(Stdio::null()).output()?;
        fact(name, one_line(&output.stdout));
    }
    fact("share/end", server.end()?);
    fact("share/socket-left", std::fs::exists(SOCKET)?);
    Ok(())
}

/// A command that runs on, killed when this is dropped.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(argument(7)?);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or("no standard output")?;
        Ok(Self {
            child,
            lines: BufReader::new(output).lines(),
        })
    }

    /// Reads up to the first line with `text`. The lines are facts of this name.
    fn until(&mut self, name: &str, text: &str) -> Result<()> {
        for line in self.lines.by_ref() {
            let line = line?;
            fact(name, &line);
            if line.contains(text) {
                return Ok(());
            }
        }
        Err(format!("{name} has ended without {text}").into())
    }

    /// Ends it as systemd does.
    fn end(mut self) -> Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        Ok(self.child.wait()?.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(name: &str, arguments: &[&str]) -> Result<()> {
    fact(name, pcsc(arguments)?);
    Ok(())
}
