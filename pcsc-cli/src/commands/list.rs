//! `pcsc list`: the readers, their devices and their cards.

use std::io::{self, Write};
use std::time::Instant;

use pcsc_client::{Context, Events, ReaderInfo, State};
use serde::Serialize;

use crate::args::{Global, List};
use crate::connect::{establish, BackendInfo, Fallback};
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
    let fallback = match arguments.wait {
        true => Fallback::Nothing,
        false => Fallback::Simulated,
    };
    let context = establish(global, fallback)?;
    let deadline = arguments.timeout.map(|limit| Instant::now() + limit);
    let mut events = context.events();
    let readers = loop {
        let readers = listed(global, &context)?;
        if !readers.is_empty() || !arguments.wait {
            break readers;
        }
        wait(&mut events, deadline)?;
    };
    let is_empty = readers.is_empty();
    let backend = context.backend().into();
    output.whole(&Listing { backend, readers })?;
    match (is_empty, &global.reader) {
        (false, _) => Ok(()),
        (true, None) => Err(select::no_reader()),
        (true, Some(wanted)) => Err(select::no_match(wanted)),
    }
}

/// The readers that `--reader` leaves.
fn listed(global: &Global, context: &Context) -> Result<Vec<Reader>, Problem> {
    let readers = context.readers()?;
    let indices = match global.reader.as_deref() {
        None => (0..readers.len()).collect(),
        Some("any") => readers.iter().position(has_card).into_iter().collect(),
        Some(wanted) => select::matching(&readers, wanted),
    };
    Ok(indices
        .into_iter()
        .map(|index| Reader::new(index, &readers[index]))
        .collect())
}

fn has_card(reader: &ReaderInfo) -> bool {
    reader.state.contains(State::PRESENT)
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
