//! The thread that reads a reader's interrupt pipe and records its notifications.

#![forbid(unsafe_code)]

use crate::events::Events;
use pcsc_ccid::transport::Error;
use pcsc_ccid::usb::{UsbWatch, WatchStopper};
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// The thread. It ends when this is dropped, or when the reader is gone.
#[derive(Debug)]
pub struct Watcher {
    stopper: WatchStopper,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts it.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(mut watch: UsbWatch, events: Arc<Events>) -> io::Result<Watcher> {
        let stopper = watch.stopper();
        let thread = Builder::new()
            .name("pcsc-ccid watch".into())
            .spawn(move || run(&mut watch, &events))?;
        Ok(Watcher {
            stopper,
            thread: Some(thread),
        })
    }
}

fn run(watch: &mut UsbWatch, events: &Events) {
    let mut stalls = 0;
    loop {
        match watch.wait(None) {
            Ok(bytes) => {
                stalls = 0;
                events.notify(bytes);
            }
            Err(Error::Timeout) => (),
            Err(Error::Cancelled) => return,
            Err(Error::Gone) => return events.set_gone(true),
            Err(Error::Stall) if stalls == 0 => stalls += 1,
            Err(Error::Stall | Error::Fault) => return events.set_must_poll(),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by the panic hook.
            let _ = thread.join();
        }
    }
}
