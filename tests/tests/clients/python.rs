//! pyscard.

use crate::live::{is_on, same_live};
use crate::setups::{same_on_the_driver, Twins};
use pcsc_tests::{atr, client, Live};
use std::path::Path;
use std::process::Command;

/// Debian's Python, which has Debian's pyscard.
pub const PYTHON: &str = "/usr/bin/python3";

fn python(script: &Path) -> Command {
    let mut command = client(PYTHON);
    command
        .arg(script)
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME");
    command
}

#[test]
fn pyscard() {
    assert!(
        Path::new(PYTHON).exists(),
        "python3 is not installed: run scripts/setup"
    );
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/python/client.py"));
    let mut twins = Twins::start();
    twins.act(0, |reader| reader.insert(atr::T1));
    // The card came after pcscd's start, which counts as an event, but before the start of the process
    // without pcscd.
    let counted = |alone: String| alone.replace("('pcsc-tests 00 00', 34,", "('pcsc-tests 00 00', 65570,");
    let text = twins.same_but(|| python(script), counted);
    assert!(
        text.starts_with("Some(0)") && text.contains("Hello world!"),
        "{text}"
    );
    let text = same_on_the_driver(|_| {
        let mut command = python(script);
        // This card has another command for it.
        command.env("LONG_ANSWER", "80EE0FFF");
        command
    });
    assert!(
        text.starts_with("Some(0)") && text.contains("Hello world!"),
        "{text}"
    );

    // It sees a card inserted while it waits.
    same_live(|stage| {
        stage.reader(0).insert(atr::T1);
        let mut command = python(script);
        command.arg("monitor").env("PYTHONUNBUFFERED", "1");
        let mut live = Live::start(stage.command(command));
        live.until("ready");
        is_on(&live, stage);
        live.until("added 3B");
        stage.reader(0).remove();
        live.until("removed 3B");
        stage.reader(1).insert(atr::T0);
        live.until("added 3B");
        live
    });
}
