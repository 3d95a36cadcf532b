//! The C programs of tests/c.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::run;

/// Compiles `tests/c/NAME.c` into `folder` and links it to libpcsclite. `LD_LIBRARY_PATH` chooses the library
/// at run time.
///
/// # Panics
/// If it does not compile.
#[track_caller]
pub fn c_program(folder: &Path, name: &str) -> PathBuf {
    compile(folder, name, &["-pthread", "-lpcsclite"], name)
}

/// Compiles `tests/c/NAME.c` into a shared library in `folder`, for `LD_PRELOAD`.
///
/// # Panics
/// If it does not compile.
#[track_caller]
pub fn c_library(folder: &Path, name: &str) -> PathBuf {
    compile(folder, name, &["-shared", "-fPIC", "-ldl"], &format!("{name}.so"))
}

#[track_caller]
fn compile(folder: &Path, name: &str, options: &[&str], result: &str) -> PathBuf {
    let file = folder.join(result);
    let mut compiler = Command::new("cc");
    compiler
        .args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-g",
            "-I/usr/include/PCSC",
        ])
        .arg(format!("{}/c/{name}.c", env!("CARGO_MANIFEST_DIR")))
        .arg("-o")
        .arg(&file)
        .args(options);
    run(&mut compiler, Duration::from_secs(120)).stdout();
    file
}
