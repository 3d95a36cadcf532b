//! `pcsc doctor`: finds out why nothing works, and says what to do.

use std::io::{self, Write};

use pcsc_client::{Choice, Error};
use serde::Serialize;

use crate::args::Global;
use crate::connect::Route;
use crate::doctor::cards::{self, Checked};
use crate::doctor::daemon::{self, Daemon};
use crate::doctor::{libraries, usb, user_socket, Finding, State};
use crate::output::{Output, Show, Style};
use crate::problem::{Exit, Problem};

#[derive(Debug, Serialize)]
struct DoctorReport {
    findings: Vec<Finding>,
    usable_readers: usize,
    answering_cards: usize,
    verdict: String,
}

impl Show for DoctorReport {
    fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()> {
        for finding in &self.findings {
            let mark = match finding.state {
                State::Good => style.good("ok  "),
                State::Note => style.dim("note"),
                State::Bad => style.bad("BAD "),
            };
            writeln!(to, "{mark} {:<8} {}", finding.subject, finding.text)?;
            if let Some(advice) = &finding.advice {
                writeln!(to, "              -> {advice}")?;
            }
        }
        writeln!(to, "{}", style.bold(&self.verdict))
    }
}

/// Runs the command.
pub fn run(global: &Global, output: &mut Output) -> Result<(), Problem> {
    let route = Route::new(global)?;
    // In this order: a context without a daemon opens the readers that are free.
    let mut findings = examined(&route);
    let context = route.builder().establish();
    let checked = match &context {
        Ok(context) => cards::check(context, &|| route.builder().establish()),
        Err(failure) if findings.iter().any(|finding| finding.state == State::Bad) => {
            // The finding says why.
            log::info!("{failure}");
            Checked::default()
        }
        Err(failure) => Checked::of(unreachable(&route, &Problem::from(failure.clone()))),
    };
    findings.extend(checked.findings);
    let (usable, cards) = (checked.usable, checked.cards);
    let is_well = findings.iter().all(|finding| finding.state != State::Bad);
    let verdict = match (usable, cards) {
        (0, _) => "No reader can be used.".to_owned(),
        (_, 0) => format!("{} can be used. No card answers.", count(usable, "reader")),
        _ => format!(
            "{}{} can be used, and {}.",
            if is_well { "All is well: " } else { "" },
            count(usable, "reader"),
            answers(cards)
        ),
    };
    output.whole(&DoctorReport {
        findings,
        usable_readers: usable,
        answering_cards: cards,
        verdict,
    })?;
    // The verdict says what the code means.
    match (usable, context) {
        (0, Err(failure)) => Err(Problem::new(Problem::from(failure).exit, "")),
        (0, Ok(_)) if checked.is_in_use => Err(Problem::new(Exit::InUse, "")),
        (0, Ok(_)) => Err(Problem::new(Exit::NoReader, "")),
        _ => Ok(()),
    }
}

/// What is found where no context can be established, and the findings before do not say why.
fn unreachable(route: &Route, problem: &Problem) -> Finding {
    match route.choice {
        Choice::Automatic if problem.error == Some(Error::NoService) => Finding::bad(
            "reader",
            "there is no way to readers: no daemon runs, and the USB is not visible",
        ),
        Choice::System => Finding::bad("reader", problem.text.clone())
            .advise("pcsc doctor --backend daemon finds out what keeps the daemon away."),
        _ => Finding::bad("reader", problem.text.clone()),
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn answers(cards: usize) -> String {
    match cards {
        1 => "1 card answers".into(),
        _ => format!("{cards} cards answer"),
    }
}

/// What is found of the daemon, the USB and the libraries, as far as the library goes there for this route.
fn examined(route: &Route) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut daemon = Daemon::Absent;
    let mut is_of_user = false;
    let usb = match route.choice {
        Choice::Simulated => return findings,
        Choice::Standalone => Some(usb::check()),
        // What is below it, the library does not say.
        Choice::System => None,
        choice => {
            let finding;
            (finding, daemon) = daemon::check(route);
            findings.push(finding);
            if choice == Choice::Automatic {
                if let Some((finding, of_user)) = user_socket::check(&daemon) {
                    findings.push(finding);
                    if daemon == Daemon::Absent {
                        (daemon, is_of_user) = (of_user, true);
                    }
                }
            }
            match daemon {
                _ if choice != Choice::Automatic => None,
                // The user's own server may do no more than this process.
                Daemon::Absent => Some(usb::check()),
                Daemon::Serves { lists_readers, .. } if is_of_user && !lists_readers => Some(usb::check()),
                Daemon::Serves { lists_readers, .. } => Some(usb::served(lists_readers)),
                Daemon::Fails => None,
            }
        }
    };
    findings.extend(usb.unwrap_or_default());
    findings.extend(libraries::check(&daemon));
    findings
}
