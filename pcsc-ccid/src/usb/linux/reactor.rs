//! Waits for the transfers of an open device, by the leader/followers pattern.
//!
//! All transfers of an open device end on one file descriptor. Of the threads that wait for answers, one
//! leads: it polls that descriptor, takes back every transfer that has ended, and wakes the thread that the
//! transfer belongs to. The others follow, each asleep on its own [`Signal`]. When the leader's wait
//! ends, a follower becomes the leader. So this library has no thread of its own, which could outlive a
//! reader or be missing after a fork.
//!
//! The thread that waits for notifications is a leader of its own: it polls an epoll set, which contains the
//! descriptor only while no other thread leads. So an exchange does not wake it.

use super::super::signal::Signal;
use crate::shared::sync::lock;
use crate::transport::TransportError;
use pcsc_process::Descriptor;
use pcsc_usbfs::{Transfer, UsbfsDevice};
use rustix::event::{epoll, poll, PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};
use std::vec::Vec;

/// The interval at which transfers of a device that is gone are reaped. Its file descriptor is always ready,
/// so poll cannot block on it.
const REAP_INTERVAL: Duration = Duration::from_millis(5);

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The answer to a command.
    Exchange,
    /// Notifications.
    Watch,
}

/// An open device, and the threads that wait for its transfers.
#[derive(Debug)]
pub(super) struct Reactor {
    device: UsbfsDevice,
    /// Wakes the leader of exchanges.
    kick: Arc<Kick>,
    /// Wakes the watch.
    watch_kick: Arc<Kick>,
    /// The epoll set that the watch polls.
    watch_set: Descriptor,
    state: Mutex<ReactorState>,
}

#[derive(Debug, Default)]
struct ReactorState {
    is_led: bool,
    followers: Vec<Arc<Signal>>,
    is_watched: bool,
    /// Whether the watch's set has the device.
    is_in_set: bool,
    /// The device is gone, and its file descriptor is always ready.
    is_gone: bool,
    /// By token.
    slots: Vec<TransferSlot>,
}

/// A pipe's transfer that has ended, until the pipe takes it.
#[derive(Debug, Default)]
struct TransferSlot {
    ended: Option<(Transfer, Result<(), TransportError>)>,
    /// The thread that waits for it; `None` if no pipe uses the slot.
    signal: Option<Arc<Signal>>,
}

/// Ends a leader's poll from another thread.
#[derive(Debug)]
struct Kick {
    socket: pcsc_process::Waker,
    /// The process that made it.
    owner: u32,
}

impl Kick {
    fn new() -> io::Result<Arc<Kick>> {
        Ok(Arc::new(Kick {
            socket: pcsc_process::Waker::new()?,
            owner: pcsc_process::generation(),
        }))
    }
}

impl Wake for Kick {
    fn wake(self: Arc<Self>) {
        // In a forked child no thread polls it, and this would wake a thread of the parent.
        if self.owner == pcsc_process::generation() {
            // It fails if the program has closed the descriptor.
            self.socket.wake();
        }
    }
}

/// The right to poll the device.
#[derive(Debug)]
struct Lead<'a> {
    reactor: &'a Reactor,
    role: Role,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut state = self.reactor.state();
        if self.role == Role::Watch {
            // Followers wait for the lead of exchanges, so there is none to wake.
            state.is_watched = false;
            return;
        }
        state.is_led = false;
        self.reactor.serve_watch(&mut state);
        // They compete for the lead. All are woken, since one that was chosen may be at the end of its own
        // wait.
        for follower in &state.followers {
            follower.wake();
        }
    }
}

impl Reactor {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Arc<Reactor>> {
        Ok(Arc::new(Reactor {
            device: UsbfsDevice::new(fd),
            kick: Kick::new()?,
            watch_kick: Kick::new()?,
            watch_set: Descriptor::new(epoll::create(epoll::CreateFlags::CLOEXEC)?),
            state: Mutex::default(),
        }))
    }

    pub(super) fn device(&self) -> &UsbfsDevice {
        &self.device
    }

