//! A virtual machine with UEFI firmware, and readers whose cards are this test.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pcsc_tests::run;
use tempfile::TempDir;

use crate::card::{self, Action};
use crate::redir::{self, Input};
use crate::simulated::{Simulated, PACE};

/// Debian's firmware images, from package ovmf.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const QEMU: &str = "qemu-system-x86_64";
const TARGET: &str = "x86_64-unknown-uefi";
/// How long a boot with all its programs may take. It takes 30 s; machines under load take several times
/// that.
const LIMIT: Duration = Duration::from_secs(600);
/// Ports of the USB, of each speed.
const PORTS: usize = 15;

/// Why there can be no machine here, if there can be none.
pub fn missing() -> Option<String> {
    for file in [CODE, VARIABLES] {
        if !Path::new(file).exists() {
            return Some(format!("no {file}: run scripts/setup"));
        }
    }
    if Command::new(QEMU).arg("--version").output().is_err() {
        return Some(format!("no {QEMU}: run scripts/setup"));
    }
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .expect("rustc");
    let folder = String::from_utf8_lossy(&libraries.stdout).trim().to_owned();
    (!Path::new(&folder).is_dir())
        .then(|| format!("no Rust standard library for {TARGET}: run scripts/setup"))
}

/// Builds the images; gives their paths.
pub fn images() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcsc-uefi");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--release", "--locked", "--target", TARGET])
        .current_dir(&folder);
    run(&mut cargo, Duration::from_secs(600)).stdout();
    let folder = folder.join("target").join(TARGET).join("release");
    let files = fs::read_dir(folder).expect("the images").flatten();
    let paths = files.map(|file| file.path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "efi"))
        .collect()
}

/// The readers of a virtual machine.
#[derive(Default)]
pub struct Readers {
    /// How many of QEMU's own, whose cards are `card`'s.
    pub passthru: usize,
    /// The simulated ones.
    pub simulated: Vec<Simulated>,
}

/// Boots, runs `script` in the UEFI shell on a disk with all images, and gives what the console showed, as
/// plain text.
///
/// # Panics
/// If the machine does not end by itself in time.
pub fn boot(images: &[PathBuf], script: &[&str], readers: Readers) -> String {
    let folder = TempDir::new().expect("a folder");
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("a folder for the disk");
    for image in images {
        fs::copy(image, disk.join(image.file_name().expect("a name"))).expect("a copy of an image");
    }
    let script = [&["@echo -off", "fs0:"], script, &["reset -s"]].concat();
    fs::write(disk.join("startup.nsh"), script.join("\r\n")).expect("the script");
    let variables = folder.path().join("variables");
    fs::copy(VARIABLES, &variables).expect("a copy of the variables");
    let monitor = folder.path().join("monitor");
    let serial = folder.path().join("serial");

    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", QEMU, "-accel", "tcg", "-m", "256"]);
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot", "-net", "none"]);
    qemu.args(["-serial", &format!("file:{}", serial.display())]);
    qemu.args(["-qmp", &format!("unix:{},server=on,wait=off", monitor.display())]);
    qemu.args(["-drive", &format!("if=pflash,format=raw,readonly=on,file={CODE}")]);
    qemu.args([
        "-drive",
        &format!("if=pflash,format=raw,file={}", variables.display()),
    ]);
    qemu.args(["-drive", &format!("format=raw,file=fat:rw:{}", disk.display())]);
    qemu.args(["-device", &format!("qemu-xhci,id=usb,p2={PORTS},p3={PORTS}")]);
    // Ports have numbers so that the firmware finds the readers in this order.
    let senders = simulated(&mut qemu, folder.path(), readers.simulated, readers.passthru);
    let senders = Arc::new(senders);
    let (cards, seats) = card::pairs(readers.passthru);
    for (number, seat) in seats.into_iter().enumerate() {
        let socket = folder.path().join(format!("card{number}"));
        let listener = UnixListener::bind(&socket).expect("a socket");
        qemu.args([
            "-device",
            &format!("usb-ccid,id=reader{number},bus=usb.0,port={}", number + 1),
        ]);
        qemu.args([
            "-chardev",
            &format!("socket,id=card{number},path={}", socket.display()),
        ]);
        qemu.args([
            "-device",
            &format!("ccid-card-passthru,bus=reader{number}.0,chardev=card{number}"),
        ]);
        let (cards, monitor, senders) = (cards.clone(), monitor.clone(), senders.clone());
        let act = move |action| match action {
            Action::Unplug => unplug(&monitor, number),
            // Its thread may have ended with QEMU.
            Action::PlugSimulated => _ = senders.first().map(|sender| sender.send(Input::Plug)),
        };
        // Ends with QEMU, which closes the connection.
        thread::spawn(move || seat.serve(&listener, &cards, &act));
    }
    let output = run(&mut qemu, LIMIT);
    let console = plain(&fs::read(&serial).unwrap_or_default());
    assert!(
        output.status.success() && !output.timed_out,
        "{}, timed out: {}\n{}\n--- the console's end\n{}",
        output.status,
        output.timed_out,
        String::from_utf8_lossy(&output.stderr),
        end_of(&console)
    );
    console
}

/// Gives the machine simulated readers, on the ports after the first `used` ones; gives what moves them.
fn simulated(qemu: &mut Command, folder: &Path, readers: Vec<Simulated>, used: usize) -> Vec<Sender<Input>> {
    let mut senders = Vec::new();
    for (number, reader) in readers.into_iter().enumerate() {
        let socket = folder.join(format!("simulated{number}"));
        let listener = UnixListener::bind(&socket).expect("a socket");
        qemu.args([
            "-chardev",
            &format!("socket,id=simulated{number},path={}", socket.display()),
        ]);
        let port = used + number + 1;
        qemu.args([
            "-device",
            &format!("usb-redir,chardev=simulated{number},bus=usb.0,port={port}"),
        ]);
        let (sender, inputs) = mpsc::channel();
        let factory = reader.factory(sender.clone());
        senders.push(sender.clone());
        // Ends with QEMU, which closes the connection.
        thread::spawn(move || redir::serve(&listener, factory, sender, inputs, PACE));
    }
    senders
}

/// The last lines of a text, to be shown.
pub fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Takes a reader off the USB, by QEMU's monitor.
fn unplug(monitor: &Path, number: usize) {
    let mut commands = UnixStream::connect(monitor).expect("the monitor");
    let mut answers = BufReader::new(commands.try_clone().expect("a handle")).lines();
    let device = format!(r#"{{"execute":"device_del","arguments":{{"id":"reader{number}"}}}}"#);
    for command in [r#"{"execute":"qmp_capabilities"}"#, &device] {
        writeln!(commands, "{command}").expect("a command to the monitor");
        let answered = answers
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("return") || line.contains("error"));
        assert!(answered.is_some_and(|line| line.contains("return")), "{command}");
    }
}

/// A console's text without escape sequences.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                characters.find(|end| end.is_ascii_alphabetic());
            }
            '\r' => (),
            other => plain.push(other),
        }
    }
    plain
}
