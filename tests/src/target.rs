//! Other kinds of machines: builds for them, and runs what was built, on this processor or under QEMU.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{artifacts, client, run};

const LIMIT: Duration = Duration::from_secs(1800);

/// A kind of machine.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name for Rust.
    name: &'static str,
    /// The C compiler, with arguments.
    compiler: &'static [&'static str],
    /// What runs its programs, with arguments; empty for the system itself.
    runner: &'static [&'static str],
}

impl Target {
    /// Where C's LONG has 32 bits.
    pub const I686: Target = Target {
        name: "i686-unknown-linux-gnu",
        // The last is where Debian has headers of the kernel, in the absence of gcc-multilib.
        compiler: &["cc", "-m32", "-idirafter", "/usr/include/x86_64-linux-gnu"],
        runner: &[],
    };

    /// Where the most significant byte comes first.
    pub const S390X: Target = Target {
        name: "s390x-unknown-linux-gnu",
        compiler: &["s390x-linux-gnu-gcc"],
        runner: &["qemu-s390x", "-L", "/usr/s390x-linux-gnu"],
    };

    /// Why programs cannot be built and run here; `None` if they can.
    ///
    /// # Panics
    /// Where there is no temporary folder or no rustc.
    pub fn obstacle(&self) -> Option<String> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.args(["--print", "target-libdir", "--target", self.name]);
        let folder = run(&mut command, LIMIT);
        let folder = PathBuf::from(String::from_utf8_lossy(&folder.stdout).trim());
        if !folder.is_dir() {
            return Some(format!(
                "there is no standard library (rustup target add {})",
                self.name
            ));
        }
        let scratch = tempfile::tempdir().expect("a folder");
        let (source, program) = (scratch.path().join("empty.c"), scratch.path().join("empty"));
        let text = "#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n";
        std::fs::write(&source, text).expect("a file");
        let compiled = self.cc().arg(source).arg("-o").arg(&program).output();
        if !compiled.is_ok_and(|output| output.status.success()) {
            return Some(format!(
                "{} does not work (scripts/setup)",
                self.compiler.join(" ")
            ));
        }
        let started = self.command(&program).output();
        if !started.is_ok_and(|output| output.status.success()) {
            return Some(format!(
                "the system does not run programs of {} (scripts/setup)",
                self.name
            ));
        }
        None
    }

    /// The C compiler.
    pub fn cc(&self) -> Command {
        let mut command = Command::new(self.compiler[0]);
        command.args(&self.compiler[1..]);
        command
    }

    /// A program, as [`client`] runs one.
    pub fn command(&self, program: &Path) -> Command {
        match self.runner {
            [] => client(program),
            [runner, arguments @ ..] => {
                let mut command = client(runner);
                command.args(arguments).arg(program);
                command
            }
        }
    }

    /// Runs cargo in the folder of this test's builds, as `scripts/foreign` does, whose builds are used.
    /// Returns the folder of what was built.
    ///
    /// # Panics
    /// Where it fails.
    #[track_caller]
    pub fn cargo(&self, arguments: &[&str]) -> PathBuf {
        let library = artifacts::library();
        let target = library.ancestors().nth(2).expect("a target folder");
        let variable = format!(
            "CARGO_TARGET_{}",
            self.name.to_ascii_uppercase().replace('-', "_")
        );
        let mut command = artifacts::cargo();
        command
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env(format!("{variable}_LINKER"), self.compiler[0])
            .args(arguments)
            .args(["--locked", "--target", self.name, "--target-dir"])
            .arg(target);
        if !self.runner.is_empty() {
            command.env(format!("{variable}_RUNNER"), self.runner.join(" "));
        }
        run(&mut command, LIMIT).stdout();
        target.join(self.name).join("debug")
    }
}
