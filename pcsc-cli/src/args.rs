//! The command line.

mod play;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::problem::{Exit, Problem};
use crate::select;

pub use play::{Play, PlayRun};

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  an answer is not the expected one (=SW of pcsc apdu)
  2  the arguments cannot be understood
  3  there is no such reader, or several match
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

/// What all commands take; a command refuses those that it has no use for.
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

impl Global {
    /// Refuses the options of these names for a command that has no use for them.
    pub fn refuse(&self, command: &str, options: &[&str]) -> Result<(), Problem> {
        let given = [
            ("--reader", self.reader.is_some()),
            ("--json", self.json),
            ("--backend", self.backend.is_some()),
            ("--socket", self.socket.is_some()),
        ];
        let refused = given
            .iter()
            .find(|(name, is_given)| *is_given && options.contains(name));
        match refused {
            Some((name, _)) => Err(Problem::new(Exit::Usage, format!("{command} takes no {name}."))),
            None => Ok(()),
        }
    }
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

#[derive(Debug, Subcommand)]
pub enum Command {
    List(List),
    Apdu(Apdu),
    Atr(Atr),
    Watch(Watch),
    /// Find out why nothing works, and what to do. The exit code is 0 only if a reader can be used
    Doctor,
    /// Show what the reader can do besides APDUs: PIN pad, display, firmware, attributes
    Features,
    Bench(Bench),
    With(With),
    Share(Share),
    Spy(Spy),
    #[command(subcommand)]
    Sim(Sim),
    Completions(Completions),
    /// Print the manual page in roff, for man(1)
    Man,
}

/// List the readers, what is in them, and which devices they are
#[derive(Debug, clap::Args)]
pub struct List {
    /// Wait until there is a reader
    #[arg(long)]
    pub wait: bool,

    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true, requires = "wait")]
    pub timeout: Option<Duration>,
}

const APDU_FORMS: &str = "\
An APDU is all its bytes in hexadecimal digits, with or without blanks or colons between them, or
[CLA]INS[P1P2][:DATA][/LE][=SW] as ykman takes it, or the word reset. One with blanks needs quotes. Without /LE \
there is no Le; =SW is what the card has to answer, X stands for any digit, and = alone for 9000. If the card \
answers otherwise, the APDUs after it are not sent, and the exit code is 1.

A file has one APDU on a line, as for scriptor: # begins a comment, \\ at the end continues a line, exit ends \
the script. The data of VERIFY and its like are not printed, as they may be a PIN. Without --transaction, other programs \
may use the card between two APDUs, but not between one and what --auto sends after it.

  pcsc apdu '00 A4 04 00 0A A0 00 00 00 62 03 01 0C 06 01'
  pcsc apdu a40400:a000000062=  b0/10=
  pcsc apdu --file script.txt";

/// Send APDUs to the card, exactly as they are written
#[derive(Debug, clap::Args)]
#[command(after_help = APDU_FORMS)]
pub struct Apdu {
    /// The APDUs; - reads them from standard input
    #[arg(
        value_name = "APDU",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    pub apdus: Vec<String>,

    /// Read the APDUs from a file; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Send GET RESPONSE after 61XX, and the command again with the right Le after 6CXX
    #[arg(long)]
    pub auto: bool,

    /// Keep other programs off the card until all is sent
    #[arg(long)]
    pub transaction: bool,

    /// Connect only if no other program is connected, and let none connect
    #[arg(long)]
    pub exclusive: bool,

    /// Reset the card before the first APDU
    #[arg(long)]
    pub warm_reset: bool,

    /// The protocol to use
    #[arg(long, value_name = "PROTOCOL", default_value = "any")]
    pub protocol: Protocol,

    /// Wait for another program's transaction for so many seconds at most [default: 10]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
}

/// Explain an ATR byte by byte, and what the reader makes of it
#[derive(Debug, clap::Args)]
pub struct Atr {
    /// The ATR in hexadecimal digits [default: that of the card in the reader]
    #[arg(value_name = "ATR")]
    pub atr: Vec<String>,
}

const PCSC_SCAN: &str = "\
For users of pcsc_scan: -n is --no-atr, -t is --timeout, -r is --only readers --once, -c is --only cards --once, and \
-s, its stress mode, is pcsc bench. As with its -q, no spinner turns.";

/// Show readers and cards as they come and go, until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = PCSC_SCAN)]
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

    /// End after so many seconds
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

const BENCH: &str = "\
Times are medians. A round trip is a message to the daemon for which the call waits. With a daemon, the same calls \
are made through an installed libpcsclite.so.1 of others too, by another process.

  pcsc bench
  pcsc bench --reader 0 --apdu 00A4000C023F00
  pcsc bench --backend system";

/// Measure what calls cost here, in time and in round trips
#[derive(Debug, clap::Args)]
#[command(after_help = BENCH)]
pub struct Bench {
    /// The command to transmit [default: 00CA000000, which changes nothing on the card]
    #[arg(long, value_name = "APDU")]
    pub apdu: Option<String>,

    /// The library to compare with [default: the first one in the loader's folders that is not this
    /// project's]
    #[arg(long, value_name = "LIBRARY")]
    pub against: Option<PathBuf>,

    /// Count round trips alone: listen at PCSCLITE_CSOCK_NAME, and forward to this socket
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub relay_to: Option<PathBuf>,
}

const WITH: &str = "\
In the command's environment, LD_LIBRARY_PATH starts with a folder that holds the library, and \
LIBPCSCLITE_DELEGATE names it for programs that carry pcsc-lite 2.3 or newer of their own. --backend and \
--socket become PCSCLITE_BACKEND and PCSCLITE_CSOCK_NAME.

  pcsc with pcsc_scan
  pcsc with opensc-tool --list-readers
  pcsc with java -jar application.jar

