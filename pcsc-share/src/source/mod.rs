//! Where readers come from.
//!
//! A source is a list of readers with their states, and sessions that use them. The server asks for the
//! states whenever a client does, so a source answers from what it knows or in one round trip. Its counter of
//! changes wakes the server, which sends the events.

mod coalesced;
mod daemon;
mod manager;
mod route;

use pcsc_constants as codes;
use pcsc_process::wait::ChangeCounter;
use pcsc_wire::ReaderState;

pub use daemon::DaemonSource;
pub use manager::ManagerSource;
#[cfg(feature = "tls")]
pub(crate) use route::Route;

/// Where readers come from.
pub trait Source: Send + Sync {
    /// Calls `look` with each reader, in an order that stays. A reader whose card is not known yet is waited
    /// for some seconds, as pcscd does for one that starts.
    fn each_reader(&self, look: &mut dyn FnMut(ReaderState<'_>));

    /// How many readers came and went, in 15 bits and never 0, as pcscd counts.
    fn reader_events(&self) -> u32;

    /// Counts changes of what [`Source::each_reader`] passes, but for connections and their protocols: those
    /// are no events.
    fn changes(&self) -> &ChangeCounter;

    /// A session for one client.
    ///
    /// # Errors
    /// Where the source cannot be reached.
    fn session(&self) -> Result<Box<dyn Session>, Failed>;
}

/// What one client does with the readers of a source. One thread makes the calls, and another one may
/// [interrupt](Session::interrupt) them.
///
/// Numbers are those of the C interface. Calls that meet another connection's transaction fail with
/// `SCARD_E_SHARING_VIOLATION`, upon which the client tries again, or gives up (`PCSCLITE_NO_BLOCKING`). Only
/// [`connect`](Session::connect), and [`disconnect`](Session::disconnect) with a reset, wait for its end, as
/// in pcscd.
pub trait Session: Send + Sync {
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
    /// Returns at once; the client's thread then [releases](Session::release) the session.
    fn interrupt(&self);

    /// Ends all connections. A card in a transaction is reset.
    fn release(&self);
}

/// A connection that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// Its number in the session.
    pub card: i32,
    /// The protocol in use, `SCARD_PROTOCOL_*`; 0 for a connection to the reader alone.
    pub protocol: u32,
}

/// A response that a card has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmitted {
    /// Its length in bytes.
    pub length: usize,
    /// The number of the protocol used: 0 is T=0, 1 is T=1.
    pub protocol: u32,
}

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// The return code.
    pub code: u32,
    /// The length in bytes of an answer that does not fit; 0 where that is not known, and for other errors.
    pub needed: usize,
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
pub(crate) use named::Named;

/// A source for tests.
#[cfg(test)]
mod named {
    use super::*;

    /// Readers of these names, without cards.
    #[derive(Default)]
    pub struct Named {
        names: Vec<String>,
        changes: ChangeCounter,
    }

    impl Named {
        pub fn new(names: &[&str]) -> Named {
            Named {
                names: names.iter().map(ToString::to_string).collect(),
                changes: ChangeCounter::default(),
            }
        }
    }

    impl Source for Named {
        fn each_reader(&self, look: &mut dyn FnMut(ReaderState<'_>)) {
            for name in &self.names {
                look(ReaderState {
                    name: name.as_bytes(),
                    event_counter: 0,
                    state: 0,
                    sharing: 0,
                    atr: &[],
                    protocol: 0,
                });
            }
        }

        fn reader_events(&self) -> u32 {
            1
        }

        fn changes(&self) -> &ChangeCounter {
            &self.changes
        }

        fn session(&self) -> Result<Box<dyn Session>, Failed> {
            panic!("no test connects")
        }
    }
}
