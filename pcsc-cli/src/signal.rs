//! The signals that end a process, where this one has something to do before.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// Catches the signals that end a process from now on. Those that this process ignores stay ignored. Returns
/// where the number of the last one is, 0 before the first one, and the two ends of a stream that has a byte
/// for each.
pub fn catch() -> io::Result<(Arc<AtomicUsize>, UnixStream, UnixStream)> {
    let (sender, receiver) = UnixStream::pair()?;
    let last = Arc::default();
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        if !is_ignored(signal) {
            // In this order: whoever reads the byte finds the signal.
            flag::register_usize(signal, Arc::clone(&last), signal as usize)?;
            pipe::register(signal, sender.try_clone()?)?;
        }
    }
    Ok((last, sender, receiver))
}

/// Whether this process ignores a signal, as a job in the background of a script does SIGINT. Only Linux
/// tells.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
