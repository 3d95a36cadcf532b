//! The command line.

mod cards;
mod global;
mod play;
mod programs;
mod readers;
mod share;

use std::time::Duration;

use clap::{Parser, Subcommand};

pub use cards::{Apdu, Atr, Bench, Protocol};
use global::refused;
pub use global::{Backend, Global};
pub use play::{Numbered, Play, PlayRun, Switch};
pub use programs::{Form, Sim, SimRecord, SimReplay, Spy, With};
pub use readers::{List, Subject, Watch};
pub use share::{Share, Tls};

const EXIT_CODES: &str = "\
Begin with pcsc list. Where nothing works, pcsc doctor finds out why. Where no reader is connected, list, \
apdu, atr, features and bench use a simulated one, and say so. pcsc COMMAND --help has examples.

Exit codes:
  0  success
  1  an answer is not the expected one (=SW of pcsc apdu)
  2  the arguments cannot be understood
  3  there is no such reader, or several match
  4  there is no card, or it does not answer
  5  another program uses the reader or the card
  6  there is no access to readers: no daemon, or no permission
  7  the call failed for another reason
  126, 127  the program of with, spy or sim cannot be run, or is not found
  130, 143  Ctrl-C or SIGTERM has ended the command: 128 and the signal's number

The exit code of with, spy, sim record, sim replay and sim run is that of the program that they run; sim \
replay ends with 1 instead of 0 if the program did something else than was recorded. share, and \
sim run without a program, end with 0 at Ctrl-C or SIGTERM.

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

#[derive(Debug, Subcommand)]
pub enum Command {
    List(List),
    Apdu(Apdu),
    Atr(Atr),
    Watch(Watch),
    /// Find out why nothing works, and what to do. The exit code is 0 only if a reader can be used
    #[command(args = refused(&["reader"]))]
    Doctor,
    /// Show what the reader can do besides APDUs: PIN pad, display, firmware, attributes
    Features,
    Bench(Bench),
    With(With),
    Share(Box<Share>),
    Spy(Spy),
    #[command(subcommand)]
    Sim(Sim),
    Completions(Completions),
    /// Print the manual page in roff, for man(1)
    #[command(after_help = "  pcsc man | man -l -", args = refused(ALL))]
    Man,
}

/// The global options about readers and output.
const ALL: &[&str] = &["backend", "socket", "reader", "json"];

const COMPLETIONS: &str = "\
  pcsc completions bash > ~/.local/share/bash-completion/completions/pcsc
  pcsc completions fish > ~/.config/fish/completions/pcsc.fish";

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS, args = refused(ALL))]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// About a hundred years: nobody waits longer, and it can be added to an `Instant` without overflow.
const LONGEST: f64 = 3.0e9;

/// A number of seconds, 0 or more.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds >= 0.0);
    let seconds = seconds.ok_or("the number of seconds has to be 0 or more")?;
    Ok(Duration::from_secs_f64(seconds.min(LONGEST)))
}

#[cfg(test)]
mod tests;
