//! Asks the card in each reader to say hello.
//!
//! It selects the applet A0 00 00 00 62 03 01 0C 06 01, sends 00 00 00 00 and prints the answer.

use std::ffi::CStr;
use std::process::ExitCode;

use pcsc_client::{Card, Context, Disposition, Error, Failure, Protocols, ShareMode, MAX_BUFFER_SIZE};

const SELECT: &[u8] = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
const HELLO: &[u8] = b"\x00\x00\x00\x00";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let Some(argument) = arguments.next() {
        let wants_help = argument == "--help" || argument == "-h";
        let usage = "Usage: hello\n\nConnects to the card in each reader, selects the Hello world! applet \
            and prints its greeting.\n\n\
            Environment:\n  PCSCLITE_CSOCK_NAME  the socket of pcscd, instead of /run/pcscd/pcscd.comm\n  \
            PCSCLITE_BACKEND     daemon, standalone, system or simulated, instead of what is there";
        if wants_help {
            println!("{usage}");
            return ExitCode::SUCCESS;
        }
        eprintln!("hello: unexpected argument {argument:?}\n{usage}");
        return ExitCode::from(2);
    }
    match greet_all() {
        Ok(greeted) if greeted > 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("hello: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Greets the card in each reader; gives the number of cards that answered.
fn greet_all() -> Result<usize, Failure> {
    let context = Context::builder().simulate_if_no_reader(true).establish()?;
    println!("Using {}.", context.backend());
    let readers = context.list_readers_owned()?;
    if readers.is_empty() {
        println!("No reader is connected.");
    }
    let mut greeted = 0;
    for reader in readers {
        match greet(&context, &reader) {
            Ok(greeting) => {
                println!("{}: {greeting}", reader.to_string_lossy());
                greeted += 1;
            }
            Err(Error::NoSmartcard) => println!("{}: no card", reader.to_string_lossy()),
            Err(error) => println!("{}: {error}", reader.to_string_lossy()),
        }
    }
    Ok(greeted)
}

fn greet(context: &Context, reader: &CStr) -> Result<String, Error> {
    let mut card = context.connect(reader, ShareMode::Shared, Protocols::ANY)?;
    // Other programs may be using the card: nothing of theirs is reset.
    card.set_drop_disposition(Disposition::LeaveCard);
    let transaction = card.transaction()?;
    let answer = exchange(&transaction, SELECT)?;
    if !answer.ends_with(&[0x90, 0x00]) {
        return Ok(format!(
            "the card has no Hello world! applet (it answered {answer:02X?})"
        ));
    }
    let answer = exchange(&transaction, HELLO)?;
    let (greeting, status) = answer.split_at(answer.len().saturating_sub(2));
    if status != [0x90, 0x00] {
        return Ok(format!("the applet answered {answer:02X?}"));
    }
    Ok(String::from_utf8_lossy(greeting).into_owned())
}

fn exchange(card: &Card, command: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = [0; MAX_BUFFER_SIZE];
    Ok(card.transmit(command, &mut buffer)?.to_vec())
}
