//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::select;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  an answer is not the expected one (=SW of pcsc apdu)
  2  the arguments cannot be understood
  3  there is no such reader
  4  there is no card, or it does not answer
  5  another program uses the reader or the card
  6  there is no access to readers: no daemon, or no permission
  7  the call failed for another reason

Environment: PCSCLITE_CSOCK_NAME names the daemon's socket, PCSCLITE_BACKEND the backend, \
PCSCLITE_SIMULATED the simulated readers; NO_COLOR turns colours off.";

/// Smart card readers and cards, with pcscd or without a daemon
#[derive(Debug, Parser)]
#[command(name = "pcsc", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands take.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// How to reach readers [default: pcscd where it runs, else the readers on the USB]
    #[arg(long, global = true, value_name = "BACKEND", help_heading = "Global options")]
    pub backend: Option<Backend>,

    /// The daemon's socket, instead of /run/pcscd/pcscd.comm
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub socket: Option<PathBuf>,

    #[arg(short, long, global = true, value_name = "READER", help = select::HELP, help_heading = "Global options")]
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
    /// Simulated readers: those in PCSCLITE_SIMULATED, or the bundled one
    Simulated,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    List(List),
}

/// List the readers, what is in them, and which devices they are
#[derive(Debug, clap::Args)]
pub struct List {
    /// Wait until there is a reader
    #[arg(long)]
    pub wait: bool,

    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "wait")]
    pub timeout: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "it is no number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
