//! Rules for every file and every crate of the repository.

use pcsc_tests::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The paths and texts of all text files under version control.
fn text_files() -> Vec<(String, String)> {
    let mut list = Command::new("git");
    list.args(["-c", "safe.directory=*", "ls-files", "-z", "--", "."]);
    let names = run(list.current_dir(root()), Duration::from_secs(60)).stdout();
    let mut files = Vec::new();
    for name in names.split_terminator('\0') {
        let path = root().join(name);
        // A licence is a link in each crate; a file may be deleted and not yet committed.
        if !path.symlink_metadata().is_ok_and(|file| file.is_file()) {
            continue;
        }
        // Files that are not UTF-8 are not text: corpora and recordings.
        if let Ok(text) = String::from_utf8(fs::read(path).expect("a file")) {
            files.push((name.to_owned(), text));
        }
    }
    assert!(files.len() > 300, "only {} text files", files.len());
    files
}

/// A folder of one machine, if the line names one: something in a home folder or in a folder of a build
/// machine, as an absolute path.
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

/// The documents that describe the code.
fn documents() -> Vec<(String, String)> {
    let mut files = text_files();
    files.retain(|(name, _)| name.ends_with(".md") && !name.contains("CHANGELOG"));
    files
}

#[test]
fn documents_name_files_that_exist() {
    let mut missing = Vec::new();
    let mut found = 0;
    for (name, text) in documents() {
        let folder = root().join(&name).with_file_name("");
        for (number, line) in text.lines().enumerate() {
            for span in line.split('`').skip(1).step_by(2) {
                let Some((first, _)) = span.split_once('/') else {
                    continue;
                };
                // The first word of a command may be a path; patterns and names in capitals are placeholders.
                let path = span.split(' ').next().unwrap_or(span).trim_end_matches(':');
                let is_pattern = path.contains(|c: char| "*{}<>$".contains(c) || c.is_ascii_uppercase());
                let base = [folder.clone(), root()]
                    .into_iter()
                    .find(|base| !first.is_empty() && base.join(first).is_dir());
                let Some(base) = base.filter(|_| !is_pattern || path.ends_with(".md")) else {
                    continue;
                };
                found += 1;
                if !base.join(path).exists() && !path.starts_with("target/") {
                    missing.push(format!("{name}:{}: {path}", number + 1));
                }
            }
        }
    }
    assert!(found > 40, "only {found} paths were found");
    assert!(missing.is_empty(), "no such file:\n{}", missing.join("\n"));
}

/// The workspace's crates that a manifest names as dependencies of the library itself, without "pcsc-",
/// sorted.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_dependencies = line.ends_with("dependencies]") && !line.contains("dev-");
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or("");
        if let Some(name) = name.strip_prefix("pcsc-").filter(|_| is_dependencies) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_architecture_names_each_crate_with_its_dependencies() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `pcsc-"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for member in members().iter().filter(|member| member.starts_with("pcsc-")) {
        let row = rows.iter().find(|row| row[0] == format!("`{member}`"));
        let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for {member}"));
        let mut told: Vec<_> = row[2]
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        told.sort_unstable();
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a manifest");
        assert_eq!(
            told,
            dependencies(&manifest),
            "the row of {member} in ARCHITECTURE.md"
        );
    }
}
