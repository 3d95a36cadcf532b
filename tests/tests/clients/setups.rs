//! The set-ups that a program runs on, and comparisons of its output.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pcsc_client::{Choice, Context, Protocols, ShareMode};
use pcsc_tests::{artifacts, assert_same, run, Pcscd, Reader, Share, Simulation};

pub const LIMIT: Duration = Duration::from_secs(180);

/// A set-up that a program runs on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Setup {
    /// Debian's library, and pcscd.
    Stock,
    /// Our library, and pcscd.
    Daemon,
    /// Our library, which manages the readers itself.
    Alone,
    /// Debian's library, and our server.
    Server,
}

pub const SETUPS: [Setup; 4] = [Setup::Stock, Setup::Daemon, Setup::Alone, Setup::Server];

impl Setup {
    /// Whether programs run on our library.
    pub fn is_on_ours(self) -> bool {
        matches!(self, Setup::Daemon | Setup::Alone)
    }
}

/// Two readers in a set-up.
pub struct Stage {
    pub setup: Setup,
    owner: Owner,
}

enum Owner {
    Pcscd(Pcscd),
    Process(Simulation),
    Server(Share),
}

impl Stage {
    pub fn start(setup: Setup) -> Stage {
        let owner = match setup {
            Setup::Stock | Setup::Daemon => Owner::Pcscd(Pcscd::start(2)),
            Setup::Alone => Owner::Process(Simulation::start(2)),
            Setup::Server => Owner::Server(Share::start(2)),
        };
        Stage { setup, owner }
    }

    pub fn reader(&self, number: usize) -> Reader {
        match &self.owner {
            Owner::Pcscd(pcscd) => pcscd.reader(number),
            Owner::Process(simulation) => simulation.reader(number),
            Owner::Server(share) => share.reader(number),
        }
    }

    pub fn command(&self, mut command: Command) -> Command {
        if self.setup.is_on_ours() {
            command.env("LD_LIBRARY_PATH", artifacts::library_folder());
        }
        match &self.owner {
            Owner::Pcscd(pcscd) => command.env("PCSCLITE_CSOCK_NAME", pcscd.socket()),
            Owner::Process(simulation) => command.envs(simulation.environment()),
            Owner::Server(share) => command.env("PCSCLITE_CSOCK_NAME", share.socket()),
        };
        command
    }
}

/// The libpcsclite that a process has mapped; the only one.
pub fn loaded(pid: u32) -> Option<PathBuf> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut files: Vec<&str> = maps
        .lines()
        .filter(|line| line.contains("libpcsclite"))
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .collect();
    files.dedup();
    assert!(files.len() <= 1, "{files:?}");
    files.first().map(PathBuf::from)
}

pub fn our_file() -> PathBuf {
    artifacts::library().canonicalize().unwrap()
}

/// Runs a program until it has loaded a libpcsclite. Returns the library's path.
pub fn loads(command: &mut Command) -> PathBuf {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    let file = loop {
        if let Some(file) = loaded(child.id()) {
            break file;
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "{command:?} ended without a libpcsclite"
        );
        assert!(Instant::now() < deadline, "{command:?} loads no libpcsclite");
        std::thread::yield_now();
    };
    child.kill().unwrap();
    child.wait().unwrap();
    file
}

pub fn is_there(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).exists());
    assert!(found, "{program} is not installed: run scripts/setup");
    found
}

/// An action of a test on a reader.
pub type Act = fn(&Reader);

/// Two readers with pcscd, and with our server; and the same ones with neither, created for each program,
/// since only one process can use a reader.
pub struct Twins {
    pcscd: Stage,
    server: Stage,
    done: Vec<(usize, Act)>,
}

impl Twins {
    pub fn start() -> Twins {
        Twins {
            pcscd: Stage::start(Setup::Stock),
            server: Stage::start(Setup::Server),
            done: Vec::new(),
        }
    }

    /// Performs an action on a reader.
    pub fn act(&mut self, number: usize, act: Act) {
        act(&self.pcscd.reader(number));
        act(&self.server.reader(number));
        self.done.push((number, act));
    }

    pub fn alone(&self) -> Stage {
        let stage = Stage::start(Setup::Alone);
        for (number, act) in &self.done {
            act(&stage.reader(*number));
        }
        stage
    }