Java's javax.smartcardio opens libpcsclite by fixed paths. Where COMMAND is java itself, the property \
sun.security.smartcardio.library is put before its arguments. Where COMMAND starts java, say --java.

Programs with more rights than their caller (setuid, setgid, file capabilities) ignore these variables and use \
the system's library; a warning says so, for COMMAND itself and for the interpreter of a script.

The exit code is the command's; 127 if it is not found, 126 if it cannot be run.";

/// Run a program on this project's libpcsclite.so.1, without installing anything
#[derive(Debug, clap::Args)]
#[command(after_help = WITH)]
pub struct With {
    /// Pass the library to Java programs that COMMAND starts, by JAVA_TOOL_OPTIONS; each says so on its
    /// standard error
    #[arg(long)]
    pub java: bool,

    /// The program, and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

const SHARE: &str = "\
A SOURCE is one of
  usb               the readers on the USB
  daemon:PATH       the readers of another daemon, of any version, by its socket; it may start later
  sim:[MODEL,...]   simulated readers of these models; without a model, the bundled one
  sim:vpcd:PORT     a reader whose card is a program that connects to this port, as to vsmartcard's vpcd

The readers of several sources are one list. Those of the first source keep their names, and the others' have \
(source 2) and so on in them, so that each name is the same whichever sources are there; LABEL=SOURCE puts \
(LABEL) there instead, and with an empty label nothing. No two sources have one label.

Clients are all programs with a libpcsclite of pcsc-lite 1.8.4 to 2.5. They find the server where PCSCLITE_CSOCK_NAME \
names its socket, and without it where the socket is pcscd's. Those on this project's library find the user's socket, too.

  pcsc share &
  PCSCLITE_CSOCK_NAME=$XDG_RUNTIME_DIR/pcsc/pcscd.comm pcsc_scan

SIGTERM and SIGINT end the server: its clients are disconnected, and its socket is removed. A socket that systemd \
passes (LISTEN_FDS) is used instead of one of its own.

By default only the user who runs the server, and root, are served. A refused program gets \
SCARD_W_SECURITY_VIOLATION, and the log says which user it was. In a GLOB, * stands for any text and ? for one \
character; --reader is one, too, and offers the readers that match.

Limits: 2,000 programs' contexts at a time, 200 connections to cards in each, 30 seconds for a message or an answer \
that has begun.";

/// Share readers with all programs: serve pcscd's protocol, without pcscd
///
/// The socket is that of --socket, or PCSCLITE_CSOCK_NAME. By default it is pcscd's for root, and
/// $XDG_RUNTIME_DIR/pcsc/pcscd.comm for a user. A socket that another server serves is not replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = SHARE)]
pub struct Share {
    /// The readers to share
    #[arg(value_name = "SOURCE", default_value = "usb")]
    pub sources: Vec<String>,

    /// End when there was no client for so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub auto_exit: Option<Duration>,

    /// Serve this user, by name or number; can be repeated
    #[arg(long, value_name = "USER")]
    pub allow_user: Vec<String>,

    /// Serve the members of this group, by name or number; can be repeated
    #[arg(long, value_name = "GROUP")]
    pub allow_group: Vec<String>,

    /// Do not offer the readers with such names; can be repeated
    #[arg(long, value_name = "GLOB")]
    pub hide: Vec<String>,

    /// Refuse SCardControl: PIN pads, and the reader's own commands
    #[arg(long)]
    pub no_control: bool,

    /// The permissions of the socket, in octal digits [default: 0600, or 0666 if others are allowed]
    #[arg(long, value_name = "MODE", value_parser = octal)]
    pub mode: Option<u32>,

    /// The group that the socket belongs to, by name or number
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
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

The exit code is the command's, or 128 and the number of the signal that ended it.";

/// Run a program on this project's library, and record what it asks of readers and cards
#[derive(Debug, clap::Args)]
#[command(after_help = SPY)]
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

/// Record the calls of a program, with a card that is there, for a replay
///
/// What pcsc spy --format json -o FILE records: PINs and keys are hidden.
#[derive(Debug, clap::Args)]
pub struct SimRecord {
    /// The record, in JSON Lines
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The program, and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

const REPLAY: &str = "\
The card answers the commands that were recorded, in their order, with the responses that were recorded; any byte is \
right in the place of a hidden one. The first command that differs gets 6F00, and so do all after it.

  pcsc sim record session.jsonl pytest tests/
  pcsc sim replay session.jsonl pytest tests/

COMMAND sees one reader, Virtual PCD 00 00. Of several readers in the record, the one with the most exchanges is \
replayed, or that of --reader.

The exit code is the command's if it failed. Otherwise it is 1 if a command was not as recorded or did not come.";

/// Run a program with a card that answers as in a record
#[derive(Debug, clap::Args)]
#[command(after_help = REPLAY)]
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

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// A protocol between reader and card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// T=1 or T=0, what card and reader have in common
    Any,
    /// T=0, of characters
    T0,
    /// T=1, of blocks
    T1,
}

/// Permissions in octal digits.
fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "permissions are octal digits, 0777 at most".into())
}

/// A hundred years: for ever, and short enough to be added to any time.
const LONGEST: f64 = 3.0e9;

/// A number of seconds, 0 or more.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds >= 0.0);
    let seconds = seconds.ok_or("the number of seconds has to be 0 or more")?;
    Ok(Duration::from_secs_f64(seconds.min(LONGEST)))
}

#[cfg(test)]
mod tests;
