//! Log lines on stderr for those who ask with `PCSCLITE_DEBUG`, as PC/SC Lite does; never on stdout. What is wrong with
//! the value of another variable is written unasked: otherwise a developer would see nothing but a return code.
#![forbid(unsafe_code)]

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use pcsc_client::backend::SETTING_LOG;

struct Stderr;

/// Whether the environment asks for a log.
static ASKED: AtomicBool = AtomicBool::new(false);

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
            && (ASKED.load(Ordering::Relaxed) || metadata.target() == SETTING_LOG)
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
        let level = pcsc_client::backend::environment("PCSCLITE_DEBUG");
        ASKED.store(level.is_some(), Ordering::Relaxed);
        let level = level.map(|level| level.to_string_lossy().trim().parse::<i32>().unwrap_or(0));
        let filter = match level {
            Some(i32::MIN..=0) => LevelFilter::Trace,
            Some(1) => LevelFilter::Info,
            _ => LevelFilter::Error,
        };
        if log::set_logger(&Stderr).is_ok() {
            log::set_max_level(filter);
        }
    });
}
