//! What holds for every file and every crate of the repository.

use pcsc_tests::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The paths and texts of all text files under version control, without what is stored from elsewhere.
fn text_files() -> Vec<(String, String)> {
    let mut list = Command::new("git");
    list.args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--",
        ".",
        ":!tests/advisories",
    ]);
    let names = run(list.current_dir(root()), Duration::from_secs(60)).stdout();
    let mut files = Vec::new();
    for name in names.split_terminator('\0') {
        let path = root().join(name);
        // A licence is a link in each crate; a file may be deleted and not yet committed.
        if !path.symlink_metadata().is_ok_and(|file| file.is_file()) {
            continue;
        }
        // What is no UTF-8 is no text: corpora and recordings.
        if let Ok(text) = String::from_utf8(fs::read(path).expect("a file")) {
            files.push((name.to_owned(), text));
        }
    }
    assert!(files.len() > 300, "only {} text files", files.len());
    files
}

/// A folder of somebody's machine, if the line names one: `/home/NAME`, `/Users/NAME`, `/root/` or `/work/` as the start of
/// an absolute path, or a Windows profile.
fn machine_path(line: &str) -> Option<&'static str> {
    // In two parts, so that this file has none.
    const FOLDERS: [(&str, &str); 5] = [
        ("/ho", "me/"),
        ("/Us", "ers/"),
        ("/ro", "ot/"),
        ("/wo", "rk/"),
        ("\\Us", "ers\\"),
    ];
    for (start, end) in FOLDERS {
        let folder = format!("{start}{end}");
        for (at, _) in line.match_indices(&folder) {
            // Not within a longer path or a URL, where a name stands before the slash.
            let before = line[..at].chars().next_back();
            let absolute = !before.is_some_and(|c| c.is_alphanumeric() || "_-.}~$*".contains(c));
            let named = line[at + folder.len()..].starts_with(|c: char| c.is_alphanumeric());
            if absolute && named {
                return Some(end);
            }
        }
    }
    None
}

#[test]
fn no_file_holds_a_path_of_one_machine() {
    assert!(machine_path(&format!("see {}someone/x", "/home/")).is_some());
    assert!(machine_path(&format!("\"{}pcsc/x\"", "/work/")).is_some());
    assert_eq!(
        machine_path(&format!("target{}x and https://x.org{}y", "/work/", "/home/")),
        None
    );

    let mut found = Vec::new();
    for (name, text) in text_files() {
        for (number, line) in text.lines().enumerate() {
            // The guest has a root folder of its own.
            if machine_path(line).is_some() && !name.starts_with("tests/guest/src/lab/") {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The folders of the workspace's crates.
fn members() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    let (_, list) = manifest.split_once("members = [").expect("its members");
    let (list, _) = list.split_once(']').expect("the end of the list");
    list.split(',')
        .map(|name| name.trim().trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn each_crate_is_ready_to_publish_or_says_that_it_is_not() {
    let mut published = 0;
    for member in members() {
        let folder = root().join(&member);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let has = |key: &str| manifest.lines().any(|line| line.starts_with(key));
        assert!(has("description = "), "{member} has no description");
        if has("publish = false") {
            continue;
        }
        published += 1;
        for key in [
            "keywords = ",
            "categories = ",
            "license.workspace",
            "rust-version.workspace",
        ] {
            assert!(has(key), "{member}/Cargo.toml has no {key}");
        }
        // crates.io takes five keywords at most.
        let keywords = manifest.lines().find(|line| line.starts_with("keywords = "));
        let count = keywords.unwrap_or("").matches("\",").count() + 1;
        assert!(count <= 5, "{member} has {count} keywords");
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            let text = fs::read_to_string(folder.join(file));
            assert!(text.is_ok_and(|text| !text.is_empty()), "{member}/{file}");
        }
    }
    assert!(published >= 6, "only {published} crates to publish");
}
