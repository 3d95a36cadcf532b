//! `pcsc sim run` and its companions: plays simulated readers for other programs, and moves their cards.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use pcsc_manager::PlayedReader;
use pcsc_sim::card::named;
use pcsc_sim::control::{self, ControlledReader};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::child::Signals;
use super::offer::run_simulated;
use super::with;
use crate::args::{Global, Numbered, Play, PlayRun, Switch};
use crate::environment::variable;
use crate::output::{Output, Show, Style};
use crate::problem::{sentence, Exit, Problem, MODELS, PLAYED};
use crate::signal;

/// Runs one of the commands. Returns the exit code.
pub fn run(global: &Global, arguments: &Play, output: &mut Output) -> Result<u8, Problem> {
    let command = match arguments {
        Play::Models => {
            output.whole(&Catalogue::new())?;
            return Ok(0);
        }
        Play::Run(run) => return play(global, run, &path(global)?),
        Play::Insert { place, card } => format!("insert {place} {card}"),
        Play::Remove { place } => format!("remove {place}"),
        Play::Unplug(Numbered { number }) => format!("unplug {number}"),
        Play::Plug(Numbered { number }) => format!("plug {number}"),
        Play::Mute(Switch { number, state }) => format!("mute {number} {state}"),
        Play::Fail(Switch { number, state }) => format!("fail {number} {state}"),
    };
    order(&path(global)?, &command).map(|()| 0)
}

/// What can be simulated.
#[derive(Serialize)]
struct Catalogue {
    models: Vec<Entry>,
    cards: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    description: &'static str,
}

impl Catalogue {
    fn new() -> Catalogue {
        let entries = |names: &[(&'static str, &'static str)]| -> Vec<Entry> {
            let entries = names
                .iter()
                .map(|(name, description)| Entry { name, description });
            entries.collect()
        };
        Catalogue {
            models: entries(&pcsc_sim::NAMES),
            cards: entries(&named::NAMES),
        }
    }
}

impl Show for Catalogue {
    fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()> {
        for (title, entries) in [("Models", &self.models), ("Cards", &self.cards)] {
            writeln!(to, "{}", style.bold(title))?;
            for Entry { name, description } in entries {
                writeln!(to, "  {name:16} {description}")?;
            }
        }
        Ok(())
    }
}

/// The socket: that of --socket, that of the simulated readers that this process is to use, or the user's.
fn path(global: &Global) -> Result<PathBuf, Problem> {
    let of = |name| variable(name).map(PathBuf::from);
    let is_socket = |path: &PathBuf| {
        let text = path.to_string_lossy();
        text.contains('/') && !text.starts_with("replay:")
    };
    let in_use = of("PCSCLITE_SIMULATED").filter(is_socket);
    if let Some(path) = global.socket.clone().or(in_use) {
        return Ok(path);
    }
    let folder = of("XDG_RUNTIME_DIR").filter(|folder| folder.is_absolute());
    let socket = folder.map(|folder| folder.join("pcsc/sim.socket"));
    socket.ok_or_else(Problem::no_socket)
}

fn unusable(path: &Path, error: &io::Error) -> Problem {
    Problem::because(Exit::NoService, path.display(), error)
}

fn order(path: &Path, command: &str) -> Result<(), Problem> {
    let answer = control::order(path, command);
    let answer = answer.map_err(|error| {
        let what = format!("Cannot connect to the simulated readers at {}", path.display());
        Problem::because(Exit::NoService, what, error).advise(PLAYED)
    })?;
    answer.map(|_| ()).map_err(wrong)
}

/// What is wrong with the arguments.
pub(super) fn wrong(reason: impl Display) -> Problem {
    Problem::new(Exit::Usage, sentence(reason))
}

/// How long readers are played.
enum Until {
    /// Until a signal has come, which is a byte in the stream.
    Signal(UnixStream),
    /// Until this command has ended.
    Command(Signals, Box<Command>),
}

/// Plays readers while a command runs, or until a signal. Returns the exit code.
fn play(global: &Global, arguments: &PlayRun, path: &Path) -> Result<u8, Problem> {
    // A name without a slash would be a model's.
    let path = std::path::absolute(path).map_err(|error| unusable(path, &error))?;
    // Before there is anything to clean up. A command is ended by the signals, and the readers end with it.
    let until = match arguments.command.is_empty() {
        true => Until::Signal(signal::end(&[SIGTERM, SIGINT, SIGHUP])?),
        false => Until::Command(
            Signals::catch()?,
            with::command(global, &arguments.command, false)?.into(),
        ),
    };
    if UnixStream::connect(&path).is_ok() {
        let text = format!("{} is served by another program.", path.display());
        return Err(Problem::new(Exit::InUse, text).advise("--socket PATH names another socket."));
    }
    if let Some(folder) = path.parent() {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.map_err(|error| unusable(folder, &error))?;
    }
    let _played = serve(arguments, &path)?;
    match until {
        Until::Command(signals, mut command) => run_simulated(&mut command, &path, &signals),
        Until::Signal(mut end) => {
            let shown = path.display();
            writeln!(
                io::stdout(),
                "export PCSCLITE_BACKEND=simulated PCSCLITE_SIMULATED='{shown}'"
            )
            .map_err(Problem::output)?;
            end.read_exact(&mut [0]).map_err(Problem::uncaught_signal)?;
            Ok(0)
        }
    }
}

/// The socket's file, removed on every way out.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Plugs the readers in, each with its card. They are played until they are dropped, and the socket after
/// them.
fn serve(arguments: &PlayRun, path: &Path) -> Result<(Vec<Arc<PlayedReader>>, SocketFile), Problem> {
    if arguments.cards.len() > arguments.models.len() {
        return Err(Problem::new(Exit::Usage, "There are more cards than readers."));
    }
    let mut readers = Vec::new();
    for model in &arguments.models {
        let reader = PlayedReader::new(model).map_err(|error| wrong(error).advise(MODELS))?;
        readers.push(Arc::new(reader));
    }
    for (reader, card) in readers.iter().zip(&arguments.cards) {
        if card != "none" {
            reader.insert(0, card).map_err(wrong)?;
        }
    }
    control::start(path).map_err(|error| unusable(path, &error))?;
    let file = SocketFile(path.to_owned());
    for (number, reader) in (0..=u8::MAX).zip(&readers) {
        let controlled: Arc<dyn ControlledReader> = reader.clone();
        control::serve(path, number, Arc::downgrade(&controlled), reader.clone())
            .map_err(|error| unusable(path, &error))?;
    }
    Ok((readers, file))
}
