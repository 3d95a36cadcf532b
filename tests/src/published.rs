//! The examples of the published `pcsc` crate, as a crate that depends on ours by a changed dependency line.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{artifacts, run};

const LIMIT: Duration = Duration::from_secs(1800);

/// Their names.
pub const NAMES: [&str; 7] = [
    "cancel",
    "connect",
    "connect-owned",
    "list-readers",
    "list-readers-owned",
    "monitor",
    "readme",
];

/// Makes the crate in `folder`; each example is a program of it. Returns its folder.
///
/// # Panics
/// If the published crate has other examples than these.
#[track_caller]
pub fn examples(folder: &Path) -> PathBuf {
    let examples = source(&folder.join("fetch")).join("examples");
    let crate_folder = folder.join("examples");
    let bin = crate_folder.join("src/bin");
    fs::create_dir_all(&bin).expect("a folder in the test's");
    let mut names = Vec::new();
    for entry in fs::read_dir(&examples).expect("the published examples") {
        let path = entry.expect("an example").path();
        names.push(path.file_stem().expect("a name").to_string_lossy().into_owned());
        fs::copy(&path, bin.join(path.file_name().expect("a name"))).expect("a copy");
    }
    names.sort();
    assert_eq!(names, NAMES);
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/../pcsc-client");
    let manifest = format!(
        "[package]\nname = \"published\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[dependencies]\n\
         pcsc = {{ package = \"pcsc-client\", path = {client:?} }}\n[workspace]\n[profile.dev]\n\
         debug = false\n"
    );
    fs::write(crate_folder.join("Cargo.toml"), manifest).expect("a file in the test's folder");
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    fs::copy(lock, crate_folder.join("Cargo.lock")).expect("a copy");
    crate_folder
}

/// The registry's copy of pcsc 2.9.0, fetched if it is not there.
#[track_caller]
fn source(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder.join("src")).expect("a folder in the test's");
    fs::write(folder.join("src/lib.rs"), "").expect("a file in the test's folder");
    let manifest = "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[dependencies]\n\
        pcsc = \"=2.9.0\"\n[workspace]\n";
    fs::write(folder.join("Cargo.toml"), manifest).expect("a file in the test's folder");
    let mut metadata = artifacts::cargo();
    metadata
        .current_dir(folder)
        .args(["metadata", "--format-version", "1"]);
    let text = run(&mut metadata, LIMIT).stdout();
    let path = text
        .split('"')
        .find(|part| part.ends_with("/pcsc-2.9.0/Cargo.toml"))
        .expect("pcsc 2.9.0 in the registry");
    Path::new(path).parent().expect("its folder").to_owned()
}
