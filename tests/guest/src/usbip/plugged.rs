//! An attached device: the thread that serves it, and the test's access to it.

use super::bus::Bus;
use super::port::Port;
use super::protocol::{self, Request, HEADER};
use super::{Speed, Transfer, UsbFunction};
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

#[derive(Debug)]
struct Shared<F> {
    bus: Mutex<Bus<F>>,
    /// Signalled after each request and each change by the test.
    changed: Condvar,
    /// Wakes the thread.
    wake: OwnedFd,
}

impl<F> Shared<F> {
    fn lock(&self) -> MutexGuard<'_, Bus<F>> {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device that is plugged in. Dropping it unplugs it.
#[derive(Debug)]
pub struct Plugged<F: UsbFunction + 'static> {
    shared: Arc<Shared<F>>,
    port: Port,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl<F: UsbFunction + 'static> Plugged<F> {
    /// Plugs a device in. The kernel enumerates it later: see [`configured`](Self::configured).
    ///
    /// # Errors
    /// If the kernel has no `vhci-hcd` or no free port, or this process may not use it.
    pub fn plug(function: F, speed: Speed) -> io::Result<Self> {
        let (ours, kernels) = UnixStream::pair()?;
        let shared = Arc::new(Shared {
            bus: Mutex::new(Bus::new(function)),
            changed: Condvar::new(),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        });
        let port = Port::attach(kernels.as_fd(), speed)?;
        let served = Arc::clone(&shared);
        let thread = thread::Builder::new().name("usb device".into()).spawn(move || {
            let result = serve(&served, ours);
            served.changed.notify_all();
            result
        })?;
        Ok(Self {
            shared,
            port,
            thread: Some(thread),
        })
    }

    /// Waits until the kernel has selected the configuration. Returns false after `limit`.
    pub fn configured(&self, limit: Duration) -> bool {
        self.wait(limit, |bus| bus.configured())
    }

    /// What the kernel calls the device's place, such as 2-1, once it has found the device.
    ///
    /// # Errors
    /// If the kernel's controller cannot be read.
    pub fn port(&self) -> io::Result<Option<String>> {
        self.port.name()
    }

    /// Waits until `ready` returns true; it is called after each request and change. Returns false after
    /// `limit`.
    pub fn wait_for(&self, limit: Duration, mut ready: impl FnMut(&mut F) -> bool) -> bool {
        self.wait(limit, |bus| ready(&mut bus.function))
    }

    fn wait(&self, limit: Duration, mut ready: impl FnMut(&mut Bus<F>) -> bool) -> bool {
        let (mut bus, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), limit, |bus| !ready(bus))
            .unwrap_or_else(PoisonError::into_inner);
        ready(&mut bus)
    }

    /// Gives access to the function. Afterwards pending transfers are offered to it again.
    pub fn with<T>(&self, change: impl FnOnce(&mut F) -> T) -> T {
        let result = change(&mut self.shared.lock().function);
        self.wake();
        result
    }

    /// The number of transfers that have ended on an endpoint. 0x00 and 0x80 are control transfers, by
    /// direction.
    pub fn transfers(&self, endpoint: u8) -> u64 {
        self.shared.lock().count(endpoint)
    }

    /// The last 100,000 transfers that have ended, oldest first.
    pub fn log(&self) -> Vec<Transfer> {
        self.shared.lock().log()
    }

    /// The log, which is then empty.
    pub fn take_log(&self) -> Vec<Transfer> {
        self.shared.lock().take_log()
    }

    /// Unplugs the device, and waits until the kernel does not list it any more: a program that lists devices
    /// afterwards does not find it. Pending transfers end as for a device that is pulled out.
    ///
    /// # Errors
    /// If the kernel refuses, or still lists the device after the limit, or the device's thread has failed.
    pub fn unplug(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let number = self.port.number()?;
        // When the thread has ended, the socket is closed and the kernel may have detached the device
        // already.
        let detached = if thread.is_finished() {
            Ok(())
        } else {
            self.port.detach()
        };
        let served = thread
            .join()
            .map_err(|_| io::Error::other("the device panicked"))?;
        detached.and(served)?;
        self.port.wait_until_gone(number)
    }

    fn wake(&self) {
        // Fails only if the counter is at its maximum, which wakes the thread as well.
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
        self.shared.changed.notify_all();
    }
}

impl<F: UsbFunction + 'static> Drop for Plugged<F> {
    fn drop(&mut self) {
        // Drop cannot report an error.
        let _ = self.end();
    }
}

/// Serves requests until the kernel closes the socket.
fn serve<F: UsbFunction>(shared: &Shared<F>, mut socket: UnixStream) -> io::Result<()> {
    let mut reply = Vec::new();
    let mut data = Vec::new();
    loop {
        let timeout = shared.lock().ready_in();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events = [
            PollFd::new(&socket, PollFlags::IN),
            PollFd::new(&shared.wake, PollFlags::IN),
        ];
        match poll(&mut events, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [requested, woken] = events.map(|event| !event.revents().is_empty());
        if woken {
            // An empty counter is no error.
            let _ = rustix::io::read(&shared.wake, &mut [0; 8]);
        }
        reply.clear();
        if requested {
            let Some(request) = receive(&mut socket, &mut data)? else {
                return Ok(());
            };
            shared.lock().request(&request, &data, &mut reply);
        } else {
            shared.lock().progress(&mut reply);
        }
        shared.changed.notify_all();
        match socket.write_all(&reply) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
}

/// Reads one request and its data. None at the end of the stream.
fn receive(socket: &mut UnixStream, data: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let mut header = [0; HEADER];
    match socket.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        result => result?,
    }
    let request = protocol::request(&header);
    let request = request.ok_or_else(|| io::Error::other("no request that a device can serve"))?;
    data.clear();
    if let Request::Submit(submit) = &request {
        data.resize(submit.follows(), 0);
        socket.read_exact(data)?;
    }
    Ok(Some(request))
}
