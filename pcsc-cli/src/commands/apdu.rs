//! `pcsc apdu`: sends commands to a card.

use std::io::{self, Read, Write};

use pcsc_client::{Card, Disposition, Failure, Protocols, ShareMode, Transaction, MAX_BUFFER_SIZE_EXTENDED};
use serde::Serialize;

use crate::apdu_text::{self, Command, Step};
use crate::args::{Apdu, Global, Protocol};
use crate::card;
use crate::connect::{establish, Fallback};
use crate::hex;
use crate::output::{Output, Show, Style};
use crate::problem::{Exit, Problem};
use crate::select;
use crate::status_words;

/// One command and its answer.
#[derive(Debug, Serialize)]
struct Exchange {
    command: String,
    data: String,
    sw: String,
    meaning: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_expected: Option<bool>,
}

/// A reset, in a stream of exchanges.
#[derive(Debug, Serialize)]
struct Reset {
    atr: String,
}

impl Show for Exchange {
    fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(to, "> {}", spaced(&self.command))?;
        let data = hex::parse(&self.data).unwrap_or_default();
        let text = hex::ascii(&data).map_or(String::new(), |text| {
            format!("  {}", style.dim(&format!("{text:?}")))
        });
        if !data.is_empty() {
            writeln!(to, "< {}{text}", hex::spaced(&data))?;
        }
        let sw = format!(
            "{} {}",
            spaced(&self.sw),
            style.dim(&format!("({})", self.meaning))
        );
        match (&self.expected, self.as_expected) {
            (Some(expected), Some(false)) => {
                writeln!(
                    to,
                    "< {sw}, {}",
                    style.bad(&format!("expected {}", spaced(expected)))
                )
            }
            _ => writeln!(to, "< {sw}"),
        }
    }
}

impl Show for Reset {
    fn text(&self, to: &mut dyn Write, _style: Style) -> io::Result<()> {
        writeln!(to, "> reset\n< ATR {}", spaced(&self.atr))
    }
}

fn spaced(digits: &str) -> String {
    let pairs = digits.as_bytes().chunks(2);
    let pairs: Vec<_> = pairs.map(String::from_utf8_lossy).collect();
    pairs.join(" ")
}

/// Runs the command.
pub fn run(global: &Global, arguments: &Apdu, output: &mut Output) -> Result<(), Problem> {
    let steps = steps(arguments)?;
    let context = establish(global, Fallback::Simulated)?;
    let reader = select::one(&context, global.reader.as_deref())?;
    let share = match arguments.exclusive {
        true => ShareMode::Exclusive,
        false => ShareMode::Shared,
    };
    let protocols = match arguments.protocol {
        Protocol::T0 => Protocols::T0,
        Protocol::T1 => Protocols::T1,
        Protocol::Any => Protocols::ANY,
    };
    let mut card = card::connect(&context, &reader.name, share, protocols)?;
    if arguments.warm_reset {
        card.try_reconnect(share, protocols, Disposition::ResetCard)?;
    }
    let mut session = Session {
        link: match arguments.transaction {
            true => Link::Transaction(card::transaction(&mut card)?),
            false => Link::Card(&mut card),
        },
        share,
        protocols,
        is_automatic: arguments.auto,
        buffer: vec![0; MAX_BUFFER_SIZE_EXTENDED],
    };
    let mut is_expected = true;
    for step in &steps {
        match step {
            Step::Reset => output.part(&session.reset()?)?,
            Step::Send(command) => {
                let exchange = session.send(command)?;
                is_expected &= exchange.as_expected != Some(false);
                output.part(&exchange)?;
            }
        }
    }
    match is_expected {
        true => Ok(()),
        false => Err(Problem::new(
            Exit::Unexpected,
            "The card did not answer as expected.",
        )),
    }
}

/// The commands of the arguments, or of a file.
fn steps(arguments: &Apdu) -> Result<Vec<Step>, Problem> {
    let unreadable = |error: io::Error| {
        let name = arguments
            .file
            .as_ref()
            .map_or("-".into(), |path| path.display().to_string());
        Problem::new(Exit::Usage, format!("{name} cannot be read: {error}."))
    };
    let wrong = |error: String| {
        Problem::new(Exit::Usage, format!("An APDU cannot be understood: {error}.")).advise(
            "Write all bytes in hexadecimal digits, as '00 A4 04 00 00', or [CLA]INS[P1P2][:DATA][/LE][=SW].",
        )
    };
    let file = match &arguments.file {
        Some(path) if path.as_os_str() != "-" => Some(std::fs::read_to_string(path).map_err(unreadable)?),
        None if arguments.apdus != ["-"] => None,
        _ => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(unreadable)?;
            Some(text)
        }
    };
    match file {
        Some(text) => {
            let steps = apdu_text::script(&text).map_err(wrong)?;
            Ok(steps.into_iter().map(|(_, step)| step).collect())
        }
        None => {
            let numbered = arguments.apdus.iter().enumerate();
            let step = |(at, text): (usize, &String)| {
                apdu_text::parse(text).map_err(|error| wrong(format!("number {}: {error}", at + 1)))
            };
            numbered.map(step).collect()
        }
    }
}

