//! Control of one reader, through the IFD handler in pcscd.

use pcsc_test_ifd::Counts;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// The first part of the readers' names.
pub const FRIENDLY_NAME: &str = "pcsc-tests";
/// How long pcscd may take to process an insertion or removal. For a reader that is gone, each of its polls
/// takes over a second.
const SETTLE_MS: u64 = 60_000;

/// A reader of a [`Pcscd`](crate::Pcscd). Cheap to clone; can be used in any thread and after a restart of
/// the daemon.
///
/// All methods panic if the daemon is not running or refuses.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) control: PathBuf,
    pub(crate) number: usize,
    pub(crate) slot: usize,
}

impl Reader {
    /// The name under which PC/SC lists the reader.
    pub fn name(&self) -> String {
        format!("{} {:02X} {:02X}", FRIENDLY_NAME, self.number, self.slot)
    }

    /// Another slot of a reader of our driver.
    pub fn slot(&self, slot: usize) -> Reader {
        Reader { slot, ..self.clone() }
    }

    /// Inserts one of our driver's simulated cards, by its name. Returns when pcscd has processed that.
    #[track_caller]
    pub fn insert_named(&self, card: &str) {
        self.order("insert", card);
        self.settle();
    }

    /// The same, and returns at once.
    #[track_caller]
    pub fn insert_named_nowait(&self, card: &str) {
        self.order("insert", card);
    }

    /// Waits until a command to our driver's simulated card is in progress.
    #[track_caller]
    pub fn wait_busy(&self) {
        self.order("busy", &SETTLE_MS.to_string());
    }

    /// Pulls the reader out, and returns at once.
    #[track_caller]
    pub fn unplug_nowait(&self) {
        self.order("unplug", "");
    }

    /// Inserts a card, in place of any other. Returns when pcscd has powered it up and published its state.
    #[track_caller]
    pub fn insert(&self, atr: &[u8]) {
        self.insert_nowait(atr);
        self.settle();
    }

    /// Inserts a card and returns at once.
    #[track_caller]
    pub fn insert_nowait(&self, atr: &[u8]) {
        let mut hex = String::new();
        for byte in atr {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02X}");
        }
        self.order("insert", &hex);
    }

    /// Removes the card; an exchange in progress fails. Returns when pcscd has published the new state.
    #[track_caller]
    pub fn remove(&self) {
        self.remove_nowait();
        self.settle();
    }

    /// Removes the card and returns at once.
    #[track_caller]
    pub fn remove_nowait(&self) {
        self.order("remove", "");
    }

    /// Takes the reader away: every request gets IFD_NO_SUCH_DEVICE. Returns when pcscd has published the new
    /// state, over a second later: Debian's pcscd leaves a reader from a file in its list, as unavailable.
    #[track_caller]
    pub fn unplug(&self) {
        self.order("unplug", "");
        self.settle();
    }

    /// Brings an unplugged reader back, empty. Returns when pcscd has published the new state.
    #[track_caller]
    pub fn plug(&self) {
        self.order("plug", "");
        self.settle();
    }

    /// Waits until pcscd has processed the last insertion, removal, unplugging or plugging.
    #[track_caller]
    pub fn settle(&self) {
        self.order("settle", &SETTLE_MS.to_string());
    }

    /// From now on power-up and reset fail (or no longer), as with a mute card.
    #[track_caller]
    pub fn mute(&self, on: bool) {
        self.order("mute", switch(on));
    }

    /// From now on every exchange fails (or no longer) with IFD_COMMUNICATION_ERROR.
    #[track_caller]
    pub fn fail(&self, on: bool) {
        self.order("fail", switch(on));
    }

    /// From now on every exchange takes `time` (whole milliseconds), unless the card is removed before.
    #[track_caller]
    pub fn delay(&self, time: Duration) {
        self.order("delay", &time.as_millis().to_string());
    }

    /// From now on every power-up and reset takes `time` (whole milliseconds), unless the card is removed
    /// before.
    #[track_caller]
    pub fn slow(&self, time: Duration) {
        self.order("slow", &time.as_millis().to_string());
    }

    /// The numbers of calls that pcscd has made for the reader since its start.
    #[track_caller]
    pub fn counts(&self) -> Counts {
        self.order("counts", "")
            .parse()
            .expect("the handler prints its counts")
    }

    /// The protocol that pcscd selected since the last power-up, as a `SCARD_PROTOCOL_*` bit; 0 for none.
    #[track_caller]
    pub fn protocol(&self) -> u32 {
        self.order("protocol", "")
            .parse()
            .expect("the handler prints a number")
    }

    /// Sends a command to the handler. Returns its answer without `ok`.
    #[track_caller]
    fn order(&self, command: &str, argument: &str) -> String {
        let line = match self.slot {
            0 => format!("{command} {} {argument}", self.number),
            slot => format!("{command} {}/{slot} {argument}", self.number),
        };
        let answer = self
            .exchange(&line)
            .unwrap_or_else(|error| panic!("{line:?} to the handler at {}: {error}", self.control.display()));
        match answer.strip_prefix("ok") {
            Some(rest) => rest.trim().to_owned(),
            None => panic!("{line:?} to the handler: {answer:?}"),
        }
    }

    fn exchange(&self, line: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.control)?;
        stream.set_read_timeout(Some(Duration::from_millis(2 * SETTLE_MS)))?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    }
}

fn switch(on: bool) -> &'static str {
    if on {
        "on"
    } else {
        "off"
    }
}
