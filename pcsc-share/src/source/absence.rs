//! What the log says of a daemon that does not answer.

use std::fmt::Display;

use log::Level;
use pcsc_client::{Cause, Failure};

/// The reports of a daemon that is not there: each reason once, and not at each attempt to reach it.
#[derive(Default)]
pub struct Absence {
    reported: Option<String>,
    /// The daemon was there until a moment ago.
    is_fresh: bool,
}

impl Absence {
    /// The daemon answers.
    pub fn end(&mut self) {
        *self = Absence::default();
    }

    /// The record for the log after the connection with a daemon has ended.
    pub fn lost(&mut self, daemon: &dyn Display, why: String) -> Option<(Level, String)> {
        self.is_fresh = true;
        self.report(Level::Warn, format!("the daemon at {daemon} is gone: {why}"), why)
    }

    /// The record after an attempt to reach it has failed. That it cannot be reached right after its end is
    /// no second warning.
    pub fn unreached(&mut self, daemon: &dyn Display, why: String) -> Option<(Level, String)> {
        let is_fresh = std::mem::take(&mut self.is_fresh);
        let level = if is_fresh { Level::Info } else { Level::Warn };
        self.report(
            level,
            format!("the daemon at {daemon} does not answer: {why}"),
            why,
        )
    }

    fn report(&mut self, level: Level, text: String, why: String) -> Option<(Level, String)> {
        let is_new = self.reported.as_ref() != Some(&why);
        self.reported = Some(why);
        is_new.then_some((level, text))
    }
}

/// Why a daemon is not there. The texts of the client library advise a program to establish a new context,
/// which a source does by itself.
pub fn reason(failure: &Failure) -> String {
    match failure.cause() {
        Some(Cause::Closed) => "it has closed the connection".into(),
        Some(Cause::Broken(error)) => format!("the connection has failed: {error}"),
        Some(Cause::OutOfStep(what)) => format!("its answer does not conform to the protocol ({what})"),
        Some(Cause::Silent) => "it has not answered in time".into(),
        Some(Cause::Connect { source, .. }) => format!("cannot connect: {source}"),
        Some(cause) => cause.chain().to_string(),
        None => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_one_warning_and_each_further_reason_another() {
        let mut absence = Absence::default();
        let record = |level, text: &str| Some((level, text.to_owned()));
        let why = || "refused".to_owned();
        let warning = record(Level::Warn, "the daemon at /a does not answer: refused");
        assert_eq!(absence.unreached(&"/a", why()), warning);
        assert_eq!(absence.unreached(&"/a", why()), None);
        absence.end();
        assert_eq!(absence.unreached(&"/a", why()), warning);
        absence.end();
        let loss = record(Level::Warn, "the daemon at /a is gone: cut");
        assert_eq!(absence.lost(&"/a", "cut".into()), loss);
        let detail = record(Level::Info, "the daemon at /a does not answer: refused");
        assert_eq!(absence.unreached(&"/a", why()), detail);
        assert_eq!(absence.unreached(&"/a", why()), None);
        let other = record(Level::Warn, "the daemon at /a does not answer: denied");
        assert_eq!(absence.unreached(&"/a", "denied".into()), other);
    }
}
