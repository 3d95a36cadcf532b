use super::*;
use crate::tests::{in_child, Child};
use crate::UsbfsDevice;
use rustix::fd::AsFd;
use rustix::fs::{flock, FlockOperation};
use rustix::io::{fcntl_getfd, Errno};
use std::fs::File;
use std::path::PathBuf;

/// A file in the place of a device's node. A lock on it replaces a claim: both belong to the open file.
struct Node(PathBuf);

impl Node {
    fn new(name: &str) -> Node {
        let path = std::env::temp_dir().join(format!("pcsc-usbfs-{}-{name}", std::process::id()));
        File::create(&path).unwrap();
        Node(path)
    }

    fn open(&self) -> OwnedFd {
        File::open(&self.0).unwrap().into()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

fn number(device: &UsbfsDevice) -> RawFd {
    device.as_fd().as_raw_fd()
}

/// The identity of the file that is open under a number.
fn file(fd: RawFd) -> Result<[u64; 3]> {
    // SAFETY: only `fstat` is called, and the file is not closed.
    fstat(unsafe { BorrowedFd::borrow_raw(fd) }).map(|stat| identity(&stat))
}

/// Opens another file under a number, as in a process that has closed all its files.
fn reuse(number: RawFd, fd: &OwnedFd) {
    // SAFETY: the number is that of a copy of a device, which no test drops after this.
    assert_eq!(unsafe { libc::dup2(fd.as_raw_fd(), number) }, number);
}

#[test]
fn a_child_can_claim_what_its_parent_has_left_behind() {
    let node = Node::new("left");
    let device = UsbfsDevice::new(node.open());
    flock(&device, FlockOperation::LockExclusive).unwrap();
    let (told, tell) = rustix::pipe::pipe().unwrap();
    let child = Child::start(|| {
        rustix::io::read(&told, &mut [0]).unwrap();
        let own = node.open();
        let before = flock(&own, FlockOperation::NonBlockingLockExclusive);
        close_inherited();
        // Retries until the children of other tests, which have inherited the file too, have ended.
        before == Err(Errno::WOULDBLOCK) && flock(&own, FlockOperation::LockExclusive).is_ok()
    });
    drop(device);
    rustix::io::write(&tell, &[1]).unwrap();
    assert!(child.holds());
}

#[test]
fn the_number_stays_in_use_after_the_copy_is_dropped() {
    let node = Node::new("number");
    let device = UsbfsDevice::new(node.open());
    let fd = number(&device);
    let before = file(fd);
    assert!(in_child(move || {
        close_inherited();
        let after = file(fd);
        // SAFETY: it is open, and not closed here.
        let flags = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) });
        drop(device);
        after.is_ok() && after != before && flags == Ok(FdFlags::CLOEXEC) && file(fd) == after
    }));
}

#[test]
fn a_number_that_is_used_for_another_file_is_not_closed() {
    let (node, other) = (Node::new("closed"), Node::new("other"));
    let device = UsbfsDevice::new(node.open());
    assert!(in_child(|| {
        let other = other.open();
        reuse(number(&device), &other);
        close_inherited();
        file(number(&device)) == file(other.as_raw_fd())
    }));
}

#[test]
fn a_device_that_a_child_is_given_under_the_number_is_its_own() {
    let node = Node::new("given");
    let device = UsbfsDevice::new(node.open());
    let fd = number(&device);
    let before = file(fd);
    assert!(in_child(|| {
        reuse(fd, &node.open());
        // SAFETY: the copy of the device does not use it any more.
        let given = UsbfsDevice::new(unsafe { OwnedFd::from_raw_fd(fd) });
        close_inherited();
        file(fd) == before && !given.is_inherited()
    }));
}

#[test]
fn a_process_keeps_what_it_has_opened_itself() {
    let node = Node::new("kept");
    let device = UsbfsDevice::new(node.open());
    let before = file(number(&device));
    close_inherited();
    assert_eq!(file(number(&device)), before);
    // Also a child, whose own child closes it.
    assert!(in_child(|| {
        close_inherited();
        let own = UsbfsDevice::new(node.open());
        let before = file(number(&own));
        close_inherited();
        file(number(&own)) == before
            && in_child(|| {
                close_inherited();
                file(number(&own)) != before
            })
    }));
}
