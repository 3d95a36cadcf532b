//! scripts/install.sh and scripts/with-pcsc: installing, compiling against the installation, removing it, and
//! running a program without it.

mod driver;
mod linking;
mod orders;
mod udev;
mod wrapper;

use pcsc_tests::{artifacts, run, Output};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

const SHORT: Duration = Duration::from_secs(300);
/// The code of SCARD_E_NO_SERVICE as hello.c prints it, without a daemon.
const NO_SERVICE: &str = "0x8010001D";

fn tree(path: &str) -> PathBuf {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    root.join(path).canonicalize().expect("a file of the tree")
}

/// The target folder, in which the release library and the command `pcsc` have been built.
fn target() -> &'static Path {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    TARGET.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("a target folder");
        let mut cargo = artifacts::cargo();
        // What scripts/test has built.
        cargo
            .args([
                "build",
                "--release",
                "-p",
                "pcsc-sys-shim",
                "-p",
                "pcsc-cli",
                "-p",
                "pcsc-ifd-handler",
                "--features",
                "pcsc-ifd-handler/sim",
                "--target-dir",
            ])
            .arg(target);
        // With another target the files would not be where the scripts look.
        run(cargo.env_remove("CARGO_BUILD_TARGET"), Duration::from_secs(3600)).stdout();
        target.to_owned()
    })
}

/// A script of the tree, without variables that lead to other libraries or folders.
fn script(name: &str) -> Command {
    let mut command = Command::new(tree(&format!("scripts/{name}")));
    command.env("CARGO_TARGET_DIR", target()).current_dir("/");
    for name in [
        "DESTDIR",
        "LD_LIBRARY_PATH",
        "LIBPCSCLITE_DELEGATE",
        "JAVA_TOOL_OPTIONS",
    ] {
        command.env_remove(name);
    }
    command
}

fn install(arguments: &[&str]) -> Output {
    run(script("install.sh").args(arguments), SHORT)
}

