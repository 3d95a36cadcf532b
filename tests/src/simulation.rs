//! The readers of the test's IFD handler without pcscd, for a library that manages readers itself.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::artifacts;
use crate::reader::Reader;
use crate::spawn::{kill, spawn};

/// Readers of the test's, all empty at first, that stand in for those on the USB: a process with
/// PCSCLITE_BACKEND=simulated and PCSCLITE_SIMULATED=[`socket`](Simulation::socket) manages them as a daemon
/// would. They behave, and are controlled, as those of [`Pcscd`](crate::Pcscd).
#[derive(Debug)]
pub struct Simulation {
    folder: TempDir,
    readers: usize,
    child: Child,
}

impl Simulation {
    /// Makes the readers. Each has one process that uses it at a time, as a device on the USB has.
    ///
    /// # Panics
    /// If their program does not start.
    #[track_caller]
    pub fn start(readers: usize) -> Simulation {
        Simulation::start_with(readers, "alone")
    }

    /// Makes readers that several processes may use at once, which no hardware lets them.
    ///
    /// # Panics
    /// As [`Simulation::start`].
    #[track_caller]
    pub fn start_shared(readers: usize) -> Simulation {
        Simulation::start_with(readers, "shared")
    }

    /// Makes simulated readers of a model, each of which has one process that uses it at a time. Our driver
    /// drives them.
    ///
    /// # Panics
    /// As [`Simulation::start`], and if there is no such model.
    #[track_caller]
    pub fn start_driven(readers: usize, model: &str) -> Simulation {
        Simulation::start_with(readers, model)
    }

    #[track_caller]
    fn start_with(readers: usize, kind: &str) -> Simulation {
        let folder = tempfile::Builder::new()
            .prefix("readers-")
            .tempdir_in("/tmp")
            .expect("a folder in /tmp");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(artifacts::binary("pcsc-tests", "readers"))
            .arg(folder.path().join("readers"))
            .arg(readers.to_string())
            .arg(kind)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = spawn(command).expect("setpriv can be started");
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("a line of the readers' program");
        assert_eq!(line, "ready\n", "the readers' program does not start");
        Simulation {
            folder,
            readers,
            child,
        }
    }

    /// The socket, for PCSCLITE_SIMULATED and for [`Reader`].
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("readers")
    }

    /// What a process needs in its environment to have these readers.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let socket = self.socket().to_string_lossy().into_owned();
        [
            ("PCSCLITE_BACKEND", "simulated".into()),
            ("PCSCLITE_SIMULATED", socket),
        ]
    }

    /// All readers.
    pub fn readers(&self) -> impl Iterator<Item = Reader> + '_ {
        (0..self.readers).map(|number| self.reader(number))
    }

    /// Reader `number`, from 0.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn reader(&self, number: usize) -> Reader {
        assert!(number < self.readers, "reader {number} of {}", self.readers);
        Reader {
            control: self.socket(),
            number,
            slot: 0,
        }
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}