/// A connection, with a transaction or without.
enum Link<'a> {
    Card(&'a mut Card),
    Transaction(Transaction<'a>),
}

struct Session<'a> {
    link: Link<'a>,
    share: ShareMode,
    protocols: Protocols,
    is_automatic: bool,
    buffer: Vec<u8>,
}

impl Session<'_> {
    fn card(&self) -> &Card {
        match &self.link {
            Link::Card(card) => card,
            Link::Transaction(transaction) => transaction,
        }
    }

    fn reset(&mut self) -> Result<Reset, Problem> {
        let (share, protocols, how) = (self.share, self.protocols, Disposition::ResetCard);
        match &mut self.link {
            Link::Card(card) => card.try_reconnect(share, protocols, how)?,
            Link::Transaction(transaction) => {
                let reconnected = transaction.reconnect(share, protocols, how);
                reconnected.map_err(Failure::from)?;
            }
        }
        let atr = hex::compact(self.card().try_status()?.atr());
        Ok(Reset { atr })
    }

    /// Sends a command as it is. With `--auto` it also does what the status words 61 and 6C ask for.
    fn send(&mut self, command: &Command) -> Result<Exchange, Problem> {
        let (mut data, mut sw) = self.transmit(&command.bytes)?;
        if self.is_automatic {
            if let ([0x6C, right], [.., _]) = (sw, &command.bytes[..]) {
                (data, sw) = self.transmit(&with_le(&command.bytes, right))?;
            }
            while let [0x61, more] = sw {
                let class = get_response_class(command.bytes[0]);
                let (rest, next) = self.transmit(&[class, 0xC0, 0, 0, more])?;
                // A card without more data would be asked for ever.
                if rest.is_empty() {
                    sw = next;
                    break;
                }
                data.extend(rest);
                sw = next;
            }
        }
        let digits = hex::compact(&sw);
        let is_like = |expected: &String| {
            let mut pairs = expected.chars().zip(digits.chars());
            pairs.all(|(expected, found)| expected == 'X' || expected == found)
        };
        Ok(Exchange {
            command: shown(&command.bytes),
            data: hex::compact(&data),
            meaning: status_words::meaning(sw[0], sw[1]),
            as_expected: command.expected.as_ref().map(is_like),
            expected: command.expected.clone(),
            sw: digits,
        })
    }

    /// The data and the status words of an answer.
    fn transmit(&mut self, command: &[u8]) -> Result<(Vec<u8>, [u8; 2]), Problem> {
        let card = match &self.link {
            Link::Card(card) => &**card,
            Link::Transaction(transaction) => transaction,
        };
        match card.try_transmit(command, &mut self.buffer)? {
            [data @ .., sw1, sw2] => Ok((data.to_vec(), [*sw1, *sw2])),
            _ => Err(Problem::new(Exit::Failed, "The answer has no status words.")),
        }
    }
}

/// The command with this Le, which replaces the last byte of a command that had one.
fn with_le(command: &[u8], le: u8) -> Vec<u8> {
    let (&[cla, ins, p1, p2], body) = command.split_first_chunk().unwrap_or((&[0; 4], &[]));
    let mut bytes = vec![cla, ins, p1, p2];
    match body {
        [] | [_] => (),
        [lc, rest @ ..] => bytes.extend(&body[..=rest.len().min(usize::from(*lc))]),
    }
    bytes.push(le);
    bytes
}

/// The class of GET RESPONSE: the command's logical channel, without secure messaging and chaining
/// (ISO/IEC 7816-4, clause 5.4.1).
fn get_response_class(cla: u8) -> u8 {
    match cla {
        0x00..=0x1F => cla & 0x03,
        0x40..=0x7F => cla & 0x4F,
        _ => 0,
    }
}

/// A command as it is printed: without the data that may be a PIN.
fn shown(command: &[u8]) -> String {
    match apdu_text::holds_pin(command) {
        true => hex::compact(&command[..5]) + &"**".repeat(command.len() - 5),
        false => hex::compact(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_corrected_as_the_card_asks() {
        assert_eq!(with_le(&[0, 0xB0, 0, 0], 5), [0, 0xB0, 0, 0, 5]);
        assert_eq!(with_le(&[0, 0xB0, 0, 0, 0], 5), [0, 0xB0, 0, 0, 5]);
        assert_eq!(with_le(&[0, 0xA4, 4, 0, 1, 0xA0], 5), [0, 0xA4, 4, 0, 1, 0xA0, 5]);
        assert_eq!(
            with_le(&[0, 0xA4, 4, 0, 1, 0xA0, 0], 5),
            [0, 0xA4, 4, 0, 1, 0xA0, 5]
        );
        assert_eq!([0x0C, 0x01, 0x53, 0x80].map(get_response_class), [0, 1, 0x43, 0]);
    }

    #[test]
    fn pins_are_not_shown() {
        assert_eq!(shown(&[0, 0x20, 0, 0x80, 2, 0x31, 0x32]), "0020008002****");
        assert_eq!(shown(&[0, 0xA4, 4, 0]), "00A40400");
    }
}
