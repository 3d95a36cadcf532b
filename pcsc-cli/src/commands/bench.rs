//! `pcsc bench`: what the calls of PC/SC cost on this machine, in time and in round trips to the daemon,
//! beside an installed library of others.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use pcsc_ccid::secrets::shown_of_command;
use pcsc_client::{
    Attribute, BackendKind, Builder, Card, Choice, Context, Disposition, Error, Failure, Protocols,
    ReaderInfo, ReaderState, ShareMode, State, MAX_BUFFER_SIZE_EXTENDED,
};
use pcsc_sim::masked;
use serde::{Deserialize, Serialize};

use crate::apdu_text::{self, Step};
use crate::args::{Bench, Global};
use crate::card;
use crate::connect::{establish_or_simulate, BackendInfo, Route};
use crate::doctor::{libraries, protocol};
use crate::hex;
use crate::output::{message, printable, Output, Show, Style};
use crate::problem::{Exit, Problem};
use crate::relay::Relay;
use crate::scratch::Scratch;
use crate::select;

/// GET DATA without a tag (ISO/IEC 7816-4, clause 7.4.2), which changes nothing on the card. Most cards
/// refuse it at once.
const COMMAND: &str = "00CA000000";

/// A call is repeated for this long, but at least and at most so many times.
const ENOUGH: Duration = Duration::from_millis(200);
const LEAST: usize = 10;
const MOST: usize = 1000;

/// Round trips are an average of this many calls: the answer to one call may serve the next one, too.
const COUNTED: usize = 4;

#[derive(Debug, Serialize)]
struct BenchReport {
    backend: BackendInfo,
    #[serde(skip)]
    description: String,
    reader: String,
    /// The command that is transmitted; `None` without a card.
    apdu: Option<String>,
    /// The library that is compared.
    library: Option<String>,
    calls: Vec<Row>,
}

/// A call with its costs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Row {
    #[serde(skip_deserializing)]
    call: &'static str,
    /// In microseconds. `None` where round trips alone are counted.
    median_us: Option<f64>,
    /// To the daemon; `None` without one.
    round_trips: Option<f64>,
    /// The same call through the other library.
    library_median_us: Option<f64>,
    library_round_trips: Option<f64>,
}

/// What another process has measured.
#[derive(Debug, Deserialize)]
struct Measured {
    calls: Vec<Row>,
}

impl Show for BenchReport {
    fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(to, "{}, through {}", style.bold(&self.reader), self.description)?;
        let cells = |median: Option<f64>, rounds: Option<f64>| {
            let median = median.map_or("-".into(), |median| format!("{median:.1} µs"));
            let rounds = rounds.map_or("-".into(), |rounds| format!("{rounds}"));
            format!("{median:>12}  {rounds:>11}")
        };
        let title = |name: &str| format!("{name:>12}  {:>11}", "round trips");
        let other = self.library.as_ref().map(|_| title("library"));
        writeln!(to, "{:<24}{}{}", "", title("median"), other.unwrap_or_default())?;
        for row in &self.calls {
            let other = self.library.as_ref();
            let other = other.map(|_| cells(row.library_median_us, row.library_round_trips));
            let own = cells(row.median_us, row.round_trips);
            writeln!(to, "{:<24}{own}{}", row.call, other.unwrap_or_default())?;
        }
        match &self.library {
            Some(library) => writeln!(to, "library: {library}"),
            None => Ok(()),
        }
    }
}

