//! When calls are recorded, and the lines for each.

use std::ffi::{CString, OsString};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use log::error;
use pcsc_client::internals::{environment, SETTING_LOG};
use pcsc_client::Failure;
use rustix::io::Errno;

use super::fields::Fields;
use super::file::File;
use super::line::Line;
use crate::log_to_stderr;

/// The version of what is written. `RECORDING.md` has the changes.
const FORMAT: u64 = 1;

/// What is known about the environment.
static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

/// The recorder, where the state is [`ON`]. It is never freed.
static RECORDER: AtomicPtr<Recorder> = AtomicPtr::new(ptr::null_mut());

struct Recorder {
    file: File,
    shows_secrets: bool,
    /// The number of the last call.
    calls: AtomicU32,
    /// Lines that could not be written, since the last one that could.
    lost: AtomicU32,
    /// Whether only a part of the last line was written.
    is_cut: AtomicBool,
    /// The process that has been announced.
    announced: AtomicU32,
}

/// A call, recorded or not.
pub struct Call(Option<Recorded>);

struct Recorded {
    recorder: &'static Recorder,
    function: &'static str,
    number: u32,
    results: Line,
}

/// The call that is made in signal handlers.
const IN_SIGNAL_HANDLERS: &str = "SCardCancel";

impl Call {
    /// A call that is not recorded.
    #[inline]
    pub fn new() -> Call {
        Call(None)
    }

