//! The page "Test your smart card software": its commands are run as they stand there, by a user without
//! privileges, in a network of its own, without pcscd.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcsc_tests::{artifacts, client, run};

const LIMIT: Duration = Duration::from_secs(180);
const PAGE: &str = include_str!("../../../docs/testing.md");

/// Runs the script `$1` as nobody. What the commands need from outside is there already.
const AS_NOBODY: &str = r#"
    busybox ip link set lo up
    exec setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent sh -eu "$1"
"#;
/// Commands that fetch or build what is there.
const BUILT: &str = "cargo() { test \"${*#build --release}\" = ' -p pcsc-sys-shim' \\\n\
                         || test \"${*#build --release}\" = ' -p pcsc-cli -p pcsc-sys-shim'; }\n\
    npm() { test \"$*\" = 'install @pokusew/pcsclite'; }\n";

/// The commands of a section, without those of the sections within it.
fn commands(section: &str) -> String {
    let mut is_in_section = false;
    let mut is_command = false;
    let mut commands = String::new();
    for line in PAGE.lines() {
        match line {
            "```sh" => is_command = true,
            "```" => is_command = false,
            _ if is_command && is_in_section => commands.extend([line, "\n"]),
            _ if line.starts_with('#') && !is_command => {
                is_in_section = line.trim_start_matches('#').trim() == section;
            }
            _ => (),
        }
    }
    assert!(!commands.is_empty(), "{section} has no commands");
    commands
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Runs the commands of a language's section. Returns the output.
fn run_language(section: &str, also_there: &[(&str, PathBuf)]) -> String {
    run_sections(&["Other languages", section], also_there)
}

/// Runs the commands of sections. Returns the output.
fn run_sections(sections: &[&str], also_there: &[(&str, PathBuf)]) -> String {
    let folder = tempfile::Builder::new()
        .prefix("kit-")
        .tempdir_in("/tmp")
        .unwrap();
    let path = |name: &str| folder.path().join(name);
    // A checkout, and what its user has built in it. The user cannot write elsewhere, and may not be able to
    // read the checkout of these tests.
    for source in ["include", "examples"] {
        copy(&workspace().join(source), &path(source));
    }
    fs::create_dir_all(path("target/release")).unwrap();
    fs::copy(artifacts::library(), path("target/release/libpcsclite.so")).unwrap();
    for (name, from) in also_there {
        copy(from, &path(name));
    }
    let commands: String = sections.iter().map(|section| commands(section)).collect();
    let script = format!("{BUILT}{commands}");
    fs::write(path("script"), script).unwrap();
    let mut give = std::process::Command::new("chown");
    run(give.args(["-R", "65534:65534"]).arg(folder.path()), LIMIT).stdout();

    let mut command = client("unshare");
    command
        .args(["--net", "sh", "-c", AS_NOBODY, "sh"])
        .arg(path("script"))
        .current_dir(folder.path());
    let output = run(&mut command, LIMIT);
    let text = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned();
    assert!(
        output.status.success(),
        "{sections:?}: {:?}\n{text}",
        output.status
    );
    text
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let mut copy = std::process::Command::new("cp");
    run(copy.arg("-rL").args([from, to]), LIMIT).stdout();
}

#[test]
fn c() {
    assert!(run_language("C", &[]).contains("4 tests passed"));
}

#[test]
fn python() {
    let text = run_language("Python", &[]);
    assert!(text.contains("Ran 5 tests") && text.contains("OK"), "{text}");
}

#[test]
fn java() {
    assert!(run_language("Java", &[]).contains("3 tests passed"));
}

#[test]
fn node() {
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join("npm").exists())
    {
        eprintln!("SKIPPED: there is no npm");
        return;
    }
    let modules = artifacts::fetched("node_modules/@pokusew");
    let bindings = artifacts::fetched("node_modules/bindings");
    let uri = artifacts::fetched("node_modules/file-uri-to-path");
    let there = [
        ("node_modules/@pokusew", modules),
        ("node_modules/bindings", bindings),
        ("node_modules/file-uri-to-path", uri),
    ];
    let text = run_language("Node.js", &there);
    assert!(text.contains("# pass 3"), "{text}");
}

#[test]
fn record_and_replay() {
    let there = [("target/release/pcsc", artifacts::binary("pcsc-cli", "pcsc"))];
    let text = run_sections(&["Record and replay", "Calls", "USB transfers"], &there);
    let hello = text.matches("Hello world!").count();
    assert_eq!(hello, 4, "recorded and replayed, twice:\n{text}");
    assert!(text.contains("0: Gemalto GemPC Express 00 00"), "{text}");
}
