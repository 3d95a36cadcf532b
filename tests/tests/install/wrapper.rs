//! scripts/with-pcsc, and the example's Makefile.

use super::{failure, path, run_hello, script, target, tree, NO_SERVICE, SHORT};
use pcsc_tests::{copy_program, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

#[test]
fn a_command_runs_on_our_library_from_anywhere() {
    target();
    let make = |goals: &[&str]| {
        let mut command = Command::new("make");
        command
            .arg("-C")
            .arg(tree("examples/c"))
            .args(goals)
            .env("CARGO_TARGET_DIR", target());
        run(&mut command, SHORT).stdout();
    };
    make(&["all", "static"]);

    let hello = target().join("c/hello");
    let folder = target()
        .canonicalize()
        .expect("a folder")
        .join("release/with-pcsc");
    let used = run(script("with-pcsc").arg("ldd").arg(&hello), SHORT).stdout();
    let ours = format!("libpcsclite.so.1 => {}", path(&folder.join("libpcsclite.so.1")));
    assert!(used.contains(&ours), "{used}");
    for said in [
        run_hello(script("with-pcsc").arg(&hello)),
        run_hello(&mut Command::new(target().join("c/hello-static"))),
    ] {
        assert!(said.contains(NO_SERVICE), "{said}");
    }

    let mut shell = script("with-pcsc");
    shell.args([
        "sh",
        "-c",
        r#"echo "$LD_LIBRARY_PATH|$LIBPCSCLITE_DELEGATE|$JAVA_TOOL_OPTIONS|$1"; exit 7"#,
        "sh",
        "a  b",
    ]);
    let output = run(shell.env("LD_LIBRARY_PATH", "/mine"), SHORT);
    let delegate = folder.join("libpcsclite_real.so.1");
    let expected = format!("{}:/mine|{}||a  b\n", path(&folder), path(&delegate));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        delegate.canonicalize().ok(),
        target().join("release/libpcsclite.so").canonicalize().ok()
    );
}

#[test]
fn java_gets_the_path_of_the_library() {
    let property = format!(
        "sun.security.smartcardio.library = {}",
        path(
            &target()
                .canonicalize()
                .expect("a folder")
                .join("release/with-pcsc/libpcsclite.so.1")
        )
    );
    let settings = ["-XshowSettings:properties", "-version"];
    let quiet = run(script("with-pcsc").arg("java").args(settings), SHORT);
    let said = String::from_utf8_lossy(&quiet.stderr);
    assert!(said.contains(&property) && !said.contains("Picked up"), "{said}");

    let child = format!("exec java {}", settings.join(" "));
    let inherited = run(script("with-pcsc").args(["--java", "sh", "-c", &child]), SHORT);
    let said = String::from_utf8_lossy(&inherited.stderr);
    assert!(said.contains(&property), "{said}");
}

#[test]
fn with_pcsc_explains_its_use_and_how_to_build() {
    let empty = TempDir::new().expect("a folder");
    let mut unbuilt = script("with-pcsc");
    let said = failure(&run(
        unbuilt.arg("true").env("CARGO_TARGET_DIR", empty.path()),
        SHORT,
    ));
    assert!(said.contains("cargo build --release -p pcsc-sys-shim"), "{said}");
    // As cargo leaves it for musl. The program finds out by its own folder.
    let release = empty.path().join("release");
    std::fs::create_dir(&release).expect("a folder");
    copy_program(target().join("release/pcsc"), release.join("pcsc"));
    std::fs::write(release.join("libpcsclite.a"), "").expect("a library");
    let said = failure(&run(&mut unbuilt, SHORT));
    assert!(said.contains("target-feature=-crt-static"), "{said}");
    assert!(failure(&run(&mut script("with-pcsc"), SHORT)).contains("--help"));
    assert!(failure(&run(script("with-pcsc").arg("--frobnicate"), SHORT)).contains("--help"));
    let help = run(script("with-pcsc").arg("--help"), SHORT).stdout();
    assert!(
        help.contains("LIBPCSCLITE_DELEGATE") && help.contains("--java"),
        "{help}"
    );
}

/// The messages of with-pcsc about a command, on its standard error.
fn warnings(command: &mut Command) -> String {
    let output = run(command, SHORT);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A copy of `true` with this mode, or a script that starts with this line.
fn program(folder: &Path, name: &str, mode: u32, script: Option<&str>) -> String {
    let file = folder.join(name);
    match script {
        Some(line) => fs::write(&file, line).expect("a file of ours"),
        None => copy_program("/bin/true", &file),
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
    path(&file).to_owned()
}

#[test]
fn a_program_with_more_rights_is_warned_of() {
    target();
    // Not in /tmp, which may be mounted without setuid programs: the warning checks only the mode.
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let setuid = program(folder, "setuid", 0o4755, None);
    let setgid = program(folder, "setgid", 0o2755, None);
    let capable = program(folder, "capable", 0o755, None);
    let mut setcap = Command::new("/sbin/setcap");
    run(setcap.args(["cap_net_raw+ep", &capable]), SHORT).stdout();
    let by_name = program(folder, "by-name", 0o755, Some(&format!("#!{setgid} -x\n")));
    let by_env = program(folder, "by-env", 0o755, Some("#!/usr/bin/env -S setuid -x\n"));
    let twice = program(folder, "twice", 0o755, Some(&format!("#!{by_name}\n")));

    let found = format!("{}:{}", path(folder), std::env::var("PATH").expect("a path"));
    for (command, about, why) in [
        (&setuid, &setuid, "setuid"),
        (&"setuid".to_owned(), &setuid, "setuid"),
        (&setgid, &setgid, "setgid"),
        (&capable, &capable, "file capabilities"),
        (&by_name, &setgid, "setgid"),
        (&by_env, &setuid, "setuid"),
        (&twice, &setgid, "setgid"),
    ] {
        let said = warnings(script("with-pcsc").arg(command).env("PATH", &found));
        let expected = format!("pcsc: warning: {about} is ");
        assert!(
            said.starts_with(&expected) && said.contains(why),
            "{command}: {said}"
        );
        assert!(said.contains("system's libpcsclite.so.1"), "{said}");
    }
    // The mode bits have no effect on a script, and an ordinary program does not have them.
    let innocent = program(folder, "innocent", 0o6755, Some("#!/bin/sh\n"));
    let plain = program(folder, "plain", 0o755, None);
    for command in [&innocent, &plain, &"true".to_owned()] {
        assert_eq!(warnings(script("with-pcsc").arg(command)), "", "{command}");
    }
}

#[test]
fn a_delegate_of_the_callers_is_replaced_with_a_warning() {
    target();
    let shell = ["sh", "-c", "echo \"$LIBPCSCLITE_DELEGATE\""];
    let mut command = script("with-pcsc");
    command.args(shell).env("LIBPCSCLITE_DELEGATE", "/theirs.so");
    let output = run(&mut command, SHORT);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("warning") && said.contains("/theirs.so"), "{said}");
    let ours = output.stdout();
    assert!(ours.ends_with("/with-pcsc/libpcsclite_real.so.1\n"), "{ours}");
    // One with-pcsc within another needs no warning.
    let mut command = script("with-pcsc");
    command.args(shell).env("LIBPCSCLITE_DELEGATE", ours.trim());
    assert_eq!(warnings(&mut command), "");
}