/// The error message of a script that failed.
#[track_caller]
fn failure(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it worked: {output:?}");
    assert!(!stderr.is_empty(), "it failed without a word");
    stderr
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Every file and link below a folder, sorted, relative to it.
fn files(folder: &Path) -> Vec<String> {
    let mut command = Command::new("find");
    command.arg(folder).args(["!", "-type", "d", "-printf", "%P\\n"]);
    let mut files: Vec<_> = run(&mut command, SHORT)
        .stdout()
        .lines()
        .map(str::to_owned)
        .collect();
    files.sort();
    files
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

/// What the installation puts below its prefix.
const INSTALLED: [&str; 12] = [
    "include/PCSC/debuglog.h",
    "include/PCSC/ifdhandler.h",
    "include/PCSC/pcsclite.h",
    "include/PCSC/reader.h",
    "include/PCSC/winscard.h",
    "include/PCSC/wintypes.h",
    "lib/libpcsclite.a",
    "lib/libpcsclite.so",
    "lib/libpcsclite.so.1",
    "lib/libpcsclite.so.1.0.0",
    "lib/pcsc-rs/library.manifest",
    "lib/pkgconfig/libpcsclite.pc",
];

/// pkg-config, which sees the file in `folder` alone.
fn pkg_config(folder: &Path, sysroot: Option<&Path>, arguments: &[&str]) -> String {
    let mut command = Command::new("pkg-config");
    command
        .env("PKG_CONFIG_LIBDIR", folder)
        .env_remove("PKG_CONFIG_PATH");
    command.env_remove("PKG_CONFIG_SYSROOT_DIR");
    if let Some(sysroot) = sysroot {
        command.env("PKG_CONFIG_SYSROOT_DIR", sysroot);
    }
    run(command.args(arguments).arg("libpcsclite"), SHORT)
        .stdout()
        .trim()
        .to_owned()
}

/// Compiles hello.c with pkg-config's flags.
fn compile_hello(flags: &str, program: &Path) {
    let mut command = Command::new("cc");
    command
        .args(["-Wall", "-Wextra", "-Werror"])
        .arg(tree("examples/c/hello.c"));
    command.args(flags.split_whitespace()).arg("-o").arg(program);
    run(&mut command, SHORT).stdout();
}

/// The shared libraries that a program needs.
fn needed(program: &Path) -> Vec<String> {
    let output = run(Command::new("readelf").args(["-d", "-W"]).arg(program), SHORT).stdout();
    let lines = output.lines().filter(|line| line.contains("(NEEDED)"));
    let names = lines.filter_map(|line| line.split(['[', ']']).nth(1));
    names.map(str::to_owned).collect()
}

/// The error message of hello without a daemon.
fn run_hello(command: &mut Command) -> String {
    failure(&run(
        command.env("PCSCLITE_CSOCK_NAME", "/nonexistent/pcscd.comm"),
        SHORT,
    ))
}

// ---- install.sh ----

#[test]
fn a_prefix_serves_compilers_and_programs_and_is_left_empty() {
    let folder = TempDir::new().expect("a folder");
    // A name that needs quotes in scripts and patterns.
    let prefix = folder.path().join("a|b&c");
    fs::create_dir(&prefix).expect("a folder");
    let said = install(&["--prefix", path(&prefix)]).stdout();
    assert_eq!(files(&prefix), INSTALLED);
    for name in INSTALLED.iter().filter(|name| !name.ends_with("manifest")) {
        assert!(
            said.contains(&format!("installed {}/{name}\n", path(&prefix))),
            "{name} in {said}"
        );
    }
    assert!(said.contains("run ldconfig"), "{said}");
    let pc = pkg_config(&prefix.join("lib/pkgconfig"), None, &["--variable=includedir"]);
    assert_eq!(pc, path(&prefix.join("include/PCSC")));

    let said = install(&[&format!("--prefix={}", path(&prefix)), "--uninstall"]).stdout();
    assert!(
        said.contains("removed") && is_empty(&prefix),
        "{:?}, {said}",
        files(&prefix)
    );
}

#[test]
fn a_package_is_built_in_destdir() {
    let dest = TempDir::new().expect("a folder");
    let dest = dest.path();
    let arguments = [
        "--prefix",
        "/usr",
        "--libdir",
        "/usr/lib/multi-arch",
        "--includedir=/usr/include",
    ];
    let said = run(script("install.sh").args(arguments).env("DESTDIR", dest), SHORT).stdout();
    assert!(
        !said.contains("ldconfig"),
        "a package's builder has nothing to activate: {said}"
    );
    let pc = dest.join("usr/lib/multi-arch/pkgconfig");
    let text = fs::read_to_string(pc.join("libpcsclite.pc")).expect("pkg-config's file");
    assert!(!text.contains(path(dest)) && !text.contains('@'), "{text}");
    assert!(text.contains("\nlibdir=${prefix}/lib/multi-arch\n"), "{text}");

    for (variable, value) in [
        ("prefix", "/usr"),
        ("usbdropdir", "/usr/lib/pcsc/drivers"),
        ("serialconfdir", "/etc/reader.conf.d"),
    ] {
        let text = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{variable}=")));
        assert_eq!(text, Some(value), "{variable}");
    }
    // The variables that OpenSC's configure reads.
    pkg_config(&pc, Some(dest), &["--atleast-version=1.8.22"]);
    let header = fs::read_to_string(tree("include/pcsclite.h")).expect("a header");
    let version = pkg_config(&pc, None, &["--modversion"]);
    assert!(
        header.contains(&format!("#define PCSCLITE_VERSION_NUMBER \"{version}\"\n")),
        "{version}"
    );

    let hello = dest.join("hello");
    compile_hello(&pkg_config(&pc, Some(dest), &["--cflags", "--libs"]), &hello);
    assert!(
        needed(&hello).contains(&"libpcsclite.so.1".into()),
        "{:?}",
        needed(&hello)
    );
    fs::remove_file(&hello).expect("a file of ours");

    let mut uninstall = script("install.sh");
    uninstall.args([
        "--uninstall",
        "--prefix",
        "/usr",
        "--libdir",
        "/usr/lib/multi-arch",
    ]);
    run(uninstall.env("DESTDIR", dest), SHORT).stdout();
    assert!(is_empty(dest), "{:?}", files(dest));
}

#[test]
fn the_real_library_is_not_found_by_other_programs() {
    let prefix = TempDir::new().expect("a folder");
    let prefix = prefix.path();
    let said = install(&["--real", "--prefix", path(prefix)]).stdout();
    let library = prefix.join("lib/pcsc-rs/libpcsclite_real.so.1");
    assert!(
        said.contains(&format!("LIBPCSCLITE_DELEGATE={}", path(&library))),
        "{said}"
    );
    assert!(library.is_file());

    let ldconfig = ["/sbin/ldconfig", "/usr/sbin/ldconfig"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    run(
        Command::new(ldconfig.expect("ldconfig"))
            .arg("-n")
            .arg(prefix.join("lib")),
        SHORT,
    )
    .stdout();
    let expected = ["lib/pcsc-rs/libpcsclite_real.so.1", "lib/pcsc-rs/real.manifest"];
    assert_eq!(files(prefix), expected);

    install(&["--real", "--uninstall", "--prefix", path(prefix)]).stdout();
    assert!(is_empty(prefix), "{:?}", files(prefix));
}

#[test]
fn an_installation_is_renewed_and_follows_its_folders() {
    let prefix = TempDir::new().expect("a folder");
    let prefix = prefix.path();
    let moved = prefix.join("headers");
    install(&["--prefix", path(prefix)]).stdout();
    let said = install(&["--prefix", path(prefix), "--includedir", path(&moved)]).stdout();
    assert!(
        said.contains(&format!("removed {}/include/PCSC/winscard.h\n", path(prefix))),
        "{said}"
    );
    let now: Vec<_> = INSTALLED
        .iter()
        .map(|name| name.replace("include/", "headers/"))
        .collect();
    assert_eq!(files(prefix), now);
    install(&["--prefix", path(prefix), "--uninstall"]).stdout();
    assert!(is_empty(prefix), "{:?}", files(prefix));
}

#[test]
fn a_file_of_another_package_is_not_changed() {
    let prefix = TempDir::new().expect("a folder");
    let prefix = prefix.path();
    fs::create_dir(prefix.join("lib")).expect("a folder");
    // A dangling link is such a file too.
    symlink("libpcsclite.so.1.0.0", prefix.join("lib/libpcsclite.so.1")).expect("a link");
    let said = failure(&install(&["--prefix", path(prefix)]));
    assert!(
        said.contains("lib/libpcsclite.so.1 is there and not ours"),
        "{said}"
    );
    assert_eq!(files(prefix), ["lib/libpcsclite.so.1"], "nothing was begun");

    let said = failure(&install(&["--prefix", path(prefix), "--uninstall"]));
    assert!(said.contains("nothing to remove"), "{said}");
    assert_eq!(files(prefix), ["lib/libpcsclite.so.1"]);
}

#[test]
fn errors_say_what_to_do() {
    let empty = TempDir::new().expect("a folder");
    let at = ["--prefix", path(empty.path())];
    let mut unbuilt = script("install.sh");
    unbuilt.args(at).env("CARGO_TARGET_DIR", empty.path());
    let said = failure(&run(&mut unbuilt, SHORT));
    assert!(said.contains("cargo build --release -p pcsc-sys-shim"), "{said}");
    assert!(is_empty(empty.path()));
    // As cargo leaves it for musl.
    fs::create_dir(empty.path().join("release")).expect("a folder");
    fs::write(empty.path().join("release/libpcsclite.a"), "").expect("a library");
    let said = failure(&run(&mut unbuilt, SHORT));
    assert!(said.contains("target-feature=-crt-static"), "{said}");

    for (arguments, words) in [
        (&["--prefix", "usr"][..], "absolute path"),
        (&["--prefix"], "needs a folder"),
        (&["--prefix", "/a\nb"], "line break"),
        (&["--real", "--driver"], "two installations"),
        (&["--udev", "--uninstall", "--driver"], "two installations"),
        (&["--frobnicate"], "--help"),
    ] {
        let said = failure(&install(arguments));
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let help = install(&["--help"]).stdout();
    for option in [
        "--prefix",
        "--libdir",
        "--includedir",
        "--real",
        "--driver",
        "--udev",
        "--debuginfo",
        "--uninstall",
        "DESTDIR",
        "CARGO_TARGET_DIR",
    ] {
        assert!(help.contains(option), "{option}");
    }
}
