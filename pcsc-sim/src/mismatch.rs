//! Where a replay differs from its record.

use std::fmt;

/// Where what happened differs from what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exchange {}", self.number)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        let expected = self.expected.as_deref().unwrap_or("no command");
        let found = self.found.as_deref().unwrap_or("no command");
        write!(f, ": {expected} was recorded, {found} came")
    }
}

impl std::error::Error for Mismatch {}
