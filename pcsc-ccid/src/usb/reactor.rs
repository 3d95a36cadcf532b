//! Linux: whoever waits for a device's transfers takes those of the others back too, and wakes them.
//!
//! All transfers of an open device end on one file descriptor. Of the threads that wait for answers, one leads: it sleeps
//! on that, and the others follow, asleep on their own signals. When the leader has what it wanted, a follower leads. So
//! there is no thread that belongs to this library, none that outlives a reader, and none that a fork loses.
//!
//! The thread that waits for notifications sleeps on an epoll set, which has the file descriptor only while nobody leads:
//! an exchange does not wake it.

use super::bulk::Queue;
use super::signal::Signal;
use crate::transport::Error;
use nusb::transfer::{Buffer, Completion, TransferError};
use pcsc_process::Descriptor;
use pcsc_usbfs::{Device, Kind, Transfer};
use rustix::event::{epoll, poll, PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use std::vec::Vec;

/// How long to wait for transfers of a device that is being unplugged: its file descriptor is ready already.
const STRAGGLERS: Duration = Duration::from_millis(5);

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The answer to a command.
    Exchange,
    /// Notifications.
    Watch,
}

/// An open device and who waits for it.
#[derive(Debug)]
pub(super) struct Reactor {
    device: Device,
    /// Wakes the leader.
    kick: pcsc_process::Waker,
    /// Wakes the watch.
    watch_kick: pcsc_process::Waker,
    /// What the watch sleeps on.
    watch_set: Descriptor,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_led: bool,
    followers: Vec<Arc<Signal>>,
    is_watched: bool,
    /// Whether the watch's set has the device.
    is_in_set: bool,
    /// The device is gone, and its file descriptor is always ready.
    is_gone: bool,
    /// By token.
    slots: Vec<Slot>,
}

/// Where a pipe's transfer waits for the pipe to fetch it.
#[derive(Debug, Default)]
struct Slot {
    ended: Option<(Transfer, Result<(), TransferError>)>,
    waker: Option<Waker>,
    /// No pipe has it.
    is_free: bool,
}

/// The right to sleep on the device.
#[derive(Debug)]
pub(super) struct Lead<'a> {
    reactor: &'a Reactor,
    role: Role,
}

impl Lead<'_> {
    /// Where the leader sleeps.
    pub(super) fn role(&self) -> Role {
        self.role
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut state = self.reactor.state();
        if self.role == Role::Watch {
            state.is_watched = false;
            return;
        }
        state.is_led = false;
        self.reactor.serve_watch(&mut state);
        // They compete for the lead; whoever has what it waited for does not.
        for follower in &state.followers {
            follower.rouse();
        }
    }
}

impl Reactor {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Arc<Reactor>> {
        Ok(Arc::new(Reactor {
            device: Device::new(fd),
            kick: pcsc_process::Waker::new()?,
            watch_kick: pcsc_process::Waker::new()?,
            watch_set: Descriptor::new(epoll::create(epoll::CreateFlags::CLOEXEC)?),
            state: Mutex::default(),
        }))
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The lead; where another thread has it, `signal` is told when it ends. A watch leads on its own.
    pub(super) fn lead_or_follow(&self, role: Role, signal: &Arc<Signal>) -> Option<Lead<'_>> {
        let mut state = self.state();
        if role == Role::Watch && !state.is_watched {
            state.is_watched = true;
            self.serve_watch(&mut state);
            return Some(Lead { reactor: self, role });
        }
        if state.is_led {
            state.followers.push(signal.clone());
            return None;
        }
        state.is_led = true;
        self.serve_watch(&mut state);
        // A second watch leads like an exchange.
        Some(Lead {
            reactor: self,
            role: Role::Exchange,
        })
    }