/// Runs the command.
pub fn run(global: &Global, arguments: &Bench, output: &mut Output) -> Result<(), Problem> {
    let command = command(arguments.apdu.as_deref().unwrap_or(COMMAND))?;
    let route = Route::new(global)?;
    // Before a library connects to it.
    let relay = match (&arguments.relay_to, &route.socket) {
        (Some(daemon), Some(socket)) => Some(Relay::start(socket, daemon)?),
        _ => None,
    };
    let context = establish_or_simulate(global)?;
    let reader = select::one(&context, global.reader.as_deref())?;
    let backend = context.backend();
    let builder = match backend {
        BackendKind::Simulated => Context::builder().choose_backend(Choice::Simulated),
        _ => route.builder(),
    };
    let mut calls = Calls::new(builder.clone(), &reader, command.clone())?;
    let mut rows = match &relay {
        Some(relay) => calls.counted(relay)?,
        None => calls.timed()?,
    };
    let mut library = None;
    if let BackendKind::Daemon { path, .. } = &backend {
        let scratch = Scratch::new()?;
        let relay = Relay::start(&scratch.path("ours"), path)?;
        let mut relayed = Calls::new(builder.socket_path(relay.socket()), &reader, command.clone())?;
        for (row, counted) in rows.iter_mut().zip(relayed.counted(&relay)?) {
            row.round_trips = counted.round_trips;
        }
        if let Some(other) = arguments.against.clone().or_else(libraries::of_others) {
            let compared = Other {
                library: &other,
                reader: &reader,
                command: &command,
                scratch: &scratch,
            };
            match compared.measure(path, &mut rows) {
                Ok(()) => library = Some(other.display().to_string()),
                Err(problem) => message(format_args!("{} is not compared. {problem}", other.display())),
            }
        }
    } else if let Some(other) = &arguments.against {
        message(format_args!(
            "{} is not compared: it needs a daemon.",
            other.display()
        ));
    }
    let has_card = calls.card.is_some();
    if !has_card {
        message("There is no card in the reader: calls to a card are left out.");
    }
    output.whole(&BenchReport {
        description: backend.to_string(),
        backend: backend.into(),
        reader: printable(&reader.name.to_string_lossy()),
        apdu: has_card.then(|| masked::public(&masked::shown(&command), shown_of_command)),
        library,
        calls: rows,
    })
}

/// The command, in one of the forms of `pcsc apdu`.
fn command(text: &str) -> Result<Vec<u8>, Problem> {
    let wrong = |error: &str| {
        Problem::new(Exit::Usage, format!("The APDU cannot be understood: {error}.")).advise(apdu_text::FORMS)
    };
    match apdu_text::parse(text).map_err(|error| wrong(&error))? {
        Step::Send(command) if command.expected.is_none() => Ok(command.bytes),
        Step::Send(_) => Err(wrong("no answer is compared; write it without =")),
        Step::Reset => Err(wrong("it is one command, and reset is none")),
    }
}

/// Another library, which is measured by a process of its own.
struct Other<'a> {
    library: &'a Path,
    reader: &'a ReaderInfo,
    command: &'a [u8],
    scratch: &'a Scratch,
}

impl Other<'_> {
    /// Adds its costs with the daemon at this socket.
    fn measure(&self, daemon: &Path, rows: &mut [Row]) -> Result<(), Problem> {
        let timed = self.run(daemon, None)?;
        // That process has the relay in front of the daemon, and so the counter.
        let counted = self.run(&self.scratch.path("theirs"), Some(daemon))?;
        for (row, (timed, counted)) in rows.iter_mut().zip(timed.into_iter().zip(counted)) {
            row.library_median_us = timed.median_us;
            row.library_round_trips = counted.round_trips;
        }
        Ok(())
    }

    fn run(&self, socket: &Path, relay_to: Option<&Path>) -> Result<Vec<Row>, Problem> {
        let failed = |error| Problem::because(Exit::Failed, "Its process cannot be run", error);
        let mut command = protocol::command_on(self.library, socket).map_err(failed)?;
        command
            .args(["bench", "--json", "--apdu", &hex::compact(self.command)])
            .arg("--reader")
            .arg(self.reader.name.to_string_lossy().as_ref());
        if let Some(daemon) = relay_to {
            command.arg("--relay-to").arg(daemon);
        }
        let output = self.scratch.output(&mut command).map_err(failed)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Problem::new(
                Exit::Failed,
                text.trim_end().trim_start_matches("pcsc: "),
            ));
        }
        let measured: Measured = serde_json::from_slice(&output.stdout)
            .map_err(|error| Problem::because(Exit::Failed, "Its process has printed no result", error))?;
        Ok(measured.calls)
    }
}

