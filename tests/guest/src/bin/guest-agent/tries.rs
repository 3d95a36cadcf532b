//! How often something is tried that a driver may give up by itself.
//!
//! libccid 1.5 has limits of its own, which a busy machine exceeds: a reader must answer the first commands
//! in 100 ms, or it is not used until it is plugged in again; a card whose power-up has failed is mute until
//! it is put in again. pcscd 1.9 may power a card off while a program selects its protocol. That must not
//! fail a test that compares with libccid, and is tried again a bounded number of times, each with a line on
//! standard error. Our drivers get one try here. Three places try ours again, for limits of time that a busy
//! machine exceeds: `commands::features`, `doctor::pcsc` and `sharing::killed_while_the_card_works`.

use crate::daemon::Pcscd;
use crate::path::{appear, appear_within, gone, Daemon};
use crate::sharing;
use crate::{Result, LIMIT};
use pcsc_client::{Context, Error, State};
use pcsc_guest_tests::usbip::{Plugged, UsbFunction};
use std::ffi::CString;
use std::fmt::Display;
use std::time::Duration;

/// The tries that are left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    left: usize,
    /// How long one may take.
    limit: Duration,
}

impl Tries {
    /// For libccid.
    pub const LIBCCID: Self = Self {
        left: 3,
        limit: Duration::from_secs(90),
    };

    /// For everything of ours.
    pub const ONE: Self = Self {
        left: 1,
        limit: LIMIT,
    };

    /// Uses up a try after a failure. Returns whether one is left.
    pub fn again(&mut self, reason: impl Display) -> bool {
        self.left = self.left.saturating_sub(1);
        let again = self.left > 0;
        if again {
            eprintln!("pcscd or libccid has given up, and is tried again: {reason}");
        }
        again
    }

    /// How long one try may take.
    pub fn limit(self) -> Duration {
        self.limit
    }

    /// Calls `attempt` until it succeeds, no try is left, or it fails for another reason than libccid's
    /// limits.
    fn until_done<T>(mut self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match attempt() {
                Err(error) if is_given_up(&*error) && self.again(&error) => (),
                result => return result,
            }
        }
    }

    /// Starts a daemon that has readers whose names contain `names`, in this state, and gives their names.
    pub fn start(
        self,
        daemon: impl Fn() -> Result<(Pcscd, Context)>,
        names: &[&str],
        state: State,
    ) -> Result<(Pcscd, Context, Vec<CString>)> {
        self.until_done(|| {
            let (pcscd, context) = daemon()?;
            let readers = names.iter().map(|name| self.ready(&context, name, state));
            let readers = readers.collect::<Result<_>>()?;
            Ok((pcscd, context, readers))
        })
    }

    /// Plugs a reader with a card in, while none with this name is there, and waits until both can be used.
    pub fn plug<F: UsbFunction + 'static>(
        self,
        context: &Context,
        name: &str,
        make: impl Fn() -> Result<F>,
    ) -> Result<(Plugged<F>, CString)> {
        self.until_done(|| {
            gone(context, name)?;
            let device = sharing::plug(make()?)?;
            let reader = self.ready(context, name, State::PRESENT)?;
            Ok((device, reader))
        })
    }

    /// Puts a card in by `insert(true)`, and connects to it.
    pub fn insert(self, context: &Context, name: &str, insert: impl Fn(bool)) -> Result<Daemon> {
        self.until_done(|| {
            insert(true);
            let connect = || {
                self.ready(context, name, State::PRESENT)?;
                Daemon::connect(context, name)
            };
            let connected = connect();
            if connected.is_err() && self != Self::ONE {
                insert(false);
                appear(context, name, State::EMPTY)?;
            }
            connected
        })
    }

    /// Waits for a reader whose name contains `name`, in this state and with no mute card.
    fn ready(self, context: &Context, name: &str, state: State) -> Result<CString> {
        let (reader, seen) = appear_within(context, name, state, self.limit())?;
        match seen.contains(State::MUTE) {
            true => Err(format!("the card in {reader:?} is mute").into()),
            false => Ok(reader),
        }
    }
}

/// Whether libccid may have given up a reader or a card: a wait for it has ended, or the card is mute. The
/// failure of a call is another fault.
fn is_given_up(error: &(dyn std::error::Error + 'static)) -> bool {
    match error.downcast_ref::<Error>() {
        Some(code) => *code == Error::UnresponsiveCard,
        None => !error.is::<std::io::Error>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_calls_are_not_tried_again() {
        let given_up = |error: Box<dyn std::error::Error>| is_given_up(&*error);
        assert!(given_up("the card is mute".into()));
        assert!(given_up(Error::UnresponsiveCard.into()));
        assert!(!given_up(Error::CommError.into()));
        assert!(!given_up(std::io::Error::other("no program").into()));
    }

    /// How often it is tried, and with which result, if the first `failures` tries fail.
    fn tried(tries: Tries, failures: usize) -> (usize, bool) {
        let mut count = 0;
        let result = tries.until_done(|| {
            count += 1;
            match count > failures {
                true => Ok(()),
                false => Err("given up".into()),
            }
        });
        (count, result.is_ok())
    }

    #[test]
    fn libccid_gets_three_tries_and_ours_get_one() {
        assert_eq!(tried(Tries::LIBCCID, 0), (1, true));
        assert_eq!(tried(Tries::LIBCCID, 2), (3, true));
        assert_eq!(tried(Tries::LIBCCID, 3), (3, false));
        assert_eq!(tried(Tries::ONE, 0), (1, true));
        assert_eq!(tried(Tries::ONE, 1), (1, false));
    }
}
