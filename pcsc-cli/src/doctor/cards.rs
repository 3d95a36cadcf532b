//! Which readers a context has, and whether their cards answer.

use pcsc_client::{Context, Disposition, Error, Protocols, ReaderInfo, ShareMode, State};

use super::Finding;
use crate::atr_text;
use crate::output::printable;

/// What the readers of a context have shown.
#[derive(Debug, Default)]
pub struct Checked {
    /// What was found.
    pub findings: Vec<Finding>,
    /// How many readers can be used.
    pub usable: usize,
    /// How many cards answer.
    pub cards: usize,
}

/// Looks at each reader, and connects to its card.
pub fn check(context: &Context) -> Checked {
    let mut checked = Checked::default();
    let readers = match context.readers() {
        Ok(readers) => readers,
        Err(failure) => {
            checked.findings.push(Finding::bad("reader", failure.to_string()));
            return checked;
        }
    };
    if readers.is_empty() {
        checked
            .findings
            .push(Finding::bad("reader", "no reader is listed"));
    }
    for reader in &readers {
        checked.add(context, reader);
    }
    checked
}

impl Checked {
    fn add(&mut self, context: &Context, reader: &ReaderInfo) {
        let name = printable(&reader.name.to_string_lossy());
        if reader.state.contains(State::UNAVAILABLE) || reader.state.is_empty() {
            let text = format!("{name} cannot be used: another process has it, or it does not answer");
            self.findings
                .push(Finding::bad("reader", text).advise("End that process, or plug the reader in again."));
            return;
        }
        self.usable += 1;
        let finding = match connect(context, reader) {
            _ if reader.state.contains(State::EXCLUSIVE) => {
                Finding::note("card", format!("{name}: a program uses the card exclusively"))
                    .advise("End that program to use the card.")
            }
            _ if reader.state.contains(State::EMPTY) => {
                Finding::note("card", format!("{name} works; no card is in it"))
                    .advise("Insert a card. If one is in it, turn it over: the chip goes in first.")
            }
            _ if reader.state.contains(State::MUTE) => mute(&name),
            Ok(atr) => {
                self.cards += 1;
                Finding::good(
                    "card",
                    format!("{name}: the card answers ({})", atr_text::short(&atr)),
                )
            }
            Err(Error::UnresponsiveCard) => mute(&name),
            Err(Error::UnpoweredCard) => Finding::bad("card", format!("{name}: the card has no power"))
                .advise("Take the card out and insert it again."),
            Err(error) => Finding::bad("card", format!("{name}: {error}")),
        };
        self.findings.push(finding);
    }
}

fn mute(name: &str) -> Finding {
    Finding::bad("card", format!("{name}: the card does not answer to reset"))
        .advise("Turn the card over, clean its contacts, or try another card. It may be broken.")
}

/// The ATR of a card that is left as it is.
fn connect(context: &Context, reader: &ReaderInfo) -> Result<Vec<u8>, Error> {
    let mut card = context.connect(&reader.name, ShareMode::Shared, Protocols::ANY)?;
    card.set_drop_disposition(Disposition::LeaveCard);
    Ok(card.status2_owned()?.atr().to_vec())
}
