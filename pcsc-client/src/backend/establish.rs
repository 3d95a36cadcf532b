//! Which backend a context gets. A cargo feature includes each of them.

use super::choice::Choice;
use super::daemon;
#[cfg(feature = "standalone")]
use super::daemon::Listeners;
use super::session::Session;
#[cfg(feature = "standalone")]
use super::standalone::{self, StandaloneContext};
#[cfg(feature = "system")]
use super::system::{SystemContext, IS_PART_OF_SYSTEM};
use super::values::SessionOptions;
use crate::env;
use crate::error::{Cause, Error, Failure, Outcome};

/// Whether the system has a PC/SC library of its own, which comes before the other backends.
#[cfg(not(feature = "system"))]
const IS_PART_OF_SYSTEM: bool = false;

#[cfg(not(any(feature = "daemon", feature = "standalone", feature = "system")))]
compile_error!("a context needs a backend: enable the feature daemon, standalone, system or sim");

impl Session {
    /// Establishes a context with the backend that the caller or the user chooses. Logs which one it is, and
    /// why.
    pub fn establish(options: &SessionOptions) -> Outcome<Session> {
        #[cfg(all(feature = "standalone", any(target_os = "linux", target_os = "android")))]
        if let Some(device) = &options.device {
            return Session::device(options, device);
        }
        let session = match options.backend.resolve(options.is_system_library) {
            Choice::Daemon => Session::daemon(options, "it was asked for"),
            Choice::Standalone => Session::standalone(options, "it was asked for"),
            Choice::System => Session::system(options, "it was asked for"),
            Choice::Simulated => Session::simulated(options, "it was asked for"),
            Choice::SimulatedAtLast if cfg!(feature = "sim") => match Session::automatic(options) {
                Err(failure)
                    if failure
                        .cause()
                        .is_some_and(|cause| cause.is_absence() || cause.is_usb()) =>
                {
                    Session::simulated(options, "there is no daemon, and no reader")
                }
                // One NUL: the list is empty.
                Ok(session) if session.list_readers(false)?.len() == 1 => {
                    Session::simulated(options, "there is no other reader")
                }
                session => session,
            },
            Choice::Automatic | Choice::Environment | Choice::SimulatedAtLast => Session::automatic(options),
        };
        if let Err(failure) = &session {
            if let Some(cause @ Cause::Connect { .. }) = failure.cause() {
                log::error!("{}", cause.chain());
            }
        }
        session
    }

    /// The daemon that is named. If none is, the library that is a part of the system; where there is none,
    /// the system's daemon, or without one the readers on the USB.
    fn automatic(options: &SessionOptions) -> Outcome<Session> {
        // Before everything else: the readers of a daemon that is named are not replaced by others.
        if options.socket.is_some() || env::chosen_socket().is_some() {
            return Session::daemon(options, "its socket is named");
        }
        if IS_PART_OF_SYSTEM && !options.is_system_library {
            return Session::system(options, "it is a part of the system");
        }
        if !daemon::IS_INCLUDED && !cfg!(feature = "standalone") {
            return Session::system(options, "the build has no other");
        }
        Session::daemon_or_usb(options)
    }

    #[cfg(not(feature = "standalone"))]
    fn daemon_or_usb(options: &SessionOptions) -> Outcome<Session> {
        Session::daemon(options, "the build has no other")
    }

    /// The system's daemon where it listens, or the user's own server; otherwise the readers on the USB.
    #[cfg(feature = "standalone")]
    fn daemon_or_usb(options: &SessionOptions) -> Outcome<Session> {
        if !daemon::IS_INCLUDED {
            return Session::standalone(options, "the build has no other");
        }
        // Before the look at the manager and the connect: a daemon that comes during those is found by the
        // next context.
        let listeners = Listeners::now();
        if let Some((manager, before)) = standalone::USB.get() {
            if !listeners.has_come_since(&before) {
                return Session::on_usb(options, before, "no daemon has come");
            }
            if manager.is_in_use() {
                return Session::on_usb(options, before, "a daemon has come, but a card is in use here");
            }
            // Connecting may start the daemon, which then opens the readers: they must be free by then.
            manager.end();
        }
        let failure = match Session::any_daemon(options) {
            Err(failure) => failure,
            session => return session,
        };
        match failure.cause() {
            Some(cause) if cause.is_absence() && pcsc_ccid::usb::is_present() => {
                let reason = format!("there is no daemon, since {}", cause.chain());
                Session::on_usb(options, listeners, &reason)
            }
            _ => Err(failure),
        }
    }

