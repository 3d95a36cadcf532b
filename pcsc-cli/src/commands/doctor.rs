//! `pcsc doctor`: finds out why nothing works, and says what to do.

use std::io::{self, Write};

use pcsc_client::{Choice, Context};
use serde::Serialize;

use crate::args::{Backend, Global};
use crate::connect::wants_simulated;
use crate::doctor::{cards, daemon, libraries, usb, Finding, State};
use crate::output::{Output, Show, Style};
use crate::problem::{Exit, Problem};

#[derive(Debug, Serialize)]
struct Report {
    findings: Vec<Finding>,
    usable_readers: usize,
    answering_cards: usize,
    verdict: String,
}

impl Show for Report {
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
    let mut findings = Vec::new();
    let context = match wants_simulated(global)? {
        true => Some(simulated()?),
        false => real(global, &mut findings),
    };
    let checked = context.as_ref().map(cards::check).unwrap_or_default();
    findings.extend(checked.findings);
    let (usable, cards) = (checked.usable, checked.cards);
    let verdict = match (usable, cards) {
        (0, _) => "No reader can be used.".to_owned(),
        (_, 0) => format!("{} can be used. No card answers.", count(usable, "reader")),
        _ => format!(
            "All is well: {} can be used, and {}.",
            count(usable, "reader"),
            answers(cards)
        ),
    };
    let exit = match context {
        None => Exit::NoService,
        Some(_) => Exit::NoReader,
    };
    output.whole(&Report {
        findings,
        usable_readers: usable,
        answering_cards: cards,
        verdict,
    })?;
    match usable {
        // The verdict says so.
        0 => Err(Problem::new(exit, "")),
        _ => Ok(()),
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

fn simulated() -> Result<Context, Problem> {
    Ok(Context::builder().choose_backend(Choice::Simulated).establish()?)
}

/// Looks at the daemon, the USB and the libraries; gives a context with what works.
fn real(global: &Global, findings: &mut Vec<Finding>) -> Option<Context> {
    let (finding, daemon) = daemon::check(global);
    findings.push(finding);
    findings.extend(usb::check(daemon.is_some()));
    findings.extend(libraries::check());
    if daemon.is_some() || global.backend == Some(Backend::Daemon) {
        return daemon;
    }
    // Its failure is among the findings on the USB.
    Context::builder()
        .choose_backend(Choice::Standalone)
        .establish()
        .ok()
}
