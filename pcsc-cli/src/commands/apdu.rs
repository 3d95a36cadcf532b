//! `pcsc apdu`: sends commands to a card.

use std::io::{self, Write};
use std::path::Path;

use pcsc_ccid::apdu;
use pcsc_ccid::secrets::shown_of_command;
use pcsc_client::{
    Card, Disposition, Error, Failure, Protocols, ShareMode, Transaction, MAX_BUFFER_SIZE_EXTENDED,
};
use pcsc_sim::masked;
use serde::Serialize;

use crate::apdu_text::{self, Step, WrittenCommand};
use crate::args::{Apdu, Global, Protocol};
use crate::card;
use crate::connect::establish_or_simulate;
use crate::hex;
use crate::input;
use crate::output::{printable, Output, Show, Style};
use crate::problem::{Exit, Problem};
use crate::select;
use crate::status_words;

/// One command and its answer.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "exchange")]
struct Exchange {
    reader: String,
    command: String,
    data: String,
    sw: String,
    meaning: String,
    /// `None` without `=SW`.
    expected: Option<String>,
    as_expected: Option<bool>,
}

/// A reset, in a stream of exchanges.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "reset")]
struct Reset {
    reader: String,
    atr: String,
}

impl Show for Exchange {
    fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(to, "> {}", hex::pairs(&self.command))?;
        let data = hex::parse(&self.data).unwrap_or_default();
        let text = hex::ascii(&data).map_or(String::new(), |text| {
            format!("  {}", style.dim(&format!("{text:?}")))
        });
        if !data.is_empty() {
            writeln!(to, "< {}{text}", hex::pairs(&self.data))?;
        }
        let sw = format!(
            "{} {}",
            hex::pairs(&self.sw),
            style.dim(&format!("({})", self.meaning))
        );
        match (&self.expected, self.as_expected) {
            (Some(expected), Some(false)) => {
                writeln!(
                    to,
                    "< {sw}, {}",
                    style.bad(&format!("expected {}", hex::pairs(expected)))
                )
            }
            _ => writeln!(to, "< {sw}"),
        }
    }
}

impl Show for Reset {
    fn text(&self, to: &mut dyn Write, _style: Style) -> io::Result<()> {
        writeln!(to, "> reset\n< ATR {}", hex::pairs(&self.atr))
    }
}

/// Runs the command.
pub fn run(global: &Global, arguments: &Apdu, output: &mut Output) -> Result<(), Problem> {
    let steps = steps(arguments)?;
    let context = establish_or_simulate(global)?;
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
    let limit = arguments.timeout.unwrap_or(card::LIMIT);
    let connected = card::connect(limit, &context, &reader.name, share, protocols);
    let mut card = connected.map_err(|problem| match problem.error {
        Some(Error::ProtoMismatch) if arguments.protocol != Protocol::Any => {
            problem.advise("Try --protocol any.")
        }
        _ => problem,
    })?;
    let mut session = Session {
        reader: printable(&reader.name.to_string_lossy()),
        share,
        protocols,
        is_automatic: arguments.auto,
        buffer: vec![0; MAX_BUFFER_SIZE_EXTENDED],
    };
    let mut transaction = card::transaction(limit, &mut card)?;
    if arguments.warm_reset {
        session.reset(&mut transaction)?;
    }
    for (at, (place, step)) in steps.iter().enumerate() {
        match step {
            Step::Reset => output.part(&session.reset(&mut transaction)?)?,
            Step::Send(command) => {
                let exchange = session.send(&transaction, command)?;
                output.part(&exchange)?;
                if exchange.as_expected == Some(false) {
                    return Err(unexpected(place, at + 1 == steps.len()));
                }
            }
        }
        // Other programs may use the card between two commands. Each command has a transaction of its own,
        // since the wait for one has a bound, which must not be one of the card's work.
        if !arguments.transaction && at + 1 < steps.len() {
            drop(transaction);
            transaction = card::transaction(limit, &mut card)?;
        }
    }
    Ok(())
}

/// The problem that an answer is not the expected one. What follows was meant for a card in another state,
/// and may be a PIN: it is not sent.
fn unexpected(place: &str, is_last: bool) -> Problem {
    let rest = if is_last {
        ""
    } else {
        " What follows was not sent."
    };
    Problem::new(
        Exit::Unexpected,
        format!("The answer to {place} is not the expected one.{rest}"),
    )
}

/// The commands of the arguments, or of a file, each with its place there.
fn steps(arguments: &Apdu) -> Result<Vec<(String, Step)>, Problem> {
    let wrong = |error: String| {
        Problem::new(Exit::Usage, format!("An APDU cannot be understood: {error}.")).advise(apdu_text::FORMS)
    };
    if let Some(text) = script(arguments)? {
        let steps = apdu_text::script(&text).map_err(wrong)?;
        if steps.is_empty() {
            return Err(
                Problem::new(Exit::Usage, "There is no APDU in the script: nothing was sent.")
                    .advise(apdu_text::FORMS),
            );
        }
        let placed = |(line, step)| (format!("the APDU in line {line}"), step);
        return Ok(steps.into_iter().map(placed).collect());
    }
    let apdus = &arguments.apdus;
    if apdu_text::is_unquoted(apdus) {
        return Err(wrong("the shell has split it into single bytes; quote it".into()));
    }
    let numbered = apdus.iter().enumerate();
    let step = |(at, text): (usize, &String)| {
        let number = at + 1;
        let step = match text.as_str() {
            "-" => Err("- stands alone, for all of standard input".into()),
            text => apdu_text::parse(text),
        };
        let step = step.map_err(|error| wrong(format!("number {number}: {error}")))?;
        Ok((format!("APDU {number}"), step))
    };
    numbered.map(step).collect()
}

