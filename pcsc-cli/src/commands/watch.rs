//! `pcsc watch`: readers and cards as they come and go.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use pcsc_client::{Context, Event};
use serde::Serialize;

use crate::args::{Global, Subject, Watch};
use crate::atr_text;
use crate::connect::establish;
use crate::hex;
use crate::output::{message, printable, Output, Show, Style};
use crate::problem::Problem;
use crate::readers::Card as State;
use crate::select;
use crate::smartcard_list;
use crate::time;

#[derive(Debug, Serialize)]
struct Line {
    time: String,
    event: Kind,
    reader: String,
    /// The card, of events about cards.
    card: Option<State>,
    /// `None` for a card that does not answer.
    atr: Option<String>,
    summary: Option<String>,
    /// `None` where no smartcard_list.txt is installed.
    names: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    ReaderAdded,
    ReaderRemoved,
    CardInserted,
    CardRemoved,
}

impl Show for Line {
    fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()> {
        let time = self.time.split_once('T').map_or(&*self.time, |(_, time)| time);
        let (time, reader) = (style.dim(time), style.bold(&self.reader));
        let event = match self.event {
            Kind::ReaderAdded => style.good("reader added"),
            Kind::ReaderRemoved => style.bad("reader removed"),
            Kind::CardInserted => style.good("card inserted"),
            Kind::CardRemoved => style.bad("card removed"),
        };
        writeln!(to, "{time} {reader}: {event}")?;
        if self.event != Kind::CardInserted {
            return Ok(());
        }
        match &self.atr {
            None => writeln!(to, "  {}", style.bad("it does not answer"))?,
            Some(atr) => writeln!(to, "  ATR {}", hex::pairs(atr))?,
        }
        let more = self.summary.iter().chain(self.names.iter().flatten());
        more.into_iter().try_for_each(|line| writeln!(to, "  {line}"))
    }
}

/// Runs the command.
pub fn run(global: &Global, arguments: &Watch, output: &mut Output) -> Result<(), Problem> {
    let context = establish(global)?;
    let readers = context.readers()?;
    let found = match select::some(&readers, global.reader.as_deref()) {
        Err(problem) if arguments.once => return Err(problem),
        found => found.unwrap_or_default(),
    };
    if readers.is_empty() {
        message("No reader is connected; waiting. --backend simulated has a simulated one.");
    }
    let mut wanted = Wanted {
        context: &context,
        reader: global.reader.as_deref(),
        names: found.iter().map(|index| readers[*index].name.clone()).collect(),
    };
    let deadline = arguments.timeout.map(|limit| Instant::now() + limit);
    let mut events = context.events();
    loop {
        let event = match deadline {
            _ if arguments.once => events.next_timeout(Duration::ZERO),
            Some(deadline) => events.next_timeout(deadline.saturating_duration_since(Instant::now())),
            None => events.next(),
        };
        let Some(event) = event else {
            return Ok(());
        };
        let event = event?;
        if !wanted.has(&event)? {
            continue;
        }
        if let Some(line) = line(event, arguments) {
            output.part(&line)?;
        }
    }
}

/// The readers that `--reader` leaves.
struct Wanted<'a> {
    context: &'a Context,
    reader: Option<&'a str>,
    names: BTreeSet<CString>,
}

impl Wanted<'_> {
    /// Whether an event is about one of them. A new reader is looked up, by serial number and port too.
    fn has(&mut self, event: &Event) -> Result<bool, Problem> {
        let Some(wanted) = self.reader else {
            return Ok(true);
        };
        match event {
            // The first reader with a card, as soon as there is one.
            Event::CardInserted { reader, .. } if wanted == select::ANY && self.names.is_empty() => {
                self.names.insert(reader.clone());
            }
            Event::ReaderAdded { reader } if wanted != select::ANY => {
                let readers = self.context.readers()?;
                let found = select::matching(&readers, wanted);
                if found.iter().any(|index| readers[*index].name == *reader) {
                    self.names.insert(reader.clone());
                }
            }
            _ => (),
        }
        Ok(self.names.contains(reader_of(event)))
    }
}

fn reader_of(event: &Event) -> &CStr {
    match event {
        Event::ReaderAdded { reader }
        | Event::ReaderRemoved { reader }
        | Event::CardInserted { reader, .. }
        | Event::CardRemoved { reader } => reader,
        _ => c"",
    }
}

/// What is printed of an event; `None` for one that is not asked for.
fn line(event: Event, arguments: &Watch) -> Option<Line> {
    let reader = printable(&reader_of(&event).to_string_lossy());
    let (kind, card, atr) = match event {
        Event::ReaderAdded { .. } => (Kind::ReaderAdded, None, None),
        Event::ReaderRemoved { .. } => (Kind::ReaderRemoved, None, None),
        Event::CardInserted { atr, .. } if atr.is_empty() => (Kind::CardInserted, Some(State::Mute), None),
        Event::CardInserted { atr, .. } => (Kind::CardInserted, Some(State::Present), Some(atr)),
        Event::CardRemoved { .. } => (Kind::CardRemoved, Some(State::Absent), None),
        _ => return None,
    };
    let subject = match kind {
        Kind::ReaderAdded | Kind::ReaderRemoved => Subject::Readers,
        Kind::CardInserted | Kind::CardRemoved => Subject::Cards,
    };
    let is_wanted = arguments.only.is_none_or(|only| only == subject);
    let explained = atr.as_deref().filter(|_| !arguments.no_atr);
    is_wanted.then(|| Line {
        time: time::now(),
        event: kind,
        reader,
        card,
        summary: explained.map(atr_text::short),
        names: explained.and_then(smartcard_list::names),
        atr: atr.as_deref().map(hex::compact),
    })
}
