use super::*;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// A forked child that checks a condition.
pub(crate) struct Child(libc::pid_t);

impl Child {
    pub(crate) fn start(check: impl FnOnce() -> bool) -> Child {
        // SAFETY: the child ends without returning, and `check` waits for no other thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: it has no preconditions. It ends a child that hangs.
            unsafe { libc::alarm(30) };
            let holds = catch_unwind(AssertUnwindSafe(check)).unwrap_or(false);
            // SAFETY: it has no preconditions.
            unsafe { libc::_exit(i32::from(!holds)) };
        }
        Child(child)
    }

    pub(crate) fn holds(self) -> bool {
        let mut status = -1;
        // SAFETY: it is a child of this process, waited for once, and `status` is writable.
        assert_eq!(unsafe { libc::waitpid(self.0, &mut status, 0) }, self.0);
        status == 0
    }
}

/// Whether a condition holds in a forked child.
pub(crate) fn in_child(check: impl FnOnce() -> bool) -> bool {
    Child::start(check).holds()
}

/// A file that is not a device: each call fails.
fn device() -> UsbfsDevice {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    UsbfsDevice::new(reader)
}

fn transfer(token: usize) -> Transfer {
    let mut transfer = Transfer::new(TransferKind::Bulk, 0x82, token);
    transfer.set_buffer(vec![7; 4]);
    transfer
}

#[test]
fn no_call_of_a_child_reaches_its_parents_device() {
    let device = device();
    let answers = |device: &UsbfsDevice| {
        [
            device.claim(0),
            device.release(0),
            device.set_alternate(0, 0),
            device.clear_halt(2),
            device.submit(transfer(0)).map_err(|(_, error)| error),
            device.reap().map(|_| ()),
        ]
    };
    let is_all = |error| move |answer: Result<()>| answer == Err(error);
    assert!(answers(&device).into_iter().all(is_all(Errno::NOTTY)));
    assert!(in_child(|| {
        let own = super::tests::device();
        device.is_inherited()
            && answers(&device).into_iter().all(is_all(Errno::NODEV))
            && !own.is_inherited()
            && answers(&own).into_iter().all(is_all(Errno::NOTTY))
    }));
    assert!(!device.is_inherited());
}

#[test]
fn transfers_in_progress_at_a_fork_have_failed_in_the_child() {
    let device = device();
    // No kernel has them, so that they can be taken back below.
    device.lent().extend([transfer(1).lend(), transfer(2).lend()]);
    assert!(in_child(|| {
        let failed = |token| {
            let mut transfer = device.reap().unwrap().unwrap();
            transfer.token() == token
                && transfer.status() == Err(Errno::NODEV)
                && transfer.take_buffer() == [7; 4]
        };
        failed(2) && failed(1) && !device.is_lending() && device.reap().is_err()
    }));
    let lent: Vec<Lent> = device.lent().drain(..).collect();
    assert_eq!(lent.len(), 2);
    for transfer in lent {
        // SAFETY: no kernel has seen it.
        drop(unsafe { transfer.take_back() });
    }
}
