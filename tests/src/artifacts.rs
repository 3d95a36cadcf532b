//! The libraries and programs of this workspace, built like the running test: same target folder, same
//! profile.
//!
//! What is not a dependency of the test is built on demand, once in each process. If everything has been
//! built already, `PCSC_TESTS_ARTIFACTS` names the profile folder, such as `target/debug`, and saves each
//! process a call of cargo.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The test's IFD handler, a shared library for pcscd. It is a dependency of this crate, and so up to date.
#[track_caller]
pub fn ifd() -> PathBuf {
    existing(running().join("deps/libpcsc_test_ifd.so"))
}

/// Our driver as an IFD handler, a shared library for pcscd.
///
/// # Panics
/// If it does not build.
#[track_caller]
pub fn driver() -> PathBuf {
    existing(built(&["-p", "pcsc-ifd-handler", "--lib", "--features", "sim"]).join("libpcsc_ifd_handler.so"))
}

/// A card application of `tests/cards`, a program. Built once for all profiles, apart from this workspace.
///
/// # Panics
/// If it does not build.
#[track_caller]
pub fn card(application: &str) -> PathBuf {
    let target = workspace().join("target/cards");
    if env::var_os("PCSC_TESTS_ARTIFACTS").is_none() {
        let mut command = cargo();
        command
            .args(["build", "--locked", "--manifest-path", "tests/cards/Cargo.toml"])
            .arg("--target-dir")
            .arg(&target);
        succeed(command);
    }
    existing(target.join("debug").join(application))
}

/// vsmartcard's vpcd, an IFD handler, as `scripts/clients` has unpacked it.
#[track_caller]
pub fn vpcd() -> PathBuf {
    fetched("vpcd/libifdvpcd.so")
}

/// The file that `scripts/clients` has put at this path.
///
/// # Panics
/// If it is not there.
#[track_caller]
pub fn fetched(path: &str) -> PathBuf {
    let path = workspace().join("target/clients").join(path);
    assert!(path.exists(), "{} is missing: run scripts/setup", path.display());
    path
}

/// A folder that holds our `libpcsclite.so.1`, for LD_LIBRARY_PATH.
///
/// # Panics
/// If the library does not build.
#[track_caller]
pub fn library_folder() -> PathBuf {
    let library = library();
    let folder = library.with_file_name("pcsc-tests-lib");
    fs::create_dir_all(&folder).expect("a folder next to the library");
    let link = folder.join("libpcsclite.so.1");
    if fs::read_link(&link).ok().as_deref() != Some(&library) {
        // Made elsewhere and moved into place, since other tests may do the same at the same time.
        let made = folder.join(format!(
            "link-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        symlink(&library, &made).expect("a link next to the library");
        fs::rename(&made, &link).expect("a link next to the library");
    }
    folder
}

/// Our `libpcsclite.so`.
///
/// # Panics
/// If it does not build.
#[track_caller]
pub fn library() -> PathBuf {
    existing(built(&["-p", "pcsc-sys-shim", "--lib"]).join("libpcsclite.so"))
}

/// The program of `[[bin]] name` in `package`.
///
/// # Panics
/// If it does not build.
#[track_caller]
pub fn binary(package: &str, name: &str) -> PathBuf {
    existing(built(&["-p", package, "--bin", name]).join(name))
}

/// The program of `[[example]] name` in `package`.
///
/// # Panics
/// If it does not build.
#[track_caller]
pub fn example(package: &str, name: &str) -> PathBuf {
    existing(
        built(&["-p", package, "--example", name])
            .join("examples")
            .join(name),
    )
}

#[track_caller]
fn existing(path: PathBuf) -> PathBuf {
    assert!(path.is_file(), "{} has not been built", path.display());
    path
}

/// The profile folder of the running test.
#[track_caller]
fn running() -> PathBuf {
    let program = env::current_exe().expect("the path of this program");
    let inner = program
        .ancestors()
        .skip(1)
        .find(|folder| folder.ends_with("deps") || folder.ends_with("examples"));
    let profile = inner.unwrap_or(&program).parent().expect("a folder");
    profile.to_owned()
}

/// Builds, if this process has not done so yet. Returns the profile folder.
#[track_caller]
fn built(what: &[&str]) -> PathBuf {
    static BUILT: Mutex<Option<HashSet<String>>> = Mutex::new(None);

    if let Some(folder) = env::var_os("PCSC_TESTS_ARTIFACTS") {
        return PathBuf::from(folder)
            .canonicalize()
            .expect("PCSC_TESTS_ARTIFACTS names a folder");
    }
    let profile = running();
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_with(HashSet::new);
    if !built.contains(&what.concat()) {
        build(&profile, what);
        built.insert(what.concat());
    }
    profile
}

#[track_caller]
fn build(profile: &Path, what: &[&str]) {
    let name = profile
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a profile's name");
    let mut command = cargo();
    command.arg("build").args(what);
    command.args(["--profile", if name == "debug" { "dev" } else { name }]);
    // TARGET/PROFILE, or TARGET/TRIPLE/PROFILE with `--target`. Cargo puts a tag into TARGET if it has made
    // it, and its data about the compiler in any case.
    let parent = profile.parent().expect("a target folder");
    let target = if ["CACHEDIR.TAG", ".rustc_info.json"]
        .iter()
        .any(|tag| parent.join(tag).exists())
    {
        parent
    } else {
        command
            .arg("--target")
            .arg(parent.file_name().expect("a target's name"));
        parent.parent().expect("a target folder")
    };
    command.arg("--target-dir").arg(target);
    succeed(command);
}

fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Cargo, as it runs this test, in the folder of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    command.current_dir(workspace());
    command
}

#[track_caller]
fn succeed(mut command: Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
