//! The installed files, used by compilers, linkers and debuggers.

use super::{compile_hello, install, needed, path, pkg_config, run_hello, target, tree, NO_SERVICE, SHORT};
use pcsc_tests::run;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

#[test]
fn a_program_links_with_either_library() {
    let prefix = TempDir::new().expect("a folder");
    let prefix = prefix.path();
    install(&["--prefix", path(prefix)]).stdout();
    let lib = prefix.join("lib");
    let pc = lib.join("pkgconfig");

    let shared = prefix.join("shared");
    compile_hello(&pkg_config(&pc, None, &["--cflags", "--libs"]), &shared);
    assert!(
        needed(&shared).contains(&"libpcsclite.so.1".into()),
        "{:?}",
        needed(&shared)
    );
    let said = run_hello(Command::new(&shared).env("LD_LIBRARY_PATH", &lib));
    assert!(said.contains(NO_SERVICE), "{said}");

    let archive = prefix.join("archive");
    let flags = pkg_config(&pc, None, &["--static", "--cflags", "--libs"]);
    compile_hello(&flags.replace("-lpcsclite", "-l:libpcsclite.a"), &archive);
    assert!(
        !needed(&archive).contains(&"libpcsclite.so.1".into()),
        "{:?}",
        needed(&archive)
    );
    let said = run_hello(Command::new(&archive).env_remove("LD_LIBRARY_PATH"));
    assert!(said.contains(NO_SERVICE), "{said}");
}

/// A program without shared libraries, for each compiler option that makes one.
#[test]
fn a_static_program_links_and_runs() {
    let prefix = TempDir::new().expect("a folder");
    let prefix = prefix.path();
    install(&["--prefix", path(prefix)]).stdout();
    let flags = pkg_config(
        &prefix.join("lib/pkgconfig"),
        None,
        &["--static", "--cflags", "--libs"],
    );
    for way in ["-static", "-static-pie"] {
        let program = prefix.join(way);
        compile_hello(&format!("{way} {flags}"), &program);
        assert!(needed(&program).is_empty(), "{way}: {:?}", needed(&program));
        let said = run_hello(&mut Command::new(&program));
        assert!(said.contains(NO_SERVICE), "{way}: {said}");
    }
}

const MESON: &str = "project('hello', 'c')
executable('hello', 'hello.c',
  dependencies: dependency('libpcsclite', static: true),
  link_args: '-static')
";

#[test]
fn meson_builds_a_static_program() {
    let prefix = TempDir::new().expect("a folder");
    let prefix = prefix.path();
    install(&["--prefix", path(prefix)]).stdout();
    let source = prefix.join("source");
    fs::create_dir(&source).expect("a folder");
    fs::copy(tree("examples/c/hello.c"), source.join("hello.c")).expect("a copy");
    fs::write(source.join("meson.build"), MESON).expect("a file of ours");
    let build = prefix.join("build");
    let mut setup = Command::new("meson");
    setup
        .arg("setup")
        .arg(&build)
        .arg(&source)
        .env("PKG_CONFIG_LIBDIR", prefix.join("lib/pkgconfig"))
        .env_remove("PKG_CONFIG_PATH");
    run(&mut setup, SHORT).stdout();
    run(Command::new("meson").arg("compile").arg("-C").arg(&build), SHORT).stdout();
    let program = build.join("hello");
    assert!(needed(&program).is_empty(), "{:?}", needed(&program));
    let said = run_hello(&mut Command::new(&program));
    assert!(said.contains(NO_SERVICE), "{said}");
}

/// The sections of an object file.
fn sections(file: &Path) -> String {
    run(Command::new("readelf").args(["-SW"]).arg(file), SHORT).stdout()
}

/// The bytes that identify a build, which a debugger compares.
fn build_id(file: &Path) -> String {
    let notes = run(Command::new("readelf").args(["-nW"]).arg(file), SHORT).stdout();
    let line = notes.lines().find(|line| line.contains("Build ID"));
    line.expect("a build identifier").trim().to_owned()
}

