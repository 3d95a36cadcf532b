//! `pcsc sim record`: records what a program does with a card, as calls or as USB transfers.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use pcsc_ccid::usb::{self, Candidate};
use pcsc_manager::{environment, recorded, recorded_device, FoundReader, OfferedReader, Recorder, Simulated};

use crate::args::{Backend, Form, Global, SimRecord, Spy};
use crate::commands::play::wrong;
use crate::commands::{offer, spy};
use crate::output::{message, printable, warn};
use crate::problem::{Exit, Problem, MODELS};
use crate::select::no_reader;

/// Runs the command. Returns the exit code.
pub fn run(global: &Global, arguments: &SimRecord) -> Result<u8, Problem> {
    if arguments.usb {
        return record_usb(global, arguments);
    }
    global.refuse("pcsc sim record", &["--reader", "--json"])?;
    let spy = Spy {
        output: Some(arguments.file.clone()),
        format: Form::Json,
        show_pins: false,
        read: None,
        java: false,
        command: arguments.command.clone(),
    };
    spy::run(global, &spy)
}

fn record_usb(global: &Global, arguments: &SimRecord) -> Result<u8, Problem> {
    global.refuse("pcsc sim record --usb", &["--json", "--socket"])?;
    let (found, recorder) = match global.backend {
        Some(Backend::Simulated) => simulated(&arguments.file)?,
        Some(Backend::Standalone | Backend::Auto) | None => real(global, &arguments.file)?,
        Some(Backend::Daemon | Backend::System) => {
            let text = "The transfers of a reader can be recorded where this process drives it: --backend standalone or simulated.";
            return Err(Problem::new(Exit::Usage, text));
        }
    };
    let code = offer::run(global, Arc::new(OfferedReader::new(found)), &arguments.command)?;
    recorder
        .finish()
        .map_err(|error| unwritable(&arguments.file, &error))?;
    Ok(code)
}

fn unwritable(file: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        Exit::Failed,
        format!("{} cannot be written: {error}.", file.display()),
    )
}

/// The file of a record, which nobody else may read: secrets in answers are not hidden.
fn create(file: &Path) -> Result<Box<dyn Write + Send>, Problem> {
    let created = spy::created(file, true).map_err(|error| unwritable(file, &error))?;
    Ok(Box::new(BufWriter::new(created)))
}

/// The first simulated reader of the environment.
fn simulated(file: &Path) -> Result<(FoundReader, Recorder), Problem> {
    let models = std::env::var("PCSCLITE_SIMULATED").unwrap_or_default();
    let model = match models.split(',').next() {
        None | Some("") => "gempc-express",
        Some(model) => model,
    };
    let reader = Simulated::new(model).map_err(|error| wrong(error).advise(MODELS))?;
    let (reader, recorder) = reader
        .recorded(create(file)?)
        .map_err(|error| unwritable(file, &error))?;
    Ok((reader.found(), recorder))
}

/// The reader on the USB that is asked for, or the only one.
fn real(global: &Global, file: &Path) -> Result<(FoundReader, Recorder), Problem> {
    let listing =
        usb::list().map_err(|error| Problem::because(Exit::NoService, "The USB cannot be listed", error))?;
    let name = |candidate: &Candidate| candidate.name_identity().base_name();
    let wanted = global.reader.as_deref();
    let is_wanted = |candidate: &Candidate| {
        wanted.is_none_or(|part| name(candidate).contains(part) || candidate.port.starts_with(part))
    };
    let mut readers: Vec<Candidate> = listing.readers.into_iter().filter(is_wanted).collect();
    let candidate = match readers.len() {
        0 => return Err(no_reader()),
        1 => readers.remove(0),
        _ => {
            let mut text = "--reader names one of".to_owned();
            for reader in &readers {
                text += &format!(" {:?} at {},", printable(&name(reader)), reader.port);
            }
            let problem = Problem::new(Exit::Usage, "There are several readers.");
            return Err(problem.advise(format!("{}.", text.trim_end_matches(','))));
        }
    };
    let recorder = Recorder::new(&recorded_device(&candidate), create(file)?)
        .map_err(|error| unwritable(file, &error))?;
    if candidate.interface.descriptor.max_busy_slots > 1 {
        warn("the slots of the reader take turns while it is recorded");
    }
    let options = environment::options(|name| std::env::var(name).unwrap_or_default());
    let report = |error: &usb::OpenError| message(format_args!("the reader cannot be opened: {error}."));
    Ok((recorded(candidate, options, recorder.clone(), report), recorder))
}