/// The text of the file or of standard input, if the commands are there.
fn script(arguments: &Apdu) -> Result<Option<Vec<u8>>, Problem> {
    let file = match &arguments.file {
        Some(file) => file,
        None if arguments.apdus == ["-"] => Path::new("-"),
        None => return Ok(None),
    };
    let mut text = Vec::new();
    let read = input::open(file).and_then(|mut input| input.read_to_end(&mut text));
    read.map_err(|error| Problem::unreadable(file, error))?;
    Ok(Some(text))
}

struct Session {
    reader: String,
    share: ShareMode,
    protocols: Protocols,
    is_automatic: bool,
    buffer: Vec<u8>,
}

impl Session {
    fn reset(&mut self, card: &mut Transaction<'_>) -> Result<Reset, Problem> {
        let reconnected = card.reconnect(self.share, self.protocols, Disposition::ResetCard);
        reconnected.map_err(Failure::from)?;
        let atr = hex::compact(card.try_status()?.atr());
        let reader = self.reader.clone();
        Ok(Reset { reader, atr })
    }

    /// Sends a command as it is. With `--auto` it also does what the status words 61 and 6C ask for.
    fn send(&mut self, card: &Card, command: &WrittenCommand) -> Result<Exchange, Problem> {
        let (mut data, mut sw) = self.transmit(card, &command.bytes)?;
        if self.is_automatic {
            if let [0x6C, right] = sw {
                if let Some(corrected) = with_le(&command.bytes, right) {
                    (data, sw) = self.transmit(card, &corrected)?;
                }
            }
            while let [0x61, more] = sw {
                let class = get_response_class(command.bytes[0]);
                let (rest, next) = self.transmit(card, &[class, 0xC0, 0, 0, more])?;
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
            reader: self.reader.clone(),
            command: masked::public(&masked::shown(&command.bytes), shown_of_command),
            data: hex::compact(&data),
            meaning: status_words::meaning(sw[0], sw[1]),
            as_expected: command.expected.as_ref().map(is_like),
            expected: command.expected.clone(),
            sw: digits,
        })
    }

    /// The data and the status words of an answer.
    fn transmit(&mut self, card: &Card, command: &[u8]) -> Result<(Vec<u8>, [u8; 2]), Problem> {
        match card.try_transmit(command, &mut self.buffer)? {
            [data @ .., sw1, sw2] => Ok((data.to_vec(), [*sw1, *sw2])),
            _ => Err(Problem::new(Exit::Failed, "The answer has no status words.")),
        }
    }
}

/// The command with this Le (SW2 of 6CXX) in the place of the one that it had, if any. `None` for bytes that
/// are no command APDU, in which there is no telling where Le is.
fn with_le(command: &[u8], le: u8) -> Option<Vec<u8>> {
    let parsed = apdu::CommandApdu::parse_of_any_class(command).ok()?;
    let le = match (parsed.extended, le) {
        (false, _) => vec![le],
        // 6C00 asks for 256, which is 0 in one byte.
        (true, 0) => vec![1, 0],
        (true, _) => vec![0, le],
    };
    apdu_text::assemble(&command[..4], parsed.data, Some(le)).ok()
}

/// The class of GET RESPONSE: the command's logical channel, without secure messaging and chaining
/// (ISO/IEC 7816-4, clause 5.4.1). Proprietary classes have the channel in the same bits.
fn get_response_class(cla: u8) -> u8 {
    match cla {
        // All commands of a GSM SIM have this class (GSM 11.11, clause 9.2).
        0xA0 => 0xA0,
        0x00..=0x1F | 0x80..=0x9F => cla & 0x03,
        0x40..=0x7F | 0xC0..=0xFE => 0x40 | cla & 0x0F,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_corrected_as_the_card_asks() {
        for (command, le, corrected) in [
            ("00B00000", 5, "00B0000005"),
            ("00B0000000", 5, "00B0000005"),
            ("00A4040001A0", 5, "00A4040001A005"),
            ("00A4040001A000", 5, "00A4040001A005"),
            ("FFCA000000", 4, "FFCA000004"),
            // Extended.
            ("00B00000 000100", 5, "00B00000 000005"),
            ("00B00000 000010", 0, "00B00000 000100"),
            ("00CB3FFF 000003 5C0100", 5, "00CB3FFF 000003 5C0100 0005"),
            ("00CB3FFF 000003 5C0100 0000", 5, "00CB3FFF 000003 5C0100 0005"),
            ("00CB3FFF 000003 5C0100 0000", 0, "00CB3FFF 000003 5C0100 0100"),
        ] {
            let bytes = |text| hex::parse_spaced(text).unwrap();
            assert_eq!(with_le(&bytes(command), le), Some(bytes(corrected)), "{command}");
        }
        for malformed in [&[][..], &[0, 0xB0, 0], &[0, 0xA4, 4, 0, 5, 0xA0]] {
            assert_eq!(with_le(malformed, 5), None);
        }
    }

    #[test]
    fn get_response_has_the_channel_of_the_command() {
        for (class, expected) in [
            (0x00, 0x00),
            (0x0E, 0x02),
            (0x11, 0x01),
            (0x45, 0x45),
            (0x73, 0x43),
            (0x80, 0x00),
            (0x81, 0x01),
            (0x87, 0x03),
            (0x92, 0x02),
            (0xC5, 0x45),
            (0xE2, 0x42),
            (0xA0, 0xA0),
            (0x20, 0x00),
            (0xFF, 0x00),
        ] {
            assert_eq!(get_response_class(class), expected, "{class:02X}");
        }
    }
}
