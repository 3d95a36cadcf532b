//! A line of a record: one transfer, as text and back.

use std::fmt::Write;
use std::ops::Range;

use pcsc_ccid::transport::Error;

/// The endpoint's address in lines about the control pipe.
pub(super) const CONTROL: u8 = 0;

const ERRORS: [(Error, &str); 5] = [
    (Error::Timeout, "timeout"),
    (Error::Cancelled, "cancelled"),
    (Error::Stall, "stall"),
    (Error::Gone, "gone"),
    (Error::Fault, "fault"),
];

/// A class request, but for its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setup {
    pub request: u8,
    pub value: u16,
}

/// A transfer. Bytes that are hidden are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transfer {
    Out {
        endpoint: u8,
        setup: Option<Setup>,
        data: Vec<Option<u8>>,
        result: Result<(), Error>,
    },
    In {
        endpoint: u8,
        setup: Option<Setup>,
        result: Result<Vec<u8>, Error>,
    },
    ClearHalt(Result<(), Error>),
}

impl Transfer {
    /// The line, without its time.
    pub fn text(&self) -> String {
        let failure = |result: &Result<(), Error>| match result {
            Ok(()) => String::new(),
            Err(error) => format!(" {}", failure(*error)),
        };
        match self {
            Transfer::Out {
                endpoint,
                setup,
                data,
                result,
            } => {
                let place = place(*endpoint, *setup);
                format!("out {place} {}{}", digits(data.iter().copied()), failure(result))
            }
            Transfer::In {
                endpoint,
                setup,
                result,
            } => {
                let outcome = match result {
                    Ok(data) => digits(data.iter().copied().map(Some)),
                    Err(error) => self::failure(*error),
                };
                format!("in {} {outcome}", place(*endpoint, *setup))
            }
            Transfer::ClearHalt(result) => format!("clear-halt{}", failure(result)),
        }
    }

    /// Reads a line without its time. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Transfer, String> {
        let mut fields = text.split_ascii_whitespace();
        let mut next = |what: &str| fields.next().ok_or_else(|| format!("{what} is missing"));
        let direction = next("the direction")?;
        let transfer = match direction {
            "out" | "in" => {
                let endpoint = hex(next("the endpoint")?, 2, "the endpoint")? as u8;
                let setup = match endpoint {
                    CONTROL => Some(Setup {
                        request: hex(next("bRequest")?, 2, "bRequest")? as u8,
                        value: hex(next("wValue")?, 4, "wValue")? as u16,
                    }),
                    _ => None,
                };
                let data = next("the data or the error")?;
                match (direction, data.strip_prefix('!')) {
                    ("in", Some(name)) => Transfer::In {
                        endpoint,
                        setup,
                        result: Err(error(name)?),
                    },
                    ("in", None) => Transfer::In {
                        endpoint,
                        setup,
                        result: Ok(bytes(data)?
                            .into_iter()
                            .collect::<Option<_>>()
                            .ok_or("a byte from the reader is hidden")?),
                    },
                    _ => Transfer::Out {
                        endpoint,
                        setup,
                        data: bytes(data)?,
                        result: failed(fields.next())?,
                    },
                }
            }
            "clear-halt" => Transfer::ClearHalt(failed(fields.next())?),
            other => return Err(format!("{} is no direction: in, out or clear-halt", shown(other))),
        };
        match fields.next() {
            None => Ok(transfer),
            Some(more) => Err(format!("{} is one field too many", shown(more))),
        }
    }
}

fn place(endpoint: u8, setup: Option<Setup>) -> String {
    match setup {
        Some(Setup { request, value }) => format!("{endpoint:02X} {request:02X} {value:04X}"),
        None => format!("{endpoint:02X}"),
    }
}

fn failure(error: Error) -> String {
    let name = ERRORS.iter().find(|(other, _)| *other == error);
    format!("!{}", name.map_or("fault", |(_, name)| name))
}

fn failed(field: Option<&str>) -> Result<Result<(), Error>, String> {
    match field {
        None => Ok(Ok(())),
        Some(field) => match field.strip_prefix('!') {
            Some(name) => Ok(Err(error(name)?)),
            None => Err(format!("{} is one field too many", shown(field))),
        },
    }
}

fn error(name: &str) -> Result<Error, String> {
    let known = ERRORS.iter().find(|(_, other)| *other == name);
    known.map_or_else(
        || Err(format!("!{} is no error of a transfer", shown(name))),
        |(error, _)| Ok(*error),
    )
}

/// A field of a wrong line, as far as an error text has room for it.
pub(super) fn shown(field: &str) -> String {
    const ROOM: usize = 20;
    match field.char_indices().nth(ROOM) {
        None => format!("{field:?}"),
        Some((end, _)) => format!("{:?}...", &field[..end]),
    }
}

/// A number of so many hexadecimal digits.
pub(super) fn hex(field: &str, length: usize, what: &str) -> Result<u32, String> {
    let number = u32::from_str_radix(field, 16).ok();
    // A sign is none of the digits.
    let is_number = field.len() == length && field.bytes().all(|digit| digit.is_ascii_hexdigit());
    number
        .filter(|_| is_number)
        .ok_or_else(|| format!("{what} is {}, not {length} hexadecimal digits", shown(field)))
}

/// Bytes in hexadecimal digits.
pub(super) fn bytes(field: &str) -> Result<Vec<Option<u8>>, String> {
    if field == "-" {
        return Ok(Vec::new());
    }
    if field.len() % 2 != 0 {
        return Err(format!("the data have an odd number of digits, {}", field.len()));
    }
    let byte = |(at, pair): (usize, &[u8])| match pair {
        b"**" => Ok(None),
        [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
            Ok(Some(digit(*high) << 4 | digit(*low)))
        }
        _ => Err(format!(
            "byte {} of the data is no two hexadecimal digits",
            at + 1
        )),
    };
    field.as_bytes().chunks(2).enumerate().map(byte).collect()
}

/// Bytes as hexadecimal digits.
pub(super) fn digits(bytes: impl Iterator<Item = Option<u8>>) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = match byte {
            Some(byte) => write!(text, "{byte:02X}"),
            None => write!(text, "**"),
        };
    }
    match text.is_empty() {
        true => "-".to_owned(),
        false => text,
    }
}

/// Bytes of which a range is hidden.
pub(super) fn masked(bytes: &[u8], secret: &Range<usize>) -> Vec<Option<u8>> {
    let byte = |(at, byte): (usize, &u8)| (!secret.contains(&at)).then_some(*byte);
    bytes.iter().enumerate().map(byte).collect()
}
