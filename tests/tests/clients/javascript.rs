//! Node.js and Deno.

use crate::setups::{same_on_the_driver, Twins};
use pcsc_tests::{artifacts, atr, client};
use std::path::Path;

/// The script of this name.
fn script(name: &str) -> String {
    format!("{}/javascript/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Whether npm packages can be fetched; prints the reason if not.
fn has_npm() -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder: std::path::PathBuf| folder.join("npm").exists());
    if !found {
        eprintln!("SKIPPED: there is no npm");
    }
    found
}

#[test]
fn pcsclite_on_node() {
    if !has_npm() {
        return;
    }
    let modules = artifacts::fetched("node_modules");
    let mut twins = Twins::start();
    twins.act(0, |reader| reader.insert(atr::T1));
    let text = twins.same(|| {
        let mut command = client("node");
        command.arg(script("client.js")).env("NODE_PATH", &modules);
        command
    });
    assert!(text.starts_with("Some(0)\npcsc-tests 00 00: 3b"), "{text}");
    assert!(text.contains("Hello world!"), "{text}");
    assert!(text.contains("pcsc-tests 01 00: empty"), "{text}");
}

#[test]
fn the_c_interface_on_deno() {
    if !has_npm() {
        return;
    }
    let platform = format!(
        "@deno/linux-{}-glibc/deno",
        if cfg!(target_arch = "x86_64") {
            "x64"
        } else {
            "arm64"
        }
    );
    let deno = artifacts::fetched(&Path::new("node_modules").join(platform).to_string_lossy());
    let folder = tempfile::tempdir().unwrap();
    let text = same_on_the_driver(|_| {
        let mut command = client(&deno);
        command
            .args(["run", "--no-config", "--no-remote", "--no-lock", "--allow-ffi"])
            .arg(script("ffi.js"))
            .env("DENO_DIR", folder.path())
            .env("DENO_NO_UPDATE_CHECK", "1")
            .env("NO_COLOR", "1");
        command
    });
    for part in [
        "Some(0)",
        "pcsc-tests 00 00",
        "48656c6c6f20776f726c64219000",
        "0102039000",
        "80100002",
    ] {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
}