    /// Puts the device into the watch's set, or takes it out, if that is due. A forked child's set is its parent's.
    fn serve_watch(&self, state: &mut State) {
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

    pub(super) fn unfollow(&self, signal: &Arc<Signal>) {
        self.state()
            .followers
            .retain(|follower| !Arc::ptr_eq(follower, signal));
    }

    fn kick_of(&self, role: Role) -> &pcsc_process::Waker {
        match role {
            Role::Exchange => &self.kick,
            Role::Watch => &self.watch_kick,
        }
    }

    /// Ends a leader's sleep. No thread of a forked child sleeps here, and the kick would be its parent's.
    pub(super) fn kick(&self, role: Role) {
        if self.device.is_inherited() {
            return;
        }
        // It fails if the program has closed the descriptor.
        self.kick_of(role).wake();
    }

    /// A leader's sleep: until a transfer has ended, somebody kicks, or `left` is over. False if there is nothing to tell.
    ///
    /// # Errors
    /// Where the system does not let it sleep, or it would be on what belongs to the process that has forked this one.
    pub(super) fn wait(&self, role: Role, left: Option<Duration>) -> io::Result<bool> {
        if self.device.is_inherited() {
            return Err(Errno::NODEV.into());
        }
        if !self.state().is_gone {
            return self.sleep(role, left, true);
        }
        let left = match left {
            _ if !self.device.is_lending() => left,
            Some(left) => Some(left.min(STRAGGLERS)),
            None => Some(STRAGGLERS),
        };
        self.sleep(role, left, false)
    }

    fn sleep(&self, role: Role, left: Option<Duration>, sees_device: bool) -> io::Result<bool> {
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i32::MAX.into()),
            tv_nsec: left.subsec_nanos().into(),
        });
        let kick = self.kick_of(role);
        let device = match role {
            Role::Exchange => PollFd::new(&self.device, PollFlags::OUT),
            Role::Watch => PollFd::new(&self.watch_set, PollFlags::IN),
        };
        let mut fds = [PollFd::new(kick, PollFlags::IN), device];
        let ready = poll(&mut fds[..1 + usize::from(sees_device)], left.as_ref());
        // The program may have closed the descriptors, and their numbers may name files of its own, which may be
        // ready for ever. An exchange has a deadline in any case, and is not slowed down by this question.
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
            // As good as a kick.
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the device is gone, or goes within this time: the system then reports its file descriptor as broken.
    fn is_gone(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [PollFd::new(&self.device, PollFlags::empty())];
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return false,
                Ok(_) => return fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR),
                Err(Errno::INTR) => (),
                Err(_) => return false,
            }
        }
    }

    /// Takes back what has ended, and wakes who waits for it.
    pub(super) fn reap(&self) {
        let transfer = match self.device.reap() {
            Ok(Some(transfer)) => transfer,
            Ok(None) => return,
            Err(error) => {
                self.state().is_gone |= error == Errno::NODEV;
                return;
            }
        };
        let status = transfer.status().map_err(name);
        self.end(transfer, status);
    }

    fn end(&self, transfer: Transfer, status: Result<(), TransferError>) {
        let mut state = self.state();
        if let Some(slot) = state.slots.get_mut(transfer.token()) {
            slot.ended = Some((transfer, status));
            let waker = slot.waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system's errors by name.
fn name(error: Errno) -> TransferError {
    match error {
        // The last one where a reset has taken the claim.
        Errno::NODEV | Errno::SHUTDOWN | Errno::ACCESS => TransferError::Disconnected,
        Errno::PIPE => TransferError::Stall,
        Errno::NOENT | Errno::CONNRESET => TransferError::Cancelled,
        Errno::PROTO | Errno::ILSEQ | Errno::OVERFLOW | Errno::COMM | Errno::TIME => TransferError::Fault,
        Errno::INVAL => TransferError::InvalidArgument,
        error => TransferError::Unknown(error.raw_os_error().unsigned_abs()),
    }
}

/// One endpoint of an open device, with at most one transfer at a time.
#[derive(Debug)]
pub(super) struct Pipe {
    reactor: Arc<Reactor>,
    token: usize,
    endpoint: u8,
    max_packet_size: usize,
    /// The transfer, while it does not go on.
    idle: Option<Transfer>,
}

impl Pipe {
    pub(super) fn new(reactor: &Arc<Reactor>, kind: Kind, endpoint: u8, max_packet_size: usize) -> Pipe {
        let mut state = reactor.state();
        let token = match state.slots.iter().position(|slot| slot.is_free) {
            Some(token) => token,
            None => {
                state.slots.push(Slot::default());
                state.slots.len() - 1
            }
        };
        if let Some(slot) = state.slots.get_mut(token) {
            slot.is_free = false;
        }
        Pipe {
            reactor: reactor.clone(),
            token,
            endpoint,
            max_packet_size,
            idle: Some(Transfer::new(kind, endpoint, token)),
        }
    }

    fn is_in(&self) -> bool {
        self.endpoint & 0x80 != 0
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // The place of a transfer that goes on is not given to another pipe.
        if let (Some(_), Some(slot)) = (&self.idle, self.reactor.state().slots.get_mut(self.token)) {
            slot.is_free = true;
            slot.waker = None;
        }
    }
}

impl Queue for Pipe {
    fn submit(&mut self, buffer: Buffer) {
        let Some(mut transfer) = self.idle.take() else {
            return;
        };
        let length = buffer.requested_len();
        let mut bytes = buffer.into_vec();
        if self.is_in() {
            bytes.resize(length, 0);
        }
        transfer.set_buffer(bytes);
        if let Err((transfer, error)) = self.reactor.device.submit(transfer) {
            self.reactor.end(transfer, Err(name(error)));
        }
    }

    fn is_gone(&self, within: Duration) -> bool {
        self.reactor.is_gone(within)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Completion> {
        let mut state = self.reactor.state();
        let Some(slot) = state.slots.get_mut(self.token) else {
            return Poll::Pending;
        };
        let Some((mut transfer, status)) = slot.ended.take() else {
            match &mut slot.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        };
        drop(state);
        let actual_len = transfer.actual_length();
        let mut bytes = transfer.take_buffer();
        if self.is_in() {
            bytes.truncate(actual_len);
        }
        self.idle = Some(transfer);
        Poll::Ready(Completion {
            buffer: Buffer::from(bytes),
            actual_len,
            status,
        })
    }

    fn cancel(&mut self) {
        self.reactor.device.cancel(self.token);
    }

    fn is_pending(&self) -> bool {
        self.idle.is_none()
    }

    fn clear_halt(&mut self) -> Result<(), Error> {
        match self.reactor.device.clear_halt(self.endpoint) {
            Ok(()) => Ok(()),
            Err(Errno::NODEV) => Err(Error::Gone),
            Err(_) => Err(Error::Fault),
        }
    }

    fn max_packet_size(&self) -> usize {
        self.max_packet_size
    }
}

#[cfg(test)]
mod tests;
