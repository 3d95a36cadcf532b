//! `pcsc spy`: runs a program on this project's library, which records its calls.

use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::time::Duration;

use crate::args::{Form, Global, Spy};
use crate::commands::child::{self, Signals};
use crate::commands::with;
use crate::folder::Folder;
use crate::input;
use crate::output::{message, warn, Style};
use crate::problem::{Exit, Problem};
use crate::recording::{Json, Line, Pcapng, RecordWriter, Text};

/// How often the record is looked at. Other processes write it, and no call that all systems have waits for
/// a file to grow.
const INTERVAL: Duration = Duration::from_millis(20);

/// How many bytes of the record are read before their room on the disk is freed.
const FREED_AT_ONCE: u64 = 1 << 20;

/// Runs the command. Returns the exit code of the program that it has run.
pub fn run(global: &Global, arguments: &Spy) -> Result<u8, Problem> {
    let form = match (global.json, arguments.format) {
        (true, Form::Text) => Form::Json,
        (_, form) => form,
    };
    if let Some(file) = &arguments.read {
        global.refuse("pcsc spy --read", &["backend", "socket"])?;
        let to_stdout = true;
        let mut record = Record::new(arguments, form, to_stdout)?;
        let unreadable = |error| Problem::unreadable(file, error);
        let mut input = input::open(file).map_err(unreadable)?;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match input.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => record.write(&chunk[..length]).map_err(Problem::output)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        // The last line of a record that is still written to may have no end.
        record.write(b"\n").map_err(Problem::output)?;
        if record.lines > 0 && record.readable == 0 {
            let text = format!("{} is no record of calls: no line can be read.", file.display());
            return Err(Problem::new(Exit::Usage, text));
        }
        return Ok(0);
    }
    if form == Form::Pcapng && arguments.output.is_none() {
        let text = "A capture file cannot be written to standard error.";
        return Err(Problem::new(Exit::Usage, text).advise("Name a file with -o, or - for standard output."));
    }
    if arguments.show_pins {
        warn("PINs AND KEYS ARE RECORDED. Whoever reads the record can use them: delete it after use.");
    }
    // Before there is anything to clean up.
    let signals = Signals::catch()?;
    let folder = Folder::new()?;
    // The library appends to it.
    let calls = folder.path("calls.jsonl");
    let mut options = File::options();
    let opened = options.read(true).write(true).create_new(true).open(&calls);
    let mut from = opened.map_err(|error| Problem::unwritable(&calls, error))?;
    let mut command = with::command(global, &arguments.command, arguments.java)?;
    command.env("PCSCLITE_SPY", &calls);
    match arguments.show_pins {
        true => command.env("PCSCLITE_SPY_SHOW_PINS", "1"),
        false => command.env_remove("PCSCLITE_SPY_SHOW_PINS"),
    };
    let to_stdout = false;
    let mut record = Record::new(arguments, form, to_stdout)?;
    let child = command
        .spawn()
        .map_err(|error| with::cannot_run(&command, &error))?;
    let (ended, end) = channel();
    // In a thread of its own: a write to a full pipe, such as that of a pager, blocks.
    std::thread::spawn(move || ended.send(signals.wait(child)));
    // A record that cannot be written is no reason to disturb the program.
    let mut failed = None;
    let status = loop {
        let end = end.recv_timeout(INTERVAL);
        if failed.is_none() {
            failed = record.follow(&mut from).err();
            if failed.is_some() {
                // The library sees this, and records nothing more.
                folder.remove();
            }
        }
        match end {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Ok(status)) => break status,
            Ok(Err(problem)) => return Err(problem),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Problem::new(Exit::Failed, "The command cannot be waited for."))
            }
        }
    };
    match failed.map(Problem::output) {
        Some(problem) if !problem.is_broken_pipe => message(problem),
        Some(_) => {}
        None if record.lines == 0 => message(
            "Nothing was recorded: the command has made no call of PC/SC, or not with this library (setuid \
             programs, programs that are statically linked, services that ran before).",
        ),
        None => {}
    }
    Ok(child::code(status))
}

