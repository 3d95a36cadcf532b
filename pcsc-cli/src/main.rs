//! The command `pcsc`: smart card readers and cards on the command line.
//!
//! `args` has the command line, `commands` a module for each command; `connect` and `select` find the context
//! and the reader that it asks for. Each command makes one data structure, which `output` prints as text or
//! JSON. `problem` has what can go wrong, with the exit codes.
#![forbid(unsafe_code)]

mod accounts;
mod apdu_text;
mod args;
mod atr_text;
mod card;
mod commands;
mod connect;
mod doctor;
mod environment;
mod feature_names;
mod folder;
mod hex;
mod input;
mod logging;
mod output;
mod problem;
mod readers;
mod recording;
mod relay;
mod scratch;
mod select;
mod signal;
mod smartcard_list;
mod status_words;
mod time;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Arguments, Command, Sim};
use output::Output;
use problem::Problem;

fn main() -> ExitCode {
    let command_line = Arguments::command();
    let matches = command_line.clone().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    logging::start(
        arguments.global.verbose,
        matches!(arguments.command, Command::Share(_)),
    );
    let checked = arguments.global.check(&command_line, &matches);
    match checked.and_then(|()| run(&arguments)) {
        Ok(code) => ExitCode::from(code),
        Err(problem) if problem.is_broken_pipe => ExitCode::SUCCESS,
        Err(problem) => {
            // A command may have printed what happened itself.
            if !problem.text.is_empty() {
                output::message(&problem);
            }
            ExitCode::from(problem.exit as u8)
        }
    }
}

/// Runs the command. Returns its exit code where it has succeeded.
fn run(arguments: &Arguments) -> Result<u8, Problem> {
    let global = &arguments.global;
    let mut output = Output::new(global.json);
    let done = match &arguments.command {
        Command::Spy(spy) => return commands::spy::run(global, spy),
        Command::Sim(Sim::Record(record)) => return commands::record::run(global, record),
        Command::Sim(Sim::Replay(replay)) => return commands::replay::run(global, replay),
        Command::Sim(Sim::Play(play)) => return commands::play::run(global, play, &mut output),
        Command::Apdu(apdu) => commands::apdu::run(global, apdu, &mut output),
        Command::Atr(atr) => commands::atr::run(global, atr, &mut output),
        Command::Bench(bench) => commands::bench::run(global, bench, &mut output),
        Command::Completions(completions) => commands::generated::completions(completions.shell),
        Command::Man => commands::generated::man(),
        Command::Doctor => commands::doctor::run(global, &mut output),
        Command::Features => commands::features::run(global, &mut output),
        Command::Share(share) => commands::share::run(global, share),
        Command::With(with) => commands::with::run(global, with),
        Command::List(list) => commands::list::run(global, list, &mut output),
        Command::Watch(watch) => commands::watch::run(global, watch, &mut output),
    };
    done.map(|()| 0)
}
