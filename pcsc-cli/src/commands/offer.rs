//! Runs a command on one reader that this process drives.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use pcsc_manager::{OfferedReader, PlayedReader};
use pcsc_sim::control;

use crate::args::Global;
use crate::commands::child::{self, Signals};
use crate::commands::with;
use crate::problem::{Exit, Problem};

/// A folder of this process, removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let name = format!("pcsc-sim-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // It fails if somebody else has made it.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a command that sees this reader and no other. Returns its exit code.
pub fn run(global: &Global, reader: Arc<OfferedReader>, arguments: &[OsString]) -> Result<u8, Problem> {
    let failed = |error: io::Error| Problem::because(Exit::Failed, "The reader cannot be offered", error);
    // Before there is anything to clean up.
    let signals = Signals::catch().map_err(failed)?;
    let mut command = with::command(global, arguments, false)?;
    let folder = Folder::new().map_err(failed)?;
    let socket = folder.0.join("socket");
    // No program moves its cards.
    let controlled = Weak::<PlayedReader>::new();
    control::serve(&socket, 0, controlled, reader).map_err(failed)?;
    command
        .env("PCSCLITE_BACKEND", "simulated")
        .env("PCSCLITE_SIMULATED", &socket)
        .env_remove("PCSCLITE_CSOCK_NAME");
    let program = command
        .spawn()
        .map_err(|error| with::cannot_run(arguments, &error))?;
    Ok(child::code(signals.wait(program)?))
}
