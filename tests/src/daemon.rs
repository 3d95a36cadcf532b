//! A pcscd for one test.
//!
//! pcscd's socket has a fixed place, so each daemon gets a mount namespace in which `/run/pcscd` is a folder
//! of the test. `setpriv`, `unshare` and `mount` do that, in the process that becomes pcscd.

use crate::artifacts;
use crate::reader::{Reader, FRIENDLY_NAME};
use crate::ready::{answers, states, until};
use crate::spawn::{kill, spawn};
use crate::virtual_card::{VirtualCard, VPCD_PORT};
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pcsc_client::{Card, Context, Protocols, ShareMode, State};
use rustix::process::{geteuid, kill_process, Pid, Signal};
use tempfile::TempDir;

/// How long pcscd may take to answer after its start, and to end when asked to. Generous: many tests share
/// few processors.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// `$1` becomes `/run/pcscd`, `$2` is the folder of reader files, `$3` that of drivers, if there is one.
/// pcscd finds no other driver, so that it does not use a reader of the developer. With `$4` the daemon has a
/// network of its own. What follows are further options of pcscd.
const IN_NAMESPACE: &str = r#"
    mount -t tmpfs none /run
    mkdir /run/pcscd
    mount --bind "$1" /run/pcscd
    if [ -n "$3" ]; then mkdir -p /usr/lib/pcsc/drivers; mount --bind "$3" /usr/lib/pcsc/drivers
    elif [ -d /usr/lib/pcsc/drivers ]; then mount -t tmpfs none /usr/lib/pcsc/drivers; fi
    if [ -n "$4" ]; then busybox ip link set lo up; fi
    readers=$2
    shift 4
    exec pcscd --foreground --info --config "$readers" "$@"
"#;

/// Which IFD handler pcscd loads.
#[derive(Debug, Clone)]
enum Handler {
    /// The test's handler, with this number of readers.
    Test(usize),
    /// Our driver, with a simulated reader for each of these models, with options.
    Driver(Vec<String>),
    /// The same, installed, with the folder of its bundle.
    Installed(Vec<String>, PathBuf),
    /// The vpcd of vsmartcard, which has two readers; their cards are programs that connect to it.
    Vpcd,
}

impl Handler {
    fn readers(&self) -> usize {
        match self {
            Handler::Test(readers) => *readers,
            Handler::Driver(models) | Handler::Installed(models, _) => models.len(),
            Handler::Vpcd => 2,
        }
    }
}

/// A running pcscd with up to 16 readers of the test, all empty at first.
///
/// Several can run at the same time. Dropping it ends the daemon and removes its files, after printing the
/// daemon's log if the test fails. The daemon also ends with the test's process, however that ends.
///
/// ```no_run
/// use pcsc_tests::{atr, run, Pcscd};
/// use std::{process::Command, time::Duration};
///
/// let pcscd = Pcscd::start(1);
/// pcscd.reader(0).insert(atr::T1);
/// let mut list = Command::new("opensc-tool");
/// list.arg("--atr").env("PCSCLITE_CSOCK_NAME", pcscd.socket());
/// assert!(run(&mut list, Duration::from_secs(10)).stdout().contains("54:3d:31:21"));
/// ```
#[derive(Debug)]
pub struct Pcscd {
    folder: TempDir,
    handler: Handler,
    /// Options of pcscd, beside those of every test.
    options: Vec<String>,
    child: Option<Child>,
    /// The programs that are cards of vpcd.
    cards: Vec<VirtualCard>,
}

impl Pcscd {
    /// Starts pcscd and waits until it answers.
    ///
    /// # Panics
    /// If there is no pcscd, if this is not root, for more than 16 readers, if pcscd does not start.
    #[track_caller]
    pub fn start(readers: usize) -> Self {
        Self::start_with(Handler::Test(readers))
    }

    /// The same, without readers, for at most this number of clients.
    ///
    /// # Panics
    /// As [`Pcscd::start`].
    #[track_caller]
    pub fn start_limited(clients: usize) -> Self {
        let options = vec!["--max-thread".into(), clients.to_string()];
        Self::start_with_options(Handler::Test(0), options)
    }

    /// Starts pcscd with our driver as its IFD handler, and simulated readers: each a model of the driver's,
    /// with options behind a colon, such as `octsim:card=t0`. A reader's slots count as readers of pcscd's.
    ///
    /// # Panics
    /// As [`Pcscd::start`].
    #[track_caller]
    pub fn start_driver(models: &[&str]) -> Self {
        Self::start_with(Handler::Driver(models.iter().map(ToString::to_string).collect()))
    }

    /// The same, with the driver whose bundle is installed in `folder`; pcscd looks there for drivers of USB
    /// readers.
    ///
    /// # Panics
    /// As [`Pcscd::start`].
    #[track_caller]
    pub fn start_installed(models: &[&str], folder: &Path) -> Self {
        let models = models.iter().map(ToString::to_string).collect();
        Self::start_with(Handler::Installed(models, folder.to_owned()))
    }