/// A context and, where there is a card, a connection to it.
struct Calls {
    builder: Builder,
    context: Context,
    reader: ReaderInfo,
    card: Option<Card>,
    command: Vec<u8>,
    response: Vec<u8>,
}

type Call<'a> = &'a mut dyn FnMut() -> Result<(), Failure>;

impl Calls {
    fn new(builder: Builder, reader: &ReaderInfo, command: Vec<u8>) -> Result<Calls, Problem> {
        let context = builder.clone().establish()?;
        let has_card = reader.state.contains(State::PRESENT) && !reader.state.contains(State::MUTE);
        let card = match has_card {
            true => Some(card::connect(
                card::LIMIT,
                &context,
                &reader.name,
                ShareMode::Shared,
                Protocols::ANY,
            )?),
            false => None,
        };
        Ok(Calls {
            builder,
            context,
            reader: reader.clone(),
            card,
            command,
            response: vec![0; MAX_BUFFER_SIZE_EXTENDED],
        })
    }

    /// The time of each call.
    fn timed(&mut self) -> Result<Vec<Row>, Problem> {
        self.each(|name, call| {
            Ok(Row {
                call: name,
                median_us: Some(median(call)?),
                ..Row::default()
            })
        })
    }

    /// The round trips of each call, by the relay that the context is behind.
    fn counted(&mut self, relay: &Relay) -> Result<Vec<Row>, Problem> {
        self.each(|name, call| {
            let before = relay.rounds();
            (0..COUNTED).try_for_each(|_| call())?;
            Ok(Row {
                call: name,
                round_trips: Some((relay.rounds() - before) as f64 / COUNTED as f64),
                ..Row::default()
            })
        })
    }

    fn each(
        &mut self,
        mut measure: impl FnMut(&'static str, Call<'_>) -> Result<Row, Problem>,
    ) -> Result<Vec<Row>, Problem> {
        let mut rows = Vec::new();
        let mut take = |name, call: Call<'_>| {
            rows.push(measure(name, call)?);
            Ok::<(), Problem>(())
        };
        let Calls {
            builder,
            context,
            reader,
            card,
            command,
            response,
        } = self;
        take("establish + release", &mut || {
            builder.clone().establish().map(drop)
        })?;
        take("list readers", &mut || context.try_list_readers().map(drop))?;
        let mut states = [ReaderState::new(reader.name.clone(), State::UNAWARE)];
        context.try_get_status_change(Duration::ZERO, &mut states)?;
        states[0].sync_current_state();
        take("status change, at once", &mut || {
            let changed = context.try_get_status_change(Duration::ZERO, &mut states);
            changed.or_else(|failure| match failure.error() {
                Error::Timeout => Ok(()),
                _ => Err(failure),
            })
        })?;
        let Some(connected) = card else { return Ok(rows) };
        take("connect + disconnect", &mut || {
            // Not by way of `card`, which starts a thread.
            let shared = ShareMode::Shared;
            let connected = context.connect_timeout(&reader.name, shared, Protocols::ANY, card::LIMIT)?;
            let ended = connected.try_disconnect(Disposition::LeaveCard);
            ended.map_err(|(_, failure)| failure)
        })?;
        take("status", &mut || connected.try_status().map(drop))?;
        take("transaction", &mut || {
            connected.transaction_timeout(card::LIMIT).map(drop)
        })?;
        take("attribute", &mut || {
            // Not every driver has it.
            let _ = connected.try_get_attribute(Attribute::AtrString);
            Ok(())
        })?;
        take("transmit", &mut || {
            connected.try_transmit(command, response).map(drop)
        })?;
        Ok(rows)
    }
}

/// The median time of a call in microseconds.
fn median(call: Call<'_>) -> Result<f64, Problem> {
    // The first one may power the card up, or allocate.
    call()?;
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < LEAST || (begin.elapsed() < ENOUGH && times.len() < MOST) {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
