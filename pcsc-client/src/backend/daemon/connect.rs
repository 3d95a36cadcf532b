//! Connects to the daemon's socket, and finds out why that fails.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;

use super::stream::Stream;
use crate::error::{Cause, Error, Failure, Found, Outcome, Permissions};

/// Connects to the daemon's socket, waiting for a busy daemon until `limit` has passed.
pub fn connect(path: &Path, limit: Duration) -> Outcome<Stream> {
    if !Stream::fits(path) {
        let path = path.to_owned();
        return Err(Failure::because(Error::NoService, Cause::PathTooLong { path }));
    }
    Stream::connect(path, limit).map_err(|errno| match errno {
        // Not "no service": a program would look for a daemon that runs.
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => {
            Failure::because(Error::NoMemory, Cause::System(errno.into()))
        }
        // The daemon's queue of new connections was full until the limit.
        Errno::AGAIN | Errno::TIMEDOUT => Failure::because(Error::NoService, Cause::Silent),
        // Not logged: the caller may go on without a daemon.
        _ => Failure::quiet(
            Error::NoService,
            Cause::Connect {
                path: path.to_owned(),
                source: errno.into(),
                found: found(path, errno),
            },
        ),
    })
}

/// Makes connections to a daemon.
#[derive(Clone)]
pub struct Connector(Arc<Connect>);

type Connect = dyn Fn() -> io::Result<OwnedFd> + Send + Sync;

impl Connector {
    /// Connects by calling `connect`, which returns a stream socket.
    pub fn new(connect: impl Fn() -> io::Result<OwnedFd> + Send + Sync + 'static) -> Connector {
        Connector(Arc::new(connect))
    }

    /// Makes a connection.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        (self.0)()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// Connects by a connector to what `path` names.
pub fn connect_by(connector: &Connector, path: &Path) -> Outcome<Stream> {
    let stream = connector
        .connect()
        .and_then(|socket| Stream::of(socket).map_err(io::Error::from));
    stream.map_err(|source| {
        let (path, found) = (path.to_owned(), Found::Unknown);
        Failure::quiet(Error::NoService, Cause::Connect { path, source, found })
    })
}

/// What is at the path of a socket, after the connect to it has failed with `errno`.
fn found(path: &Path, errno: Errno) -> Found {
    match errno {
        Errno::ACCESS | Errno::PERM => denied(path),
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG => Found::Nothing,
        // Linux returns CONNREFUSED for a file that is not a socket, and PROTOTYPE for a socket of another
        // type.
        Errno::CONNREFUSED | Errno::PROTOTYPE | Errno::NOTSOCK => match fs::metadata(path) {
            Ok(file) if file.is_dir() => Found::OtherFile("directory"),
            Ok(file) if !file.file_type().is_socket() => Found::OtherFile("file"),
            Ok(_) if errno == Errno::PROTOTYPE => Found::OtherFile("socket of another type"),
            _ => Found::StaleSocket,
        },
        _ => Found::Unknown,
    }
}

/// The permissions of the socket or, if it is hidden, of the innermost folder on its path that is visible.
fn denied(path: &Path) -> Found {
    let seen = |path: &Path| fs::metadata(path).ok().map(|file| (path.to_owned(), file));
    match path.ancestors().find_map(seen) {
        Some((path, file)) => Found::Denied(Permissions {
            path,
            owner: file.uid(),
            group: file.gid(),
            mode: file.mode(),
            user: rustix::process::geteuid().as_raw(),
        }),
        None => Found::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn each_obstacle_is_named() {
        let folder = std::env::temp_dir().join(format!("pcsc-connect-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        drop(UnixListener::bind(at("stale")).unwrap());
        let _datagram = UnixDatagram::bind(at("datagram")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
        let cases = [
            ("nothing", Found::Nothing),
            ("file/comm", Found::Nothing),
            ("loop", Found::Nothing),
            ("stale", Found::StaleSocket),
            ("folder", Found::OtherFile("directory")),
            ("file", Found::OtherFile("file")),
            ("datagram", Found::OtherFile("socket of another type")),
        ];
        let outcomes = cases.map(|(name, expected)| {
            let failure = connect(&at(name), Duration::from_secs(20)).unwrap_err();
            (name, failure, expected)
        });
        fs::set_permissions(at("stale"), fs::Permissions::from_mode(0o640)).unwrap();
        let denied = [at("stale"), at("stale/comm")].map(|path| denied(&path));
        fs::remove_dir_all(&folder).unwrap();
        for (name, failure, expected) in outcomes {
            assert_eq!(failure.error(), Error::NoService);
            assert!(failure.cause().unwrap().is_absence(), "{name}: {failure}");
            match failure.cause() {
                Some(Cause::Connect { found, .. }) => assert_eq!(*found, expected, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        for found in denied {
            let Found::Denied(permissions) = &found else {
                panic!("{found:?}")
            };
            assert_eq!(
                (&permissions.path, permissions.mode & 0o777),
                (&at("stale"), 0o640)
            );
            assert_eq!(permissions.owner, rustix::process::geteuid().as_raw());
            assert!(found.to_string().contains("mode 0640"), "{found}");
        }
        assert_eq!(found(Path::new("/"), Errno::IO), Found::Unknown);
    }
}
