//! The identity of daemons' sockets, to notice that a daemon has started.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::env;

/// The files at the places where daemons are looked for: the system's and the user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listeners {
    system: Option<Listener>,
    user: Option<Listener>,
}

impl Listeners {
    /// No files.
    pub const NONE: Listeners = Listeners {
        system: None,
        user: None,
    };

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
        socket_of(Path::new(&folder), rustix::process::geteuid().as_raw())
    }

    /// Whether there is a file that was not there before.
    pub fn has_come_since(&self, before: &Listeners) -> bool {
        let has_come = |now: Option<Listener>, before| now.is_some() && now != before;
        has_come(self.system, before.system) || has_come(self.user, before.user)
    }
}

/// The user's socket in a runtime folder, if the user has made all on the way to it. The owner of a symbolic
/// link chooses where it leads, such as to a socket of this user's that another program serves.
fn socket_of(folder: &Path, user: u32) -> Option<PathBuf> {
    let own = folder.join("pcsc");
    let socket = own.join("pcscd.comm");
    let is_users = |path: &Path| {
        let file = std::fs::symlink_metadata(path);
        file.is_ok_and(|file| file.uid() == user && !file.is_symlink())
    };
    let is_own = is_users(folder) && is_users(&own) && is_users(&socket);
    is_own.then_some(socket)
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
            // A new file may get the inode of the one before.
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_users_socket_is_reached_through_the_users_folders_alone() {
        let base = std::env::temp_dir().join(format!("pcsc-client-listener-{}", std::process::id()));
        let folder = base.join("run");
        let own = folder.join("pcsc");
        fs::create_dir_all(&own).unwrap();
        let user = fs::metadata(&folder).unwrap().uid();
        assert_eq!(socket_of(&folder, user), None);
        let _listener = UnixListener::bind(own.join("pcscd.comm")).unwrap();
        assert_eq!(socket_of(&folder, user), Some(own.join("pcscd.comm")));
        assert_eq!(socket_of(&folder, user + 1), None);

        let links = base.join("links");
        fs::create_dir_all(links.join("socket/pcsc")).unwrap();
        fs::create_dir(links.join("folder")).unwrap();
        symlink(&folder, links.join("run")).unwrap();
        symlink(&own, links.join("folder/pcsc")).unwrap();
        symlink(own.join("pcscd.comm"), links.join("socket/pcsc/pcscd.comm")).unwrap();
        let found = ["run", "folder", "socket"].map(|name| socket_of(&links.join(name), user));
        fs::remove_dir_all(&base).unwrap();
        assert_eq!(found, [None, None, None]);
    }
}
