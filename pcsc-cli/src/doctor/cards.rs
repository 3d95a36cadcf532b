//! Which readers a context has, and whether their cards answer.

use pcsc_client::{BackendKind, Context, Error, Failure, Protocols, ReaderInfo, ShareMode, State};

use super::{users, Finding};
use crate::atr_text;
use crate::card;
use crate::output::printable;
use crate::problem::Problem;

/// What the readers of a context have shown.
#[derive(Debug, Default)]
pub struct Checked {
    /// What was found.
    pub findings: Vec<Finding>,
    /// How many readers can be used.
    pub usable: usize,
    /// How many cards answer.
    pub cards: usize,
    /// Whether other programs keep a reader or its card to themselves.
    pub is_in_use: bool,
}

/// Looks at each reader, and connects to its card. Each reader has a context of its own from `establish`: a
/// connect that gives up on another program's transaction may cost its context.
pub fn check(context: &Context, establish: &dyn Fn() -> Result<Context, Failure>) -> Checked {
    let readers = match context.readers() {
        Ok(readers) if readers.is_empty() => {
            return Checked::of(match context.backend() {
                BackendKind::Daemon { .. } => Finding::bad("reader", "the daemon runs, and lists no reader")
                    .advise(
                        "Plug one in. If one is there, the daemon's log says why it is not listed: \
                         journalctl -u pcscd",
                    ),
                _ => Finding::bad("reader", "no reader is listed"),
            });
        }
        Ok(readers) => readers,
        Err(failure) => return Checked::of(Finding::bad("reader", failure.to_string())),
    };
    let mut checked = Checked::default();
    for reader in &readers {
        checked.add(establish, reader);
    }
    checked
}

impl Checked {
    /// A finding, and no reader.
    pub fn of(finding: Finding) -> Checked {
        Checked {
            findings: vec![finding],
            ..Checked::default()
        }
    }

    fn add(&mut self, establish: &dyn Fn() -> Result<Context, Failure>, reader: &ReaderInfo) {
        let name = printable(&reader.name.to_string_lossy());
        if reader.state.contains(State::UNAVAILABLE) || reader.state.is_empty() {
            self.is_in_use = true;
            let text = format!("{name} cannot be used: something else has it, or it does not answer");
            let advice = "See what is said about it above, or plug it in again.";
            self.findings.push(Finding::bad("reader", text).advise(advice));
            return;
        }
        self.usable += 1;
        // Only a card that may answer is connected to.
        let finding = if reader.state.contains(State::EXCLUSIVE) {
            self.is_in_use = true;
            self.usable -= 1;
            Finding::note("card", format!("{name}: a program uses the card exclusively"))
                .advise(holders(&users::of("libpcsclite")))
        } else if reader.state.contains(State::EMPTY) {
            Finding::note("card", format!("{name} works; no card is in it"))
                .advise("Insert a card. If one is in it, turn it over: the chip goes in first.")
        } else if reader.state.contains(State::MUTE) {
            mute(&name)
        } else {
            self.connected(&name, establish, reader)
        };
        self.findings.push(finding);
    }

    /// What a connection to the card shows.
    fn connected(
        &mut self,
        name: &str,
        establish: &dyn Fn() -> Result<Context, Failure>,
        reader: &ReaderInfo,
    ) -> Finding {
        let context = establish().map_err(Problem::from);
        let problem = match context.and_then(|context| atr(&context, reader)) {
            Ok(atr) => {
                self.cards += 1;
                let text = format!("{name}: the card answers ({})", atr_text::short(&atr));
                return Finding::good("card", text);
            }
            Err(problem) => problem,
        };
        match problem.error {
            Some(Error::UnresponsiveCard) => mute(name),
            Some(Error::UnpoweredCard) => Finding::bad("card", format!("{name}: the card has no power"))
                .advise("Take the card out and insert it again."),
            Some(Error::Timeout) => {
                self.is_in_use = true;
                self.usable -= 1;
                let text = format!("{name}: another program holds the card in a transaction");
                Finding::bad("card", text).advise(holders(&users::of("libpcsclite")))
            }
            _ => Finding::bad("card", format!("{name}: {}", problem.text)),
        }
    }
}

/// What to do about a card that one of these programs keeps to itself.
fn holders(programs: &[String]) -> String {
    match programs {
        [] => "End that program, or what it does with the card.".to_owned(),
        _ => format!(
            "End it, or what it does with the card. Running with libpcsclite: {}",
            programs.join(", ")
        ),
    }
}

fn mute(name: &str) -> Finding {
    Finding::bad("card", format!("{name}: the card does not answer to reset"))
        .advise("Turn the card over, clean its contacts, or try another card. It may be broken.")
}

/// The ATR of a card that is left as it is.
fn atr(context: &Context, reader: &ReaderInfo) -> Result<Vec<u8>, Problem> {
    let mut card = card::connect(
        card::LIMIT,
        context,
        &reader.name,
        ShareMode::Shared,
        Protocols::ANY,
    )?;
    let card = card::transaction(card::LIMIT, &mut card)?;
    Ok(card.try_status()?.atr().to_vec())
}
