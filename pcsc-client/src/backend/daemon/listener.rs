//! The identity of daemons' sockets, to notice that a daemon has started.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::env;

/// The files at the places where daemons are looked for: the system's and the user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listeners {
    system: Option<Listener>,
    user: Option<Listener>,
}

impl Listeners {
    /// Those of now.
    pub fn now() -> Listeners {
        let user = Listeners::user_socket();
        Listeners {
            system: Listener::at(Path::new(env::DEFAULT_SOCKET)),
            user: user.and_then(|path| Listener::at(&path)),
        }
    }

    /// The socket of the user's own server, `pcsc share`, if there is one. A user who has another one's
    /// environment (`sudo -E`) gets none.
    pub fn user_socket() -> Option<PathBuf> {
        let folder = env::var("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty())?;
        let socket = PathBuf::from(folder).join("pcsc/pcscd.comm");
        let file = std::fs::metadata(&socket).ok()?;
        (file.uid() == rustix::process::geteuid().as_raw()).then_some(socket)
    }

    /// Whether there is a file that was not there before.
    pub fn has_come_since(&self, before: &Listeners) -> bool {
        let has_come = |now: Option<Listener>, before| now.is_some() && now != before;
        has_come(self.system, before.system) || has_come(self.user, before.user)
    }
}

/// The file at a socket's path. A daemon that starts creates a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Listener {
    fn at(path: &Path) -> Option<Listener> {
        let file = std::fs::metadata(path).ok()?;
        Some(Listener {
            device: file.dev(),
            inode: file.ino(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}
