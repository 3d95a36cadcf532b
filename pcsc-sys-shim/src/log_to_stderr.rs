//! Log lines on stderr for those who ask with `PCSCLITE_DEBUG`, as PC/SC Lite does; never on stdout.
#![forbid(unsafe_code)]

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // One write a line; a closed stderr is no reason to fail.
            let line = format!("pcsc: {}: {}\n", record.level(), record.args());
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Begins to log if the environment asks for it: 0 is everything, 1 information, 2 errors, 3 critical
/// errors only.
pub fn init() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let Some(level) = pcsc_client::backend::environment("PCSCLITE_DEBUG") else {
            return;
        };
        let filter = match level.to_string_lossy().trim().parse::<i32>().unwrap_or(0) {
            i32::MIN..=0 => LevelFilter::Trace,
            1 => LevelFilter::Info,
            _ => LevelFilter::Error,
        };
        if log::set_logger(&Stderr).is_ok() {
            log::set_max_level(filter);
        }
    });
}
