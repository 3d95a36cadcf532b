//! Runs in the guest: `guest-agent SCENARIO` does one thing there and prints what it has seen, a fact a line
//! (`name: value`). The test on the host asserts on the facts. An error goes to standard error, with exit
//! status 1.

#![forbid(unsafe_code)]

mod acr122;
mod actor;
mod bench;
mod bus;
mod cards;
mod checks;
mod clients;
mod commands;
mod composite;
mod daemon;
mod descriptor;
mod doctor;
mod echo;
mod foreign;
mod hotplug;
mod identical;
mod loopback;
mod path;
mod quiet;
mod readers;
mod scenarios;
mod served;
mod sharing;
mod simulated;
mod system;
mod tries;
mod unplugged;
mod unprivileged;
mod versions;

use std::process::ExitCode;
use std::time::Duration;

/// The message of an error is printed for a person.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long the kernel, a driver or a program may take for anything. It is there against hangs alone: the
/// guest's processors are interpreted, on a host that may be busy.
const LIMIT: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some(scenario) = scenarios::find(&name) else {
        eprintln!("guest-agent: no scenario {name:?}");
        return ExitCode::from(2);
    };
    match scenario() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An argument of the test on the host. Number 1 is the scenario's name.
fn argument(number: usize) -> Result<String> {
    let argument = std::env::args().nth(number);
    argument.ok_or_else(|| format!("there is no argument {number}").into())
}

/// Prints a fact.
fn fact(name: &str, value: impl std::fmt::Display) {
    println!("{name}: {value}");
}

/// Bytes as a fact.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
