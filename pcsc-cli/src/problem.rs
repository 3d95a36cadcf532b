//! Why a command failed, what to do about it, and its exit code.

use std::fmt;
use std::io;
use std::path::Path;

use pcsc_client::{Cause, Error, Failure};
use pcsc_manager::StartError;

/// An exit code. The help of `pcsc` lists them; clap has 2 for arguments that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The answer is not the expected one.
    Unexpected = 1,
    /// The arguments, or a file that they name, cannot be understood.
    Usage = 2,
    /// There is no such reader, or several match.
    NoReader = 3,
    /// There is no card, or it does not answer.
    NoCard = 4,
    /// Another program uses the reader or the card.
    InUse = 5,
    /// There is no access to readers at all.
    NoService = 6,
    /// The call failed for another reason.
    Failed = 7,
    /// The program of `pcsc with` cannot be run.
    CommandUnusable = 126,
    /// The program of `pcsc with` is not found.
    CommandNotFound = 127,
}

/// A failed command.
#[derive(Debug)]
pub struct Problem {
    /// The exit code.
    pub exit: Exit,
    /// What happened.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The error of the call that failed.
    pub error: Option<Error>,
    /// The reader of the output has ended, as `head` does: nothing is wrong.
    pub is_broken_pipe: bool,
}

impl Problem {
    /// A problem with this code and text.
    pub fn new(exit: Exit, text: impl Into<String>) -> Problem {
        Problem {
            exit,
            text: text.into(),
            advice: None,
            error: None,
            is_broken_pipe: false,
        }
    }

    /// A problem with what has failed, and why.
    pub fn because(exit: Exit, what: impl fmt::Display, error: impl fmt::Display) -> Problem {
        Problem::new(exit, format!("{what}: {error}."))
    }

    /// The problem that a file which the arguments name cannot be read.
    pub fn unreadable(file: &Path, error: io::Error) -> Problem {
        let what = format!("{} cannot be read", file.display());
        Problem::because(Exit::Usage, what, error)
    }

    /// The problem that a file or folder cannot be written.
    pub fn unwritable(file: &Path, error: io::Error) -> Problem {
        let what = format!("{} cannot be written", file.display());
        Problem::because(Exit::Failed, what, error)
    }

    /// The problem that what a command prints cannot be written.
    pub fn output(error: io::Error) -> Problem {
        Problem {
            is_broken_pipe: error.kind() == io::ErrorKind::BrokenPipe,
            ..Problem::because(Exit::Failed, "The output cannot be written", error)
        }
    }

    /// The problem that this process cannot handle the signals that would end it.
    pub fn uncaught_signal(error: io::Error) -> Problem {
        Problem::because(Exit::Failed, "Signals cannot be handled", error)
    }

    /// The problem that no option and no variable says which socket is meant.
    pub fn no_socket() -> Problem {
        Problem::new(Exit::Usage, "Which socket? XDG_RUNTIME_DIR is not set.")
            .advise("--socket PATH names one.")
    }

    /// With advice.
    pub fn advise(mut self, advice: impl Into<String>) -> Problem {
        self.advice = Some(advice.into());
        self
    }
}

/// The texts of an error and of those below it, for a line of text.
pub fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// The text of an error as a sentence.
pub fn sentence(error: impl fmt::Display) -> String {
    let text = error.to_string();
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_uppercase().to_string());
    let end = if text.ends_with('?') { "" } else { "." };
    format!("{}{}{end}", first.unwrap_or_default(), rest.as_str())
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.advice {
            Some(advice) => write!(f, "\n      {advice}"),
            None => Ok(()),
        }
    }
}

/// What to do where there is no access to readers.
pub const DOCTOR: &str = "pcsc doctor finds out why, and says what to do.";

/// What to do about a simulated reader that does not exist.
pub const MODELS: &str = "pcsc sim models lists them.";

/// What to do where no simulated reader is played.
pub const PLAYED: &str = "pcsc sim run plays the readers. --socket PATH names another socket.";

