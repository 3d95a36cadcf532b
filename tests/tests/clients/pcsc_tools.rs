//! pcsc-tools: pcsc_scan in C and scriptor in Perl.

use crate::live::{is_on, same_live};
use crate::setups::{is_there, loads, our_file, same_on_the_driver, Setup, Stage, Twins, LIMIT};
use pcsc_tests::{atr, client, run, Live};
use std::path::Path;
use std::process::Command;

const SELECT: &str = "00 A4 04 00 0A A0 00 00 00 62 03 01 0C 06 01";

#[test]
fn pcsc_scan_sees_cards_come_and_go() {
    is_there("pcsc_scan");
    same_live(|stage| {
        let mut command = client("stdbuf");
        command.args(["-oL", "pcsc_scan", "-n"]);
        let mut scan = Live::start(stage.command(command));
        let both = |scan: &mut Live, state: &str| {
            for number in 0..2 {
                scan.until(&format!("Reader {number}: pcsc-tests {number:02} 00"));
                scan.until(state);
            }
        };
        both(&mut scan, "Card removed");
        is_on(&scan, stage);
        for _ in 0..3 {
            stage.reader(1).insert(atr::T1);
            scan.until("Reader 1: pcsc-tests 01 00");
            scan.until("Card inserted");
            scan.until("ATR:");
            stage.reader(1).remove();
            scan.until("Card removed");
        }
        // Each report begins with the time.
        scan.seen.retain(|line| !line.contains(&this_year()));
        scan
    });
}

fn this_year() -> String {
    let year = run(Command::new("date").arg("+ %Y"), LIMIT).stdout();
    year.trim_end().to_owned()
}

#[test]
fn pcsc_scan_on_the_driver() {
    let list = same_on_the_driver(|_| {
        let mut command = client("pcsc_scan");
        command.arg("-r");
        command
    });
    assert!(list.contains("0: pcsc-tests 00 00"), "{list}");
}

/// A command of scriptor's: the lines to a card, in a file.
fn scriptor(reader: &str, script: &Path) -> Command {
    let mut command = client("scriptor");
    command.args(["-r", reader]).arg(script);
    command
}

#[test]
fn scriptor_in_perl() {
    is_there("scriptor");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, format!("reset\n{SELECT}\n00 00 00 00\n80 E0 00 10\n")).unwrap();
    let mut twins = Twins::start();
    twins.act(0, |reader| reader.insert(atr::T1));
    let text = twins.same(|| scriptor("pcsc-tests 00 00", &script));
    assert!(text.contains("48 65 6C 6C 6F"), "{text}");
    for stage in [Stage::start(Setup::Daemon), Stage::start(Setup::Alone)] {
        stage.reader(0).insert(atr::T1);
        let mut waiting = client("scriptor");
        waiting.args(["-r", "pcsc-tests 00 00"]);
        assert_eq!(loads(&mut stage.command(waiting)), our_file());
    }

    // With T=0 the card announces the length of the response.
    std::fs::write(&script, format!("reset\n{SELECT}\n00 00 00 00 0C\n")).unwrap();
    let text = same_on_the_driver(|reader| scriptor(reader, &script));
    assert!(text.contains("48 65 6C 6C 6F"), "{text}");
}
