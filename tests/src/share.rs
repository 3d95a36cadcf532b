//! Our own server, `pcsc share`, for one test.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use pcsc_client::{Context, State};
use rustix::process::{kill_process, Pid, Signal};
use tempfile::TempDir;

use crate::artifacts;
use crate::daemon::DEADLINE;
use crate::network::Network;
use crate::reader::Reader;
use crate::ready::{knows_readers, until};
use crate::simulation::Simulation;
use crate::spawn::{kill, spawn};
use crate::virtual_card::{VirtualCard, IN_NETWORK, VPCD_PORT};

/// A running `pcsc share`. The process ends with the test's.
#[derive(Debug)]
pub struct Share {
    folder: TempDir,
    simulation: Option<Simulation>,
    arguments: Vec<String>,
    /// What starts the program on another network.
    prefix: Vec<String>,
    child: Option<Child>,
    /// The programs that are cards.
    cards: Vec<VirtualCard>,
}

impl Share {
    /// A server of the test's readers, all empty at first: those that [`Pcscd::start`](crate::Pcscd::start)
    /// has, under the same names.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start(readers: usize) -> Share {
        Share::start_also(readers, &[])
    }

    /// The same with further arguments of `pcsc share`.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_also(readers: usize, arguments: &[&str]) -> Share {
        // A server that is killed and started again finds a device on the USB free at once.
        let simulation = Simulation::start_shared(readers);
        let source = format!("sim:{}", simulation.socket().display());
        Share::launch(Some(simulation), &[], &[&[source.as_str()], arguments].concat())
    }

    /// A server of simulated readers of a model, which our driver drives. They have the names of the test's
    /// readers, and are empty at first.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_driven(readers: usize, model: &str) -> Share {
        let simulation = Simulation::start_driven(readers, model);
        let source = format!("sim:{}", simulation.socket().display());
        Share::launch(Some(simulation), &[], &[&source])
    }

    /// As [`Share::start_also`] on a network, and without simulated readers where `readers` is 0.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_on(network: &Network, readers: usize, arguments: &[&str]) -> Share {
        let enter = network.enter();
        let enter = enter.each_ref().map(String::as_str);
        if readers == 0 {
            return Share::launch(None, &enter, arguments);
        }
        let simulation = Simulation::start_shared(readers);
        let source = format!("sim:{}", simulation.socket().display());
        Share::launch(
            Some(simulation),
            &enter,
            &[&[source.as_str()], arguments].concat(),
        )
    }

    /// A server of a reader for virtual cards, with two slots like that of vsmartcard's driver, and published
    /// card applications in them: programs of `tests/cards`.
    ///
    /// # Panics
    /// If it does not start, or a card is not inserted in time.
    #[track_caller]
    pub fn start_cards(applications: &[&str]) -> Share {
        let source = format!("sim:vpcd:{VPCD_PORT},{}", VPCD_PORT + 1);
        let mut share = Share::launch(
            None,
            &["unshare", "--net", "sh", "-e", "-c", IN_NETWORK, "sh"],
            &[&source],
        );
        for (number, application) in applications.iter().enumerate() {
            let card = VirtualCard::insert(application, share.pid(), number);
            share.cards.push(card);
        }
        let inserted = until(Instant::now() + DEADLINE, || {
            let readers = share.context().readers().ok()?;
            let present = readers
                .iter()
                .filter(|reader| reader.state.contains(State::PRESENT));
            (present.count() == applications.len()).then_some(())
        });
        assert!(inserted.is_some(), "no card is inserted in time");
        share
    }

    /// A context of pcsc-client with this server.
    ///
    /// # Panics
    /// If it is not established.
    #[track_caller]
    pub fn context(&self) -> Context {
        let context = Context::builder().socket_path(self.socket()).establish();
        context.expect("a context with the server")
    }

    /// A server with these arguments of `pcsc share`, beside that for the socket.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_with(arguments: &[&str]) -> Share {
        Share::launch(None, &[], arguments)
    }

    #[track_caller]
    fn launch(simulation: Option<Simulation>, prefix: &[&str], arguments: &[&str]) -> Share {
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let folder = tempfile::Builder::new()
            .prefix("share-")
            .tempdir_in("/tmp")
            .expect("a folder in /tmp");
        let mut share = Share {
            folder,
            simulation,
            prefix: owned(prefix),
            arguments: owned(arguments),
            child: None,
            cards: Vec::new(),
        };
        share.restart();
        share
    }

    /// The command that starts a server on this socket.
    pub fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(&self.prefix)
            .arg(artifacts::binary("pcsc-cli", "pcsc"))
            .args(["-v", "share", "--socket"])
            .arg(self.socket())
            .args(&self.arguments)
            .env_remove("PCSCLITE_CSOCK_NAME")
            .stdin(Stdio::null());
        command
    }

    /// Ends the server if it is running, like a crash, and starts it again, with empty readers. Returns when
    /// the server has looked at them.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        if let Some(simulation) = &self.simulation {
            simulation.readers().for_each(|reader| reader.remove_nowait());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"));
        let log = log.expect("a file in our folder");
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(log);
        let mut child = spawn(command).expect("setpriv can be started");
        let socket = self.socket();
        let ended = until(Instant::now() + DEADLINE, || match child.try_wait() {
            Ok(None) => knows_readers(&socket).then_some(None),
            ended => Some(ended.ok().flatten()),
        });
        self.child = Some(child);
        assert_eq!(ended, Some(None), "the server does not start:\n{}", self.log());
    }

    /// Ends the server like a crash. Does nothing if it is not running.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill(&mut child);
        }
    }

    /// Ends the server as systemd does, and returns its exit status.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = Pid::from_child(self.child.as_ref().expect("the server is running"));
        kill_process(pid, Signal::TERM).expect("our child");
        self.wait()
    }

    /// Waits until the server has ended, and returns its exit status.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server is running");
        let status = until(Instant::now() + DEADLINE, || child.try_wait().expect("our child"));
        status.unwrap_or_else(|| {
            kill(&mut child);
            panic!("the server does not end:\n{}", self.log())
        })
    }

    /// The server's process.
    ///
    /// # Panics
    /// If it is not running.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server is running").id()
    }

    /// The socket, for PCSCLITE_CSOCK_NAME.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("pcscd.comm")
    }

    /// Reader `number` of the test, from 0.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn reader(&self, number: usize) -> Reader {
        self.simulation
            .as_ref()
            .expect("readers of the test")
            .reader(number)
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until the server has logged a line that contains `text`.
    ///
    /// # Panics
    /// If it does not in time.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let limit = Instant::now() + DEADLINE;
        let found = until(limit, || self.log().contains(text).then_some(()));
        assert!(found.is_some(), "{text:?} is not logged:\n{}", self.log());
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- the server's log\n{}---", self.log());
        }
    }
}
