//! `pcsc sim record`: records what a program does with a card, as calls or as USB transfers.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use pcsc_ccid::usb::{self, Candidate};
use pcsc_client::Choice;
use pcsc_manager::{
    environment, recorded_device, recorded_reader, FoundReader, OfferedReader, Recorder, Simulated,
};

use crate::args::{Form, Global, SimRecord, Spy};
use crate::commands::play::wrong;
use crate::commands::{offer, spy};
use crate::connect::Route;
use crate::output::{message, printable, warn};
use crate::problem::{Exit, Problem, DOCTOR, MODELS};
use crate::select::{has_part, no_reader};

/// Runs the command. Returns the exit code.
pub fn run(global: &Global, arguments: &SimRecord) -> Result<u8, Problem> {
    if arguments.usb {
        return record_usb(global, arguments);
    }
    global.refuse("pcsc sim record without --usb", &["reader"])?;
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
    global.refuse("pcsc sim record --usb", &["socket"])?;
    let (found, recorder) = match Route::new(global)?.choice {
        Choice::Simulated => {
            global.refuse("pcsc sim record --usb of a simulated reader", &["reader"])?;
            simulated(&arguments.file)?
        }
        Choice::Standalone | Choice::Automatic => real(global, &arguments.file)?,
        _ => {
            let text = "The transfers of a reader can be recorded where this process drives it: --backend \
                standalone or simulated.";
            return Err(Problem::new(Exit::Usage, text));
        }
    };
    let code = offer::run(global, Arc::new(OfferedReader::new(found)), &arguments.command)?;
    recorder
        .finish()
        .map_err(|error| Problem::unwritable(&arguments.file, error))?;
    Ok(code)
}

/// The file of a record, with mode 0600: secrets in answers are not hidden.
fn create(file: &Path) -> Result<Box<dyn Write + Send>, Problem> {
    let created = spy::created(file, true).map_err(|error| Problem::unwritable(file, error))?;
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
        .map_err(|error| Problem::unwritable(file, error))?;
    Ok((reader.found(), recorder))
}

/// The reader on the USB that is asked for, or the only one.
fn real(global: &Global, file: &Path) -> Result<(FoundReader, Recorder), Problem> {
    let listing = usb::list().map_err(|error| {
        let problem = Problem::because(Exit::NoService, "The readers on the USB cannot be used", error);
        problem.advise(DOCTOR)
    })?;
    let name = |candidate: &Candidate| candidate.name_identity().base_name();
    let wanted = global.reader.as_deref();
    // The port of an interface is that of its device with a colon and the interface after it.
    let is_at = |port: &str, wanted: &str| port == wanted || port.split(':').next() == Some(wanted);
    let is_wanted = |candidate: &Candidate| {
        wanted.is_none_or(|wanted| has_part(&name(candidate), wanted) || is_at(&candidate.port, wanted))
    };
    if listing.readers.is_empty() {
        return Err(no_reader());
    }
    let shown = |reader: &Candidate| format!("\n        {} at {}", printable(&name(reader)), reader.port);
    let all: String = listing.readers.iter().map(shown).collect();
    let mut readers: Vec<Candidate> = listing.readers.into_iter().filter(is_wanted).collect();
    let text = match (readers.len(), wanted) {
        (1, _) => None,
        (_, None) => Some("There are several readers.".to_owned()),
        (0, Some(part)) => Some(format!("No reader matches {:?}.", printable(part))),
        (_, Some(_)) => Some("Several readers match.".to_owned()),
    };
    if let Some(text) = text {
        let advice = format!("Choose one with --reader, by its name or USB port:{all}");
        return Err(Problem::new(Exit::NoReader, text).advise(advice));
    }
    let candidate = readers.remove(0);
    let recorder = Recorder::new(&recorded_device(&candidate), create(file)?)
        .map_err(|error| Problem::unwritable(file, error))?;
    if candidate.interface.descriptor.max_busy_slots > 1 {
        warn("the slots of the reader take turns while it is recorded");
    }
    let options = environment::options(|name| std::env::var(name).unwrap_or_default());
    let report = |error: &usb::OpenError| message(format_args!("the reader cannot be opened: {error}."));
    Ok((
        recorded_reader(candidate, options, recorder.clone(), report),
        recorder,
    ))
}
