//! A context, whichever backend serves it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::choice::{BackendKind, Choice};
use super::standalone::SimulatedBus;
use super::status_change::Watched;
use super::{daemon, standalone};
use crate::error::{Error, Outcome};
use crate::wire::{self, ReaderState, ReaderStates};

/// What a context is established with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The backend to use.
    pub backend: Choice,
    /// The daemon's socket; the environment's, or the system's, where it is `None`.
    pub socket: Option<PathBuf>,
    /// The scope, which daemons ignore.
    pub scope: u32,
    /// How long the daemon may take for an answer that needs no card, before the connection is given up.
    pub limit: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            backend: Choice::default(),
            socket: None,
            scope: 2,
            limit: Duration::from_secs(30),
        }
    }
}

/// A context with the daemon, or without one.
#[derive(Debug)]
pub struct Session {
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Daemon(daemon::Session),
    Standalone(standalone::Session),
}

/// Methods that both backends have.
macro_rules! both {
    ($($(#[$doc:meta])* fn $name:ident $(<$generic:ident>)? ($($parameter:ident: $type:ty),*) -> $result:ty;)+) => {
        impl Session { $(
            $(#[$doc])*
            #[allow(clippy::too_many_arguments)]
            pub fn $name $(<$generic>)? (&self, $($parameter: $type),*) -> Outcome<$result> {
                match &self.backend {
                    Backend::Daemon(session) => session.$name($($parameter),*),
                    Backend::Standalone(session) => session.$name($($parameter),*),
                }
            }
        )+ }
    };
}

both! {
    /// Ends the context. Waits in progress are cancelled; other calls in progress are awaited.
    fn release() -> ();
    /// Whether calls can still succeed.
    fn check_alive() -> ();
    /// Cancels the waits in progress; see also [`Session::status_change`].
    fn cancel() -> ();
    /// Looks at the reader states of now.
    fn with_states<R>(look: impl FnOnce(ReaderStates<'_>) -> R) -> R;
    /// Connects to the card in a reader, or to the reader.
    fn connect(reader: &[u8], share: u32, protocols: u32, deadline: Option<Instant>) -> wire::Connect;
    /// Gives a connection new terms; waits while another connection holds the card. `active` is the
    /// protocol to report where none is known.
    fn reconnect(
        card: i32, share: u32, protocols: u32, initialization: u32, active: u32, deadline: Option<Instant>
    ) -> wire::Reconnect;
    /// Ends a connection.
    fn disconnect(card: i32, disposition: u32) -> wire::Disconnect;
    /// Begins a transaction; always waits while another connection holds the card.
    fn begin_transaction(card: i32, deadline: Option<Instant>) -> wire::BeginTransaction;
    /// Ends a transaction.
    fn end_transaction(card: i32, disposition: u32) -> wire::EndTransaction;
    /// Whether the card is still there and was not reset (a return code), and the state of the reader
    /// called `reader`, `None` where it is gone; waits while another connection holds the card.
    fn status<R>(card: i32, reader: &[u8], look: impl Fn(Option<ReaderState<'_>>) -> R) -> (u32, R);
    /// Sends a command to the card; the response goes to the front of `response`. Waits while another
    /// connection holds the card.
    fn transmit(
        request: wire::Transmit, command: &[u8], response: &mut [u8], deadline: Option<Instant>
    ) -> wire::Transmit;
    /// Uses a reader's own function; the answer goes to the front of `response`.
    fn control(
        card: i32, code: u32, data: &[u8], response: &mut [u8], deadline: Option<Instant>
    ) -> wire::Control;
    /// Gets an attribute's value.
    fn get_attribute(card: i32, id: u32) -> wire::Attribute;
    /// Sets an attribute's value, at most 264 bytes.
    fn set_attribute(card: i32, id: u32, data: &[u8]) -> wire::Attribute;
    /// Waits until something differs from what the caller knows, at most `timeout` (`None`: for ever).
    ///
    /// A cancel ends the wait if it comes after the call's beginning or, where `sticky`, after the last
    /// cancel that ended a wait.
    fn status_change(timeout: Option<Duration>, watched: &mut [Watched<'_>], sticky: bool) -> ();
}

impl Session {
    /// Establishes a context with the backend of the caller's, or the user's, choice.
    pub fn establish(options: &Options) -> Outcome<Session> {
        let choice = options.backend.resolve();
        if choice == Choice::Simulated {
            return Ok(Session::simulated("it was asked for"));
        }
        let daemon = daemon::Session::establish(options).map(|session| Session {
            backend: Backend::Daemon(session),
        });
        if choice == Choice::DaemonOrSimulated {
            match &daemon {
                Err(failure) if failure.error() == Error::NoService => {
                    return Ok(Session::simulated("there is no daemon"));
                }
                Ok(session) if session.with_states(|states| states.readers().count())? == 0 => {
                    return Ok(Session::simulated("the daemon has no reader"));
                }
                _ => (),
            }
        }
        daemon
    }

    fn simulated(reason: &str) -> Session {
        log::info!("the simulated reader is used: {reason}");
        let session = standalone::Session::establish(|| Arc::new(SimulatedBus::default()));
        Session {
            backend: Backend::Standalone(session),
        }
    }

    /// What serves this context.
    pub fn kind(&self) -> BackendKind {
        match &self.backend {
            Backend::Daemon(session) => BackendKind::Daemon {
                path: session.path().to_owned(),
                version: session.version(),
            },
            Backend::Standalone(_) => BackendKind::Simulated,
        }
    }
}
