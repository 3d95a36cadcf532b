//! A line of a record: one transfer, as text and back.

use pcsc_ccid::transport::TransportError;

use crate::masked::{self, Masked};

/// The endpoint's address in lines about the control pipe.
pub(super) const CONTROL: u8 = 0;

const ERRORS: [(TransportError, &str); 5] = [
    (TransportError::Timeout, "timeout"),
    (TransportError::Cancelled, "cancelled"),
    (TransportError::Stall, "stall"),
    (TransportError::Gone, "gone"),
    (TransportError::Fault, "fault"),
];

/// A class request, but for its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setup {
    pub request: u8,
    pub value: u16,
}

/// A transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transfer {
    Out {
        endpoint: u8,
        setup: Option<Setup>,
        data: Masked,
        result: Result<(), TransportError>,
    },
    In {
        endpoint: u8,
        setup: Option<Setup>,
        result: Result<Vec<u8>, TransportError>,
    },
    ClearHalt(Result<(), TransportError>),
}

impl Transfer {
    /// The line, without its time.
    pub fn text(&self) -> String {
        let failure = |result: &Result<(), TransportError>| match result {
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
                format!("out {place} {}{}", digits(data), failure(result))
            }
            Transfer::In {
                endpoint,
                setup,
                result,
            } => {
                let outcome = match result {
                    Ok(data) => digits(&masked::shown(data)),
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

fn failure(error: TransportError) -> String {
    let name = ERRORS.iter().find(|(other, _)| *other == error);
    format!("!{}", name.map_or("fault", |(_, name)| name))
}

fn failed(field: Option<&str>) -> Result<Result<(), TransportError>, String> {
    match field {
        None => Ok(Ok(())),
        Some(field) => match field.strip_prefix('!') {
            Some(name) => Ok(Err(error(name)?)),
            None => Err(format!("{} is one field too many", shown(field))),
        },
    }
}

fn error(name: &str) -> Result<TransportError, String> {
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

/// A number of exactly `length` hexadecimal digits.
fn hex(field: &str, length: usize, what: &str) -> Result<u32, String> {
    let number = u32::from_str_radix(field, 16).ok();
    // A sign is none of the digits.
    let is_number = field.len() == length && field.bytes().all(|digit| digit.is_ascii_hexdigit());
    number
        .filter(|_| is_number)
        .ok_or_else(|| format!("{what} is {}, not {length} hexadecimal digits", shown(field)))
}

/// Reads what [`digits`] has written.
pub(super) fn bytes(field: &str) -> Result<Masked, String> {
    if field == "-" {
        return Ok(Vec::new());
    }
    if field.len() % 2 != 0 {
        return Err(format!("the data have an odd number of digits, {}", field.len()));
    }
    masked::parse(field).map_err(|at| format!("byte {at} of the data is no two hexadecimal digits"))
}

/// Bytes as hexadecimal digits, which are never no field.
pub(super) fn digits(bytes: &[Option<u8>]) -> String {
    match bytes {
        [] => "-".to_owned(),
        _ => masked::text(bytes),
    }
}
