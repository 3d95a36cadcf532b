//! Why a command failed, what to do about it, and its exit code.

use std::fmt;
use std::io;

use pcsc_client::{Cause, Error, Failure};

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

    /// The problem that no option and no variable says which socket is meant.
    pub fn no_socket() -> Problem {
        Problem::new(Exit::Usage, "Which socket? XDG_RUNTIME_DIR is not set.")
            .advise("--socket PATH names one.")
    }

    fn advise_if(mut self, advice: Option<&str>) -> Problem {
        if self.exit != Exit::Usage {
            self.advice = advice.map(str::to_owned);
        }
        self
    }

    /// With advice.
    pub fn advise(mut self, advice: impl Into<String>) -> Problem {
        self.advice = Some(advice.into());
        self
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

/// What to do about a simulated reader that does not exist.
pub const MODELS: &str = "pcsc sim models lists them.";

/// What to do about an error, where the command cannot say better.
fn advice(error: Error) -> Option<&'static str> {
    Some(match error {
        Error::NoService | Error::ServiceStopped | Error::SecurityViolation => {
            "pcsc doctor finds out why, and says what to do."
        }
        Error::SharingViolation => "Close the program that uses the card. pcsc doctor may know which it is.",
        Error::NoSmartcard => "Insert a card.",
        Error::UnresponsiveCard => {
            "Take the card out, look at its contacts and its side, and insert it again."
        }
        Error::UnpoweredCard | Error::RemovedCard => "Take the card out and insert it again.",
        Error::ReaderUnavailable => "Plug the reader in again.",
        _ => return None,
    })
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let error = failure.error();
        let exit = match error {
            Error::NoService | Error::ServiceStopped | Error::SecurityViolation => Exit::NoService,
            Error::NoSmartcard | Error::RemovedCard | Error::UnresponsiveCard | Error::UnpoweredCard => {
                Exit::NoCard
            }
            Error::SharingViolation => Exit::InUse,
            Error::UnknownReader | Error::NoReadersAvailable | Error::ReaderUnavailable => Exit::NoReader,
            _ => Exit::Failed,
        };
        let mut problem = match (failure.cause(), error) {
            // The user has asked for what does not exist.
            (Some(cause @ Cause::UnknownModel(_)), _) => {
                return Problem::new(Exit::Usage, sentence(cause.chain())).advise(MODELS);
            }
            (Some(cause @ Cause::UnknownPort(_)), _) => Problem::new(Exit::Usage, sentence(cause.chain())),
            // The cause says more than the code, which is pcscd's word for many things.
            (Some(cause), _) => Problem::new(exit, sentence(cause.chain())),
            (None, Error::UnknownError) => {
                Problem::new(exit, format!("{error} (code {:#010X}).", failure.code()))
            }
            (None, _) => Problem::new(exit, format!("{error}.")),
        };
        problem.error = Some(error);
        problem.advise_if(advice(error))
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Problem {
        Problem {
            is_broken_pipe: error.kind() == io::ErrorKind::BrokenPipe,
            ..Problem::new(Exit::Failed, format!("The output cannot be written: {error}"))
        }
    }
}
