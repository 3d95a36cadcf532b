//! The options that commands have in common.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, ValueEnum};

use crate::problem::{Exit, Problem};
use crate::select;

/// What all commands take, but for those that say otherwise by [`refused`] and [`meaning`].
#[derive(Debug, clap::Args)]
pub struct Global {
    /// How to reach readers [default: pcscd where it runs, else the readers on the USB]
    #[arg(long, global = true, value_name = "BACKEND", help_heading = "Global options")]
    pub backend: Option<Backend>,

    /// The daemon's socket, instead of /run/pcscd/pcscd.comm
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub socket: Option<PathBuf>,

    #[arg(short, long, global = true, value_name = "READER")]
    #[arg(help = select::HELP, help_heading = "Global options")]
    pub reader: Option<String>,

    /// Print JSON, and JSON Lines where answers come one after another
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,

    /// Print what the library logs; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

/// How readers are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// The daemon where it runs, else the readers on the USB
    Auto,
    /// pcscd, or another daemon behind the socket
    Daemon,
    /// The readers on the USB, driven by this process
    Standalone,
    /// The PC/SC library of the system, or the one that PCSCLITE_SYSTEM_LIBRARY names
    System,
    /// Simulated readers: those in PCSCLITE_SIMULATED, or the bundled one
    Simulated,
}

/// The global options of these names, for a command that has no use for them: its help does not list them,
/// and [`Global::check`] refuses them.
pub fn refused(names: &'static [&str]) -> impl Iterator<Item = Arg> {
    names.iter().map(|name| option(name).hide(true))
}

/// A global option that has a meaning of its own for a command.
pub fn meaning(name: &str, help: &'static str) -> Arg {
    option(name).help(help)
}

/// A copy of a global option. clap hands the original down only to commands that have none of its name.
fn option(name: &str) -> Arg {
    let global = Global::augment_args(clap::Command::new("global"));
    let found = global.get_arguments().find(|arg| arg.get_id() == name);
    found
        .cloned()
        .unwrap_or_else(|| panic!("{name} is a global option"))
}

impl Global {
    /// Refuses the options that the command has no use for.
    pub fn check(&self, mut command: &clap::Command, mut matches: &ArgMatches) -> Result<(), Problem> {
        let mut name = command.get_name().to_owned();
        while let Some((below, arguments)) = matches.subcommand() {
            name += &format!(" {below}");
            command = command.find_subcommand(below).unwrap_or(command);
            matches = arguments;
        }
        let refused = command
            .get_arguments()
            .filter(|arg| arg.is_hide_set() && arg.is_global_set());
        let refused: Vec<&str> = refused.map(|arg| arg.get_id().as_str()).collect();
        self.refuse(&name, &refused)
    }

    /// Refuses the options of these names for a command, or a way to call it, that has no use for them.
    pub fn refuse(&self, command: &str, options: &[&str]) -> Result<(), Problem> {
        let given = [
            ("reader", self.reader.is_some()),
            ("json", self.json),
            ("backend", self.backend.is_some()),
            ("socket", self.socket.is_some()),
        ];
        let refused = given
            .iter()
            .find(|(name, is_given)| *is_given && options.contains(name));
        match refused {
            Some((name, _)) => Err(Problem::new(Exit::Usage, format!("{command} takes no --{name}."))),
            None => Ok(()),
        }
    }
}
