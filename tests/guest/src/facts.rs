//! What the scenarios of the guest's agent have seen.

use crate::lab::{Error, Finished, Report};
use std::io::Write;

/// What a scenario has seen, in its order.
pub struct Facts {
    scenario: &'static str,
    /// Names and values.
    pub facts: Vec<(String, String)>,
}

impl Facts {
    /// What the scenario has seen. None, with a line on standard error that cargo does not hold back, where there can be no
    /// guest. What it printed, and the logs that it left, are printed for a test that fails.
    ///
    /// # Panics
    /// If the guest or the scenario failed.
    #[track_caller]
    pub fn of(scenario: &'static str, booted: &Result<Report, Error>) -> Option<Facts> {
        let report = match booted {
            Ok(report) => report,
            Err(Error::Unavailable(reason)) => {
                let line = format!("SKIPPED: {scenario} in the guest: {reason}\n");
                std::io::stderr()
                    .write_all(line.as_bytes())
                    .expect("standard error");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let finished = report.finished(scenario).expect("one of the guest's scenarios");
        let Finished {
            status,
            stdout,
            stderr,
        } = finished;
        println!("--- {scenario}: {status:?}\n{stdout}--- stderr\n{stderr}");
        let logs = report
            .files()
            .filter(|(name, _)| *name == "dmesg" || (name.starts_with(scenario) && name.ends_with(".pcscd")));
        logs.for_each(|(name, log)| println!("--- {name}\n{log}"));
        assert_eq!(*status, Some(0), "{scenario} failed");
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
        value.unwrap_or_else(|| panic!("{} says nothing about {name}", self.scenario))
    }

    /// Demands these facts.
    ///
    /// # Panics
    /// If one is another.
    #[track_caller]
    pub fn are(&self, expected: &[(&str, &str)]) {
        for (name, value) in expected {
            assert_eq!(self.get(name), *value, "{name}");
        }
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
}