    /// Records that a call begins, if calls are recorded. Does not return the record, which is half a
    /// kilobyte that would be copied for each call, recorded or not.
    #[inline]
    pub fn begin(&mut self, function: &'static str, arguments: &dyn Fn(&mut Fields<'_>)) {
        if STATE.load(Ordering::Relaxed) != OFF {
            self.record(function, arguments);
        }
    }

    #[cold]
    #[inline(never)]
    fn record(&mut self, function: &'static str, arguments: &dyn Fn(&mut Fields<'_>)) {
        let Some(recorder) = recorder(function) else {
            return;
        };
        let number = recorder.calls.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mut line = Line::new();
        recorder.put_head(&mut line, "call", number, function);
        line.put(b",\"arguments\":{");
        arguments(&mut Fields::new(&mut line, recorder.shows_secrets));
        line.put(b"}");
        recorder.write(line, function);
        self.0 = Some(Recorded {
            recorder,
            function,
            number,
            results: Line::new(),
        });
    }

    #[inline]
    pub fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Adds what the call gives.
    #[inline]
    pub fn results(&mut self, write: impl Fn(&mut Fields<'_>)) {
        if self.is_recorded() {
            self.add(&write);
        }
    }

    #[cold]
    #[inline(never)]
    fn add(&mut self, write: &dyn Fn(&mut Fields<'_>)) {
        if let Some(recorded) = &mut self.0 {
            write(&mut Fields::new(
                &mut recorded.results,
                recorded.recorder.shows_secrets,
            ));
        }
    }

    /// Records that the call returns.
    #[inline]
    pub fn end(&mut self, result: &Result<(), Failure>) {
        if self.is_recorded() {
            self.record_end(result);
        }
    }

    #[cold]
    #[inline(never)]
    fn record_end(&mut self, result: &Result<(), Failure>) {
        let Some(recorded) = self.0.take() else { return };
        let recorder = recorded.recorder;
        let mut line = Line::new();
        recorder.put_head(&mut line, "return", recorded.number, recorded.function);
        line.put(b",");
        let code = result.as_ref().map_or_else(|failure| failure.code(), |()| 0);
        Fields::new(&mut line, false).code("result", code.into());
        line.put(b",\"results\":{");
        match recorded.results.text() {
            Some(results) => line.put(results),
            None => recorder.count_lost(),
        }
        line.put(b"}");
        recorder.write(line, recorded.function);
    }
}

/// The recorder, announced in this process; `None` where nothing is recorded.
fn recorder(function: &'static str) -> Option<&'static Recorder> {
    let is_first = STATE.load(Ordering::Relaxed) == UNKNOWN;
    // Opening the file allocates.
    if is_first && function != IN_SIGNAL_HANDLERS {
        start();
    }
    // SAFETY: it is null, or a recorder that is never freed.
    let recorder = unsafe { RECORDER.load(Ordering::Acquire).as_ref() }?;
    let generation = pcsc_process::generation();
    // A forked child goes on with its parent's record, and is a process of its own in it.
    let announced = recorder.announced.load(Ordering::Relaxed);
    if function != IN_SIGNAL_HANDLERS
        && announced != generation
        && recorder
            .announced
            .compare_exchange(announced, generation, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    {
        recorder.announce();
    }
    Some(recorder)
}

/// Reads the environment.
fn start() {
    let Some(path) = environment("PCSCLITE_SPY").filter(|path| !path.is_empty()) else {
        return STATE.store(OFF, Ordering::Relaxed);
    };
    let shows_secrets = is_yes(environment("PCSCLITE_SPY_SHOW_PINS"));
    let file = match open(path, shows_secrets) {
        Ok(file) => file,
        Err(error) => {
            log_to_stderr::init();
            error!(target: SETTING_LOG, "PCSCLITE_SPY: the file cannot be opened, nothing is recorded: \
                {error}");
            return STATE.store(OFF, Ordering::Relaxed);
        }
    };
    let fresh = Box::into_raw(Box::new(Recorder {
        file,
        shows_secrets,
        calls: AtomicU32::new(0),
        lost: AtomicU32::new(0),
        is_cut: AtomicBool::new(false),
        announced: AtomicU32::new(0),
    }));
    let none = ptr::null_mut();
    if RECORDER
        .compare_exchange(none, fresh, Ordering::AcqRel, Ordering::Relaxed)
        .is_err()
    {
        // Another thread came first.
        // SAFETY: it is a box, and nothing else has its address.
        drop(unsafe { Box::from_raw(fresh) });
    }
    STATE.store(ON, Ordering::Relaxed);
}

/// Whether a variable asks for PINs in the record. A mistake does not.
fn is_yes(value: Option<OsString>) -> bool {
    value.is_some_and(|value| value == "1")
}

fn open(path: OsString, shows_secrets: bool) -> io::Result<File> {
    let path = std::path::absolute(path)?.into_os_string();
    Ok(File::open(
        CString::new(path.into_encoded_bytes())?,
        shows_secrets,
    )?)
}

impl Recorder {
    /// Writes which process it is that makes calls. Not its arguments, which may hold a PIN.
    fn announce(&self) {
        let mut line = Line::new();
        self.put_start(&mut line, "process");
        line.put_text(format_args!(",\"format\":{FORMAT},"));
        let mut fields = Fields::new(&mut line, false);
        let program = rustix::fs::readlink(c"/proc/self/exe", Vec::new()).ok();
        fields.text("program", program.as_ref().map(|path| path.as_bytes()));
        fields.text("version", Some(env!("CARGO_PKG_VERSION").as_bytes()));
        let pins: &[u8] = if self.shows_secrets { b"shown" } else { b"hidden" };
        fields.text("pins", Some(pins));
        self.write(line, "");
    }

    fn put_start(&self, line: &mut Line, event: &str) {
        if self.is_cut.load(Ordering::Relaxed) {
            line.put(b"\n");
        }
        let process = std::process::id();
        let thread = rustix::thread::gettid();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        line.put_text(format_args!(
            "{{\"event\":\"{event}\",\"process\":{process},\"thread\":{thread},\"microseconds\":{}",
            since.as_micros()
        ));
    }

    fn put_head(&self, line: &mut Line, event: &str, number: u32, function: &str) {
        self.put_start(line, event);
        line.put_text(format_args!(",\"call\":{number},\"function\":\"{function}\""));
    }

    /// Ends a line and writes it.
    fn write(&self, mut line: Line, function: &str) {
        // Taken, so that no other thread's line has them too.
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            line.put_text(format_args!(",\"lost\":{lost}"));
        }
        line.put(b"}\n");
        let may_open = function != IN_SIGNAL_HANDLERS;
        let text = line.text().ok_or(Errno::NOMEM);
        match text.and_then(|text| self.file.write(text, may_open)) {
            Ok(()) => {
                if text.is_ok_and(|text| text.starts_with(b"\n")) {
                    self.is_cut.store(false, Ordering::Relaxed);
                }
            }
            // The file was deleted: the user has ended the recording.
            Err(Errno::NOENT) => STATE.store(OFF, Ordering::Relaxed),
            Err(error) => {
                self.is_cut.fetch_or(error == Errno::NOSPC, Ordering::Relaxed);
                // They were in this line, which is lost as well.
                self.lost.fetch_add(lost, Ordering::Relaxed);
                self.count_lost();
            }
        }
    }

    fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn nothing_but_1_asks_for_pins() {
        assert!(is_yes(Some("1".into())));
        for value in [None, Some(""), Some("0"), Some("yes"), Some("11"), Some(" 1")] {
            assert!(!is_yes(value.map(OsString::from)), "{value:?}");
        }
    }

    /// A recorder to a pipe, and the pipe's other end.
    fn recorder_to_pipe() -> (std::fs::File, Recorder) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&writer, ROOM).unwrap();
        let recorder = Recorder {
            file: open(format!("/proc/self/fd/{}", writer.as_raw_fd()).into(), false).unwrap(),
            shows_secrets: false,
            calls: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            is_cut: AtomicBool::new(false),
            announced: AtomicU32::new(0),
        };
        (reader.into(), recorder)
    }

    /// The room of a pipe. The system gives a page at least.
    const ROOM: usize = 4096;

    #[test]
    fn a_line_that_was_cut_is_ended_before_the_next_one_and_counts_as_lost() {
        let (mut reader, recorder) = recorder_to_pipe();
        let mut cut = Line::new();
        cut.put(&vec![b'x'; 1 << 20]);
        recorder.write(cut, "");
        let mut part = vec![0; 1 << 20];
        let length = reader.read(&mut part).unwrap();
        assert!(part[..length].iter().all(|byte| *byte == b'x'));
        for (number, is_after_cut) in [(1, true), (2, false)] {
            let mut line = Line::new();
            recorder.put_head(&mut line, "call", number, "SCardStatus");
            recorder.write(line, "");
            let length = reader.read(&mut part).unwrap();
            let text = std::str::from_utf8(&part[..length]).unwrap();
            assert_eq!(text.starts_with("\n{\"event\""), is_after_cut, "{text}");
            assert_eq!(text.ends_with(",\"lost\":1}\n"), is_after_cut, "{text}");
        }
    }

    #[test]
    fn lines_that_are_lost_are_counted_once_whatever_threads_write() {
        const THREADS: u64 = 4;
        const LINES: u64 = 3000;
        let (mut reader, recorder) = recorder_to_pipe();
        // The pipe is emptied while it is filled, so that threads lose lines and write some, in turns.
        let text = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        let write = |count| {
            for _ in 0..count {
                let mut line = Line::new();
                line.put(b"{\"line\":1");
                recorder.write(line, "");
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| write(LINES));
            }
        });
        let mut total = THREADS * LINES;
        // The last line that is written has the rest.
        loop {
            write(1);
            total += 1;
            if recorder.lost.load(Ordering::Relaxed) == 0 {
                break;
            }
            std::thread::yield_now();
        }
        drop(recorder);
        let text = text.join().unwrap();
        let lost = |line: &str| -> u64 {
            let lost = line.strip_suffix('}').unwrap().split_once("\"lost\":");
            lost.map_or(0, |(_, number)| number.parse().unwrap())
        };
        assert_eq!(text.lines().map(|line| 1 + lost(line)).sum::<u64>(), total);
    }
}
