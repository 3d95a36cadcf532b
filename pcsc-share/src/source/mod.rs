//! Where readers come from.
//!
//! A source is a list of readers with their states, and sessions that use them. The server asks for the
//! states whenever a client does, so a source answers from a copy or in one round trip. Names of
//! readers take no round trip. Its counter of changes wakes the server, which sends the events.

mod absence;
mod coalesced;
mod daemon;
mod link;
mod manager;
mod route;

use pcsc_constants as codes;
use pcsc_process::wait::ChangeCounter;
use pcsc_wire::ReaderStateRecord;

pub use daemon::DaemonSource;
pub use manager::ManagerSource;
pub use pcsc_manager::{Connected, Transmitted};
#[cfg(feature = "tls")]
pub(crate) use route::Route;

/// Where readers come from.
pub trait Source: Send + Sync {
    /// Calls `look` with each reader, in an order that stays. A reader that has not been polled yet is waited
    /// for some seconds, as pcscd does for one that starts.
    fn each_reader(&self, look: &mut dyn FnMut(ReaderStateRecord<'_>));

    /// Calls `look` with the name of each reader, in the same order. Takes no round trip: a source that does
    /// not know of all changes may omit a reader that has just come, and have one that has just gone.
    fn each_name(&self, look: &mut dyn FnMut(&[u8]));

    /// Counts all changes of what [`Source::each_reader`] passes, also those that are no events. A copy is up
    /// to date as long as the count has the value that was read before the copy was made. `None` for a source
    /// that is not notified of all changes.
    fn state_changes(&self) -> Option<u64> {
        None
    }

    /// How many readers came and went, in 15 bits and never 0, as pcscd counts.
    fn reader_events(&self) -> u32;

    /// Counts changes of what [`Source::each_reader`] passes, but for connections and their protocols: those
    /// are no events.
    fn changes(&self) -> &ChangeCounter;

    /// A session for one client.
    ///
    /// # Errors
    /// Where the source cannot be reached.
    fn session(&self) -> Result<Box<dyn SourceSession>, Failed>;
}

/// What one client does with the readers of a source. One thread makes the calls, and another one may
/// [interrupt](SourceSession::interrupt) them.
///
/// Numbers are those of the C interface. Calls that meet another connection's transaction fail with
/// `SCARD_E_SHARING_VIOLATION`, upon which the client tries again, or gives up (`PCSCLITE_NO_BLOCKING`). Only
/// [`connect`](SourceSession::connect), and [`disconnect`](SourceSession::disconnect) with a reset, wait for
/// its end, as in pcscd.
pub trait SourceSession: Send + Sync {
    /// Whether new connections can be made. A session that is lost does not come back; the client gets
    /// another one.
    fn is_alive(&self) -> bool {
        true
    }

    /// Connects to the card in a reader, or to the reader.
    ///
    /// # Errors
    /// pcscd's for `SCardConnect`.
    fn connect(&self, reader: &[u8], share: u32, protocols: u32) -> Result<Connected, Failed>;

    /// Gives a connection new terms, and returns the protocol in use.
    ///
    /// # Errors
    /// pcscd's for `SCardReconnect`.
    fn reconnect(&self, card: i32, share: u32, protocols: u32, initialization: u32) -> Result<u32, Failed>;

    /// Ends a connection.
    ///
    /// # Errors
    /// pcscd's for `SCardDisconnect`.
    fn disconnect(&self, card: i32, disposition: u32) -> Result<(), Failed>;

    /// Begins a transaction.
    ///
    /// # Errors
    /// pcscd's for `SCardBeginTransaction`.
    fn begin_transaction(&self, card: i32) -> Result<(), Failed>;

    /// Ends a transaction.
    ///
    /// # Errors
    /// pcscd's for `SCardEndTransaction`.
    fn end_transaction(&self, card: i32, disposition: u32) -> Result<(), Failed>;

    /// Whether a connection can be used.
    ///
    /// # Errors
    /// pcscd's for `SCardStatus`.
    fn status(&self, card: i32) -> Result<(), Failed>;

    /// Sends a command to the card over a protocol, `SCARD_PROTOCOL_*`. The response goes to the front of
    /// `response`.
    ///
    /// # Errors
    /// pcscd's for `SCardTransmit`.
    fn transmit(
        &self,
        card: i32,
        protocol: u32,
        command: &[u8],
        response: &mut [u8],
    ) -> Result<Transmitted, Failed>;

    /// Calls a function of the reader itself. The answer goes to the front of `answer`; its length is
    /// returned.
    ///
    /// # Errors
    /// pcscd's for `SCardControl`.
    fn control(&self, card: i32, code: u32, data: &[u8], answer: &mut [u8]) -> Result<usize, Failed>;

    /// Gets an attribute, and returns its length.
    ///
    /// # Errors
    /// pcscd's for `SCardGetAttrib`.
    fn get_attribute(&self, card: i32, id: u32, value: &mut [u8]) -> Result<usize, Failed>;

    /// Sets an attribute.
    ///
    /// # Errors
    /// pcscd's for `SCardSetAttrib`.
    fn set_attribute(&self, card: i32, id: u32, value: &[u8]) -> Result<(), Failed>;

    /// Ends a call that waits for another connection, and lets no further call wait: the client is gone.
    /// Returns at once; the client's thread then [releases](SourceSession::release) the session.
    fn interrupt(&self);

    /// Ends all connections. A card in a transaction is reset.
    fn release(&self);
}

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} ({code:#010X})", codes::text(*code).unwrap_or(c"unknown error").to_string_lossy())]
#[non_exhaustive]
pub struct Failed {
    /// The return code.
    pub code: u32,
    /// The length in bytes of an answer that does not fit; 0 where that is not known, and for other errors.
    pub needed: usize,
}

impl Failed {
    /// An answer of this length in bytes does not fit.
    pub fn too_small(needed: usize) -> Failed {
        Failed {
            code: codes::SCARD_E_INSUFFICIENT_BUFFER,
            needed,
        }
    }
}

impl From<u32> for Failed {
    fn from(code: u32) -> Failed {
        Failed { code, needed: 0 }
    }
}

/// The code of a call that failed, or of success.
pub(crate) fn code<T>(result: &Result<T, Failed>) -> u32 {
    result
        .as_ref()
        .map_or_else(|failed| failed.code, |_| codes::SCARD_S_SUCCESS)
}

#[cfg(test)]
#[test]
fn a_failure_is_displayed_with_its_text_and_its_code() {
    let shown = |code| Failed::from(code).to_string();
    assert_eq!(
        shown(codes::SCARD_E_NO_SMARTCARD),
        "No smart card inserted. (0x8010000C)"
    );
    assert_eq!(shown(7), "unknown error (0x00000007)");
}

#[cfg(test)]
pub(crate) use named::Named;

/// A source for tests.
#[cfg(test)]
mod named {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Readers of these names, without cards.
    #[derive(Default)]
    pub struct Named {
        names: Vec<String>,
        changes: ChangeCounter,
        /// The states' event counter.
        pub counter: AtomicU32,
        is_counted: bool,
        /// Readers that a look finds behind those whose names are known.
        pub just_come: Vec<String>,
        /// How many looks there were.
        pub looks: AtomicU32,
        /// How many readers came and went.
        pub came_and_went: AtomicU32,
    }

    impl Named {
        pub fn new(names: &[&str]) -> Named {
            Named {
                names: names.iter().map(ToString::to_string).collect(),
                ..Named::default()
            }
        }

        /// The same, whose event counter counts the changes.
        pub fn counted(names: &[&str]) -> Named {
            Named {
                is_counted: true,
                ..Named::new(names)
            }
        }
    }

    impl Source for Named {
        fn each_reader(&self, look: &mut dyn FnMut(ReaderStateRecord<'_>)) {
            self.looks.fetch_add(1, Ordering::SeqCst);
            for name in self.names.iter().chain(&self.just_come) {
                look(ReaderStateRecord {
                    name: name.as_bytes(),
                    event_counter: self.counter.load(Ordering::SeqCst),
                    state: 0,
                    sharing: 0,
                    atr: &[],
                    protocol: 0,
                });
            }
        }

        fn each_name(&self, look: &mut dyn FnMut(&[u8])) {
            self.names.iter().for_each(|name| look(name.as_bytes()));
        }

        fn state_changes(&self) -> Option<u64> {
            self.is_counted
                .then(|| self.counter.load(Ordering::SeqCst).into())
        }

        fn reader_events(&self) -> u32 {
            self.came_and_went.load(Ordering::SeqCst) + 1
        }

        fn changes(&self) -> &ChangeCounter {
            &self.changes
        }

        fn session(&self) -> Result<Box<dyn SourceSession>, Failed> {
            panic!("no test connects")
        }
    }
}
