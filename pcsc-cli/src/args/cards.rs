//! The arguments of the commands about cards.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::seconds;

const APDU_FORMS: &str = "\
An APDU is all its bytes in hexadecimal digits, with or without blanks or colons between them, or
[CLA]INS[P1P2][:DATA][/LE][=SW] as ykman takes it, or the word reset. One with blanks needs quotes. Without \
/LE there is no Le; =SW is what the card has to answer, X stands for any digit, and = alone for 9000. If the \
card answers otherwise, the APDUs after it are not sent, and the exit code is 1.

A file has one APDU on a line, as for scriptor: # begins a comment, \\ at the end continues a line, exit \
ends the script. The data of VERIFY and its like are not printed, as they may be a PIN. Without \
--transaction, other programs may use the card between two APDUs, but not between one and what --auto sends \
after it.

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

    /// Wait for another program's transaction for this number of seconds at most [default: 10]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
}

const ATR: &str = "\
  pcsc atr                            the card in the reader, with the speed in use
  pcsc atr 3B 02 14 50                any ATR, without a reader";

/// Explain an ATR byte by byte, and what the reader makes of it
#[derive(Debug, clap::Args)]
#[command(after_help = ATR)]
pub struct Atr {
    /// The ATR in hexadecimal digits [default: that of the card in the reader]
    #[arg(value_name = "ATR")]
    pub atr: Vec<String>,
}

const BENCH: &str = "\
Times are medians. A round trip is a message to the daemon for which the call waits. With a daemon, the same \
calls are made through an installed libpcsclite.so.1 of others too, by another process.

  pcsc bench
  pcsc bench --reader 0 --apdu 00A4000C023F00
  pcsc bench --backend system";

/// Measure what calls cost here, in time and in round trips
#[derive(Debug, clap::Args)]
#[command(after_help = BENCH)]
pub struct Bench {
    /// The command to transmit, as for pcsc apdu [default: 00CA000000, which changes nothing on the card]
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
