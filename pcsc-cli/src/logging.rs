//! What the library logs, on standard error.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::output::message;

/// Prints records up to a level.
struct Printer {
    limit: LevelFilter,
    is_server: bool,
}

impl Printer {
    /// The level that a record counts as. Calls of the client library fail in a server when a source is
    /// gone. The server itself warns of that, once and with the source's name.
    fn level(&self, metadata: &Metadata<'_>) -> Level {
        let is_of_client = metadata.target().starts_with("pcsc_client");
        match metadata.level() {
            Level::Error | Level::Warn if self.is_server && is_of_client => Level::Debug,
            level => level,
        }
    }
}

impl Log for Printer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.level(metadata) <= self.limit
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = self.level(record.metadata()).as_str().to_lowercase();
            message(format_args!("{level}: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Prints records from now on: more of them, the higher `verbosity` is. A server has no other way to report
/// what fails.
pub fn start(verbosity: u8, is_server: bool) {
    let limit = match verbosity {
        0 if is_server => LevelFilter::Warn,
        0 => LevelFilter::Off,
        1 => LevelFilter::Info,
        _ => LevelFilter::Trace,
    };
    log::set_max_level(limit);
    // Nobody else sets a logger in this program.
    let _ = log::set_boxed_logger(Box::new(Printer { limit, is_server }));
}
