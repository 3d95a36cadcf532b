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
    let names = run(list.current_dir(root()), Duration::from_secs(300)).stdout();
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

/// The lines of a Rust file that have more than `width` characters, without those that no one can break: the
/// rows of tables in comments.
fn long_lines(text: &str, width: usize) -> Vec<usize> {
    let is_row = |line: &str| ["/// |", "//! |", "// |"].iter().any(|row| line.starts_with(row));
    text.lines()
        .zip(1..)
        .filter(|(line, _)| line.chars().count() > width && !is_row(line.trim_start()))
        .map(|(_, number)| number)
        .collect()
}

#[test]
fn no_line_of_rust_is_longer_than_rustfmt_makes_them() {
    let long = "é".repeat(8);
    assert_eq!(long_lines(&format!("{long}\n/// | {long}\n// {long}\n"), 8), [3]);

    // rustfmt leaves a statement as it is if it cannot break a literal in it.
    let settings = fs::read_to_string(root().join("rustfmt.toml")).expect("rustfmt.toml");
    let width = settings
        .lines()
        .find_map(|line| line.strip_prefix("max_width = "));
    let width: usize = width.and_then(|width| width.parse().ok()).expect("max_width");
    let mut found = Vec::new();
    for (name, text) in text_files() {
        if name.ends_with(".rs") {
            let numbers = long_lines(&text, width);
            found.extend(numbers.iter().map(|number| format!("{name}:{number}")));
        }
    }
    assert!(
        found.is_empty(),
        "longer than {width} characters:\n{}",
        found.join("\n")
    );
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
        // Otherwise docs.rs shows no item of a feature that is not on by default. A program is not shown.
        assert!(
            !has("[features]") || !folder.join("src/lib.rs").exists() || has("all-features = true"),
            "{member}/Cargo.toml has features, and not [package.metadata.docs.rs] with all-features"
        );
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
        .filter(|line| line.starts_with("| `pcsc"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for member in members().iter().filter(|member| member.starts_with("pcsc")) {
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

/// The texts of all source files of crates that are published, without comments of documentation.
fn sources() -> Vec<(String, String)> {
    let mut files = text_files();
    files.retain(|(name, _)| {
        name.ends_with(".rs") && name.starts_with("pcsc") && name.split('/').nth(1) == Some("src")
    });
    for (_, text) in &mut files {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        *text = code.collect::<Vec<_>>().join("\n");
    }
    files
}

/// Splits a list at the commas that are in no bracket, up to the bracket that ends it.
fn split_list(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            ')' | ']' | '}' | '>' if depth == 0 => {
                parts.push(&text[start..at]);
                break;
            }
            ')' | ']' | '}' | '>' => depth -= 1,
            _ => (),
        }
    }
    parts
}

/// The errors of a file that print their source: `#[error("…")]` and what follows it.
fn printed_sources(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (_, rest) in text
        .match_indices("#[error(")
        .map(|(at, start)| (at, &text[at + start.len()..]))
    {
        let Some((format, rest)) = rest.split_once(")]") else {
            continue;
        };
        let end = rest.find([',', '}', ';']).unwrap_or(rest.len());
        // A variant or structure without fields ends before a bracket that has any.
        let Some(fields) = rest.find(['(', '{']).filter(|start| *start < end) else {
            continue;
        };
        for (number, field) in split_list(&rest[fields + 1..]).into_iter().enumerate() {
            let declared = field.rsplit(']').next().unwrap_or(field);
            let name = match (&rest[fields..=fields], declared.split_once(':')) {
                ("{", Some((name, _))) => name.trim().trim_start_matches("pub ").to_owned(),
                _ => number.to_string(),
            };
            let is_source = field.contains("#[source]") || field.contains("#[from]") || name == "source";
            let arguments = format.rsplit('"').next().unwrap_or_default();
            let is_printed = format.contains(&format!("{{{name}}}"))
                || format.contains(&format!("{{{name}:"))
                || arguments
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .any(|word| word == name);
            if is_source && is_printed {
                found.push(format!("#[error({format})]: {name}"));
            }
        }
    }
    found
}

/// Error reporters print a chain of errors, each with its sources: what prints its source as well is read
/// twice.
#[test]
fn no_error_prints_its_source() {
    for (faulty, text) in [
        (true, r#"#[error("a: {0}")] A(#[source] io::Error),"#),
        (true, r#"#[error("a: {}", .0)] A(#[from] io::Error),"#),
        (
            true,
            r#"#[error("{path}: {source}")] A { path: Map<A, B>, source: io::Error },"#,
        ),
        (
            true,
            r#"#[error("{cause:?}")] struct A { #[source] pub cause: io::Error }"#,
        ),
        (false, r#"#[error("a: {0}")] A(io::Error),"#),
        (false, r#"#[error("a")] A(#[source] io::Error),"#),
        (
            false,
            r#"#[error("{}", path.display())] A { path: PathBuf, source: io::Error },"#,
        ),
        (false, r#"#[error(transparent)] A(#[from] io::Error),"#),
        (false, r#"#[error("{0}")] A, B(#[from] io::Error),"#),
    ] {
        assert_eq!(!printed_sources(text).is_empty(), faulty, "{text}");
    }

    let mut found = Vec::new();
    let mut count = 0;
    for (name, text) in sources() {
        count += text.matches("#[error(").count();
        found.extend(
            printed_sources(&text)
                .into_iter()
                .map(|fault| format!("{name}: {fault}")),
        );
    }
    assert!(count > 100, "only {count} errors were found");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
