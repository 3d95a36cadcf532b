//! Events that cause a scan: netlink messages of the kernel and of udev, and inotify on the nodes. The scan,
//! not the event, shows what has changed.
//!
//! If udev runs, its messages announce new devices, because udev sets the permissions first, and the kernel's
//! announce removals. If it does not run (an initramfs, a container), the kernel's messages announce both.
//! Inotify reports permissions that are granted later, and is the only source in a container that receives no
//! messages.

use super::super::candidate::Place;
use super::schedule::RescanSchedule;
use super::udev;
use super::uevent::{self, Action};
use crate::shared::Interrupter;
use pcsc_process::{Descriptor, Waker};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::boxed::Box;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const GROUP_KERNEL: u32 = 1;
const GROUP_UDEV: u32 = 2;

#[derive(Debug)]
pub(in crate::usb) struct Events {
    stop: Arc<Waker>,
    netlink: Option<Descriptor>,
    inotify: Option<Descriptor>,
    schedule: RescanSchedule,
}

/// What inotify has reported.
#[derive(Debug, Default)]
struct Nodes {
    changed: bool,
    /// There is a new node, or may be.
    appeared: bool,
}

impl Events {
    pub(in crate::usb) fn new() -> io::Result<Events> {
        // Either source is enough: a container may have one of them only.
        let events = Events {
            stop: Arc::new(Waker::new()?),
            netlink: open_netlink().ok().map(Descriptor::new),
            inotify: inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
                .ok()
                .map(Descriptor::new),
            schedule: RescanSchedule::new(Instant::now()),
        };
        if events.netlink.is_none() && events.inotify.is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        events.watch_nodes();
        Ok(events)
    }

    /// Returns a function that ends the wait in progress and every later one: nothing empties the waker.
    pub(in crate::usb) fn stopper(&self) -> Interrupter {
        let stop = self.stop.clone();
        // An error means that the program has closed the descriptor. There is nobody to report it to.
        Box::new(move || _ = stop.wake())
    }

    /// Sleeps until the next scan is due: after an event or, if it `needs_rescan`, after some time. Returns
    /// false once stopped.
    pub(in crate::usb) fn wait(&mut self, needs_rescan: bool) -> io::Result<bool> {
        loop {
            let due = self.schedule.due(needs_rescan);
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            let Some([stop, netlink, inotify]) = self.sleep(left)? else {
                self.schedule.note_rescan(Instant::now());
                return Ok(true);
            };
            if stop {
                return Ok(false);
            }
            // Both are emptied, so that one event does not cause two scans.
            let by_netlink = netlink && self.drain_netlink();
            let nodes = match inotify {
                true => self.drain_inotify(),
                false => Nodes::default(),
            };
            // Anything else wakes the thread without a scan, and does not move the time of the next one.
            if by_netlink || nodes.changed {
                self.schedule.note_event(Instant::now(), nodes.appeared);
                // The event may have been a bus that came, whose folder is not watched yet.
                self.watch_nodes();
                return Ok(true);
            }
        }
    }

    /// Which of the three are ready; `None` after `timeout`.
    fn sleep(&self, timeout: Option<Duration>) -> io::Result<Option<[bool; 3]>> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // If a source is missing, the stopper's descriptor is polled in its place.
        let stop = self.stop.as_fd();
        let netlink = self.netlink.as_ref().map_or(stop, AsFd::as_fd);
        let inotify = self.inotify.as_ref().map_or(stop, AsFd::as_fd);
        let mut fds = [stop, netlink, inotify].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        loop {
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Ok(None),
                // The program has closed the descriptors, and their numbers may name files of its own.
                Ok(_) if !self.stop.is_ours() => return Err(Errno::BADF.into()),
                Ok(_) => return Ok(Some(fds.map(|fd| !fd.revents().is_empty()))),
                Err(Errno::INTR) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives all messages; true if one of them causes a scan.
    fn drain_netlink(&self) -> bool {
        let Some(socket) = &self.netlink else {
            return false;
        };
        let mut counts = false;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
        loop {
            let (message, sender) = match rustix::net::recvfrom(socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok(((message, _), _, sender)) => (message, sender),
                // Messages were lost: one of them may have counted.
                Err(Errno::NOBUFS) => {
                    counts = true;
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(_) => return counts,
            };
            let group = sender
                .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
                .map(|sender| sender.groups());
            counts |= match (group, uevent::parse(message)) {
                (Some(GROUP_UDEV), Some(_)) => true,
                (Some(GROUP_KERNEL), Some(Action::Remove)) => true,
                (Some(GROUP_KERNEL), Some(_)) => !udev::runs(Path::new(udev::RUN)),
                // Only root can send to a group. Any process can send other messages.
                _ => false,
            };
        }
    }

    /// Takes all events.
    fn drain_inotify(&self) -> Nodes {
        let mut nodes = Nodes::default();
        let Some(inotify) = &self.inotify else {
            return nodes;
        };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            nodes.changed = true;
            let flags = inotify::ReadFlags::CREATE | inotify::ReadFlags::QUEUE_OVERFLOW;
            nodes.appeared |= event.events().intersects(flags);
        }
        nodes
    }

    /// Watches the directory of nodes and that of each bus. A directory that is watched already stays so.
    fn watch_nodes(&self) {
        let Some(inotify) = &self.inotify else {
            return;
        };
        let flags = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::ATTRIB
            | inotify::WatchFlags::ONLYDIR;
        _ = inotify::add_watch(inotify, Place::NODES, flags);
        for bus in fs::read_dir(Place::NODES).into_iter().flatten().flatten() {
            _ = inotify::add_watch(inotify, bus.path(), flags);
        }
    }
}

fn open_netlink() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::KOBJECT_UEVENT),
    )?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUP_KERNEL | GROUP_UDEV))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_stop_ends_this_wait_and_the_next() {
        let mut events = Events::new().unwrap();
        let stopper = events.stopper();
        let other = thread::spawn(stopper);
        // Events of the machine's own devices may come in between.
        while events.wait(false).unwrap() {}
        assert!(!events.wait(false).unwrap());
        other.join().unwrap();
    }

    /// As in a container with the host's nodes, where messages arrive that cause no scan.
    #[test]
    fn an_unrelated_message_causes_no_scan() {
        let (theirs, ours) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        let mut events = Events {
            netlink: Some(Descriptor::new(ours)),
            inotify: None,
            ..Events::new().unwrap()
        };
        events.schedule.note_event(Instant::now(), true);
        rustix::io::write(&theirs, b"bind@/x\0ACTION=bind\0SUBSYSTEM=usb\0").unwrap();
        assert!(events.wait(false).unwrap());
        assert_eq!(events.schedule.rescans(), 1);
    }
}
