//! A context, whichever backend serves it.

use std::time::{Duration, Instant};

use super::bytes::AttributeValue;
use super::choice::BackendKind;
#[cfg(feature = "daemon")]
use super::daemon::DaemonContext;
use super::size_query::{self, Answer, SizeQuery};
#[cfg(feature = "standalone")]
use super::standalone::{self, StandaloneContext};
use super::status_change::Watched;
use super::values::{Connected, ConnectionStatus, Pci, Transmitted};
use crate::error::{Error, Outcome};
use pcsc_wire::ReaderState;

/// A context, whichever backend serves it. The daemon's backend does calls of several threads one after
/// another, except [`Session::cancel`].
///
/// Numbers are those of the C interface: share modes, protocols, dispositions, attributes (PC/SC part 5).
#[derive(Debug)]
pub struct Session {
    pub(super) backend: Backend,
    size_query: SizeQuery,
}

#[derive(Debug)]
pub(super) enum Backend {
    #[cfg(feature = "daemon")]
    Daemon(DaemonContext),
    #[cfg(feature = "standalone")]
    Standalone(standalone::Kind, StandaloneContext),
}

/// Calls a method that both backends have.
macro_rules! on_backend {
    ($session:expr, $method:ident($($argument:expr),*)) => {
        match &$session.backend {
            #[cfg(feature = "daemon")]
            Backend::Daemon(context) => context.$method($($argument),*),
            #[cfg(feature = "standalone")]
            Backend::Standalone(_, context) => context.$method($($argument),*),
        }
    };
}

/// Methods that both backends have. Each ends the validity of the answer to a size query.
macro_rules! methods {
    ($($(#[$doc:meta])* fn $name:ident($($parameter:ident: $type:ty),*) -> $result:ty;)+) => {
        impl Session { $(
            $(#[$doc])*
            #[allow(clippy::too_many_arguments)]
            pub fn $name(&self, $($parameter: $type),*) -> Outcome<$result> {
                let outcome = on_backend!(self, $name($($parameter),*));
                self.size_query.forget();
                outcome
            }
        )+ }
    };
}

methods! {
    /// Ends the context. Cancels waits in progress, and waits for other calls in progress.
    fn release() -> ();
    /// Whether calls can still succeed.
    fn check_alive() -> ();
    /// Calls `look` with each reader.
    fn each_reader(look: &mut dyn FnMut(ReaderState<'_>)) -> ();
    /// Connects to the card in a reader, or to the reader. The detail of a failure is the protocol.
    fn connect(reader: &[u8], share: u32, protocols: u32, deadline: Option<Instant>) -> Connected;
    /// Changes the terms of a connection, and returns the protocol in use. Waits while another connection
    /// holds the card. The detail of a failure is the protocol.
    fn reconnect(
        card: i32, share: u32, protocols: u32, initialization: u32, deadline: Option<Instant>
    ) -> u32;
    /// Ends a connection.
    fn disconnect(card: i32, disposition: u32) -> ();
    /// Begins a transaction. Always waits while another connection holds the card.
    fn begin_transaction(card: i32, deadline: Option<Instant>) -> ();
    /// Ends a transaction.
    fn end_transaction(card: i32, disposition: u32) -> ();
    /// The status of a connection to the reader called `reader`, if the card is still there and was not
    /// reset. Waits while another connection holds the card.
    fn status(card: i32, reader: &[u8]) -> ConnectionStatus;
    /// Sends a command to the card. The response goes to the front of `response`. Waits while another
    /// connection holds the card. The detail of a failure is the response's length.
    fn transmit(
        card: i32, send: Pci, receive: Pci, command: &[u8], response: &mut [u8], deadline: Option<Instant>
    ) -> Transmitted;
    /// Uses a function of the reader's own. The answer goes to the front of `answer`, and its length is
    /// returned. The detail of a failure is the answer's length.
    fn control(card: i32, code: u32, data: &[u8], answer: &mut [u8], deadline: Option<Instant>) -> usize;
    /// Sets an attribute's value, at most 264 bytes.
    fn set_attribute(card: i32, id: u32, data: &[u8]) -> ();
    /// Waits until something differs from what the caller knows, at most `timeout`; `None` waits forever.
    ///
    /// A cancel ends the wait if it comes after the call's beginning or, where `sticky`, after the last
    /// cancel that ended a wait.
    fn status_change(timeout: Option<Duration>, watched: &mut [Watched<'_>], sticky: bool) -> ();
}

impl Session {
    pub(super) fn of(backend: Backend, reason: &str) -> Outcome<Session> {
        let session = Session {
            backend,
            size_query: SizeQuery::default(),
        };
        log::info!("the backend is {}: {reason}", session.kind());
        Ok(session)
    }

    /// Cancels the waits in progress; see also [`Session::status_change`]. Safe in a signal handler: takes no
    /// lock and allocates nothing, also where it fails.
    pub fn cancel(&self) -> Outcome<()> {
        on_backend!(self, cancel())
    }

    /// The readers' names, each with a NUL, and one more NUL. The answer to a size query also serves the call
    /// that follows it.
    pub fn list_readers(&self, is_size_query: bool) -> Outcome<Vec<u8>> {
        match self.size_query.take() {
            Some(Answer::Readers(names)) if !is_size_query => return Ok(names),
            _ => (),
        }
        // Enough for a few readers, so that their names need one allocation.
        let mut names = Vec::new();
        let mut room = names.try_reserve(512);
        self.each_reader(&mut |reader| {
            room = room
                .clone()
                .and_then(|()| names.try_reserve(reader.name.len() + 2));
            if room.is_ok() {
                names.extend_from_slice(reader.name);
                names.push(0);
            }
        })?;
        room.map_err(|_| Error::NoMemory)?;
        names.push(0);
        if is_size_query && names.len() > 1 {
            let mut kept = Vec::new();
            if kept.try_reserve_exact(names.len()).is_ok() {
                kept.extend_from_slice(&names);
                self.size_query.keep(Answer::Readers(kept));
            }
        }
        Ok(names)
    }

    /// An attribute's value. The answer to a size query also serves the call that follows it, unless the
    /// attribute describes the card.
    pub fn get_attribute(&self, card: i32, id: u32, is_size_query: bool) -> Outcome<AttributeValue> {
        match self.size_query.take() {
            Some(Answer::Attribute(of, value)) if !is_size_query && of == (card, id) => return Ok(value),
            _ => (),
        }
        let value = on_backend!(self, get_attribute(card, id))?;
        if is_size_query && size_query::is_of_reader(id) {
            self.size_query.keep(Answer::Attribute((card, id), value));
        }
        Ok(value)
    }

    /// What serves this context.
    pub fn kind(&self) -> BackendKind {
        match &self.backend {
            #[cfg(feature = "daemon")]
            Backend::Daemon(session) => BackendKind::Daemon {
                path: session.path().to_owned(),
                version: session.version(),
            },
            #[cfg(feature = "standalone")]
            Backend::Standalone(standalone::Kind::Usb, _) => BackendKind::Standalone,
            #[cfg(feature = "standalone")]
            Backend::Standalone(standalone::Kind::Simulated, _) => BackendKind::Simulated,
        }
    }
}
