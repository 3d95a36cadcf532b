//! Other systems: events by `nusb`.

use super::super::reactor::Role;
use super::super::signal::{Signal, Waiter};
use futures_core::Stream;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

pub(super) struct Events {
    watch: nusb::hotplug::HotplugWatch,
    waiter: Waiter,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Ends a [`Hotplug`](super::Hotplug) from another thread.
#[derive(Debug, Clone)]
pub struct HotplugStopper {
    signal: Arc<Signal>,
}

impl HotplugStopper {
    /// Ends the wait that goes on and every later one.
    pub fn stop(&self) {
        self.signal.stop();
    }
}

impl Events {
    pub(super) fn new() -> io::Result<Events> {
        Ok(Events {
            watch: nusb::watch_devices()?,
            waiter: Waiter::new(None, Role::Exchange),
        })
    }

    pub(super) fn stopper(&self) -> HotplugStopper {
        HotplugStopper {
            signal: self.waiter.signal().clone(),
        }
    }

    /// Sleeps until it is time to list the readers again; false once stopped.
    pub(super) fn wait(&mut self, _is_open: bool) -> io::Result<bool> {
        let watch = &mut self.watch;
        let event = self
            .waiter
            .wait(None, |context| Pin::new(&mut *watch).poll_next(context));
        Ok(matches!(event, Ok(Some(_))))
    }
}