#[test]
fn installed_files_are_stripped() {
    let prefix = TempDir::new().expect("a folder");
    let prefix = prefix.path();
    let (drop, udev) = (prefix.join("drivers"), prefix.join("rules.d"));
    install(&["--prefix", path(prefix)]).stdout();
    install(&["--real", "--prefix", path(prefix)]).stdout();
    let mut driver = vec!["--driver", "--prefix", path(prefix)];
    driver.extend(["--dropdir", path(&drop), "--udevdir", path(&udev)]);
    install(&driver).stdout();

    // Above what they have now: 1.2, 1.2, 1.0 and 6.9 MB, where the built ones have 9.7, 9.7, 8.4 and 44 MB.
    const KB: u64 = 1000;
    let shared = [
        ("lib/libpcsclite.so.1.0.0", 1500 * KB),
        ("lib/pcsc-rs/libpcsclite_real.so.1", 1500 * KB),
        (
            "drivers/ifd-pcsc-rs.bundle/Contents/Linux/libpcsc_ifd_handler.so",
            1300 * KB,
        ),
    ];
    for (name, most) in shared.into_iter().chain([("lib/libpcsclite.a", 9000 * KB)]) {
        let size = fs::metadata(prefix.join(name)).expect("installed").len();
        println!("{name}: {size} bytes");
        assert!(size < most, "{name} has {size} bytes");
        let sections = sections(&prefix.join(name));
        assert!(
            !sections.contains(".debug_") && !sections.contains(".llvmbc"),
            "{name}"
        );
    }
    for (name, _) in shared {
        assert!(!sections(&prefix.join(name)).contains(".symtab"), "{name}");
    }
}

#[test]
fn debug_information_is_a_file_of_its_own() {
    let prefix = TempDir::new().expect("a folder");
    let prefix = prefix.path();
    install(&["--prefix", path(prefix), "--debuginfo"]).stdout();
    install(&["--real", "--debuginfo", "--prefix", path(prefix)]).stdout();
    for (folder, name) in [
        ("lib", "libpcsclite.so.1.0.0"),
        ("lib/pcsc-rs", "libpcsclite_real.so.1"),
    ] {
        let library = prefix.join(folder).join(name);
        let debug = prefix.join(folder).join(format!(".debug/{name}.debug"));
        assert!(sections(&debug).contains(".debug_line"), "{}", debug.display());
        assert!(!sections(&library).contains(".debug_line"), "{name}");
        assert_eq!(build_id(&library), build_id(&debug));
        let mut links = Command::new("readelf");
        links.arg("--debug-dump=links").arg(&library);
        let links = run(&mut links, SHORT).stdout();
        assert!(links.contains(&format!("{name}.debug")), "{links}");
    }
    // Programs do not need it: they find every function in the stripped library.
    let mut symbols = Command::new("nm");
    symbols.args(["-D", "--defined-only"]);
    let library = prefix.join("lib/libpcsclite.so.1.0.0");
    let ours = run(symbols.arg(&library), SHORT).stdout();
    let mut symbols = Command::new("nm");
    symbols.args(["-D", "--defined-only"]);
    let built = run(symbols.arg(target().join("release/libpcsclite.so")), SHORT).stdout();
    assert_eq!(ours, built);
    assert!(ours.contains(" T SCardTransmit\n"), "{ours}");
}

#[test]
fn without_objcopy_the_error_names_the_package() {
    let prefix = TempDir::new().expect("a folder");
    let mut command = super::script("install.sh");
    command.args(["--prefix", path(prefix.path())]);
    let said = super::failure(&run(command.env("OBJCOPY", "no-such-objcopy"), SHORT));
    assert!(
        said.contains("no-such-objcopy") && said.contains("binutils"),
        "{said}"
    );
    assert!(super::is_empty(prefix.path()));
}
