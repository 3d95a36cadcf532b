//! The arguments of the commands about readers.

use std::time::Duration;

use clap::ValueEnum;

use super::seconds;

const LIST: &str = "\
  pcsc list
  pcsc list --reader any --json       the first reader with a card, for programs
  pcsc list --wait --timeout 30       end with 0 as soon as there is a reader";

/// List the readers, what is in them, and which devices they are
#[derive(Debug, clap::Args)]
#[command(after_help = LIST)]
pub struct List {
    /// Wait until there is a reader
    #[arg(long)]
    pub wait: bool,

    /// Give up waiting after this number of seconds
    #[arg(short, long, requires = "wait")]
    #[arg(value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
}

const WATCH: &str = "\
  pcsc watch
  pcsc watch --only cards --json      one line for each card that comes or goes, for programs
  pcsc watch --once                   what is there now

For users of pcsc_scan: -n is --no-atr, -t is --timeout, -r is --only readers --once, -c is --only cards \
--once, and -s, its stress mode, is pcsc bench. It shows no spinner, as with its -q.";

/// Show readers and cards as they come and go, until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = WATCH)]
pub struct Watch {
    /// Show what is there, and end
    #[arg(long)]
    pub once: bool,

    /// Show readers or cards alone
    #[arg(long, value_name = "WHAT")]
    pub only: Option<Subject>,

    /// Do not explain ATRs
    #[arg(short, long)]
    pub no_atr: bool,

    /// End after this number of seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// Readers that come and go
    Readers,
    /// Cards that come and go
    Cards,
}
