//! What the command `pcsc` says of readers that something else keeps, and of a system on which all is well.

use crate::acr122::Acr122;
use crate::actor::Actor;
use crate::daemon::Pcscd;
use crate::echo::EchoReader;
use crate::path::appear;
use crate::quiet::one_line;
use crate::sharing::{plug, standalone};
use crate::tries::Tries;
use crate::{argument, fact, Result, LIMIT};
use pcsc_client::State;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The kernel's driver of the ACR122U, after what it depends on; a kernel may have some of them built in.
const MODULES: [&str; 4] = ["rfkill", "nfc", "pn533", "pn533_usb"];

/// Arguments: last the command `pcsc` and the folder of the kernel's modules.
pub fn scenario() -> Result<()> {
    let device = plug(EchoReader::with_card())?;
    let context = standalone()?;
    appear(&context, "Gnuk", State::PRESENT)?;
    drop(context);
    said("free", &["doctor", "--backend", "standalone"])?;

    let mut holder = Actor::start()?;
    holder.ask("establish")?;
    holder.ask("connect Gnuk")?;
    let pid = format!("(process {})", holder.id());
    let text = pcsc(&["doctor", "--backend", "standalone"])?;
    fact("held", text.replace(&pid, "(process HOLDER)"));
    drop(holder);

    {
        let names = ["433-Swap", "Gnuk"];
        let _pcscd = Tries::LIBCCID.start(|| Pcscd::start("doctor"), &names, State::PRESENT)?;
        fact("served", pcsc(&["doctor"])?);
        said("served-by-daemon-alone", &["doctor", "--backend", "standalone"])?;
    }
    device.unplug()?;

    for module in MODULES {
        let file = format!("{}/{module}.ko", argument(8)?);
        if std::fs::exists(&file)? {
            busybox(&["insmod", &file])?;
        }
    }
    let device = plug(Acr122::new())?;
    let port = device.port()?.ok_or("the kernel has no such device")?;
    let driver = format!("/sys/bus/usb/devices/{port}:1.0/driver");
    let end = Instant::now() + LIMIT;
    while std::fs::read_link(&driver).is_err() {
        if Instant::now() > end {
            return Err("pn533_usb has not bound to the reader".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    said("driver", &["doctor", "--backend", "standalone"])?;
    // As advised.
    busybox(&["rmmod", "pn533_usb"])?;
    said("no-driver", &["doctor", "--backend", "standalone"])?;
    Ok(device.unplug()?)
}

fn busybox(arguments: &[&str]) -> Result<()> {
    let status = Command::new("busybox").args(arguments).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{arguments:?}: {status}").into()),
    }
}

fn said(name: &str, arguments: &[&str]) -> Result<()> {
    fact(name, pcsc(arguments)?);
    Ok(())
}

/// What the command prints if it has given up a connection.
const LATE: &str = "which did not end within ";

/// What the command prints, in one line, after its exit code.
///
/// A connection has ten seconds in it, power-up included. A busy machine may need more: it is run again.
pub fn pcsc(arguments: &[&str]) -> Result<String> {
    let mut tries = 3;
    loop {
        let mut command = Command::new(argument(7)?);
        let output = command.args(arguments).stdin(Stdio::null()).output()?;
        let text = [output.stdout, output.stderr].concat();
        let said = format!("{:?} {}", output.status.code(), one_line(&text));
        tries -= 1;
        if tries == 0 || !said.contains(LATE) {
            return Ok(said);
        }
        eprintln!("pcsc has given up, and is tried again: {arguments:?}: {said}");
    }
}
