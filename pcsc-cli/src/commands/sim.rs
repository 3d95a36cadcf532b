//! `pcsc sim`: simulated readers, and records of real ones.

use super::{play, record, replay};
use crate::args::{Global, Sim};
use crate::output::Output;
use crate::problem::Problem;

/// Runs the command. Returns the exit code.
pub fn run(global: &Global, arguments: &Sim) -> Result<u8, Problem> {
    match arguments {
        Sim::Record(arguments) => record::run(global, arguments),
        Sim::Replay(arguments) => replay::run(global, arguments),
        Sim::Play(arguments) => play::run(global, arguments, &mut Output::new(global.json)),
    }
}
