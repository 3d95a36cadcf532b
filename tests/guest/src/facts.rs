//! The facts that a scenario of the guest's agent has printed.

use crate::lab::{Error, Finished, Report};
use pcsc_tests::{assert_same, tail};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// How many lines of a failed scenario's standard error are printed. The rest is in its files.
const TAIL: usize = 20;

/// The facts of a scenario, in its order.
pub struct Facts {
    scenario: &'static str,
    /// Names and values.
    pub facts: Vec<(String, String)>,
}

impl Facts {
    /// The facts of `scenario`. None, with a line on standard error that cargo does not capture, where there
    /// can be no guest.
    ///
    /// # Panics
    /// If the guest or the scenario failed: with the end of its standard error, and the folder of its logs
    /// (see [`keep`]).
    #[track_caller]
    pub fn of(scenario: &'static str, booted: &Result<Kept, Error>) -> Option<Facts> {
        let Kept { report, folder } = match booted {
            Ok(kept) => kept,
            Err(Error::Unavailable(reason)) => {
                let line = format!("SKIPPED: {scenario} in the guest: {reason}\n");
                io::stderr().write_all(line.as_bytes()).expect("standard error");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let Finished {
            status,
            stdout,
            stderr,
        } = report.finished(scenario).expect("one of the guest's scenarios");
        // Printed by the test harness if the test fails.
        println!(
            "what the scenario and its daemons printed: {}/{scenario}.*",
            folder.display()
        );
        assert_eq!(*status, Some(0), "{scenario} failed:\n{}", tail(stderr, TAIL));
        let facts = stdout.lines().filter_map(|line| line.split_once(": "));
        Some(Facts {
            scenario,
            facts: facts.map(|(name, value)| (name.into(), value.into())).collect(),
        })
    }

    /// The value of the fact `name`.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn get(&self, name: &str) -> &str {
        let found = self.facts.iter().find(|(known, _)| known == name);
        let value = found.map(|(_, value)| value.as_str());
        value.unwrap_or_else(|| panic!("{} has no fact {name}", self.scenario))
    }

    /// Demands these facts.
    ///
    /// # Panics
    /// If some are others, with those.
    #[track_caller]
    pub fn are(&self, expected: &[(&str, &str)]) {
        let [mut wanted, mut found] = [String::new(), String::new()];
        for (name, value) in expected {
            // Writing to a String cannot fail.
            let _ = writeln!(wanted, "{name}: {value}");
            let _ = writeln!(found, "{name}: {}", self.get(name));
        }
        assert_same(
            self.scenario,
            ("expected", &wanted),
            ("seen in the guest", &found),
        );
    }

    /// Demands that another scenario has the same facts.
    ///
    /// # Panics
    /// If it has not, with those that differ.
    #[track_caller]
    pub fn assert_same(&self, other: &Facts) {
        let what = format!("{} and {}", self.scenario, other.scenario);
        let [expected, actual] = [self, other].map(Facts::text);
        assert_same(&what, (self.scenario, &expected), (other.scenario, &actual));
    }

    /// All facts of that name.
    pub fn all(&self, name: &str) -> String {
        let values = self.facts.iter().filter(|(known, _)| known == name);
        values
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// All facts whose name begins so, one after the other.
    pub fn joined(&self, prefix: &str) -> String {
        let values = self.facts.iter().filter(|(name, _)| name.starts_with(prefix));
        values.map(|(_, value)| value.as_str()).collect()
    }

    /// The facts that `is_wanted` by their name.
    pub fn only(&self, is_wanted: impl Fn(&str) -> bool) -> Facts {
        let facts = self.facts.iter().filter(|(name, _)| is_wanted(name));
        Facts {
            scenario: self.scenario,
            facts: facts.cloned().collect(),
        }
    }

    /// A fact a line.
    fn text(&self) -> String {
        let lines = self
            .facts
            .iter()
            .map(|(name, value)| format!("{name}: {value}\n"));
        lines.collect()
    }
}

/// A report whose files are in a folder.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What the guest left.
    pub report: Report,
    folder: PathBuf,
}

/// Writes the outputs of every command, the guest's console and its logs to `folder`, in place of those of an
/// earlier run.
///
/// # Errors
/// If they cannot be written.
pub fn keep(report: Report, folder: &Path) -> Result<Kept, Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(folder)?,
    }
    for (name, text) in report.files() {
        fs::write(folder.join(name), text)?;
    }
    fs::write(folder.join("console"), &report.console)?;
    Ok(Kept {
        report,
        folder: folder.to_owned(),
    })
}