    /// The system's daemon, or the user's own server where there is none. If there is neither, the failure is
    /// about the system's.
    #[cfg(feature = "standalone")]
    fn any_daemon(options: &SessionOptions) -> Outcome<Session> {
        let failure = match Session::daemon(options, "it listens") {
            Err(failure) if failure.cause().is_some_and(Cause::is_absence) => failure,
            session => return session,
        };
        let Some(socket) = Listeners::user_socket() else {
            return Err(failure);
        };
        let of_user = SessionOptions {
            socket: Some(socket),
            ..options.clone()
        };
        match Session::daemon(&of_user, "the user's server listens") {
            Err(absent) if absent.cause().is_some_and(Cause::is_absence) => Err(failure),
            session => session,
        }
    }

    fn daemon(options: &SessionOptions, reason: &str) -> Outcome<Session> {
        Ok(Session::of(daemon::establish(options)?, reason))
    }

    #[cfg(feature = "standalone")]
    fn standalone(options: &SessionOptions, reason: &str) -> Outcome<Session> {
        // The next context that may use a daemon tries each socket that is there by then.
        Session::on_usb(options, Listeners::NONE, reason)
    }

    /// The readers on the USB. `daemons` is what is at the daemons' sockets, without being a daemon that
    /// listens.
    #[cfg(feature = "standalone")]
    fn on_usb(options: &SessionOptions, daemons: Listeners, reason: &str) -> Outcome<Session> {
        check_scope(options.scope)?;
        let context = StandaloneContext::on_usb(daemons)?;
        Ok(Session::of(Box::new(context), reason))
    }

    #[cfg(not(feature = "standalone"))]
    fn standalone(_options: &SessionOptions, _reason: &str) -> Outcome<Session> {
        not_included("standalone")
    }

    /// The readers of the one device that the caller has opened.
    #[cfg(all(feature = "standalone", any(target_os = "linux", target_os = "android")))]
    fn device(options: &SessionOptions, device: &std::os::fd::OwnedFd) -> Outcome<Session> {
        check_scope(options.scope)?;
        let own = device.try_clone();
        let own = own.map_err(|error| Failure::because(Error::NoMemory, Cause::System(error)))?;
        let context = StandaloneContext::on_device(own)?;
        Ok(Session::of(Box::new(context), "its device was given"))
    }

    #[cfg(feature = "system")]
    fn system(options: &SessionOptions, reason: &str) -> Outcome<Session> {
        let context = SystemContext::establish(options)?;
        Ok(Session::of(Box::new(context), reason))
    }

    #[cfg(not(feature = "system"))]
    fn system(_options: &SessionOptions, _reason: &str) -> Outcome<Session> {
        not_included("system")
    }

    #[cfg(not(feature = "sim"))]
    fn simulated(_options: &SessionOptions, _reason: &str) -> Outcome<Session> {
        not_included("sim")
    }

    #[cfg(feature = "sim")]
    fn simulated(options: &SessionOptions, reason: &str) -> Outcome<Session> {
        check_scope(options.scope)?;
        let context = StandaloneContext::on_simulation(&env::text("PCSCLITE_SIMULATED"))?;
        Ok(Session::of(Box::new(context), reason))
    }
}

#[cfg(feature = "sim")]
impl Session {
    /// A context on a manager of simulated readers.
    pub(crate) fn on_simulated(manager: std::sync::Arc<pcsc_manager::Manager>) -> Session {
        let context = StandaloneContext::on(manager);
        Session::of(Box::new(context), "it is a simulation's")
    }
}

/// The failure of a backend that the build leaves out.
#[allow(dead_code, reason = "a build with every backend has none to leave out")]
fn not_included(feature: &'static str) -> Outcome<Session> {
    Err(Failure::because(
        Error::UnsupportedFeature,
        Cause::NotIncluded { feature },
    ))
}

/// Refuses a scope that does not exist, as a daemon does.
#[cfg(feature = "standalone")]
fn check_scope(scope: u32) -> Outcome<()> {
    if scope > pcsc_constants::SCARD_SCOPE_GLOBAL {
        return Err(Error::InvalidValue.into());
    }
    Ok(())
}
