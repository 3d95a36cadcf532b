//! The context: a program's session with the resource manager.

use std::ffi::{CStr, CString};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::status_change::Watched;
use crate::backend::{BackendKind, Choice, Session, SessionOptions};
use crate::error::{Error, Failure};
use crate::reader_state::ReaderState;
use crate::values::Scope;

/// A session with the resource manager. All clones are the same session. It ends when the last clone and the
/// last card are dropped.
///
/// All methods may be called from any thread. Calls of one context are done one after another; take one
/// context for each thread where calls must not wait for each other.
///
/// Methods with the names of the `pcsc` crate return an [`Error`]. Those that begin with `try_`, and those
/// that `pcsc` does not have, return a [`Failure`], which has the cause.
#[derive(Debug, Clone)]
pub struct Context {
    session: Arc<Session>,
}

// A panic in a call leaves no lock held and no state half changed: the data behind each lock is valid at any
// time.
impl UnwindSafe for Context {}
impl RefUnwindSafe for Context {}

/// Establishes a context with other options than the defaults.
///
/// ```no_run
/// # fn main() -> Result<(), pcsc_client::Failure> {
/// let context = pcsc_client::Context::builder()
///     .socket_path("/run/user/1000/forwarded-pcscd.comm")
///     .establish()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Builder {
    options: SessionOptions,
    simulate_if_no_reader: bool,
}

impl Builder {
    /// The daemon's socket, instead of `PCSCLITE_CSOCK_NAME` or `/run/pcscd/pcscd.comm`.
    pub fn socket_path(mut self, path: impl Into<PathBuf>) -> Builder {
        self.options.socket = Some(path.into());
        self
    }

    /// The PC/SC library of the system, a path or a name that the loader finds, instead of
    /// `PCSCLITE_SYSTEM_LIBRARY` or the platform's. It is used where the backend is
    /// [`Choice::System`].
    pub fn system_library(mut self, path: impl Into<PathBuf>) -> Builder {
        self.options.library = Some(path.into());
        self
    }

    /// Uses the simulated readers if no reader is connected, with a daemon or without: the bundled one, or
    /// those in `PCSCLITE_SIMULATED`. For demonstrations; [`Context::backend`] shows whether the reader is
    /// simulated. Has no effect if [`Builder::choose_backend`] chooses another backend than
    /// [`Choice::Environment`] or [`Choice::Automatic`].
    pub fn simulate_if_no_reader(mut self, simulate: bool) -> Builder {
        self.simulate_if_no_reader = simulate;
        self
    }

    /// Chooses the backend. Overrides `PCSCLITE_BACKEND`.
    pub fn choose_backend(mut self, choice: Choice) -> Builder {
        self.options.backend = choice;
        self
    }

    /// Drives the readers of one USB device, whose node is open for reading and writing: for a process that a
    /// broker gives the file descriptor to, or Android's `UsbDeviceConnection`. The context has these readers
    /// alone. Neither /sys nor udev is needed.
    ///
    /// On Linux and Android, with the feature `standalone`.
    #[cfg(all(feature = "standalone", any(target_os = "linux", target_os = "android")))]
    pub fn usb_device(mut self, device: std::os::fd::OwnedFd) -> Builder {
        self.options.device = Some(Arc::new(device));
        self
    }

    /// The scope; PC/SC Lite treats all alike.
    pub fn scope(mut self, scope: Scope) -> Builder {
        self.options.scope = scope as u32;
        self
    }

    /// How long the daemon may take to answer a request that needs no card. After that time the connection
    /// has failed. The default is 30 s. Calls that wait for a card have no such limit: see the methods with
    /// a timeout.
    pub fn answer_limit(mut self, limit: Duration) -> Builder {
        self.options.limit = limit;
        self
    }

    /// Establishes the context.
    ///
    /// # Errors
    /// [`Error::NoService`] if no process listens, [`Error::SecurityViolation`] if access is refused,
    /// [`Error::ServiceStopped`] if the daemon speaks no protocol version that this library speaks.
    pub fn establish(self) -> Result<Context, Failure> {
        Ok(Context::of(Session::establish(&self.options())?))
    }

    fn options(self) -> SessionOptions {
        let mut options = self.options;
        if self.simulate_if_no_reader && matches!(options.backend, Choice::Environment | Choice::Automatic) {
            options.backend = Choice::SimulatedAtLast;
        }
        options
    }
}

impl Context {
    /// Establishes a context with the daemon that the environment names, or the system's.
    ///
    /// # Errors
    /// As [`Builder::establish`].
    pub fn establish(scope: Scope) -> Result<Context, Error> {
        Ok(Context::builder().scope(scope).establish()?)
    }

    /// A builder, for contexts with options and for failures with their cause.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The backend of this context: a daemon, this process's own driver, or the simulated reader.
    pub fn backend(&self) -> BackendKind {
        self.session().kind()
    }

    /// Ends the context.
    ///
    /// # Errors
    /// Gives the context back: with [`Error::CantDispose`] while clones or cards of it live, or with the
    /// daemon's error.
    pub fn release(self) -> Result<(), (Context, Error)> {
        match Arc::try_unwrap(self.session) {
            Ok(session) => session.release().map_err(|failure| {
                let session = Arc::new(session);
                (Context { session }, failure.into())
            }),
            Err(session) => Err((Context { session }, Error::CantDispose)),
        }
    }

