//! Log lines on stderr if `PCSCLITE_DEBUG` is set, as in PC/SC Lite. Nothing is written to stdout. An error
//! in the value of another variable is always logged, since C gets nothing but a return code.
//!
//! A forked child may log as well, and the other threads of its parent do not exist there. So nothing here
//! takes a lock, neither a `Once` nor the one of `std::io::Stderr`.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::Arguments;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use pcsc_client::internals::SETTING_LOG;

use crate::without_signals;

struct Stderr;

/// Whether the environment enables the log.
static IS_ENABLED: AtomicBool = AtomicBool::new(false);

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
            && (IS_ENABLED.load(Ordering::Relaxed) || metadata.target() == SETTING_LOG)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut bytes = [0; LINE];
            let line = line(
                &mut bytes,
                format_args!("pcsc: {}: {}", record.level(), record.args()),
            );
            // One write, so that lines of other threads do not come in between. A stderr that is closed, or
            // a pipe whose reader is gone, is no reason to fail.
            let _ = without_signals::write(std::io::stderr().as_fd(), line);
        }
    }

    fn flush(&self) {}
}

/// The longest line, in bytes.
const LINE: usize = 1024;

/// A text with a newline, in memory of the caller's. A longer text is cut between two characters.
fn line<'a>(bytes: &'a mut [u8; LINE], text: Arguments<'_>) -> &'a [u8] {
    // One byte is left for the newline.
    let mut room = &mut bytes[..LINE - 1];
    // A text that is cut is no error.
    let _ = room.write_fmt(text);
    let length = LINE - 1 - room.len();
    // `write_fmt` stops in the middle of a character.
    let length = std::str::from_utf8(&bytes[..length]).map_or_else(|cut| cut.valid_up_to(), str::len);
    bytes[length] = b'\n';
    &bytes[..=length]
}

/// Starts to log at the level of `PCSCLITE_DEBUG`: 0 is everything, 1 information, 2 errors, 3 critical
/// errors only.
pub fn init() {
    static IS_STARTED: AtomicBool = AtomicBool::new(false);
    // A thread that comes second may log nothing for a moment, which is better than to wait for the first.
    if IS_STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let level = pcsc_client::internals::environment("PCSCLITE_DEBUG");
    IS_ENABLED.store(level.is_some(), Ordering::Relaxed);
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(filter(level.as_deref()));
    }
}

/// The level for a value of `PCSCLITE_DEBUG`. What is no number is 0.
fn filter(level: Option<&OsStr>) -> LevelFilter {
    match level.map(|level| level.to_string_lossy().trim().parse().unwrap_or(0)) {
        Some(i32::MIN..=0) => LevelFilter::Trace,
        Some(1) => LevelFilter::Info,
        _ => LevelFilter::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<u8> {
        super::line(&mut [0; LINE], format_args!("{text}")).to_vec()
    }

    #[test]
    fn levels_are_those_of_pcsc_lite() {
        for (level, expected) in [
            (Some("0"), LevelFilter::Trace),
            (Some("-1"), LevelFilter::Trace),
            (Some("yes"), LevelFilter::Trace),
            (Some(" 1 "), LevelFilter::Info),
            (Some("2"), LevelFilter::Error),
            (Some("3"), LevelFilter::Error),
            (None, LevelFilter::Error),
        ] {
            assert_eq!(filter(level.map(OsStr::new)), expected, "{level:?}");
        }
    }

    #[test]
    fn the_level_goes_for_the_settings_too() {
        init();
        for level in log::Level::iter() {
            let metadata = Metadata::builder().level(level).target(SETTING_LOG).build();
            assert_eq!(Stderr.enabled(&metadata), level <= log::max_level(), "{level}");
        }
    }

    #[test]
    fn a_line_ends_with_a_newline_and_is_cut_between_characters() {
        assert_eq!(line("text"), b"text\n");
        assert_eq!(line(""), b"\n");
        let most = LINE - 1;
        let longest = "x".repeat(most);
        assert_eq!(line(&longest), [longest.as_bytes(), b"\n"].concat());
        assert_eq!(line(&"y".repeat(5000)).len(), LINE);
        // The last character of two bytes would not fit.
        let umlauts = "\u{fc}".repeat(LINE);
        assert_eq!(line(&umlauts).len(), most - most % 2 + 1);
        assert!(std::str::from_utf8(&line(&umlauts)).is_ok());
    }
}
