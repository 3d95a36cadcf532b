//! A live view of readers and cards, with each card's ATR decoded (ISO/IEC 7816-3, clause 8).

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use pcsc_ccid::atr::Atr;
use pcsc_client::{Context, Event, Failure};

const USAGE: &str = "Usage: scan [--once]

Shows readers and cards as they come and go, until interrupted.

  --once   show what is there and end

Environment:
  PCSCLITE_CSOCK_NAME  the socket of pcscd, instead of /run/pcscd/pcscd.comm
  PCSCLITE_BACKEND     daemon, standalone or simulated, instead of what is there";

fn main() -> ExitCode {
    let mut once = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--once" => once = true,
            "-h" | "--help" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => {
                eprintln!("scan: unexpected argument {argument:?}\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    match scan(once) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("scan: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn scan(once: bool) -> Result<(), Failure> {
    let context = Context::builder().simulate_if_no_reader(true).establish()?;
    println!("Using {}.", context.backend());
    if context.list_readers_owned()?.is_empty() {
        println!("No reader is connected.");
    }
    let mut events = context.events();
    loop {
        // Readers and cards that are present are reported at once; then the first pause ends a single look.
        let event = if once {
            events.next_timeout(Duration::ZERO)
        } else {
            events.next()
        };
        match event {
            Some(Ok(event)) => show(&event),
            Some(Err(failure)) => return Err(failure),
            None => return Ok(()),
        }
    }
}

fn show(event: &Event) {
    match event {
        Event::ReaderAdded { reader } => println!("+ {}", reader.to_string_lossy()),
        Event::ReaderRemoved { reader } => println!("- {}", reader.to_string_lossy()),
        Event::CardInserted { reader, atr } if atr.is_empty() => {
            println!("  {}: a card that does not answer", reader.to_string_lossy());
        }
        Event::CardInserted { reader, atr } => {
            println!("  {}: card\n{}", reader.to_string_lossy(), describe(atr));
        }
        Event::CardRemoved { reader } => println!("  {}: card removed", reader.to_string_lossy()),
        _ => (),
    }
}

/// An ATR and what it says.
fn describe(bytes: &[u8]) -> String {
    let mut text = String::from("    ATR");
    for byte in bytes {
        let _ = write!(text, " {byte:02X}");
    }
    let atr = match Atr::parse(bytes) {
        Ok(atr) => atr,
        Err(error) => return format!("{text}\n    not valid: {error}"),
    };
    let protocols: Vec<String> = atr
        .protocols()
        .iter()
        .map(|number| format!("T={number}"))
        .collect();
    let _ = write!(text, "\n    protocols: {}", protocols.join(", "));
    if let Some(protocol) = atr.specific_mode() {
        let _ = write!(text, "; T={protocol} without a choice");
    }
    if atr.is_inverse {
        text.push_str("; inverse convention");
    }
    match atr.speed() {
        Some(speed) => {
            let clock = f64::from(speed.max_clock_hz) / 1e6;
            let rate = speed.bits_per_second(speed.max_clock_hz);
            let _ = write!(
                text,
                "\n    speed: Fi {}, Di {}: {rate} bit/s at {clock} MHz",
                speed.fi, speed.di
            );
        }
        None => text.push_str("\n    speed: TA1 has a reserved value"),
    }
    if !atr.historical.is_empty() {
        text.push_str("\n    historical bytes:");
        for byte in &atr.historical {
            let _ = write!(text, " {byte:02X}");
        }
        let printable = |byte: &u8| {
            if byte.is_ascii_graphic() || *byte == b' ' {
                char::from(*byte)
            } else {
                '.'
            }
        };
        let _ = write!(
            text,
            " \"{}\"",
            atr.historical.iter().map(printable).collect::<String>()
        );
    }
    for warning in &atr.warnings {
        let _ = write!(text, "\n    warning: {warning}");
    }
    text
}
