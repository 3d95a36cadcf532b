//! What `pcsc doctor` looks at, one module for each layer. Each gives findings; `commands::doctor` prints
//! them.

pub mod cards;
pub mod daemon;
mod devices;
mod holders;
pub mod libraries;
pub mod protocol;
pub mod usb;
pub mod user_socket;
pub mod users;

use serde::Serialize;

/// Something that was found out.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// How it is.
    pub state: State,
    /// What was looked at, in one word.
    pub subject: &'static str,
    /// What happened.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It works.
    Good,
    /// It is as it is, and need not be wrong.
    Note,
    /// It does not work.
    Bad,
}

impl Finding {
    /// Something that works.
    pub fn good(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(State::Good, subject, text)
    }

    /// Something to know.
    pub fn note(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(State::Note, subject, text)
    }

    /// Something that does not work.
    pub fn bad(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(State::Bad, subject, text)
    }

    fn new(state: State, subject: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            state,
            subject,
            text: text.into(),
            advice: None,
        }
    }

    /// With advice.
    pub fn advise(mut self, advice: impl Into<String>) -> Finding {
        self.advice = Some(advice.into());
        self
    }
}
