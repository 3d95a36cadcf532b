//! `pcsc list`: the readers, their devices and their cards.

use std::io::{self, Write};
use std::time::Instant;

use pcsc_client::{Context, Events};
use serde::Serialize;

use crate::args::{Global, List};
use crate::connect::{establish, establish_or_simulate, BackendInfo};
use crate::output::{Output, Show, Style};
use crate::problem::{Exit, Problem};
use crate::readers::Reader;
use crate::select;

#[derive(Debug, Serialize)]
struct Listing {
    backend: BackendInfo,
    readers: Vec<Reader>,
}

impl Show for Listing {
    fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()> {
        self.readers.iter().try_for_each(|reader| reader.text(to, style))
    }
}

/// Runs the command.
pub fn run(global: &Global, arguments: &List, output: &mut Output) -> Result<(), Problem> {
    let context = match arguments.wait {
        true => establish(global)?,
        false => establish_or_simulate(global)?,
    };
    let deadline = arguments.timeout.map(|limit| Instant::now() + limit);
    let mut events = context.events();
    let (readers, problem) = loop {
        match listed(global, &context) {
            Ok(readers) => break (readers, None),
            Err(problem) if arguments.wait && is_to_come(&problem) => wait(&mut events, deadline)?,
            Err(problem) if is_to_come(&problem) => break (Vec::new(), Some(problem)),
            Err(problem) => return Err(problem),
        }
    };
    let backend = context.backend().into();
    output.whole(&Listing { backend, readers })?;
    problem.map_or(Ok(()), Err)
}

/// The readers that `--reader` leaves.
fn listed(global: &Global, context: &Context) -> Result<Vec<Reader>, Problem> {
    let readers = context.readers()?;
    let indices = select::some(&readers, global.reader.as_deref())?;
    Ok(indices
        .into_iter()
        .map(|index| Reader::new(index, &readers[index]))
        .collect())
}

/// Whether a reader or a card that comes ends a problem.
fn is_to_come(problem: &Problem) -> bool {
    matches!(problem.exit, Exit::NoReader | Exit::NoCard)
}

/// Waits until a reader or a card comes or goes, beginning with those that are there.
fn wait(events: &mut Events, deadline: Option<Instant>) -> Result<(), Problem> {
    let event = match deadline {
        Some(deadline) => events.next_timeout(deadline.saturating_duration_since(Instant::now())),
        None => events.next(),
    };
    match event {
        Some(event) => Ok(event.map(|_| ())?),
        None => Err(Problem::new(Exit::NoReader, "No reader came in time.")),
    }
}
