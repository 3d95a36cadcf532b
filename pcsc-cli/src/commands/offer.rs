//! Runs a command on readers that this process offers.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Weak};

use pcsc_manager::{OfferedReader, PlayedReader};
use pcsc_sim::control;

use crate::args::Global;
use crate::commands::child::{self, Signals};
use crate::commands::with;
use crate::folder::Folder;
use crate::problem::{Exit, Problem};

/// Runs a command that sees this reader and no other. Returns its exit code.
pub fn run(global: &Global, reader: Arc<OfferedReader>, arguments: &[OsString]) -> Result<u8, Problem> {
    // Before there is anything to clean up.
    let signals = Signals::catch()?;
    let mut command = with::command(global, arguments, false)?;
    let folder = Folder::new()?;
    let socket = folder.path("socket");
    // No program moves its cards.
    let controlled = Weak::<PlayedReader>::new();
    control::serve(&socket, 0, controlled, reader)
        .map_err(|error| Problem::because(Exit::Failed, "The reader cannot be offered", error))?;
    run_simulated(&mut command, &socket, &signals)
}

/// Runs a command that sees the simulated readers behind this socket. Returns its exit code.
pub fn run_simulated(command: &mut Command, socket: &Path, signals: &Signals) -> Result<u8, Problem> {
    command
        .env("PCSCLITE_BACKEND", "simulated")
        .env("PCSCLITE_SIMULATED", socket)
        .env_remove("PCSCLITE_CSOCK_NAME");
    let child = command.spawn();
    let child = child.map_err(|error| with::cannot_run(command, &error))?;
    Ok(child::code(signals.wait(child)?))
}
