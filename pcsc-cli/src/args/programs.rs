//! The arguments of the commands that run a program.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::global::{meaning, refused};
use super::Play;

const WITH: &str = "\
In the command's environment, LD_LIBRARY_PATH starts with a folder that holds the library, and \
LIBPCSCLITE_DELEGATE names it for programs that carry pcsc-lite 2.3 or newer of their own. --backend and \
--socket become PCSCLITE_BACKEND and PCSCLITE_CSOCK_NAME.

  pcsc with pcsc_scan
  pcsc with opensc-tool --list-readers
  pcsc with java -jar application.jar

Java's javax.smartcardio opens libpcsclite by fixed paths. Where COMMAND is java itself, the property \
sun.security.smartcardio.library is put before its arguments. Where COMMAND starts java, say --java.

Programs with more rights than their caller (setuid, setgid, file capabilities) ignore these variables and \
use the system's library; a warning says so, for COMMAND itself and for the interpreter of a script.

COMMAND takes the place of pcsc: signals and the terminal are its own. The exit code is COMMAND's; 127 if it \
is not found, 126 if it cannot be run.";

/// Run a program on this project's libpcsclite.so.1, without installing anything
#[derive(Debug, clap::Args)]
#[command(after_help = WITH, args = refused(&["reader", "json"]))]
pub struct With {
    /// Pass the library to Java programs that COMMAND starts, by JAVA_TOOL_OPTIONS; each says so on its
    /// standard error
    #[arg(long)]
    pub java: bool,

    /// The program, and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

const SPY: &str = "\
COMMAND runs as with pcsc with, unchanged; the library itself records its calls: arguments, results, times, \
threads, and those of its child processes until COMMAND ends.

  pcsc spy opensc-tool --list-readers
  pcsc spy -o calls.txt gpg --card-status
  pcsc spy --format json -o calls.jsonl python3 application.py
  pcsc spy --format pcapng -o apdus.pcapng COMMAND     for Wireshark: each exchange, as GSMTAP
  pcsc spy --read calls.jsonl

The record goes to standard error, unless -o names a file; that of --read to standard output.

PINs and keys are not recorded: of the commands that carry them, as VERIFY, RESET RETRY COUNTER or PUT DATA, \
nothing after the length, and ** for each byte. What is hidden is listed in RECORDING.md of pcsc-sys-shim. \
--show-pins records them. Other data of the card is recorded in any case: keep records of real cards private.

A service records without this command, with PCSCLITE_SPY=FILE in its environment: JSON Lines, which --read \
reads.

Ctrl-C and SIGTERM end COMMAND, and the record is complete. The exit code is COMMAND's, or 128 and the \
number of the signal that ended it; 127 if it is not found, 126 if it cannot be run.";

/// Run a program on this project's library, and record what it asks of readers and cards
#[derive(Debug, clap::Args)]
#[command(after_help = SPY, args = refused(&["reader"]))]
pub struct Spy {
    /// Write the record to a file; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// The form of the record
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Form,

    /// Record PINs and keys, too. Whoever reads the record can use them
    #[arg(long, conflicts_with = "read")]
    pub show_pins: bool,

    /// Show a record that exists, in JSON Lines; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["command", "java"])]
    pub read: Option<PathBuf>,

    /// As of pcsc with
    #[arg(long)]
    pub java: bool,

    /// The program, and its arguments
    #[arg(
        value_name = "COMMAND",
        required_unless_present = "read",
        trailing_var_arg = true
    )]
    pub command: Vec<OsString>,
}

/// Test programs that use cards, without the cards
#[derive(Debug, Subcommand)]
pub enum Sim {
    Record(SimRecord),
    Replay(SimReplay),
    #[command(flatten)]
    Play(Play),
}

const RECORDED: &str = "With --usb, which reader: its name or a part of it, or its USB port";

const RECORD: &str = "\
Without --usb, the calls of COMMAND and its children are recorded, on whatever backend they use, as with \
pcsc spy --format json -o FILE. With it, COMMAND has one reader, that of --reader or the only one, which \
this process drives; pcscd must not use it. --backend simulated records the first model in PCSCLITE_SIMULATED.

  pcsc sim record session.jsonl pytest tests/
  pcsc sim record --usb reader.usb opensc-tool --atr

PINs and keys are hidden in both. Answers of a reader are not hidden in the record of its transfers: treat \
it as confidential.

The exit code is the command's.";

/// Record a program's use of a card that is there, for a replay
#[derive(Debug, clap::Args)]
#[command(after_help = RECORD, args = refused(&["json"]), arg = meaning("reader", RECORDED))]
pub struct SimRecord {
    /// Record the USB transfers of the reader, not the calls of the program
    #[arg(long)]
    pub usb: bool,

    /// The record: calls in JSON Lines, or with --usb a text file with a line for each transfer
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The program, and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

const REPLAYED: &str = "Of several readers in a record of calls, the one with this name or a part of it";

const REPLAY: &str = "\
COMMAND has one reader, which does what was recorded: it answers exchanges, control requests and attributes, \
and its card comes and goes with the recorded delays, of one second at most. Any byte is right in the place \
of a hidden one. A replay of transfers tests the driver, too. Of several readers in a record of calls, the \
one with the most exchanges is replayed, or that of --reader.

  pcsc sim record session.jsonl pytest tests/
  pcsc sim replay session.jsonl pytest tests/

The first exchange that is not as recorded is reported with its number and its line in FILE. It fails, and \
so do all after it.

The exit code is the command's if it failed. Otherwise it is 1 if an exchange was not as recorded or did not \
come, and 2 if FILE is damaged; the message names the line.";

/// Run a program with a reader that does what was recorded
#[derive(Debug, clap::Args)]
#[command(after_help = REPLAY)]
#[command(args = refused(&["backend", "socket", "json"]), arg = meaning("reader", REPLAYED))]
pub struct SimReplay {
    /// The record, of pcsc sim record, pcsc spy --format json or PCSCLITE_SPY
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The program, and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// The form of a record of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people
    Text,
    /// JSON Lines
    Json,
    /// APDUs and ATRs for Wireshark
    Pcapng,
}
