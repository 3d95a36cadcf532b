//! OpenSC.

use crate::setups::{is_there, loads, our_file, same_on_the_driver, Setup, Stage, Twins};
use pcsc_tests::{atr, client};
use std::process::Command;

fn opensc(arguments: &[&str]) -> Command {
    let mut command = client("opensc-tool");
    command.args(arguments);
    command
}

const SELECT_AND_SEND: [&str; 6] = [
    "--reader",
    "0",
    "-s",
    "00A404000AA00000006203010C0601",
    "-s",
    "00000000",
];

#[test]
fn opensc_tool() {
    is_there("opensc-tool");
    let mut twins = Twins::start();
    let list = || opensc(&["--list-readers"]);
    assert!(twins.same(list).contains("pcsc-tests 00 00"));
    twins.act(0, |reader| reader.insert(atr::T1));
    assert!(twins.same(list).contains("Yes"));
    twins.same(|| opensc(&["--reader", "0", "--atr"]));
    let sent = twins.same(|| opensc(&SELECT_AND_SEND));
    assert!(sent.contains("Hello world!"), "{sent}");
    twins.same(|| opensc(&["--reader", "1", "--atr"]));
    twins.same(|| opensc(&["--reader", "9", "--atr"]));
    twins.act(0, |reader| {
        reader.mute(true);
        reader.remove();
        reader.insert(atr::T1);
    });
    twins.same(|| opensc(&["--reader", "0", "--atr"]));

    let wait = || opensc(&["--wait", "--reader", "1", "--atr"]);
    for stage in [Stage::start(Setup::Daemon), Stage::start(Setup::Alone)] {
        assert_eq!(loads(&mut stage.command(wait())), our_file());
    }
}

#[test]
fn opensc_tool_on_the_driver() {
    let list = same_on_the_driver(|_| opensc(&["--list-readers"]));
    assert!(list.contains("Yes"), "{list}");
    same_on_the_driver(|_| opensc(&["--reader", "0", "--atr"]));
    let sent = same_on_the_driver(|_| opensc(&SELECT_AND_SEND));
    assert!(sent.contains("Hello world!"), "{sent}");

    // None of OpenSC's card drivers is for this card, and each of them tries it.
    for (program, arguments) in [
        ("opensc-tool", &["--name"][..]),
        ("opensc-tool", &["--list-files"]),
        ("pkcs15-tool", &["--dump"]),
        ("pkcs11-tool", &["--list-slots"]),
        ("pkcs11-tool", &["--list-objects"]),
    ] {
        same_on_the_driver(|_| {
            let mut command = client(program);
            command.args(arguments);
            command
        });
    }
}