    /// Whether calls can still succeed. Detects, without a round trip, that the daemon has ended.
    ///
    /// # Errors
    /// [`Error::InvalidHandle`] where they cannot: establish a new context.
    pub fn is_valid(&self) -> Result<(), Error> {
        Ok(self.try_is_valid()?)
    }

    /// [`Context::is_valid`] with the cause.
    ///
    /// # Errors
    /// As [`Context::is_valid`].
    pub fn try_is_valid(&self) -> Result<(), Failure> {
        self.session.check_alive()
    }

    /// Ends [`Context::get_status_change`] in other threads, with [`Error::Cancelled`]. If no such call is in
    /// progress, the next one ends at once, so that a cancel that comes too early is not lost.
    ///
    /// # Errors
    /// [`Error::InvalidHandle`] in a forked child.
    pub fn cancel(&self) -> Result<(), Error> {
        Ok(self.session.cancel()?)
    }

    /// Lists the readers, with their names in `buffer`.
    ///
    /// # Errors
    /// [`Error::InsufficientBuffer`]; see [`Context::list_readers_len`]. Without readers it returns an empty
    /// list.
    pub fn list_readers<'buf>(&self, buffer: &'buf mut [u8]) -> Result<ReaderNames<'buf>, Error> {
        let names = self.session.list_readers(false)?;
        if names.len() == 1 {
            return Ok(ReaderNames::new(&[]));
        }
        let room = buffer.get_mut(..names.len()).ok_or(Error::InsufficientBuffer)?;
        room.copy_from_slice(&names);
        Ok(ReaderNames::new(room))
    }

    /// The size in bytes of the buffer that [`Context::list_readers`] needs; 0 without readers. If the next
    /// call of the context is [`Context::list_readers`] and comes within 100 ms, it lists the same readers.
    ///
    /// # Errors
    /// Those of the connection with the daemon.
    pub fn list_readers_len(&self) -> Result<usize, Error> {
        match self.session.list_readers(true)?.len() {
            1 => Ok(0),
            length => Ok(length),
        }
    }

    /// Lists the readers.
    ///
    /// # Errors
    /// Those of the connection with the daemon.
    pub fn list_readers_owned(&self) -> Result<Vec<CString>, Error> {
        Ok(self.try_list_readers()?)
    }

    /// [`Context::list_readers_owned`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Context::list_readers_owned`].
    pub fn try_list_readers(&self) -> Result<Vec<CString>, Failure> {
        let names = self.session.list_readers(false)?;
        Ok(ReaderNames::new(&names).map(CStr::to_owned).collect())
    }

    /// Waits until a reader's state differs from the one that the caller knows, at most `timeout` (`None`:
    /// forever). A reader called [`PNP_NOTIFICATION`](crate::PNP_NOTIFICATION) changes when readers come
    /// or go.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Cancelled`], [`Error::UnknownReader`].
    pub fn get_status_change<D>(&self, timeout: D, readers: &mut [ReaderState]) -> Result<(), Error>
    where
        D: Into<Option<Duration>>,
    {
        Ok(self.try_get_status_change(timeout, readers)?)
    }

    /// [`Context::get_status_change`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Context::get_status_change`].
    pub fn try_get_status_change<D>(&self, timeout: D, readers: &mut [ReaderState]) -> Result<(), Failure>
    where
        D: Into<Option<Duration>>,
    {
        let mut watched: Vec<Watched<'_>> = readers.iter().map(ReaderState::watch).collect();
        if watched.iter().all(Watched::is_ignored) {
            return Ok(());
        }
        let result = self.session.status_change(timeout.into(), &mut watched, true);
        let found: Vec<_> = watched
            .iter()
            .map(|watched| (watched.event(), watched.atr))
            .collect();
        for (reader, (event, atr)) in readers.iter_mut().zip(found) {
            reader.update(event, atr);
        }
        result
    }

    pub(crate) fn of(session: Session) -> Context {
        Context {
            session: Arc::new(session),
        }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }
}

/// The time at which `timeout` is over; `None` if that cannot be represented.
pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// The names of readers, in a buffer of the caller's.
#[derive(Clone, Debug)]
pub struct ReaderNames<'buf> {
    rest: &'buf [u8],
}

impl<'buf> ReaderNames<'buf> {
    pub(crate) fn new(names: &'buf [u8]) -> ReaderNames<'buf> {
        ReaderNames { rest: names }
    }
}

impl<'buf> Iterator for ReaderNames<'buf> {
    type Item = &'buf CStr;

    fn next(&mut self) -> Option<&'buf CStr> {
        let name = CStr::from_bytes_until_nul(self.rest).ok()?;
        self.rest = &self.rest[name.count_bytes() + 1..];
        (!name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_a_builders_calls_does_not_matter() {
        let chosen = |builder: Builder| builder.options().backend;
        let builder = Context::builder;
        for simulate in [false, true] {
            let first = builder().simulate_if_no_reader(simulate);
            assert_eq!(chosen(first.choose_backend(Choice::Simulated)), Choice::Simulated);
            let first = builder().choose_backend(Choice::Simulated);
            assert_eq!(chosen(first.simulate_if_no_reader(simulate)), Choice::Simulated);
            for backend in [Choice::Environment, Choice::Automatic] {
                let expected = if simulate {
                    Choice::SimulatedAtLast
                } else {
                    backend
                };
                let first = builder().simulate_if_no_reader(simulate);
                assert_eq!(chosen(first.choose_backend(backend)), expected);
                let first = builder().choose_backend(backend);
                assert_eq!(chosen(first.simulate_if_no_reader(simulate)), expected);
            }
        }
    }
}
