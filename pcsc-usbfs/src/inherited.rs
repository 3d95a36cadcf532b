//! Devices that a forked child has inherited from its parent.
//!
//! A claim belongs to the open file and lasts until all processes have closed it. The list of open devices
//! has no lock and no allocation, so that a fork in the middle of a change does no harm.

use pcsc_process::generation;
use rustix::event::{eventfd, EventfdFlags};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::fs::{fstat, Stat};
use rustix::io::{dup2, fcntl_setfd, FdFlags, Result};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// More devices than a process has open at a time. Further ones are not recorded, and stay open in a child.
const CAPACITY: usize = 256;

/// An entry that is free. Zero, so that the list takes no room in the library's file.
const FREE: i32 = 0;
/// An entry that is being filled in.
const TAKEN: i32 = 1;

static OPEN: [Entry; CAPACITY] = [const { Entry::new() }; CAPACITY];

/// A device that is open.
struct Entry {
    /// The complement of the file's number, which is negative; or one of the above.
    fd: AtomicI32,
    owner: AtomicU32,
    /// What [`identity`] gives.
    file: [AtomicU64; 3],
}

impl Entry {
    const fn new() -> Entry {
        Entry {
            fd: AtomicI32::new(FREE),
            owner: AtomicU32::new(0),
            file: [const { AtomicU64::new(0) }; 3],
        }
    }

    fn change(&self, from: i32, to: i32) -> bool {
        let changed = self
            .fd
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        changed.is_ok()
    }
}

/// Records a device that this process has opened, or was given.
pub(crate) fn note(fd: BorrowedFd<'_>) {
    let Ok(stat) = fstat(fd) else {
        return;
    };
    // An entry with this number is of a file that was closed.
    forget(fd.as_raw_fd());
    let Some(entry) = OPEN.iter().find(|entry| entry.change(FREE, TAKEN)) else {
        return;
    };
    // `Relaxed`: the release store of `fd` publishes both. Until then the entry is of no process.
    entry.owner.store(generation(), Ordering::Relaxed);
    for (word, value) in entry.file.iter().zip(identity(&stat)) {
        word.store(value, Ordering::Relaxed);
    }
    entry.fd.store(!fd.as_raw_fd(), Ordering::Release);
}

/// Removes a device that is about to be closed.
pub(crate) fn forget(fd: RawFd) {
    for entry in &OPEN {
        entry.change(!fd, FREE);
    }
}

/// Closes, in a forked child, the devices that it has open because its parents had them open as
/// [`UsbfsDevice`]s.
///
/// Until then an interface that the parent has claimed stays claimed, also when the parent has ended, and
/// even to this process, where it opens the device's node anew. So call this before that; from the second
/// call on it costs a load.
///
/// A file's number that the process has used for something else is left alone. The numbers stay in use, by
/// files that mean nothing: a copy of a [`UsbfsDevice`] which the child still has could not distinguish its
/// own node from one that the child opens anew under the same number.
///
/// [`UsbfsDevice`]: crate::UsbfsDevice
pub fn close_inherited() {
    /// The last process to have done so, and whether it is done.
    static LAST: AtomicU32 = AtomicU32::new(0);
    let this = generation();
    let (busy, done) = (this << 1, this << 1 | 1);
    loop {
        let last = LAST.load(Ordering::Acquire);
        if last == done {
            return;
        }
        if last == busy {
            // Another thread does this at the moment. Waits for it, so that it does not close what this
            // thread is going to open.
            std::thread::yield_now();
        } else if LAST
            .compare_exchange(last, busy, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            OPEN.iter().for_each(|entry| close(entry, this));
            LAST.store(done, Ordering::Release);
            return;
        }
    }
}

fn close(entry: &Entry, this: u32) {
    let state = entry.fd.load(Ordering::Acquire);
    // A child forked in the middle of `note` finds `TAKEN` and leaves the entry. The file stays open in it.
    if state >= 0 || entry.owner.load(Ordering::Relaxed) == this {
        return;
    }
    let fd = !state;
    // SAFETY: the file, if one is open under this number, is not closed here.
    let stat = fstat(unsafe { BorrowedFd::borrow_raw(fd) });
    let is_same = |stat: Stat| {
        let file = entry.file.each_ref().map(|word| word.load(Ordering::Relaxed));
        identity(&stat) == file
    };
    if stat.is_ok_and(is_same) {
        // If that fails, the file stays open and keeps the parent's claims.
        _ = replace(fd);
    }
    entry.change(state, FREE);
}

/// Replaces a file by an eventfd that is not used.
fn replace(fd: RawFd) -> Result<()> {
    // Unlike /dev/null, it can be created under any root directory.
    let nothing = eventfd(0, EventfdFlags::CLOEXEC)?;
    // SAFETY: the number is open, as the caller has found, and stays so. Whoever owned it did so in the
    // parent.
    let mut inherited = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
    dup2(&nothing, &mut inherited)?;
    fcntl_setfd(&*inherited, FdFlags::CLOEXEC)
}

/// The identity of a file: two with the same one are the same file, or nodes of the same device.
#[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
fn identity(stat: &Stat) -> [u64; 3] {
    [stat.st_dev as u64, stat.st_ino as u64, stat.st_rdev as u64]
}

#[cfg(test)]
mod tests;
