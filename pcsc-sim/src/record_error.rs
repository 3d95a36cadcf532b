//! Why a record cannot be read.

/// What is wrong with a record, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
#[non_exhaustive]
pub struct RecordError {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl RecordError {
    /// What is wrong with the line of this number, from 1.
    pub fn new(line: usize, reason: impl Into<String>) -> RecordError {
        let reason = reason.into();
        RecordError { line, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_line_and_the_reason() {
        assert_eq!(
            RecordError::new(3, "it is empty").to_string(),
            "line 3: it is empty"
        );
    }
}