    /// Runs a program in all set-ups. Checks that the output is the same, and returns it.
    pub fn same(&self, command: impl Fn() -> Command) -> String {
        self.same_but(command, |alone| alone)
    }

    /// The same, after a correction of the output without pcscd.
    pub fn same_but(&self, command: impl Fn() -> Command, put_right: impl Fn(String) -> String) -> String {
        let stock = text(self.pcscd.command(command()));
        let mut ours = self.pcscd.command(command());
        ours.env("LD_LIBRARY_PATH", artifacts::library_folder());
        let what = words(&command());
        assert_same(&what, ("stock", &stock), ("ours, with pcscd", &text(ours)));
        let alone = self.alone();
        let alone = put_right(text(alone.command(command())));
        assert_same(&what, ("stock", &stock), ("ours, without pcscd", &alone));
        let served = text(self.server.command(command()));
        assert_same(&what, ("stock", &stock), ("stock, on our server", &served));
        stock
    }
}

/// A program's name and its arguments.
pub fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// A program's exit code and its output. Checks that it and its children load the libpcsclite of the
/// command's LD_LIBRARY_PATH and no other.
pub fn text(mut command: Command) -> String {
    let is_folder = |(name, value): (&OsStr, Option<&OsStr>)| {
        (name == "LD_LIBRARY_PATH").then(|| value.map(PathBuf::from))?
    };
    let folder = command.get_envs().find_map(is_folder).expect("a library");
    let expected = folder.join("libpcsclite.so.1").canonicalize().unwrap();

    // The loader writes a file for each process.
    let reports = tempfile::tempdir().unwrap();
    command
        .env("LD_DEBUG", "libs")
        .env("LD_DEBUG_OUTPUT", reports.path().join("process"));
    let output = run(&mut command, LIMIT);
    assert!(!output.timed_out, "{command:?}");
    let mut loaded = BTreeSet::new();
    for report in std::fs::read_dir(reports.path()).unwrap() {
        let report = std::fs::read(report.unwrap().path()).unwrap();
        loaded.extend(String::from_utf8_lossy(&report).lines().filter_map(|line| {
            let (_, path) = line.split_once("calling init: ")?;
            path.contains("/libpcsclite")
                .then(|| Path::new(path).canonicalize().unwrap())
        }));
    }
    assert_eq!(Vec::from_iter(loaded), [expected], "{command:?}");
    let text = [output.stdout, output.stderr].concat();
    format!("{:?}\n{}", output.status.code(), String::from_utf8_lossy(&text))
}

/// The model of the simulated reader in our library, and its card's ATR.
pub const MODEL: &str = "gempc-express";

/// Runs a program with the simulated reader in our library; and on Debian's library with the same simulated
/// reader, in our server, and in our driver with pcscd. Checks that the output is the same except for the
/// reader's name, and returns it. `command` gets the name.
pub fn same_on_the_driver(command: impl Fn(&str) -> Command) -> String {
    let context = Context::builder()
        .choose_backend(Choice::Simulated)
        .establish()
        .unwrap();
    let reader = context.list_readers_owned().unwrap().remove(0);
    let card = context
        .connect(&reader, ShareMode::Shared, Protocols::ANY)
        .unwrap();
    let name = reader.into_string().unwrap();
    let hex: String = card
        .status2_owned()
        .unwrap()
        .atr()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();

    let pcscd = Pcscd::start_driver(&[&format!("{MODEL}:card={hex}")]);
    let mut stock = command(&pcscd.reader(0).name());
    stock.env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    let mut ours = command(&name);
    ours.env("LD_LIBRARY_PATH", artifacts::library_folder())
        .env("PCSCLITE_BACKEND", "simulated");
    let ours = text(ours).replace(&name, &pcscd.reader(0).name());
    let share = Share::start_with(&["sim:"]);
    let mut served = command(&name);
    served.env("PCSCLITE_CSOCK_NAME", share.socket());
    let served = text(served).replace(&name, &pcscd.reader(0).name());

    let what = words(&command(""));
    let stock = ("stock, with pcscd", &*text(stock));
    assert_same(&what, stock, ("ours, without", &ours));
    assert_same(&what, stock, ("stock, on our server", &served));
    ours
}
