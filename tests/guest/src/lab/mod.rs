//! The virtual machine: the host's files, the distribution's kernel, and devices that QEMU emulates.
//!
//! The guest's root is an overlay over the host's root folder, which is read-only. Every program of the host
//! runs in it; changes are lost at the end. What configures PC/SC on the host is hidden (see `script.rs`). A
//! boot takes about 14 s, so that one boot should run many commands.
//!
//! ```no_run
//! use pcsc_guest_tests::lab::Lab;
//! use std::time::Duration;
//!
//! let mut lab = Lab::new();
//! lab.command("kernel", &["uname", "-r"], Duration::from_secs(10));
//! let report = lab.boot().unwrap();
//! assert_eq!(report.finished("kernel").unwrap().status, Some(0));
//! ```

mod card;
mod error;
mod host;
mod initramfs;
mod kernel;
mod modules;
mod script;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pcsc_tests::{client, run};

pub use error::Error;
use host::option;
use script::Order;

/// How long the guest may take to boot and to power off. Generous: QEMU interprets the guest's instructions,
/// on a host that may be busy.
const BOOT: Duration = Duration::from_secs(240);

/// The configuration of a guest.
#[derive(Debug, Clone, Default)]
pub struct Lab {
    card_reader: bool,
    orders: Vec<Order>,
}

/// The result of a command in the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finished {
    /// Its exit status: 128 plus the number of the signal that ended it, 137 after the time limit. None if
    /// the guest ended before it.
    pub status: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The results of a guest that has powered off.
#[derive(Debug, Clone, Default)]
pub struct Report {
    finished: Vec<(String, Finished)>,
    files: BTreeMap<String, String>,
    /// The console's output.
    pub console: String,
    /// The run time of QEMU.
    pub duration: Duration,
}

impl Report {
    /// The result of the command with this name.
    pub fn finished(&self, name: &str) -> Option<&Finished> {
        let (_, finished) = self.finished.iter().find(|(known, _)| known == name)?;
        Some(finished)
    }

    /// The files that commands have written to `/run/lab`, by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

impl Lab {
    /// A guest with a USB controller and no USB device.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plugs in QEMU's CCID reader (08E6:4433, one slot, short APDU level, T=0) with its emulated card: a CAC
    /// card with three RSA keys, which are generated for each boot.
    pub fn card_reader(&mut self) -> &mut Self {
        self.card_reader = true;
        self
    }

    /// Adds a command, which runs after those added before, for at most `limit`.
    ///
    /// `name` becomes part of file names: letters, digits, hyphens.
    pub fn command(&mut self, name: &str, words: &[impl AsRef<str>], limit: Duration) -> &mut Self {
        self.orders.push(Order {
            name: name.into(),
            words: words.iter().map(|word| word.as_ref().into()).collect(),
            limit,
        });
        self
    }

    /// Boots, runs every command, and powers off.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there can be no QEMU. [`Error::Failed`] with the console's text if the
    /// guest does not come up or does not end in time. A command that fails is no error: see
    /// [`Finished::status`].
    pub fn boot(&self) -> Result<Report, Error> {
        let qemu = kernel::qemu()?;
        let kernel = kernel::folder()?;
        let folder = tempfile::Builder::new().prefix("pcsc-guest-").tempdir()?;
        let share = folder.path().join("share");
        fs::create_dir(&share)?;
        script::write(&share, &self.orders)?;
        let initramfs = folder.path().join("initramfs");
        fs::write(&initramfs, initramfs::build(&kernel.join("modules"))?)?;
        let console = folder.path().join("console");

        let mut command = self.machine(&qemu, &share);
        command.env("LD_PRELOAD", card::wakeups(folder.path()));
        command.arg("-kernel").arg(kernel.join("vmlinuz"));
        command.arg("-initrd").arg(&initramfs);
        command.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
        command.args(["-serial", &format!("file:{}", option(&console)?)]);
        if self.card_reader {
            command.args(card::reader(&folder.path().join("nss"))?);
        }

        let start = Instant::now();
        let limit = self.orders.iter().map(|order| order.limit).sum::<Duration>() + BOOT;
        let output = run(&mut command, limit);
        let duration = start.elapsed();
        let console = text(&console);
        if output.timed_out || !output.status.success() || !share.join("ended").exists() {
            let end = if output.timed_out {
                "killed at the deadline".into()
            } else {
                output.status.to_string()
            };
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(Error::Failed(format!(
                "{end}\n--- qemu\n{stderr}\n--- console\n{console}"
            )));
        }
        let finished = self
            .orders
            .iter()
            .map(|order| (order.name.clone(), finished(&share, &order.name)));
        Ok(Report {
            finished: finished.collect(),
            files: files(&share)?,
            console,
            duration,
        })
    }

    /// QEMU's command line, but for the kernel and the card reader. QEMU dies with this process.
    fn machine(&self, qemu: &Path, share: &Path) -> Command {
        // Its card emulation is linked against libpcsclite.
        let mut command = client("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(qemu);
        command.args(["-accel", "tcg", "-m", "1024", "-smp", "2", "-no-reboot"]);
        command.args(["-nodefaults", "-display", "none", "-monitor", "none"]);
        command.args([
            "-fsdev",
            "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        ]);
        command.args(["-device", "virtio-9p-pci,fsdev=root,mount_tag=root"]);
        command.arg("-fsdev").arg(format!(
            "local,id=lab,path={},security_model=none",
            share.display()
        ));
        command.args(["-device", "virtio-9p-pci,fsdev=lab,mount_tag=lab"]);
        command.args(["-device", "qemu-xhci"]);
        command
    }
}

fn finished(share: &Path, name: &str) -> Finished {
    let file = |end: &str| text(&share.join(format!("{name}.{end}")));
    Finished {
        status: file("status").trim().parse().ok(),
        stdout: file("out"),
        stderr: file("err"),
    }
}

fn files(share: &Path) -> Result<BTreeMap<String, String>, Error> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(share)? {
        let entry = entry?;
        files.insert(
            entry.file_name().to_string_lossy().into_owned(),
            text(&entry.path()),
        );
    }
    Ok(files)
}

/// The text of a file that may not be there.
fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
