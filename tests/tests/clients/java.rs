//! javax.smartcardio.

use crate::live::{is_on, same_live};
use crate::setups::{is_there, same_on_the_driver, Twins, LIMIT};
use pcsc_tests::{atr, client, run, Live};
use std::process::Command;

#[test]
fn java_smartcardio() {
    is_there("java");
    is_there("javac");
    let classes = tempfile::tempdir().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/java/Client.java");
    let mut compile = Command::new("javac");
    compile.arg("-d").arg(classes.path()).arg(source);
    run(&mut compile, LIMIT).stdout();
    // A property chooses the library; Debian's Java is also linked against one.
    const JAVA: &str = r#"
        library=$LD_LIBRARY_PATH/libpcsclite.so.1
        exec java "-Dsun.security.smartcardio.library=$library" "$@"
    "#;
    let java = || {
        let mut command = client("sh");
        command.args(["-c", JAVA, "sh"]);
        command.arg("-cp").arg(classes.path()).arg("Client");
        command
    };
    let mut twins = Twins::start();
    twins.act(0, |reader| reader.insert(atr::T1));
    let text = twins.same(java);
    assert!(text.contains("Hello world!"), "{text}");
    let text = same_on_the_driver(|_| java());
    assert!(text.contains("Hello world!"), "{text}");

    same_live(|stage| {
        let mut command = java();
        command.arg("monitor");
        let mut live = Live::start(stage.command(command));
        live.until("ready");
        is_on(&live, stage);
        stage.reader(1).insert(atr::T0);
        live.until("present pcsc-tests 01 00");
        stage.reader(1).remove();
        live.until("absent pcsc-tests 01 00");
        live
    });
}
