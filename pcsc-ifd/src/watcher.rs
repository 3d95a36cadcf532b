//! The thread that sleeps on a reader's interrupt pipe and passes on what it tells.

#![forbid(unsafe_code)]

use crate::events::Events;
use pcsc_ccid::transport::Error;
use pcsc_ccid::usb::{UsbWatch, WatchStopper};
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// The thread. It ends with this, or with the reader.
#[derive(Debug)]
pub struct Watcher {
    stopper: WatchStopper,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts it.
    ///
    /// # Errors
    /// Where the system gives no thread.
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
            Err(Error::Stall | Error::Fault) => return events.set_deaf(),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by the thread.
            let _ = thread.join();
        }
    }
}
