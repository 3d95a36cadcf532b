//! How a daemon is reached.

use std::fmt::Display;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{sockopt, SocketAddrUnix};

/// How long a daemon on this host may take for an answer that needs no card, before it counts as gone. A look
/// at its readers delays a client no longer, and only once.
const LIMIT: Duration = Duration::from_secs(2);

/// How a daemon is reached. Its text names the daemon in the log.
pub trait Route: Display + Send + Sync {
    /// Connects. The stream may become usable later.
    ///
    /// # Errors
    /// The system's.
    fn connect(&self) -> io::Result<UnixStream>;

    /// Takes the reason why a connection has ended of late, where the stream itself does not show it.
    fn take_error(&self) -> Option<String> {
        None
    }

    /// Why the last connection was refused, where a further attempt would be refused too until somebody
    /// changes something, such as a certificate.
    fn refusal(&self) -> Option<String> {
        None
    }

    /// Waits, for a short time, until what was sent on connections that have ended has arrived.
    fn finish(&self) {}

    /// How long the daemon may take for an answer that needs no card.
    fn limit(&self) -> Duration {
        LIMIT
    }
}

/// A Unix socket.
pub struct SocketRoute(pub PathBuf);

impl Display for SocketRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Route for SocketRoute {
    /// Connects, and gives up when the daemon's queue of new connections stays full.
    fn connect(&self) -> io::Result<UnixStream> {
        let address = SocketAddrUnix::new(&self.0)?;
        let socket = pcsc_process::socket::stream()?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(LIMIT))?;
        rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))?;
        Ok(socket.into())
    }
}