/// The exit code of an error, and what to do about it, where the command cannot say better.
fn error_advice(error: Error) -> (Exit, Option<&'static str>) {
    match error {
        Error::NoService | Error::ServiceStopped | Error::SecurityViolation => {
            (Exit::NoService, Some(DOCTOR))
        }
        Error::SharingViolation => {
            let advice = "Close the program that uses the card. pcsc doctor may know which it is.";
            (Exit::InUse, Some(advice))
        }
        Error::NoSmartcard => (Exit::NoCard, Some("Insert a card.")),
        Error::UnresponsiveCard => {
            let advice = "Take the card out, look at its contacts and its side, and insert it again.";
            (Exit::NoCard, Some(advice))
        }
        Error::UnpoweredCard | Error::RemovedCard => {
            (Exit::NoCard, Some("Take the card out and insert it again."))
        }
        Error::ReaderUnavailable => (Exit::NoReader, Some("Plug the reader in again.")),
        Error::UnknownReader | Error::NoReadersAvailable => (Exit::NoReader, None),
        _ => (Exit::Failed, None),
    }
}

/// The exit code, and what to do, where readers cannot be used.
pub fn start_advice(error: &StartError) -> (Exit, Option<&'static str>) {
    match error {
        // The user has asked for what does not exist.
        StartError::UnknownModel(_) => (Exit::Usage, Some(MODELS)),
        StartError::UnknownPort(_) | StartError::Record { .. } => (Exit::Usage, None),
        StartError::Connect { .. } => (Exit::NoService, Some(PLAYED)),
        StartError::Thread(_) => (Exit::Failed, None),
        _ => (Exit::NoService, Some(DOCTOR)),
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let error = failure.error();
        let (exit, advice) = match failure.cause() {
            Some(Cause::Start(error)) => start_advice(error),
            _ => error_advice(error),
        };
        let text = match failure.cause() {
            // The cause says more than the code, which is pcscd's word for many things.
            Some(cause) => sentence(cause.chain()),
            None if error == Error::UnknownError => format!("{error} (code {:#010X}).", failure.code()),
            None => format!("{error}."),
        };
        Problem {
            advice: advice.map(str::to_owned),
            error: Some(error),
            ..Problem::new(exit, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_an_exit_code_and_advice() {
        for (error, exit, advice) in [
            (Error::NoService, Exit::NoService, "pcsc doctor"),
            (Error::ServiceStopped, Exit::NoService, "pcsc doctor"),
            (Error::SecurityViolation, Exit::NoService, "pcsc doctor"),
            (Error::SharingViolation, Exit::InUse, "Close the program"),
            (Error::NoSmartcard, Exit::NoCard, "Insert a card."),
            (Error::UnresponsiveCard, Exit::NoCard, "its contacts"),
            (Error::UnpoweredCard, Exit::NoCard, "insert it again"),
            (Error::RemovedCard, Exit::NoCard, "insert it again"),
            (Error::ReaderUnavailable, Exit::NoReader, "Plug the reader in"),
            (Error::UnknownReader, Exit::NoReader, ""),
            (Error::NoReadersAvailable, Exit::NoReader, ""),
            (Error::ProtoMismatch, Exit::Failed, ""),
        ] {
            let problem = Problem::from(Failure::from(error));
            assert_eq!((problem.exit, problem.error), (exit, Some(error)));
            let given = problem.advice.as_deref().unwrap_or_default();
            assert!(
                given.contains(advice) && given.is_empty() == advice.is_empty(),
                "{error}: {given:?}"
            );
        }
        let unknown = Problem::from(Failure::from(Error::UnknownError));
        assert!(unknown.text.contains("(code 0x80100014)"), "{unknown}");
    }

    #[test]
    fn an_error_is_a_sentence() {
        assert_eq!(sentence("no card"), "No card.");
        assert_eq!(sentence("is it there?"), "Is it there?");
        assert_eq!(sentence(""), ".");
    }

    #[test]
    fn a_closed_pipe_is_no_fault() {
        for (kind, expected) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::Other, false)] {
            assert_eq!(Problem::output(kind.into()).is_broken_pipe, expected);
        }
    }
}
