//! Debian's pcscd with the drivers that are installed: libccid alone, or ours beside it.

use crate::daemon::Pcscd;
use crate::path::{self, Daemon, Path as _};
use crate::simulated::{base_name, Simulated};
use crate::tries::Tries;
use crate::{argument, checks, fact, hex, Result};
use pcsc_client::State;
use pcsc_sim::card::apps::Echo;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::SimDevice;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

const PACE: u32 = 16;

/// With libccid.
pub fn libccid() -> Result<()> {
    readers("system-libccid", Tries::LIBCCID)
}

/// With our driver, installed as users install it.
pub fn bundle() -> Result<()> {
    installed(|| readers("system-bundle", Tries::ONE))
}

/// Calls `scenario` while our driver is installed. The agent's arguments are the installer and the folder
/// that cargo has built in.
pub fn installed(scenario: impl FnOnce() -> Result<()>) -> Result<()> {
    let (installer, built) = (argument(2)?, argument(3)?);
    // The installer takes what a release build has left.
    let target = "/run/pcsc-built";
    fs::create_dir_all(target)?;
    let release = format!("{target}/release");
    if !fs::exists(&release)? {
        symlink(built, release)?;
    }
    let install = |option: &[&str]| {
        let mut command = Command::new(&installer);
        command
            .arg("--driver")
            .args(option)
            .env("CARGO_TARGET_DIR", target);
        output(command)
    };
    install(&[])?;
    let result = scenario();
    install(&["--uninstall"])?;
    result
}

/// QEMU's reader, which is there when the daemon starts, and one that is plugged in while it runs.
fn readers(log: &str, tries: Tries) -> Result<()> {
    let (_pcscd, context, _) = tries.start(|| Pcscd::start(log), &["433-Swap"], State::PRESENT)?;
    let mut path = Daemon::connect(&context, "433-Swap")?;
    fact("reader", path.reader());
    checks::emulated_card(&mut path)?;
    drop(path);

    let model = || SimDevice::named("au9540").ok_or("no such reader");
    let name = base_name(model()?.model());
    let make = || {
        let mut device = Simulated::new(vec![model()?], PACE);
        device.insert(0, card());
        Ok(device)
    };
    let (device, _) = tries.plug(&context, &name, make)?;
    let mut path = Daemon::connect(&context, &name)?;
    fact("plugged", path.reader());
    fact("plugged-atr", hex(&path.atr()?));
    fact("plugged-protocol", path.protocol().unwrap_or(u8::MAX));
    for length in [1, 100, 255_u8] {
        let mut command = vec![0x80, 0xEC, 0, 0, length];
        command.extend(1..=length);
        command.push(0);
        fact(&format!("plugged-echo-{length}"), hex(&path.transmit(&command)?));
    }
    drop(path);

    for name in context.list_readers_owned()? {
        fact("listed", name.to_string_lossy());
    }
    tool("opensc-list", &["--list-readers"])?;
    tool("opensc-atr-0", &["--reader", "0", "--atr"])?;
    tool("opensc-atr-1", &["--reader", "1", "--atr"])?;
    // Without a guess at the card, of which the echo would make fun.
    let sent = [
        "--reader",
        "1",
        "--card-driver",
        "default",
        "-s",
        "80:EE:00:10:10",
    ];
    tool("opensc-apdu", &sent)?;

    device.with(|function| function.remove(0));
    path::appear(&context, &name, State::EMPTY)?;
    fact("card", "removed");
    let insert = |is_in| {
        device.with(|function| match is_in {
            true => function.insert(0, card()),
            false => function.remove(0),
        });
    };
    let mut path = tries.insert(&context, &name, insert)?;
    fact("card-again", hex(&path.transmit(&[0x80, 0xEE, 0, 5, 5])?));
    drop(path);
    // pcscd hangs if it notices the absence of a card while it is removing the reader: the absence clears the
    // lock (RFSetReaderEventState) whose value 0xFFFF ends the event thread (EHDestroyEventHandler).
    device.with(|function| function.remove(0));
    path::appear(&context, &name, State::EMPTY)?;
    device.unplug()?;
    path::gone(&context, &name)?;
    fact("reader-after", "gone");
    Ok(())
}

fn card() -> SimCard {
    let mut profile = Profile::new(&[Offer::T1]);
    profile.ta1 = Some(0x94);
    SimCard::good(profile, Box::new(Echo))
}

/// What opensc-tool prints, a fact a line.
fn tool(name: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("opensc-tool");
    command.args(arguments);
    output(command)?.lines().for_each(|line| fact(name, line));
    Ok(())
}

fn output(mut command: Command) -> Result<String> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}\n{text}{errors}", output.status).into());
    }
    Ok(text)
}
