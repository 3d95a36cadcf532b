//! The arguments of `pcsc sim run` and its companions.

use std::ffi::OsString;

use clap::{Arg, Subcommand};

use super::global::{meaning, refused};

const PLAY: &str = "\
A READER is its number, from 0 in the order of --models; READER/SLOT is one of its slots. A CARD is a name \
of pcsc sim models, or an ATR in hexadecimal digits.

  pcsc sim run --models scr3310,gempc-pinpad --cards t1,none -- pcsc list
  pcsc sim run &
  pcsc sim insert 0 t0

Ctrl-C and SIGTERM end the readers, and COMMAND. The exit code is COMMAND's, or 0 without one.

The socket is that of --socket, or of PCSCLITE_SIMULATED where it is a path, and else \
$XDG_RUNTIME_DIR/pcsc/sim.socket.";

/// The global options of commands that play readers.
fn played() -> impl Iterator<Item = Arg> {
    let socket = "The socket of the simulated readers [default: $XDG_RUNTIME_DIR/pcsc/sim.socket]";
    refused(&["backend", "reader", "json"]).chain([meaning("socket", socket)])
}

/// What plays simulated readers for other programs, and moves their cards.
#[derive(Debug, Subcommand)]
pub enum Play {
    /// List the models of readers, and the cards
    #[command(args = refused(&["backend", "socket", "reader"]))]
    Models,
    Run(PlayRun),
    /// Insert a card, in place of any other
    #[command(args = played())]
    Insert {
        /// The reader, or one of its slots
        #[arg(value_name = "READER[/SLOT]", value_parser = place)]
        place: String,
        /// The card
        #[arg(value_name = "CARD", value_parser = word)]
        card: String,
    },
    /// Remove the card
    #[command(args = played())]
    Remove {
        /// The reader, or one of its slots
        #[arg(value_name = "READER[/SLOT]", value_parser = place)]
        place: String,
    },
    /// Unplug a reader
    #[command(args = played())]
    Unplug(Numbered),
    /// Plug a reader in again, with empty slots
    #[command(args = played())]
    Plug(Numbered),
    /// Have the reader's cards not answer a reset
    #[command(args = played())]
    Mute(Switch),
    /// Have exchanges with the reader's cards fail
    #[command(args = played())]
    Fail(Switch),
}

// The commands have the descriptions of their variants: these types have none.
#[derive(Debug, clap::Args)]
pub struct Numbered {
    /// The reader
    #[arg(value_name = "READER")]
    pub number: u8,
}

#[derive(Debug, clap::Args)]
pub struct Switch {
    /// The reader
    #[arg(value_name = "READER")]
    pub number: u8,
    /// on: from now on; off: no longer
    #[arg(value_parser = ["on", "off"])]
    pub state: String,
}

/// Play readers while a command runs on them, or until Ctrl-C
///
/// The command runs as pcsc with runs it, with the readers in its environment. Without one, the line that a
/// shell needs for other programs is printed. One program at a time uses a slot, as with hardware.
#[derive(Debug, clap::Args)]
#[command(after_help = PLAY, args = played())]
pub struct PlayRun {
    /// The models of the readers
    #[arg(
        long,
        value_name = "MODEL,...",
        value_delimiter = ',',
        default_value = "gempc-express"
    )]
    pub models: Vec<String>,

    /// The card in the first slot of each reader; none leaves it empty
    #[arg(long, value_name = "CARD,...", value_delimiter = ',')]
    pub cards: Vec<String>,

    /// The program, and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// A reader's number, with that of a slot or without.
fn place(text: &str) -> Result<String, String> {
    let is_number = |text: &str| text.parse::<u8>().is_ok();
    let (reader, slot) = text.split_once('/').unwrap_or((text, "0"));
    match is_number(reader) && is_number(slot) {
        true => Ok(text.to_owned()),
        false => Err("it is a reader's number, or that and a slot's: 0 or 0/1".into()),
    }
}

/// A word of a line.
fn word(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains(char::is_whitespace) {
        true => Err("it is one word".into()),
        false => Ok(text.to_owned()),
    }
}
