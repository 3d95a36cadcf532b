//! `pcsc atr`: what an ATR says, and what a reader makes of it.

use std::io::{self, Write};

use pcsc_ccid::atr;
use pcsc_ccid::quirks;
use pcsc_client::{Attribute, Card, Protocols, ReaderInfo, ShareMode};
use serde::Serialize;

use crate::args::{Atr, Global};
use crate::atr_text::{self, Part};
use crate::card;
use crate::connect::establish_or_simulate;
use crate::hex;
use crate::output::{printable, Output, Show, Style};
use crate::problem::{Exit, Problem};
use crate::select;
use crate::smartcard_list;

/// How an ATR is written.
const FORM: &str = "Write it as 3B 02 14 50. Without an ATR, that of the card in the reader is explained.";

#[derive(Debug, Serialize)]
struct AtrReport {
    atr: String,
    parts: Vec<Part>,
    protocols: Vec<u8>,
    warnings: Vec<String>,
    /// `None` where no smartcard_list.txt is installed.
    names: Option<Vec<String>>,
    card_quirk: Option<&'static str>,
    #[serde(flatten)]
    reader: InReader,
}

/// The card in a reader; nothing of an ATR that is given.
#[derive(Debug, Default, Serialize)]
struct InReader {
    #[serde(rename = "reader")]
    name: Option<String>,
    protocol: Option<String>,
    speed: Option<InForce>,
    reader_quirks: Vec<&'static str>,
}

/// The speed that reader and card have agreed on.
#[derive(Debug, Serialize)]
struct InForce {
    f: u32,
    d: u32,
    clock_khz: u32,
    bits_per_second: u32,
}

impl Show for AtrReport {
    fn text(&self, to: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(to, "ATR {}", style.bold(&hex::pairs(&self.atr)))?;
        for part in &self.parts {
            writeln!(to, "  {}", part.line())?;
        }
        let protocols: Vec<String> = self
            .protocols
            .iter()
            .map(|number| format!("T={number}"))
            .collect();
        writeln!(to, "Protocols: {}", protocols.join(", "))?;
        for warning in &self.warnings {
            writeln!(to, "{} {warning}", style.bad("Warning:"))?;
        }
        if let Some(reason) = self.card_quirk {
            writeln!(to, "The driver helps this card: {reason}")?;
        }
        let reader = &self.reader;
        if let Some(name) = &reader.name {
            writeln!(to, "Reader: {name}")?;
            if let Some(protocol) = &reader.protocol {
                writeln!(to, "  protocol in use: {protocol}")?;
            }
            if let Some(speed) = &reader.speed {
                writeln!(
                    to,
                    "  speed in use: {} bit/s (F {}, D {}, {} kHz)",
                    speed.bits_per_second, speed.f, speed.d, speed.clock_khz
                )?;
            }
            for quirk in &reader.reader_quirks {
                writeln!(to, "  the driver helps this reader: {quirk}")?;
            }
        }
        match &self.names {
            None => writeln!(
                to,
                "Card: not known, as no smartcard_list.txt is installed (package pcsc-tools)"
            ),
            Some(names) if names.is_empty() => writeln!(to, "Card: not in smartcard_list.txt"),
            Some(names) => names.iter().try_for_each(|name| writeln!(to, "Card: {name}")),
        }
    }
}

/// Runs the command.
pub fn run(global: &Global, arguments: &Atr, output: &mut Output) -> Result<(), Problem> {
    let (bytes, reader) = match arguments.atr.as_slice() {
        [] => {
            let context = establish_or_simulate(global)?;
            let reader = select::one(&context, global.reader.as_deref())?;
            match card::connect(
                card::LIMIT,
                &context,
                &reader.name,
                ShareMode::Shared,
                Protocols::ANY,
            ) {
                Ok(mut card) => {
                    let card = card::transaction(card::LIMIT, &mut card)?;
                    (card.try_status()?.atr().to_vec(), in_reader(&reader, Some(&card)))
                }
                Err(problem) => return unusable(&reader, problem, output),
            }
        }
        words => {
            global.refuse("pcsc atr with an ATR", &["reader", "backend", "socket"])?;
            let bytes = hex::parse_spaced(&words.concat());
            let wrong = "The ATR is not made of pairs of hexadecimal digits.";
            let bytes = bytes.ok_or_else(|| Problem::new(Exit::Usage, wrong).advise(FORM))?;
            (bytes, InReader::default())
        }
    };
    let parsed = atr::Atr::parse(&bytes);
    let atr = parsed
        .map_err(|error| Problem::new(Exit::Usage, format!("This is no ATR: {error}.")).advise(FORM))?;
    output.whole(&report(&bytes, &atr, reader))
}

fn report(bytes: &[u8], atr: &atr::Atr, reader: InReader) -> AtrReport {
    AtrReport {
        parts: atr_text::parts(bytes, atr),
        protocols: atr.protocols(),
        warnings: atr.warnings.iter().map(ToString::to_string).collect(),
        names: smartcard_list::names(bytes),
        card_quirk: quirks::for_card(bytes).map(|quirk| quirk.reason),
        atr: hex::compact(bytes),
        reader,
    }
}

/// Explains the ATR of a card that no connection is made to, as its ATR may be the reason.
fn unusable(reader: &ReaderInfo, problem: Problem, output: &mut Output) -> Result<(), Problem> {
    let bytes = &reader.atr[..];
    if bytes.is_empty() || problem.exit != Exit::Failed {
        return Err(problem);
    }
    match atr::Atr::parse(bytes) {
        Ok(atr) => {
            output.whole(&report(bytes, &atr, in_reader(reader, None)))?;
            Err(problem)
        }
        Err(error) => {
            let text = format!("The card's ATR {} is faulty: {error}.", hex::spaced(bytes));
            Err(Problem { text, ..problem })
        }
    }
}

fn in_reader(reader: &ReaderInfo, card: Option<&Card>) -> InReader {
    let number = |attribute| {
        let card = card?;
        card.attribute_number(&card.try_get_attribute(attribute).ok()?)
    };
    let identity = &reader.identity;
    let product = identity.vendor_id.zip(identity.product_id);
    let firmware = number(Attribute::VendorIfdVersion).map(|version| (version >> 16) as u16);
    let is_about = |quirk: &&quirks::Quirk| match (product, firmware) {
        (Some((vendor, product)), Some(firmware)) => {
            quirk
                .rule
                .is_about(vendor, product, firmware, identity.interface.unwrap_or(0))
        }
        _ => false,
    };
    let speed = || {
        let (f, d) = (number(Attribute::CurrentF)?, number(Attribute::CurrentD)?);
        let clock_khz = number(Attribute::CurrentClk)?;
        // A driver can answer with any numbers.
        let bits = u128::from(clock_khz) * 1000 * u128::from(d) / u128::from(f.max(1));
        let bits_per_second = u32::try_from(bits).ok()?;
        Some(InForce {
            f,
            d,
            clock_khz,
            bits_per_second,
        })
    };
    InReader {
        name: Some(printable(&reader.name.to_string_lossy())),
        protocol: card
            .and_then(Card::active_protocol)
            .map(|protocol| match protocol {
                pcsc_client::Protocol::T0 => "T=0".into(),
                pcsc_client::Protocol::T1 => "T=1".into(),
                pcsc_client::Protocol::RAW => "raw".into(),
            }),
        speed: speed(),
        reader_quirks: quirks::TABLE
            .iter()
            .filter(is_about)
            .map(|quirk| quirk.reason)
            .collect(),
    }
}