    /// Starts pcscd with vsmartcard's vpcd driver, and published card applications in its readers, up to two:
    /// programs of `tests/cards`.
    ///
    /// # Panics
    /// As [`Pcscd::start`], and if a card is not inserted in time.
    #[track_caller]
    pub fn start_cards(applications: &[&str]) -> Self {
        let mut pcscd = Self::start_with(Handler::Vpcd);
        for (number, application) in applications.iter().enumerate() {
            let card = VirtualCard::insert(application, pcscd.pid(), number);
            pcscd.cards.push(card);
        }
        // Not by the log: a card that is there at the daemon's first look is not said to be inserted.
        let context = pcscd.context();
        let inserted = until(Instant::now() + DEADLINE, || {
            let states = states(&context)?;
            let present = states.iter().filter(|state| state.contains(State::PRESENT));
            (present.count() == applications.len()).then_some(())
        });
        assert!(inserted.is_some(), "no card is inserted in time");
        pcscd
    }

    #[track_caller]
    fn start_with(handler: Handler) -> Self {
        Self::start_with_options(handler, Vec::new())
    }

    #[track_caller]
    fn start_with_options(handler: Handler, options: Vec<String>) -> Self {
        require_pcscd();
        // Not TMPDIR: a socket's address has at most 107 bytes, and pcscd's file of readers allows few
        // characters in paths.
        let folder = tempfile::Builder::new()
            .prefix("pcscd-")
            .tempdir_in("/tmp")
            .expect("a folder in /tmp");
        let mut pcscd = Self {
            folder,
            handler,
            options,
            child: None,
            cards: Vec::new(),
        };
        for name in ["run", "reader.conf.d"] {
            fs::create_dir(pcscd.path(name)).expect("a folder in ours");
        }
        let library = match &pcscd.handler {
            Handler::Test(_) => artifacts::ifd(),
            Handler::Driver(_) => artifacts::driver(),
            Handler::Vpcd => artifacts::vpcd(),
            Handler::Installed(_, folder) => {
                folder.join("ifd-pcsc-rs.bundle/Contents/Linux/libpcsc_ifd_handler.so")
            }
        };
        symlink(library, pcscd.path("ifd.so")).expect("a link in our folder");
        pcscd.launch();
        pcscd
    }

    /// The daemon's socket, for PCSCLITE_CSOCK_NAME. Stays the same over restarts; well under 108 bytes.
    pub fn socket(&self) -> PathBuf {
        self.path("run/pcscd.comm")
    }

