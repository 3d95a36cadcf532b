//! `pcsc bench`: what the calls of PC/SC cost on this machine, in time and in round trips to the daemon,
//! beside an installed library of others.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pcsc_client::{
    Attribute, BackendKind, Builder, Card, Choice, Context, Disposition, Error, Failure, Protocols,
    ReaderInfo, ReaderState, ShareMode, State, MAX_BUFFER_SIZE_EXTENDED,
};
use serde::{Deserialize, Serialize};

use crate::apdu_text::{self, Step};
use crate::args::{Bench, Global};
use crate::card;
use crate::connect::{establish, BackendInfo, Fallback, Route};
use crate::doctor::libraries;
use crate::hex;
use crate::output::{message, printable, Output, Show, Style};
use crate::pin_mask;
use crate::problem::{Exit, Problem};
use crate::relay::Relay;
use crate::scratch::Scratch;
use crate::select;

/// GET DATA without a tag (ISO/IEC 7816-4, clause 7.4.2), which changes nothing on the card. Most cards
/// refuse it at once.
const COMMAND: &str = "00CA000000";

/// A call is made until it has taken so long, and at least and at most so often.
const ENOUGH: Duration = Duration::from_millis(200);
const LEAST: usize = 10;
const MOST: usize = 1000;

/// How many calls the round trips are counted of.
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
#[derive(Debug, Serialize)]
struct Row {
    call: &'static str,
    #[serde(flatten)]
    cost: Cost,
    /// The same call through the other library.
    library_median_us: Option<f64>,
    library_round_trips: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Cost {
    /// In microseconds. `None` where round trips alone are counted.
    median_us: Option<f64>,
    /// To the daemon; `None` without one.
    round_trips: Option<f64>,
}

/// What another process has measured.
#[derive(Debug, Default, Deserialize)]
struct Measured {
    calls: Vec<Cost>,
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
            let own = cells(row.cost.median_us, row.cost.round_trips);
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
    let apdu = &hex::compact(&command);
    let shown = pin_mask::shown(&command);
    let route = Route::new(global)?;
    if let Some(daemon) = &arguments.relay_to {
        return relayed(&route, global, daemon, &command, output);
    }
    let context = establish(global, Fallback::Simulated)?;
    let reader = select::one(&context, global.reader.as_deref())?;
    let backend = context.backend();
    let builder = match backend {
        BackendKind::Simulated => Context::builder().choose_backend(Choice::Simulated),
        _ => route.builder(),
    };
    let mut calls = Calls::new(builder.clone(), &reader, command.clone())?;
    let mut costs = calls.each(|call| Ok(Some(median(call)?)), |_| Ok(None))?;
    let mut library = None;
    let mut theirs = Measured::default();
    if let BackendKind::Daemon { path, .. } = &backend {
        let scratch = Scratch::new()?;
        let relay = Relay::start(&scratch.path("ours"), path)?;
        let relayed = Calls::new(builder.socket_path(relay.socket()), &reader, command)?.counted(&relay)?;
        for (cost, relayed) in costs.iter_mut().zip(relayed) {
            cost.1.round_trips = relayed.1.round_trips;
        }
        if let Some(other) = arguments.against.clone().or_else(libraries::of_others) {
            let compared = Other {
                library: &other,
                reader: &reader,
                apdu,
                scratch: &scratch,
            };
            match compared.measure(path) {
                Ok(measured) => (theirs, library) = (measured, Some(other.display().to_string())),
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
    let theirs = theirs.calls.into_iter().map(Some).chain(std::iter::repeat(None));
    let row = |((call, cost), other): ((&'static str, Cost), Option<Cost>)| Row {
        call,
        cost,
        library_median_us: other.and_then(|other| other.median_us),
        library_round_trips: other.and_then(|other| other.round_trips),
    };
    output.whole(&BenchReport {
        description: backend.to_string(),
        backend: backend.into(),
        reader: printable(&reader.name.to_string_lossy()),
        apdu: has_card.then_some(shown),
        library,
        calls: costs.into_iter().zip(theirs).map(row).collect(),
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

/// In a process of its own: counts the round trips of a library, which finds the relay where
/// PCSCLITE_CSOCK_NAME says.
fn relayed(
    route: &Route,
    global: &Global,
    daemon: &Path,
    command: &[u8],
    output: &mut Output,
) -> Result<(), Problem> {
    let socket = route.socket.clone().unwrap_or_default();
    let relay = Relay::start(&socket, daemon)?;
    let context = route.builder().establish()?;
    let reader = select::one(&context, global.reader.as_deref())?;
    let calls = Calls::new(route.builder(), &reader, command.to_owned())?.counted(&relay)?;
    let row = |(call, cost)| Row {
        call,
        cost,
        library_median_us: None,
        library_round_trips: None,
    };
    output.whole(&BenchReport {
        description: String::new(),
        backend: context.backend().into(),
        reader: printable(&reader.name.to_string_lossy()),
        apdu: None,
        library: None,
        calls: calls.into_iter().map(row).collect(),
    })
}

/// Another library, which a process of its own loads: it may crash, and keeps its settings for as long as a
/// process lives.
struct Other<'a> {
    library: &'a Path,
    reader: &'a ReaderInfo,
    apdu: &'a str,
    scratch: &'a Scratch,
}

impl Other<'_> {
    /// Its costs with the daemon at this socket.
    fn measure(&self, daemon: &Path) -> Result<Measured, Problem> {
        let mut measured = self.run(daemon, None)?;
        let counted = self.run(&self.scratch.path("theirs"), Some(daemon))?;
        for (cost, counted) in measured.calls.iter_mut().zip(counted.calls) {
            cost.round_trips = counted.round_trips;
        }
        Ok(measured)
    }

    fn run(&self, socket: &Path, relay_to: Option<&Path>) -> Result<Measured, Problem> {
        let failed = |error| Problem::because(Exit::Failed, "Its process cannot be run", error);
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args([
                "bench",
                "--json",
                "--backend",
                "system",
                "--apdu",
                self.apdu,
                "--reader",
            ])
            .arg(self.reader.name.to_string_lossy().as_ref())
            .env("PCSCLITE_SYSTEM_LIBRARY", self.library)
            .env("PCSCLITE_CSOCK_NAME", socket);
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
        serde_json::from_slice(&output.stdout)
            .map_err(|error| Problem::because(Exit::Failed, "Its process has printed no result", error))
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

    /// The round trips of each call, by the relay that the context is behind.
    fn counted(&mut self, relay: &Relay) -> Result<Vec<(&'static str, Cost)>, Problem> {
        self.each(
            |_| Ok(None),
            |call| {
                let before = relay.rounds();
                (0..COUNTED).try_for_each(|_| call())?;
                Ok(Some((relay.rounds() - before) as f64 / COUNTED as f64))
            },
        )
    }

    /// Has the time and the round trips of each call taken.
    fn each(
        &mut self,
        mut time: impl FnMut(Call<'_>) -> Result<Option<f64>, Problem>,
        mut count: impl FnMut(Call<'_>) -> Result<Option<f64>, Problem>,
    ) -> Result<Vec<(&'static str, Cost)>, Problem> {
        let mut costs = Vec::new();
        let mut take = |name, call: Call<'_>| {
            costs.push((
                name,
                Cost {
                    median_us: time(call)?,
                    round_trips: count(call)?,
                },
            ));
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
        let Some(connected) = card else { return Ok(costs) };
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
        Ok(costs)
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
