//! What the library logs, on standard error.

use log::{LevelFilter, Log, Metadata, Record};

use crate::output::message;

/// Prints records up to a level.
struct Printer(LevelFilter);

impl Log for Printer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.0
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_lowercase();
            message(format_args!("{level}: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Prints records from now on: more of them, the higher `verbosity` is. A server has no other way to report
/// what fails.
pub fn start(verbosity: u8, is_server: bool) {
    let level = match verbosity {
        0 if is_server => LevelFilter::Warn,
        0 => LevelFilter::Off,
        1 => LevelFilter::Info,
        _ => LevelFilter::Trace,
    };
    log::set_max_level(level);
    // Nobody else sets a logger in this program.
    let _ = log::set_boxed_logger(Box::new(Printer(level)));
}
