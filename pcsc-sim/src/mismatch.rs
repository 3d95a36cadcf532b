//! Where a replay differs from its record.

/// Where what happened differs from what was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "exchange {number}{}: {} was recorded, {} came",
    in_record(*line),
    shown(expected),
    shown(found)
)]
#[non_exhaustive]
pub struct Mismatch {
    /// The number of the exchange, from 1.
    pub number: usize,
    /// Its line in the record, from 1, if it is from a file.
    pub line: Option<usize>,
    /// What was recorded, with `**` for hidden bytes; `None` after the last exchange.
    pub expected: Option<String>,
    /// What came instead, without what may be secret; `None` if nothing came.
    pub found: Option<String>,
}

impl Mismatch {
    /// A difference at the exchange of this number, from 1. The other fields are `None`.
    pub const fn new(number: usize) -> Mismatch {
        Mismatch {
            number,
            line: None,
            expected: None,
            found: None,
        }
    }
}

fn in_record(line: Option<usize>) -> String {
    line.map(|line| format!(" (line {line})")).unwrap_or_default()
}

fn shown(command: &Option<String>) -> &str {
    command.as_deref().unwrap_or("no command")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_both_sides_and_the_line_if_there_is_one() {
        let recorded = || Some("00 A4".to_owned());
        let found = || Some("00 B0".to_owned());
        for (number, line, expected, found, text) in [
            (
                2,
                Some(9),
                recorded(),
                found(),
                "exchange 2 (line 9): 00 A4 was recorded, 00 B0 came",
            ),
            (
                2,
                None,
                recorded(),
                None,
                "exchange 2: 00 A4 was recorded, no command came",
            ),
            (
                3,
                None,
                None,
                found(),
                "exchange 3: no command was recorded, 00 B0 came",
            ),
        ] {
            let mut mismatch = Mismatch::new(number);
            (mismatch.line, mismatch.expected, mismatch.found) = (line, expected, found);
            assert_eq!(mismatch.to_string(), text);
        }
    }
}
