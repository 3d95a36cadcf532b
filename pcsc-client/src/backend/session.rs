//! A context, whichever backend serves it.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::choice::{BackendKind, Choice};
use super::size_query::{self, Answer, SizeQuery};
use super::status_change::Watched;
use super::{daemon, standalone};
use crate::env;
use crate::error::{Cause, Error, Outcome};
use pcsc_wire::{self as wire, ReaderState, ReaderStates};

/// What a context is established with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The backend to use.
    pub backend: Choice,
    /// The daemon's socket; the environment's, or the system's, where it is `None`.
    pub socket: Option<PathBuf>,
    /// A device on the USB whose node is open, instead of any backend.
    pub device: Option<Arc<OwnedFd>>,
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
            device: None,
            scope: 2,
            limit: Duration::from_secs(30),
        }
    }
}

/// A context with the daemon, or without one.
#[derive(Debug)]
pub struct Session {
    backend: Backend,
    size_query: SizeQuery,
}

#[derive(Debug)]
enum Backend {
    Daemon(daemon::Session),
    Standalone(standalone::Kind, standalone::Session),
}

/// Methods that both backends have. Each of them ends what a size query may expect of the next call.
macro_rules! both {
    ($($(#[$doc:meta])* fn $name:ident $(<$generic:ident>)? ($($parameter:ident: $type:ty),*) -> $result:ty;)+) => {
        impl Session { $(
            $(#[$doc])*
            #[allow(clippy::too_many_arguments)]
            pub fn $name $(<$generic>)? (&self, $($parameter: $type),*) -> Outcome<$result> {
                let result = match &self.backend {
                    Backend::Daemon(session) => session.$name($($parameter),*),
                    Backend::Standalone(_, session) => session.$name($($parameter),*),
                };
                self.size_query.forget();
                result
            }
        )+ }
    };
}

both! {
    /// Ends the context. Waits in progress are cancelled; other calls in progress are awaited.
    fn release() -> ();
    /// Whether calls can still succeed.
    fn check_alive() -> ();
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
    /// Sets an attribute's value, at most 264 bytes.
    fn set_attribute(card: i32, id: u32, data: &[u8]) -> wire::Attribute;
    /// Waits until something differs from what the caller knows, at most `timeout` (`None`: for ever).
    ///
    /// A cancel ends the wait if it comes after the call's beginning or, where `sticky`, after the last
    /// cancel that ended a wait.
    fn status_change(timeout: Option<Duration>, watched: &mut [Watched<'_>], sticky: bool) -> ();
}

impl Session {
    /// Establishes a context with the backend of the caller's, or the user's, choice. Which one it is, and
    /// why, is told to the log.
    pub fn establish(options: &Options) -> Outcome<Session> {
        if let Some(device) = &options.device {
            return Session::device(options, device);
        }
        let session = match options.backend.resolve() {
            Choice::Daemon => Session::daemon(options, "it was asked for"),
            Choice::Standalone => Session::standalone(options, "it was asked for"),
            Choice::Simulated => Session::simulated(options, "it was asked for"),
            Choice::SimulatedAtLast => match Session::automatic(options) {
                Err(failure)
                    if failure
                        .cause()
                        .is_some_and(|cause| cause.is_absence() || cause.is_usb()) =>
                {
                    Session::simulated(options, "there is no daemon, and no reader")
                }
                Ok(session) if session.with_states(|states| states.readers().count())? == 0 => {
                    Session::simulated(options, "there is no other reader")
                }
                session => session,
            },
            Choice::Automatic | Choice::Environment => Session::automatic(options),
        };
        if let Err(failure) = &session {
            if let Some(cause @ Cause::Connect { .. }) = failure.cause() {
                log::error!("{cause}");
            }
        }
        session
    }

    /// A named daemon; otherwise the system's where it listens; otherwise the readers on the USB.
    fn automatic(options: &Options) -> Outcome<Session> {
        if options.socket.is_some() || env::chosen_socket().is_some() {
            return Session::daemon(options, "its socket is named");
        }
        let socket = Listener::at(Path::new(env::DEFAULT_SOCKET));
        if let Some(shared) = standalone::current(standalone::Kind::Usb) {
            if socket.is_none() || shared.daemon_then() == socket {
                return Session::standalone(options, "no daemon has come");
            }
            if shared.manager().is_in_use() {
                return Session::standalone(options, "a daemon has come, but a card is in use here");
            }
            // The daemon looks for readers when it starts, which connecting to its socket may make it do.
            shared.manager().end();
        }
        let failure = match Session::daemon(options, "it listens") {
            Err(failure) => failure,
            session => return session,
        };
        match failure.cause() {
            Some(cause) if cause.is_absence() && has_usb() => {
                let session = Session::standalone(options, &format!("there is no daemon, since {cause}"))?;
                if let Backend::Standalone(_, session) = &session.backend {
                    session.note_daemon(socket);
                }
                Ok(session)
            }
            _ => Err(failure),
        }
    }

    fn daemon(options: &Options, reason: &str) -> Outcome<Session> {
        let session = daemon::Session::establish(options)?;
        Session::of(Backend::Daemon(session), reason)
    }

    fn standalone(options: &Options, reason: &str) -> Outcome<Session> {
        check_scope(options.scope)?;
        let session = standalone::Session::on_usb()?;
        Session::of(Backend::Standalone(standalone::Kind::Usb, session), reason)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn device(options: &Options, device: &OwnedFd) -> Outcome<Session> {
        check_scope(options.scope)?;
        let own = device.try_clone();
        let own =
            own.map_err(|error| crate::error::Failure::because(Error::NoMemory, Cause::System(error)))?;
        let session = standalone::Session::on_device(own)?;
        Session::of(
            Backend::Standalone(standalone::Kind::Usb, session),
            "its device was given",
        )
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn device(_options: &Options, _device: &OwnedFd) -> Outcome<Session> {
        Err(Error::UnsupportedFeature.into())
    }

    fn simulated(options: &Options, reason: &str) -> Outcome<Session> {
        check_scope(options.scope)?;
        let session = standalone::Session::on_simulation(&env::text("PCSCLITE_SIMULATED"))?;
        Session::of(Backend::Standalone(standalone::Kind::Simulated, session), reason)
    }

    fn of(backend: Backend, reason: &str) -> Outcome<Session> {
        let session = Session {
            backend,
            size_query: SizeQuery::default(),
        };
        log::info!("the backend is {}: {reason}", session.kind());
        Ok(session)
    }

    /// Cancels the waits in progress; see also [`Session::status_change`]. Takes no lock.
    pub fn cancel(&self) -> Outcome<()> {
        match &self.backend {
            Backend::Daemon(session) => session.cancel(),
            Backend::Standalone(_, session) => session.cancel(),
        }
    }

    /// The readers' names, each with a NUL, and one more NUL. The next call that is no size query may get the same
    /// answer as a size query.
    pub fn list_readers(&self, is_size_query: bool) -> Outcome<Vec<u8>> {
        match self.size_query.take() {
            Some(Answer::Readers(names)) if !is_size_query => return Ok(names),
            _ => (),
        }
        let names = self.with_states(|states| {
            // Room for a few readers' names at once.
            let mut names = Vec::with_capacity(512);
            for reader in states.readers() {
                names.extend_from_slice(reader.name);
                names.push(0);
            }
            names.push(0);
            names
        })?;
        if is_size_query && names.len() > 1 {
            self.size_query.keep(Answer::Readers(names.clone()));
        }
        Ok(names)
    }

    /// An attribute's value. The next call that is no size query may get the same answer as a size query.
    pub fn get_attribute(&self, card: i32, id: u32, is_size_query: bool) -> Outcome<wire::Attribute> {
        match self.size_query.take() {
            Some(Answer::Attribute(kept)) if !is_size_query && (kept.card, kept.id) == (card, id) => {
                return Ok(kept)
            }
            _ => (),
        }
        let reply = match &self.backend {
            Backend::Daemon(session) => session.get_attribute(card, id),
            Backend::Standalone(_, session) => session.get_attribute(card, id),
        }?;
        if is_size_query && reply.rv == 0 && size_query::is_of_reader(id) {
            self.size_query.keep(Answer::Attribute(reply));
        }
        Ok(reply)
    }

    /// What serves this context.
    pub fn kind(&self) -> BackendKind {
        match &self.backend {
            Backend::Daemon(session) => BackendKind::Daemon {
                path: session.path().to_owned(),
                version: session.version(),
            },
            Backend::Standalone(standalone::Kind::Usb, _) => BackendKind::Standalone,
            Backend::Standalone(standalone::Kind::Simulated, _) => BackendKind::Simulated,
        }
    }
}

/// Refuses a scope that is none, as a daemon does.
fn check_scope(scope: u32) -> Outcome<()> {
    /// `SCARD_SCOPE_GLOBAL`, the last one.
    const GLOBAL: u32 = 3;
    if scope > GLOBAL {
        return Err(Error::InvalidValue.into());
    }
    Ok(())
}

/// Whether the system has a USB at all.
fn has_usb() -> bool {
    ["/sys/bus/usb", "/dev/bus/usb"]
        .iter()
        .any(|path| Path::new(path).exists())
}

/// Which file is at a socket's path: a daemon that comes makes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Listener {
    fn at(path: &Path) -> Option<Listener> {
        let file = std::fs::metadata(path).ok()?;
        Some(Listener {
            device: file.dev(),
            inode: file.ino(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}
