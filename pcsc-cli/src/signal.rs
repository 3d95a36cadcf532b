//! Signals that would end this process before it has cleaned up.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

use crate::problem::Problem;

/// Catches the signals that end a process from now on. Those that this process ignores stay ignored. Returns
/// where the number of the last one is, 0 before the first one, and the two ends of a stream that has a byte
/// for each.
pub fn catch() -> io::Result<(Arc<AtomicUsize>, UnixStream, UnixStream)> {
    let (sender, receiver) = UnixStream::pair()?;
    let last = Arc::default();
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        if !is_ignored(signal) {
            // In this order: when the byte can be read, `last` has the signal.
            flag::register_usize(signal, Arc::clone(&last), signal as usize)?;
            pipe::register(signal, sender.try_clone()?)?;
        }
    }
    Ok((last, sender, receiver))
}

/// Catches signals that end a server. Returns a stream that has a byte once one of them has come.
pub fn end(signals: &[i32]) -> Result<UnixStream, Problem> {
    let caught = UnixStream::pair().and_then(|(sender, receiver)| {
        for signal in signals {
            pipe::register(*signal, sender.try_clone()?)?;
        }
        Ok(receiver)
    });
    caught.map_err(Problem::uncaught_signal)
}

/// Whether this process ignores a signal, as a job in the background of a script does SIGINT. Known on
/// Linux only.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