/// What is written.
struct Record {
    form: Box<dyn RecordWriter>,
    to: Box<dyn Write>,
    /// The beginning of a line whose end is still to come.
    rest: Vec<u8>,
    /// How many lines have come, and how many of them are lines of a record.
    lines: usize,
    readable: usize,
}

impl Record {
    /// Writes to the file that the options name, or to standard output (`-`). Without either: to standard
    /// output if `to_stdout`, else to standard error.
    fn new(arguments: &Spy, form: Form, to_stdout: bool) -> Result<Record, Problem> {
        let path = arguments.output.as_ref();
        let (style, to): (Style, Box<dyn Write>) = match path {
            Some(path) if path.as_os_str() != "-" => {
                let opened = created(path, arguments.show_pins);
                let opened = opened.map_err(|error| Problem::unwritable(path, error))?;
                (Style { has_colour: false }, Box::new(opened))
            }
            None if !to_stdout => (Style::of(&io::stderr()), Box::new(io::stderr())),
            _ => (Style::of(&io::stdout()), Box::new(io::stdout())),
        };
        let mut record = Record {
            form: match form {
                Form::Text => Box::new(Text::new(style)),
                Form::Json => Box::new(Json),
                Form::Pcapng => Box::new(Pcapng::default()),
            },
            to,
            rest: Vec::new(),
            lines: 0,
            readable: 0,
        };
        let begun = record
            .form
            .begin(&mut *record.to)
            .and_then(|()| record.to.flush());
        begun.map_err(Problem::output)?;
        Ok(record)
    }

    /// Writes the lines of this text, and of what came before it.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let mut form = Vec::new();
        self.rest.extend_from_slice(text);
        let end = self
            .rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..end).collect();
        for text in lines.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            let line = Line::parse(text);
            self.lines += 1;
            self.readable += usize::from(line.is_some());
            self.form.line(line.as_ref(), text, &mut form)?;
        }
        self.to.write_all(&form)?;
        self.to.flush()
    }

    /// Writes what the file has more than before, and frees the room of what was read.
    fn follow(&mut self, file: &mut File) -> io::Result<()> {
        let mut more = Vec::new();
        file.read_to_end(&mut more)?;
        if more.is_empty() {
            return Ok(());
        }
        let end = file.stream_position()?;
        let start = end - more.len() as u64;
        if start / FREED_AT_ONCE != end / FREED_AT_ONCE {
            free_room(file, end);
        }
        self.write(&more)
    }
}

/// Makes an empty file that the user alone may read: a record has personal data. With secrets, a file that
/// exists must be the user's own.
pub(super) fn created(path: &Path, has_secrets: bool) -> io::Result<File> {
    let mut options = File::options();
    // Not for reading: a process that has a pipe open for reading too gets no EPIPE when its reader is gone.
    // Emptied below, where nothing is wrong with it.
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        let made_private = match metadata.uid() == rustix::process::geteuid().as_raw() {
            true => file.set_permissions(Permissions::from_mode(0o600)),
            false => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is another user's, and what may be secret is recorded",
            )),
        };
        // Without secrets a file system without modes will do.
        if has_secrets {
            made_private?;
        }
        file.set_len(0)?;
    }
    Ok(file)
}

/// Frees the room of the first bytes of a file, whose length stays the same. Without this the record of a
/// program that runs for long would fill the disk.
#[cfg(target_os = "linux")]
fn free_room(file: &File, length: u64) {
    use rustix::fs::{fallocate, FallocateFlags};
    // Where the file system cannot do this, the room is freed when the file is removed.
    let _ = fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        0,
        length,
    );
}

/// Calls are recorded on Linux alone.
#[cfg(not(target_os = "linux"))]
fn free_room(_file: &File, _length: u64) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_to_a_pipe_fails_when_its_reader_is_gone() {
        use rustix::fs::{mknodat, FileType, Mode, CWD};
        let folder = Folder::new().expect("a folder");
        let path = folder.path("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| File::open(&path).expect("our pipe"));
            let mut record = created(&path, true).expect("our pipe");
            drop(reader.join());
            let failed = record.write(b"record").expect_err("nobody reads");
            assert_eq!(failed.kind(), io::ErrorKind::BrokenPipe);
        });
    }
}