    /// The daemon's process.
    ///
    /// # Panics
    /// If it is not running.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("pcscd is not running").id()
    }

    /// Reader `number`, from 0.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn reader(&self, number: usize) -> Reader {
        let readers = self.handler.readers();
        assert!(number < readers, "reader {number} of {readers}");
        Reader {
            control: self.path("control"),
            number,
            slot: 0,
        }
    }

    /// A context of pcsc-client with this daemon.
    ///
    /// # Panics
    /// If it is not established.
    #[track_caller]
    pub fn context(&self) -> Context {
        let context = Context::builder().socket_path(self.socket()).establish();
        context.expect("a context with pcscd")
    }

    /// A shared connection to the card in reader `number`.
    ///
    /// # Panics
    /// If it is not made.
    #[track_caller]
    pub fn connect(&self, number: usize) -> Card {
        let name = CString::new(self.reader(number).name()).expect("a reader's name");
        let card = self.context().connect(&name, ShareMode::Shared, Protocols::ANY);
        card.expect("a connection to the card")
    }

    /// The readers' names, in pcscd's order.
    pub fn names(&self) -> Vec<String> {
        (0..self.handler.readers())
            .map(|number| self.reader(number).name())
            .collect()
    }

    /// Ends the daemon like a crash: connections break, and the socket's file stays. Does nothing if it is
    /// not running.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill(&mut child);
        }
    }

    /// Ends the daemon as systemd does (SIGTERM): at once, without closing the readers. Returns its exit
    /// status.
    ///
    /// # Panics
    /// If it is not running or does not end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.end(Signal::TERM)
    }

    /// Ends the daemon by SIGINT, upon which it closes every reader; that takes a second. Returns its exit
    /// status.
    ///
    /// # Panics
    /// If it is not running or does not end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.end(Signal::INT)
    }

    #[track_caller]
    fn end(&mut self, signal: Signal) -> ExitStatus {
        let child = self.child.as_mut().expect("pcscd is not running");
        let pid = Pid::from_child(child);
        let mut try_wait = || child.try_wait().expect("pcscd is our child");
        let start = Instant::now();
        kill_process(pid, signal).expect("pcscd can be signalled");
        // pcscd's signal thread has 1 ms to note SIGINT before the main thread waits for the next client or
        // signal. On a busy machine this is too short, and a second signal is needed. A third one would end
        // pcscd without closing the readers.
        let status = until(start + Duration::from_secs(3), &mut try_wait).or_else(|| {
            kill_process(pid, signal).expect("pcscd can be signalled");
            until(start + DEADLINE, &mut try_wait)
        });
        let status = status.unwrap_or_else(|| panic!("pcscd does not end:\n{}", self.log()));
        self.child = None;
        status
    }

    /// Ends the daemon if it is running and starts it again, with empty readers, on the same socket path.
    #[track_caller]
    pub fn restart(&mut self) {
        self.restart_handler(self.handler.clone());
    }

    /// The same, with another number of readers of the test's handler.
    #[track_caller]
    pub fn restart_with(&mut self, readers: usize) {
        self.restart_handler(Handler::Test(readers));
    }

    #[track_caller]
    fn restart_handler(&mut self, handler: Handler) {
        self.kill();
        self.handler = handler;
        // The next pcscd does not start if a process has the number in an old pid file.
        for name in ["run/pcscd.comm", "run/pcscd.pid"] {
            match fs::remove_file(self.path(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{name}: {error}"),
                _ => {}
            }
        }
        self.launch();
    }

    /// What the daemon has logged so far, over all its starts.
    pub fn log(&self) -> String {
        fs::read(self.path("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    fn launch(&mut self) {
        fs::write(self.path("reader.conf.d/readers"), self.configuration()).expect("a file in our folder");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a file in our folder");
        let private_network = matches!(self.handler, Handler::Vpcd);
        let mut command = Command::new("setpriv");
        command
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--propagation",
                "private",
            ])
            .args(private_network.then_some("--net"))
            .args(["sh", "-e", "-c", IN_NAMESPACE, "sh"])
            .args([self.path("run"), self.path("reader.conf.d")])
            .arg(match &self.handler {
                Handler::Installed(_, folder) => folder.as_path(),
                _ => Path::new(""),
            })
            .arg(if private_network { "yes" } else { "" })
            .args(&self.options)
            .env("PATH", path_with_sbin())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        self.child = Some(spawn(command).expect("setpriv can be started"));

        let (socket, deadline) = (self.socket(), Instant::now() + DEADLINE);
        let child = self.child.as_mut().expect("just started");
        let ended = until(deadline, || match child.try_wait() {
            Ok(None) => answers(&socket).then_some(None),
            ended => Some(ended.ok().flatten()),
        });
        match ended {
            Some(None) => {}
            Some(Some(status)) => panic!("pcscd ended with {status}:\n{}", self.log()),
            None => panic!("pcscd does not answer:\n{}", self.log()),
        }
        // The thread of each reader looks at it, sends an event to every client, and waits. Until then a
        // client may see a state that is none, and get an event without a change.
        if let Handler::Test(readers) = self.handler {
            (0..readers).for_each(|number| self.reader(number).settle());
        }
        // A reader of the driver may have a card from the start. A connection is refused until pcscd has
        // looked at it and noted what it has seen, the ATR first.
        if matches!(self.handler, Handler::Driver(_) | Handler::Installed(..)) {
            let context = self.context();
            let known = State::EMPTY | State::PRESENT | State::UNAVAILABLE;
            let is_known = |state: &State| state.intersects(known);
            let looked = until(deadline, || states(&context)?.iter().all(is_known).then_some(()));
            assert!(
                looked.is_some(),
                "pcscd does not know its readers:\n{}",
                self.log()
            );
        }
    }

    /// The reader file. LIBPATH is last in an entry, because pcscd regards an entry as complete once it has
    /// the required fields.
    #[track_caller]
    fn configuration(&self) -> String {
        let readers = self.handler.readers();
        assert!(
            readers <= pcsc_test_ifd::MAX_READERS,
            "pcscd knows 16 readers, not {readers}"
        );
        let (control, library) = (self.path("control"), self.path("ifd.so"));
        if matches!(self.handler, Handler::Vpcd) {
            // One entry has both readers, as slots.
            return format!(
                "FRIENDLYNAME \"{FRIENDLY_NAME}\"\nDEVICENAME /dev/null:{VPCD_PORT:#x}\n\
                 CHANNELID {VPCD_PORT:#x}\nLIBPATH {}\n",
                library.display()
            );
        }
        let mut text = String::new();
        for number in 0..readers {
            let device = match &self.handler {
                Handler::Test(_) => format!("test:{}:{number}", control.display()),
                Handler::Vpcd => unreachable!("returned above"),
                Handler::Driver(models) | Handler::Installed(models, _) => {
                    format!(
                        "sim:{}:control={}:number={number}",
                        models[number],
                        control.display()
                    )
                }
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "FRIENDLYNAME \"{FRIENDLY_NAME}\"\nDEVICENAME {device}\nCHANNELID {number}\nLIBPATH {}\n",
                library.display()
            );
        }
        text
    }
}

impl Drop for Pcscd {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- pcscd's log\n{}---", self.log());
        }
    }
}

fn path_with_sbin() -> String {
    format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into())
    )
}

#[track_caller]
fn require_pcscd() {
    assert!(
        geteuid().is_root(),
        "this test runs pcscd in a mount namespace of its own, for which it must be root"
    );
    let found = std::env::split_paths(&path_with_sbin()).any(|folder| folder.join("pcscd").is_file());
    assert!(found, "pcscd is not installed: run scripts/setup");
}
