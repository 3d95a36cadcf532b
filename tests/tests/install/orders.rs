//! Installations in every order. The installed files are small here, since they are installed a thousand
//! times.

use super::{failure, files, is_empty, path, script, INSTALLED, SHORT};
use pcsc_tests::run;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The arguments that choose a kind of installation, and the files of each below the prefix.
const KINDS: [(&[&str], &[&str]); 4] = [
    (&[], &INSTALLED),
    (
        &["--real"],
        &["lib/pcsc-rs/libpcsclite_real.so.1", "lib/pcsc-rs/real.manifest"],
    ),
    (
        &["--driver"],
        &[
            "drivers/ifd-pcsc-rs.bundle/Contents/Info.plist",
            "drivers/ifd-pcsc-rs.bundle/Contents/Linux/libpcsc_ifd_handler.so",
            "lib/pcsc-rs/driver.manifest",
            "rules.d/70-pcsc-ccid.rules",
        ],
    ),
    (
        &["--udev"],
        &["lib/pcsc-rs/udev.manifest", "rules.d/70-pcsc-ccid.rules"],
    ),
];

/// A target folder with libraries of one function each.
fn small_target() -> TempDir {
    let target = TempDir::new().expect("a folder");
    let release = target.path().join("release");
    fs::create_dir(&release).expect("a folder");
    let source = release.join("library.c");
    fs::write(&source, "int answer(void) { return 42; }\n").expect("a file of ours");
    for name in ["libpcsclite.so", "libpcsc_ifd_handler.so"] {
        let mut command = Command::new("cc");
        command
            .args(["-g", "-shared", "-fPIC", "-o"])
            .arg(release.join(name));
        run(command.arg(&source), SHORT).stdout();
    }
    let object = release.join("library.o");
    run(
        Command::new("cc")
            .args(["-g", "-c", "-o"])
            .arg(&object)
            .arg(&source),
        SHORT,
    )
    .stdout();
    run(
        Command::new("ar")
            .arg("rcs")
            .arg(release.join("libpcsclite.a"))
            .arg(&object),
        SHORT,
    )
    .stdout();
    let plist = release.join("pcsc-ifd-info-plist");
    fs::write(&plist, "#!/bin/sh\necho '<plist/>'\n").expect("a file of ours");
    fs::set_permissions(&plist, fs::Permissions::from_mode(0o755)).expect("a file of ours");
    target
}

/// install.sh with a prefix of its own.
struct Installer {
    target: TempDir,
    folder: TempDir,
}

impl Installer {
    fn new() -> Self {
        Self {
            target: small_target(),
            folder: TempDir::new().expect("a folder"),
        }
    }

    /// The prefix, which is not there before the first installation.
    fn prefix(&self) -> PathBuf {
        self.folder.path().join("prefix")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let prefix = self.prefix();
        let mut command = script("install.sh");
        command
            .env("CARGO_TARGET_DIR", self.target.path())
            .args(arguments)
            .args([
                "--prefix",
                path(&prefix),
                "--dropdir",
                path(&prefix.join("drivers")),
            ])
            .args(["--udevdir", path(&prefix.join("rules.d"))]);
        command
    }

    #[track_caller]
    fn install(&self, kind: usize) {
        run(&mut self.command(KINDS[kind].0), SHORT).stdout();
    }

    #[track_caller]
    fn uninstall(&self, kind: usize) {
        run(self.command(KINDS[kind].0).arg("--uninstall"), SHORT).stdout();
    }

    /// Checks that the files below the prefix are those of these kinds, and that there is no other folder.
    #[track_caller]
    fn holds(&self, kinds: &[usize], order: &str) {
        let expected: BTreeSet<_> = kinds.iter().flat_map(|kind| KINDS[*kind].1).copied().collect();
        if expected.is_empty() {
            assert!(
                is_empty(self.folder.path()),
                "left after {order}: {:?}",
                everything(self.folder.path())
            );
        } else {
            let there = files(&self.prefix());
            assert_eq!(there, Vec::from_iter(expected), "after {order}");
        }
    }
}

/// Files and folders, to print.
fn everything(folder: &Path) -> String {
    run(Command::new("find").arg(folder), SHORT).stdout()
}

/// Every order of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut longer = Vec::new();
    for order in orders(count - 1) {
        for place in 0..count {
            let mut order = order.clone();
            order.insert(place, count - 1);
            longer.push(order);
        }
    }
    longer
}

#[test]
fn every_order_of_installations_leaves_nothing() {
    let installer = Installer::new();
    let orders = orders(KINDS.len());
    assert_eq!(orders.len(), 24);
    for (number, install) in orders.iter().enumerate() {
        // Each order of installing is combined with one order of uninstalling, and each of these is used
        // once.
        let uninstall = &orders[(number * 7 + 5) % orders.len()];
        let said = format!("installing {install:?}, uninstalling {uninstall:?}");
        for (done, kind) in install.iter().enumerate() {
            for _ in 0..2 {
                installer.install(*kind);
                installer.holds(&install[..=done], &said);
            }
        }
        for (done, kind) in uninstall.iter().enumerate() {
            installer.uninstall(*kind);
            installer.holds(&uninstall[done + 1..], &said);
        }
        let again = run(installer.command(KINDS[number % 4].0).arg("--uninstall"), SHORT);
        assert!(failure(&again).contains("nothing to remove"), "{said}");
        installer.holds(&[], &said);
    }
}

#[test]
fn a_file_that_two_kinds_share_stays_until_both_are_removed() {
    let installer = Installer::new();
    for (first, second) in [(2, 3), (3, 2)] {
        installer.install(first);
        installer.install(second);
        installer.uninstall(first);
        installer.holds(&[second], "the rules are the other kind's too");
        installer.uninstall(second);
        installer.holds(&[], "both");
    }
}

#[test]
fn an_installation_that_breaks_off_is_found_by_the_next_and_by_uninstall() {
    let installer = Installer::new();
    let plist = installer.target.path().join("release/pcsc-ifd-info-plist");
    let good = fs::read(&plist).expect("our file");
    for again in [false, true] {
        fs::write(&plist, "#!/bin/sh\necho half; exit 1\n").expect("our file");
        let said = failure(&run(&mut installer.command(&["--driver"]), SHORT));
        assert!(said.contains("Info.plist"), "{said}");
        let there = files(&installer.prefix());
        assert!(!there.iter().any(|name| name.ends_with(".new")), "{there:?}");
        if again {
            fs::write(&plist, &good).expect("our file");
            installer.install(2);
            installer.holds(&[2], "the second try");
        }
        installer.uninstall(2);
        installer.holds(&[], "an installation that broke off");
    }
}

#[test]
fn folders_that_cannot_be_made_leave_none_behind() {
    let installer = Installer::new();
    let mut command = installer.command(&[]);
    // The last of the folders would be in a file.
    let said = failure(&run(command.args(["--includedir", "/dev/null/include"]), SHORT));
    assert!(said.contains("cannot make /dev/null"), "{said}");
    installer.holds(&[], "a failure");
}

#[test]
fn a_file_that_is_no_longer_installed_goes() {
    let installer = Installer::new();
    let debug = "lib/.debug/libpcsclite.so.1.0.0.debug";
    run(&mut installer.command(&["--debuginfo"]), SHORT).stdout();
    assert!(files(&installer.prefix()).contains(&debug.to_owned()));
    installer.install(0);
    installer.holds(&[0], "an installation without debug information");
    assert!(!installer.prefix().join("lib/.debug").exists());
    installer.uninstall(0);
    installer.holds(&[], "both");
}