    /// Waits until `ready` gives something, the deadline passes or `signal` is cancelled, in this order of
    /// precedence.
    pub(super) fn wait<T>(
        &self,
        role: Role,
        signal: &Arc<Signal>,
        deadline: Option<Instant>,
        is_cancellable: bool,
        mut ready: impl FnMut(&Reactor) -> Option<T>,
    ) -> Result<T, TransportError> {
        // Kept until the wait is over, so that followers are woken once for it, not after each transfer.
        let mut lead: Option<Lead<'_>> = None;
        loop {
            // Before the lead is asked for: the thread that leads may have taken this transfer back already.
            if let Some(value) = ready(self) {
                return Ok(value);
            }
            if lead.is_none() {
                lead = self.lead_or_follow(role, signal);
            }
            match &lead {
                Some(lead) => self.attend(lead.role, signal, deadline, is_cancellable)?,
                None => {
                    let slept = signal.sleep(deadline, is_cancellable);
                    // After a wake-up of any kind. The end of the lead would otherwise wake this thread once
                    // more, for nothing.
                    self.unfollow(signal);
                    slept?;
                }
            }
        }
    }

    /// As the leader, polls the device until `signal` has an event.
    fn attend(
        &self,
        role: Role,
        signal: &Signal,
        deadline: Option<Instant>,
        is_cancellable: bool,
    ) -> Result<(), TransportError> {
        loop {
            // Before the poll: a kick in between stays readable until it is cleared, so the poll returns at
            // once.
            let waker = Waker::from(self.kick_of(role).clone());
            if let Some(event) = signal.go_elsewhere(waker, is_cancellable) {
                return event;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let polled = self.poll(role, left);
            signal.come_back();
            // Before the deadline and cancellation are looked at: a transfer that has ended takes precedence.
            self.reap();
            if let Some(event) = signal.event(is_cancellable) {
                return event;
            }
            match polled {
                Ok(false) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Err(TransportError::Timeout);
                }
                Ok(_) => (),
                Err(_) => return Err(TransportError::Fault),
            }
        }
    }

