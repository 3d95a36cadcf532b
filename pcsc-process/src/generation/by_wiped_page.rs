//! The generation in a page that the kernel clears in a child. Reading it is no system call.

use rustix::mm::{madvise, mmap_anonymous, munmap, Advice, MapFlags, ProtFlags};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::by_process_id;

/// See [`generation`](super::generation).
pub fn generation() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let Some(cell) = wiped_cell() else {
        return by_process_id::generation();
    };
    match cell.load(Ordering::Acquire) {
        0 => {
            let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
            match cell.compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => fresh,
                Err(other) => other,
            }
        }
        generation => generation,
    }
}

/// A word that is zero in a new child; `None` before Linux 4.14, and where the system is emulated without
/// that.
fn wiped_cell() -> Option<&'static AtomicU32> {
    static NONE: AtomicU32 = AtomicU32::new(0);
    static CELL: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
    let none = ptr::from_ref(&NONE).cast_mut();
    let mut cell = CELL.load(Ordering::Acquire);
    if cell.is_null() {
        let fresh = map_wiped_page().unwrap_or(none);
        cell = match CELL.compare_exchange(cell, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(other) => other,
        };
    }
    // SAFETY: it is a page that is mapped readable and writable, zeroed by the kernel, accessed as an atomic
    // only, and never unmapped.
    (cell != none).then(|| unsafe { &*cell })
}

fn map_wiped_page() -> Option<*mut AtomicU32> {
    const PAGE: usize = 4096;
    // SAFETY: a new private mapping at an address of the kernel's choice touches no existing memory, and the
    // advice and the unmapping concern it alone. A thread that comes second leaves a page that nothing refers
    // to.
    unsafe {
        let page = mmap_anonymous(
            ptr::null_mut(),
            PAGE,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
        .ok()?;
        // QEMU's emulation of processes ignores advice, and any number of it succeeds. No kernel has number
        // -1.
        let is_ignored = libc::madvise(page, PAGE, -1) == 0;
        if is_ignored || madvise(page, PAGE, Advice::LinuxWipeOnFork).is_err() {
            _ = munmap(page, PAGE);
            return None;
        }
        Some(page.cast())
    }
}
