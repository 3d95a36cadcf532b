//! The options of TCP sockets.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

/// After how long without a byte the peer is asked whether it is there, at which intervals, and how often
/// until it counts as gone. The kernels do this; no thread wakes up.
const IDLE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// Makes a socket send each message at once, and notice a peer that is gone.
pub fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nonblocking(true)?;
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, IDLE)?;
    sockopt::set_tcp_keepintvl(tcp, INTERVAL)?;
    sockopt::set_tcp_keepcnt(tcp, PROBES)?;
    limit_unacknowledged(tcp)
}

/// Gives bytes that the peer does not acknowledge the same time. There are no probes meanwhile.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn limit_unacknowledged(tcp: &TcpStream) -> io::Result<()> {
    let limit = IDLE + INTERVAL * PROBES;
    Ok(sockopt::set_tcp_user_timeout(tcp, limit.as_millis() as u32)?)
}

/// Other systems give up after minutes.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn limit_unacknowledged(_: &TcpStream) -> io::Result<()> {
    Ok(())
}