    /// Takes the lead; `None` if another thread has it. Then `signal` is woken when the lead is free.
    fn lead_or_follow(&self, role: Role, signal: &Arc<Signal>) -> Option<Lead<'_>> {
        let mut state = self.state();
        // A lead of its own: the watch sleeps for hours, and an exchange must not wait for it to return.
        if role == Role::Watch && !state.is_watched {
            state.is_watched = true;
            self.serve_watch(&mut state);
            return Some(Lead { reactor: self, role });
        }
        if state.is_led {
            // Under the lock that the end of the lead takes too, so that it finds this follower.
            state.followers.push(signal.clone());
            return None;
        }
        // From now on this thread polls the device, and the watch must not: both would wake up for each
        // transfer.
        state.is_led = true;
        self.serve_watch(&mut state);
        // A second watch leads like an exchange.
        Some(Lead {
            reactor: self,
            role: Role::Exchange,
        })
    }

    /// Adds the device to the watch's set if no thread leads, and removes it if one does. Does nothing in a
    /// forked child, which shares the set with its parent.
    fn serve_watch(&self, state: &mut ReactorState) {
        let is_due = !state.is_led;
        if !state.is_watched || state.is_in_set == is_due || self.device.is_inherited() {
            return;
        }
        let changed = if is_due {
            epoll::add(
                &self.watch_set,
                &self.device,
                epoll::EventData::new_u64(0),
                epoll::EventFlags::OUT,
            )
        } else {
            epoll::delete(&self.watch_set, &self.device)
        };
        if changed.is_ok() {
            state.is_in_set = is_due;
        }
    }

    fn unfollow(&self, signal: &Arc<Signal>) {
        self.state()
            .followers
            .retain(|follower| !Arc::ptr_eq(follower, signal));
    }

    fn kick_of(&self, role: Role) -> &Arc<Kick> {
        match role {
            Role::Exchange => &self.kick,
            Role::Watch => &self.watch_kick,
        }
    }

    /// Polls until a transfer has ended, the leader is woken, or `left` is over. Returns false in the last
    /// case.
    ///
    /// # Errors
    /// If `poll` fails, or the device belongs to the parent of this process.
    fn poll(&self, role: Role, left: Option<Duration>) -> io::Result<bool> {
        if self.device.is_inherited() {
            // Its file is shared: a child that polled it would reap its parent's transfers.
            return Err(Errno::NODEV.into());
        }
        if !self.state().is_gone {
            return self.poll_fds(role, left, true);
        }
        let left = match left {
            // The kernel has no transfer to give back.
            _ if !self.device.is_lending() => left,
            Some(left) => Some(left.min(REAP_INTERVAL)),
            None => Some(REAP_INTERVAL),
        };
        self.poll_fds(role, left, false)
    }

    fn poll_fds(&self, role: Role, left: Option<Duration>, sees_device: bool) -> io::Result<bool> {
        // A time that does not fit, of billions of years, is treated as none.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let kick = &self.kick_of(role).socket;
        // usbfs reports a transfer that has ended as POLLOUT, and a device that is gone as POLLHUP.
        let device = match role {
            Role::Exchange => PollFd::new(&self.device, PollFlags::OUT),
            Role::Watch => PollFd::new(&self.watch_set, PollFlags::IN),
        };
        let mut fds = [PollFd::new(kick, PollFlags::IN), device];
        let ready = poll(&mut fds[..1 + usize::from(sees_device)], left.as_ref());
        // The program may have closed the descriptors, and their numbers may name files of its own, which may
        // be ready forever. For an exchange this is not checked, since it has a deadline and should be fast.
        let [is_kicked, is_ready] = fds.each_ref().map(|fd| !fd.revents().is_empty());
        let is_lost = fds.iter().any(|fd| fd.revents().contains(PollFlags::NVAL))
            || (is_kicked && !kick.is_ours())
            || (is_ready && role == Role::Watch && !self.watch_set.is_ours());
        if is_lost {
            return Err(Errno::BADF.into());
        }
        if is_kicked {
            kick.clear();
        }
        match ready {
            Ok(ready) => Ok(ready > 0),
            // The caller checks for events, as after a wake-up.
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the device is gone, or is removed within this time: poll then reports an error of its file
    /// descriptor.
    pub(super) fn is_gone(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // POLLHUP and POLLERR come unasked. POLLOUT would end the wait for any transfer that has ended.
            let mut fds = [PollFd::new(&self.device, PollFlags::empty())];
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Ok(0) => return false,
                Ok(_) => return fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR),
                Err(Errno::INTR) => (),
                Err(_) => return false,
            }
        }
    }

    /// Takes back a transfer that has ended, and wakes the thread that waits for it.
    fn reap(&self) {
        let transfer = match self.device.reap() {
            Ok(Some(transfer)) => transfer,
            Ok(None) => return,
            Err(error) => {
                self.state().is_gone |= error == Errno::NODEV;
                return;
            }
        };
        // One for each poll: if more have ended, the descriptor stays ready.
        let result = transfer.status().map_err(error);
        self.end(transfer, result);
    }

    pub(super) fn end(&self, transfer: Transfer, result: Result<(), TransportError>) {
        let mut state = self.state();
        if let Some(slot) = state.slots.get_mut(transfer.token()) {
            slot.ended = Some((transfer, result));
            let signal = slot.signal.clone();
            // The woken thread takes this lock first.
            drop(state);
            if let Some(signal) = signal {
                signal.wake();
            }
        }
    }

    /// Reserves a slot for a pipe that only the thread of `signal` waits for; returns its token.
    pub(super) fn reserve(&self, signal: &Arc<Signal>) -> usize {
        let mut state = self.state();
        let free = state.slots.iter().position(|slot| slot.signal.is_none());
        let token = free.unwrap_or_else(|| {
            state.slots.push(TransferSlot::default());
            state.slots.len() - 1
        });
        state.slots[token].signal = Some(signal.clone());
        token
    }

    /// Frees a slot, in which no transfer can end any more.
    pub(super) fn free(&self, token: usize) {
        if let Some(slot) = self.state().slots.get_mut(token) {
            slot.signal = None;
        }
    }

    pub(super) fn take_ended(&self, token: usize) -> Option<(Transfer, Result<(), TransportError>)> {
        self.state().slots.get_mut(token)?.ended.take()
    }

    fn state(&self) -> MutexGuard<'_, ReactorState> {
        lock(&self.state)
    }
}

/// Converts the kernel's error of a transfer.
pub(super) fn error(errno: Errno) -> TransportError {
    match errno {
        // ESHUTDOWN: the host controller has disabled the device.
        // EACCES: a reset by another process has removed the claim.
        Errno::NODEV | Errno::SHUTDOWN | Errno::ACCESS => TransportError::Gone,
        Errno::PIPE => TransportError::Stall,
        // The two errors of the kernel for a transfer that was unlinked: by this driver, or by the kernel.
        Errno::NOENT | Errno::CONNRESET => TransportError::Cancelled,
        _ => TransportError::Fault,
    }
}

#[cfg(test)]
mod tests;
