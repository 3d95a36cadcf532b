//! What a process has and does, as /proc shows it.

use std::collections::BTreeMap;
use std::fs;

/// What a process has.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Its threads.
    pub threads: u64,
    /// Its open descriptors.
    pub descriptors: usize,
    /// Its resident memory, in kilobytes.
    pub memory: u64,
}

impl Usage {
    /// That of a process.
    ///
    /// # Panics
    /// If it does not run.
    #[track_caller]
    pub fn of(process: u32) -> Usage {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process is running");
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("the process is running");
        Usage {
            threads: field(&status, "Threads"),
            descriptors: descriptors.count(),
            memory: field(&status, "VmRSS"),
        }
    }
}

/// How long the threads of a process have used a processor, in seconds. Threads that have ended do not count.
///
/// # Panics
/// If the process does not run.
#[track_caller]
pub fn processor_time(process: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process is running");
    let times = threads.filter_map(|thread| {
        // The thread may have ended.
        let statistics = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        let nanoseconds = statistics.split(' ').next()?.parse::<u64>();
        Some(nanoseconds.expect("a number"))
    });
    times.sum::<u64>() as f64 / 1e9
}

/// How often each thread of a process was taken off its processor, by number and name: since it went to
/// sleep, and since another one was to run. Threads that have ended are not in it.
///
/// # Panics
/// If the process does not run.
#[track_caller]
pub fn context_switches(process: u32) -> BTreeMap<String, [u64; 2]> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process is running");
    let counts = threads.filter_map(|thread| {
        let thread = thread.ok()?;
        // The thread may have ended.
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let name = status.lines().next()?.strip_prefix("Name:")?.trim();
        let counts = ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"];
        let thread = thread.file_name().to_string_lossy().into_owned();
        Some((
            format!("{thread} {name}"),
            counts.map(|name| field(&status, name)),
        ))
    });
    counts.collect()
}

/// How often each thread of a process has gone to sleep since [`context_switches`] returned `before`, without
/// those that have not. A thread that has begun meanwhile counts from 0.
///
/// # Panics
/// If the process does not run.
#[track_caller]
pub fn sleeps_since(process: u32, before: &BTreeMap<String, [u64; 2]>) -> BTreeMap<String, u64> {
    let now = context_switches(process).into_iter();
    let sleeps = now.map(|(thread, counts)| {
        let before = before.get(&thread).map_or(0, |before| before[0]);
        (thread, counts[0] - before)
    });
    sleeps.filter(|(_, count)| *count > 0).collect()
}

/// The number behind a name in a `status` file.
#[track_caller]
fn field(status: &str, name: &str) -> u64 {
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    let mut values = fields.filter(|(field, _)| *field == name).map(|(_, value)| value);
    let number = values.next().and_then(|value| value.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect("a number")
}
