//! `pcsc completions` and `pcsc man`: what is generated from the command line's description.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::args::Arguments;
use crate::problem::Problem;

/// Prints the completions for a shell.
pub fn completions(shell: clap_complete::Shell) -> Result<(), Problem> {
    // The generator takes a full disk or a closed pipe for a bug, hence not standard output itself.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pcsc", &mut text);
    print(&text).map_err(Problem::output)
}

/// Prints one manual page, with a section for each command.
pub fn man() -> Result<(), Problem> {
    let mut command = Arguments::command();
    command.build();
    page(&command)
        .and_then(|text| print(&text))
        .map_err(Problem::output)
}

fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    sections(command, "pcsc", &mut text)?;
    let mut text = String::from_utf8_lossy(&text)
        .replace(".SH EXTRA\n", ".SH NOTES\n")
        .replace(".SS EXTRA\n", ".SS NOTES\n");
    for subcommand in command.get_subcommands() {
        // The generator refers to a page for each command, and here all are on one.
        let name = subcommand.get_name();
        text = text.replace(&format!("pcsc\\-{name}(1)\n"), &format!("pcsc {name}\n"));
    }
    Ok(text.into_bytes())
}

/// Adds a section for each command below this one.
fn sections(command: &clap::Command, name: &str, text: &mut Vec<u8>) -> io::Result<()> {
    for subcommand in command
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        let name = format!("{name} {}", subcommand.get_name());
        writeln!(text, ".SH \"{}\"", name.to_uppercase())?;
        let page = clap_mangen::Man::new(subcommand.clone());
        let mut section = Vec::new();
        page.render_description_section(&mut section)?;
        page.render_synopsis_section(&mut section)?;
        page.render_options_section(&mut section)?;
        if subcommand.get_after_help().is_some() {
            page.render_extra_section(&mut section)?;
        }
        let section = String::from_utf8_lossy(&section);
        text.extend(section.replace(".SH ", ".SS ").bytes());
        sections(subcommand, &name, text)?;
    }
    Ok(())
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()
}
