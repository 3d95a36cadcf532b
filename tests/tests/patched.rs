//! Published crates that depend on `pcsc`, built unchanged on ours by a patch, and run on the simulated
//! reader.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pcsc_tests::{artifacts, run};

const LIMIT: Duration = Duration::from_secs(1800);

#[test]
fn card_backend_pcsc_and_yubikey_work_on_ours() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/patched");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("patched");
    let mut build = artifacts::cargo();
    build
        .current_dir(folder)
        .args(["build", "--locked", "--target-dir"])
        .arg(&target);
    let output = run(&mut build, LIMIT);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Cargo only warns of a patch that it does not use.
    assert!(
        output.status.success() && !text.contains("was not used"),
        "{text}"
    );

    let program = target.join("debug/patched");
    let needed = run(Command::new("ldd").arg(&program), LIMIT).stdout();
    assert!(!needed.contains("pcsclite"), "{needed}");
    let text = run(Command::new(program).env("PCSCLITE_BACKEND", "simulated"), LIMIT).stdout();
    let mut lines = text.lines();
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("answer [") && line.len() > 10),
        "{text}"
    );
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("reader ") && line.ends_with("00 00")),
        "{text}"
    );
    assert_eq!(lines.next(), Some("opened false"), "{text}");
}
