//! The socket's file: where it is, who has it, and its removal.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, SocketAddrUnix};

/// Where pcscd listens.
const SYSTEM_SOCKET: &str = "/run/pcscd/pcscd.comm";

/// Where a server listens by default: at pcscd's place if it runs as root, else in the user's runtime folder.
/// `None` for a user who has no such folder (`XDG_RUNTIME_DIR`).
pub fn default_socket() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(SYSTEM_SOCKET.into());
    }
    let folder = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty())?;
    Some(Path::new(&folder).join("pcsc/pcscd.comm"))
}

/// Who may open the socket's file.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Access {
    /// The permissions, such as `0o600`.
    pub mode: u32,
    /// The owner, by its number; `None` leaves the user of the process. Root alone can choose another one.
    pub owner: Option<u32>,
    /// The group, by its number; `None` leaves that of the process.
    pub group: Option<u32>,
}

impl Access {
    /// Access with these permissions. Owner and group are those of the process.
    pub const fn new(mode: u32) -> Access {
        Access {
            mode,
            owner: None,
            group: None,
        }
    }
}

/// A socket that listens. Dropping it removes its file, unless another server has replaced that.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    /// Its file, by device and inode.
    file: Option<(PathBuf, (u64, u64))>,
}

/// Why a server cannot listen. The system's error is the [`source`](std::error::Error::source), and no part
/// of the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another server listens.
    #[error("another server listens at {}", .0.display())]
    InUse(PathBuf),
    /// Other users could replace the socket: its folder is another user's, or all may write to it.
    #[error("other users control the folder of {}", .0.display())]
    Folder(PathBuf),
    /// The file is not a socket.
    #[error("{} is not a socket, and is not replaced", .0.display())]
    NotASocket(PathBuf),
    /// The path is longer than a socket's address.
    #[error("the path {} has {} bytes, more than a socket address holds", .0.display(), .0.as_os_str().len())]
    TooLong(PathBuf),
    /// This process may not give the socket to that user or group.
    #[error(
        "the owner and group of {} cannot be set, since root alone may set another owner, or a group that \
         this process is not in",
        path.display()
    )]
    Owner {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system refuses.
    #[error("cannot listen at {}", path.display())]
    System {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Socket {
    /// Listens at a path, whose folder is made if it is not there. The file of a server that has ended is
    /// replaced. A file beside it, whose name ends with `.lock`, stays.
    ///
    /// The process's umask is another one meanwhile: files that other threads make may lack permissions of
    /// the group and of other users.
    ///
    /// # Errors
    /// [`SocketError::InUse`] if a server listens there or starts there, and others.
    pub fn bind(path: &Path, access: Access) -> Result<Socket, SocketError> {
        let failed = |source: io::Error| SocketError::System {
            path: path.to_owned(),
            source,
        };
        let address = SocketAddrUnix::new(path).map_err(|_| SocketError::TooLong(path.to_owned()))?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .map_err(failed)?;
        // Before the lock and the socket are made in it.
        check_folder(&fs::metadata(folder).map_err(failed)?, path)?;
        let _lock = lock(path).map_err(|errno| match errno {
            Errno::WOULDBLOCK => SocketError::InUse(path.to_owned()),
            errno => failed(errno.into()),
        })?;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(failed(error)),
            Ok(file) if !file.file_type().is_socket() => {
                return Err(SocketError::NotASocket(path.to_owned()))
            }
            Ok(_) if is_served(&address).map_err(failed)? => return Err(SocketError::InUse(path.to_owned())),
            Ok(_) => {
                log::info!(
                    "{} is of a server that has ended, and is replaced",
                    path.display()
                );
                fs::remove_file(path).map_err(failed)?;
            }
        }
        let listener = listen(&address, access.mode).map_err(failed)?;
        let made = fs::symlink_metadata(path).map_err(failed)?;
        let socket = Socket {
            listener,
            file: Some((path.to_owned(), (made.dev(), made.ino()))),
        };
        if access.owner.is_some() || access.group.is_some() {
            std::os::unix::fs::lchown(path, access.owner, access.group).map_err(|source| {
                match source.kind() {
                    io::ErrorKind::PermissionDenied => SocketError::Owner {
                        path: path.to_owned(),
                        source,
                    },
                    _ => failed(source),
                }
            })?;
        }
        Ok(socket)
    }

    /// A socket that listens already, such as one of systemd. Its file is not removed.
    pub fn inherited(listener: UnixListener) -> Socket {
        Socket { listener, file: None }
    }

    /// The listener.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

/// Refuses a folder in which other users than root could replace the socket.
fn check_folder(folder: &fs::Metadata, path: &Path) -> Result<(), SocketError> {
    let is_owned = [0, rustix::process::geteuid().as_raw()].contains(&folder.uid());
    // In a folder with the sticky bit, such as /tmp, users replace their own files alone.
    let is_open_to_all = folder.mode() & 0o1002 == 0o002;
    if !is_owned || is_open_to_all {
        return Err(SocketError::Folder(path.to_owned()));
    }
    Ok(())
}

/// Locks a file beside the socket: of two servers that start at the same time, one finds the other's socket,
/// or the lock. Any user who reads the folder could lock the folder itself, and keep the server from
/// starting. The lock ends with the file.
fn lock(path: &Path) -> Result<File, Errno> {
    let name = [path.as_os_str(), ".lock".as_ref()]
        .into_iter()
        .collect::<OsString>();
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    let file = options
        .open(name)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Listens, at a file that has its permissions from the start: no path is followed to change them.
fn listen(address: &SocketAddrUnix, mode: u32) -> io::Result<UnixListener> {
    let socket = pcsc_process::socket::stream()?;
    // Linux makes the file with these permissions, less the umask. Elsewhere all are set, and the owner's to
    // execute, which means nothing, stays.
    let _ = rustix::fs::fchmod(&socket, Mode::from_raw_mode((mode & 0o777) as _));
    // Between `bind` and a later `chmod` other users could connect.
    let umask = rustix::process::umask(Mode::from_raw_mode((!mode & 0o077) as _));
    let bound = net::bind(&socket, address);
    rustix::process::umask(umask);
    bound?;
    // As many waiting clients as the system allows.
    net::listen(&socket, -1)?;
    Ok(socket.into())
}

/// Whether a server listens at an address. Its queue of clients may be full.
fn is_served(address: &SocketAddrUnix) -> io::Result<bool> {
    let socket = pcsc_process::socket::stream()?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    match net::connect(&socket, address) {
        // EAGAIN is a full queue: somebody listens.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED) => Ok(false),
        // A socket of another type is not pcscd's, but some program has it.
        Err(Errno::PROTOTYPE) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some((path, own)) = &self.file else { return };
        // A server that was started meanwhile has its own file there.
        let is_own = fs::symlink_metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == *own);
        if is_own {
            if let Err(error) = fs::remove_file(path) {
                log::error!("{} cannot be removed: {error}", path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    const OWN: Access = Access::new(0o600);

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("pcsc-share-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_served_socket_stays_and_a_stale_one_is_replaced() {
        let folder = Folder::new("stale");
        let path = folder.0.join("sub/pcscd.comm");
        let socket = Socket::bind(&path, OWN).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(Socket::bind(&path, OWN), Err(SocketError::InUse(_))));
        // As when a server is killed: its file stays.
        let Socket { listener, .. } = &socket;
        assert!(UnixStream::connect(&path).is_ok());
        let stale = folder.0.join("stale");
        fs::rename(&path, &stale).unwrap();
        drop(listener.try_clone().unwrap());
        drop(socket);
        assert!(stale.exists(), "it is not at its place, and not its to remove");
        fs::rename(&stale, &path).unwrap();
        let socket = Socket::bind(&path, Access { mode: 0o666, ..OWN }).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn other_files_are_not_replaced() {
        let folder = Folder::new("file");
        let path = folder.0.join("file");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(
            Socket::bind(&path, OWN),
            Err(SocketError::NotASocket(_))
        ));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        let long = folder.0.join("x".repeat(120));
        assert!(matches!(Socket::bind(&long, OWN), Err(SocketError::TooLong(_))));
    }

    #[test]
    fn a_socket_of_another_server_is_not_removed() {
        let folder = Folder::new("replaced");
        let path = folder.0.join("pcscd.comm");
        let socket = Socket::bind(&path, OWN).unwrap();
        fs::remove_file(&path).unwrap();
        let other = Socket::bind(&path, OWN).unwrap();
        drop(socket);
        assert!(path.exists());
        drop(other);
        assert!(!path.exists());
    }

    #[test]
    fn a_server_that_starts_is_not_waited_for() {
        let folder = Folder::new("lock");
        let path = folder.0.join("pcscd.comm");
        let held = lock(&path).unwrap();
        assert!(matches!(Socket::bind(&path, OWN), Err(SocketError::InUse(_))));
        drop(held);
        let name = folder.0.join("pcscd.comm.lock");
        assert_eq!(fs::metadata(&name).unwrap().mode() & 0o777, 0o600);
        // Another user's lock on the folder does not matter.
        let opened = File::open(&folder.0).unwrap();
        rustix::fs::flock(&opened, FlockOperation::LockExclusive).unwrap();
        drop(Socket::bind(&path, OWN).unwrap());
        fs::remove_file(&name).unwrap();
        std::os::unix::fs::symlink(folder.0.join("victim"), &name).unwrap();
        let refused = Socket::bind(&path, OWN).err().unwrap();
        assert!(matches!(refused, SocketError::System { .. }), "{refused}");
        // An error reporter prints the source itself.
        let source = std::error::Error::source(&refused).unwrap().to_string();
        assert!(!refused.to_string().contains(&source), "{refused}");
        assert!(!folder.0.join("victim").exists());
    }

    #[test]
    fn a_folder_that_other_users_control_is_refused() {
        let folder = Folder::new("folder");
        let path = folder.0.join("pcscd.comm");
        let bind = |mode| {
            fs::set_permissions(&folder.0, fs::Permissions::from_mode(mode)).unwrap();
            Socket::bind(&path, OWN)
        };
        assert!(matches!(bind(0o777), Err(SocketError::Folder(_))));
        assert!(bind(0o1777).is_ok() && bind(0o755).is_ok());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&folder.0, Some(65534), None).unwrap();
            assert!(matches!(bind(0o755), Err(SocketError::Folder(_))));
        } else {
            println!("SKIPPED: another user's folder, which root alone can make");
        }
    }
}
