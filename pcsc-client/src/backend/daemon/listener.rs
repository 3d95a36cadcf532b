//! The identity of a daemon's socket, to notice that a daemon has started.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::env;

/// The file at a socket's path. A daemon that starts creates a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Listener {
    /// The file where the system's daemon listens, if there is one.
    pub fn of_system() -> Option<Listener> {
        Listener::at(Path::new(env::DEFAULT_SOCKET))
    }

    fn at(path: &Path) -> Option<Listener> {
        let file = std::fs::metadata(path).ok()?;
        Some(Listener {
            device: file.dev(),
            inode: file.ino(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}
