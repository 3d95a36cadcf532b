//! QEMU's CCID reader and the keys of its emulated card.

use super::error::Error;
use super::host::{option, program};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pcsc_tests::{c_library, run};

/// The names of the card's three certificates in the database.
const CERTIFICATES: [&str; 3] = ["identity", "signature", "encryption"];

/// Creates the NSS database in `folder`. Returns QEMU's options for the reader and its card.
pub(super) fn reader(folder: &Path) -> Result<[String; 4], Error> {
    fs::create_dir(folder)?;
    let database = format!("sql:{}", option(folder)?);
    certutil(&["-N", "-d", &database, "--empty-password"])?;
    // Random input for certutil, which would otherwise ask for key strokes. The keys are not secret.
    let noise = folder.join("noise");
    fs::write(&noise, format!("{folder:?} {:?}", std::time::SystemTime::now()))?;
    let noise = option(&noise)?.to_owned();
    for (serial, name) in (1..).zip(CERTIFICATES) {
        let serial: u32 = serial;
        let subject = format!("CN=pcsc-guest {name}");
        certutil(&[
            "-S",
            "-d",
            &database,
            "-n",
            name,
            "-s",
            &subject,
            "-x",
            "-t",
            "CT,CT,CT",
            "-k",
            "rsa",
            "-g",
            "2048",
            "-m",
            &serial.to_string(),
            "-v",
            "12",
            "-z",
            &noise,
        ])?;
    }
    let [first, second, third] = CERTIFICATES;
    Ok([
        "-device".into(),
        "usb-ccid,id=ccid".into(),
        "-device".into(),
        format!(
            "ccid-card-emulated,backend=certificates,db={database},\
             cert1={first},cert2={second},cert3={third}"
        ),
    ])
}

/// A library that QEMU's emulated card needs, to be preloaded; it is compiled into `folder`.
///
/// A thread of the card waits for commands. QEMU (`hw/usb/ccid-card-emulated.c`, 7.2 and later) queues a
/// command, signals a condition variable, and the thread waits for that variable without a look at the queue.
/// A command that comes between the thread's last look and its wait is not answered before another one comes:
/// one in some thousands, more on a busy host. The driver then waits as long as T=0 allows, 232 s. With
/// spurious wake-ups the thread looks again.
pub(super) fn wakeups(folder: &Path) -> PathBuf {
    c_library(folder, "wakeups")
}

fn certutil(arguments: &[&str]) -> Result<(), Error> {
    if program("certutil").is_none() {
        return Err(Error::Failed("no certutil: run scripts/setup".into()));
    }
    let output = run(Command::new("certutil").args(arguments), Duration::from_secs(300));
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::Failed(format!(
        "certutil {arguments:?}: {}\n{stderr}",
        output.status
    )))
}
