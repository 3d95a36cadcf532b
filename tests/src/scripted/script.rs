//! How a scripted daemon behaves.

use std::process::Command as Process;
use std::time::Duration;

use pcsc_wire::{self as wire, Endian, RequestCode, Version};

use crate::run;

/// What to send in place of an answer.
pub enum Answer {
    /// These bytes.
    Send(Vec<u8>),
    /// These bytes, and then the end of the connection.
    SendThenClose(Vec<u8>),
}

/// Replaces an answer. The flag says whether the client waits for an event, and may be changed.
pub type Interceptor = dyn Fn(RequestCode, Vec<u8>, &mut bool) -> Answer + Send + Sync;

/// A reader of the scripted daemon.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// Its name; empty for a free slot.
    pub name: String,
    /// How often a card came or went.
    pub event_counter: u32,
    /// The card's ATR; empty without a card.
    pub atr: Vec<u8>,
    /// The number of connections that share it; -1 for an exclusive one.
    pub sharing: i32,
}

/// How the daemon behaves.
pub struct Script {
    /// The byte order of its machine.
    pub endian: Endian,
    /// The version that it speaks.
    pub version: Version,
    /// Whether it accepts clients of 4.4 and later, as pcscd does since 2.4.1.
    pub takes_older: bool,
    /// How many slots it sends, up to 4.5.
    pub slots: usize,
    /// The size of reader names in the states, in bytes: 128, or 100 up to pcsc-lite 1.8.3.
    pub name_size: usize,
    /// How many readers it has at first.
    pub readers: usize,
    /// How many sharing violations a call gets before it succeeds.
    pub violations: usize,
    /// Whether STOP_WAITING is answered even where the event has crossed it, as by pcsc-lite up to 1.8.18.
    pub answers_every_stop: bool,
    /// Replaces answers.
    pub intercept: Option<Box<Interceptor>>,
}

impl Script {
    /// A daemon of version 4.`minor` with one reader.
    pub fn new(minor: i32) -> Script {
        let version = Version { major: 4, minor };
        Script {
            endian: endian(),
            version,
            takes_older: false,
            slots: 16,
            name_size: wire::NAME_SIZE,
            readers: 1,
            violations: 0,
            answers_every_stop: false,
            intercept: None,
        }
    }
}

/// The reader of a slot, with a card.
pub fn reader(slot: usize) -> Reader {
    Reader {
        name: format!("Scripted {slot:02}"),
        event_counter: 1,
        atr: vec![0x3B, 0x80, 0x01, 0x81],
        sharing: 0,
    }
}

/// Longer than any wait should take. A test that waits this long fails instead of hanging.
pub const LONG: Duration = Duration::from_secs(120);

/// The variable that gives scripted daemons the byte order that this machine does not have.
const OTHER_ENDIAN: &str = "PCSC_TESTS_OTHER_ENDIAN";

/// The byte order of scripted daemons.
pub fn endian() -> Endian {
    match std::env::var_os(OTHER_ENDIAN) {
        None => Endian::NATIVE,
        Some(_) => Endian::NATIVE.other(),
    }
}

/// A number in a byte order.
pub fn number(endian: Endian, value: u32) -> [u8; 4] {
    let mut bytes = [0; 4];
    endian.write_u32(&mut bytes, value);
    bytes
}

/// Runs the other tests of this program with daemons of the other byte order. `own` is the name of the test
/// that calls this.
///
/// # Panics
/// Where one of them fails.
pub fn repeat_with_other_endian(own: &str) {
    let mut command = Process::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "--skip", own]).env(OTHER_ENDIAN, "1");
    run(&mut command, Duration::from_secs(600)).stdout();
}
