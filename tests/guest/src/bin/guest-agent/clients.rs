//! Programs of others, unmodified: on our library without a daemon, then on the system's with
//! Debian's pcscd and libccid, with the same readers and cards.

use crate::daemon::Pcscd;
use crate::echo::EchoReader;
use crate::path::appear;
use crate::sharing::{plug, standalone};
use crate::simulated::{base_name, Simulated};
use crate::tries::Tries;
use crate::{argument, fact, Result};
use pcsc_client::State;
use pcsc_sim::card::apps::Hello;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::SimDevice;
use std::ffi::CString;
use std::process::{Command, Stdio};

/// Readers at the level of characters, of TPDUs, and of APDUs of any length; QEMU's and [`EchoReader`] are at
/// that of short APDUs.
const READERS: [(&str, Offer); 3] = [
    ("oz776", Offer::T1),
    ("scr3310", Offer::T0),
    ("yubikey", Offer::T1),
];

/// Commands of the Hello world! applet, for `scriptor`.
const SCRIPT: &str = "reset\n00 A4 04 00 0A A0 00 00 00 62 03 01 0C 06 01\n00 00 00 00\n80 E0 00 10\n";

/// Runs every client on both. Arguments: the folder of our library, that of Java's classes, and the script in
/// Python.
pub fn scenario() -> Result<()> {
    let mut plugged = Vec::new();
    let mut names = vec!["433-Swap".to_owned(), "Gnuk".to_owned()];
    for (model, offer) in READERS {
        let device = SimDevice::named(model).ok_or("no such reader")?;
        names.push(base_name(device.model()));
        let mut simulated = Simulated::new(vec![device], 16);
        let mut profile = Profile::new(&[offer]);
        profile.historical = model.into();
        simulated.insert(0, SimCard::good(profile, Box::new(Hello::default())));
        plugged.push(plug(simulated)?);
    }
    let echo = plug(EchoReader::with_card())?;
    std::fs::write("/run/script", SCRIPT)?;

    let clients = Clients {
        library: argument(2)?,
        classes: argument(3)?,
        python: argument(4)?,
    };
    let context = standalone()?;
    let readers = names.iter().map(|name| appear(&context, name, State::PRESENT));
    let readers = readers.collect::<Result<Vec<_>>>()?;
    drop(context);
    clients.run(true, &readers)?;
    let parts: Vec<&str> = names.iter().map(String::as_str).collect();
    let (pcscd, context, readers) =
        Tries::LIBCCID.start(|| Pcscd::start("clients"), &parts, State::PRESENT)?;
    drop(context);
    clients.run(false, &readers)?;
    drop(pcscd);
    for device in plugged {
        device.unplug()?;
    }
    Ok(echo.unplug()?)
}

struct Clients {
    library: String,
    classes: String,
    python: String,
}

impl Clients {
    fn run(&self, ours: bool, readers: &[CString]) -> Result<()> {
        self.client(ours, "pcsc-scan-readers", "pcsc_scan", &["-r"])?;
        self.client(ours, "pcsc-scan-cards", "pcsc_scan", &["-c", "-n"])?;
        self.client(ours, "opensc-list", "opensc-tool", &["--list-readers"])?;
        for (number, name) in readers.iter().enumerate() {
            let name = name.to_string_lossy();
            let select = "00A404000AA00000006203010C0601";
            let send = ["--reader", &name, "--atr", "-s", select, "-s", "00000000"];
            // What opensc asks of an unknown card brings QEMU's reader and libccid 1.5.2 out of step: an
            // empty transfer ends an answer of 64 bytes, and libccid takes it for the next answer.
            if ours || number != 0 {
                self.client(ours, &format!("opensc-{number}"), "opensc-tool", &send)?;
            }
            self.client(
                ours,
                &format!("scriptor-{number}"),
                "scriptor",
                &["-r", &name, "/run/script"],
            )?;
        }
        self.client(ours, "pyscard", "/usr/bin/python3", &[&self.python])?;
        let library = if ours {
            format!("{}/libpcsclite.so.1", self.library)
        } else {
            argument(5)?
        };
        let property = format!("-Dsun.security.smartcardio.library={library}");
        let arguments = ["-Xint", "-Xshare:auto", &property, "-cp", &self.classes, "Client"];
        self.client(ours, "java", "java", &arguments)
    }

    /// Runs a program; its output and its exit code are a fact.
    fn client(&self, ours: bool, name: &str, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        if ours {
            command.env("LD_LIBRARY_PATH", &self.library);
        }
        let output = command.output().map_err(|error| format!("{program}: {error}"))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        // pcsc_scan prints the time.
        let days = ["Mon ", "Tue ", "Wed ", "Thu ", "Fri ", "Sat ", "Sun "];
        let lines = text
            .lines()
            .filter(|line| !days.iter().any(|day| line.starts_with(day)));
        let lines: Vec<_> = lines.map(str::trim_end).collect();
        let side = if ours { "ours" } else { "stock" };
        fact(
            &format!("{side}/{name}"),
            format!("{:?} {}", output.status.code(), lines.join(" | ")),
        );
        Ok(())
    }
}
