//! ifdhandler.h and debuglog.h, the headers of drivers.

use super::{
    assert_changes_are_seen, compile_and_run, compiler, identifiers, macros, source, tree, C, C17, C89, CXX,
    STOCK,
};
use pcsc_tests::{run, Pcscd};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const DRIVER: &str = "#include <ifdhandler.h>\n#include <debuglog.h>\n";
/// Each way in which a driver may ask for the headers: as they are, without the log, for version 2.0.
const WAYS: [&str; 3] = ["", "#define NO_LOG\n", "#define IFDHANDLERv2\n"];

#[test]
fn layouts_values_and_messages_agree() {
    for kind in [C89, C, C17, CXX] {
        for way in WAYS {
            let text = fs::read_to_string(tree("tests/c/ifd_dump.c")).expect("a program");
            // The same name and lines in both, since messages begin with their place in the source.
            let (_folder, path) = source(&format!("{way}#line 1 \"ifd_dump.c\"\n{text}"));
            let dump = |headers: &Path| compile_and_run(kind, headers, &path).expect("to compile");
            let stock = dump(Path::new(STOCK));
            assert!(stock.contains("\nIFD_NO_SUCH_DEVICE 617 4\n"), "{stock}");
            assert_eq!(dump(&tree("include")), stock, "{kind:?} {way}");
        }
    }
}

#[test]
fn a_changed_driver_header_is_noticed() {
    let changes = [
        ("ifdhandler.h", "#define IFD_RESET 502", "#define IFD_RESET 503"),
        ("ifdhandler.h", "    UCHAR ICC_Type;", "    DWORD ICC_Type;"),
        (
            "ifdhandler.h",
            "DWORD Lun, DWORD Channel",
            "DWORD Lun, LPSTR Channel",
        ),
        ("debuglog.h", "PCSC_LOG_DEBUG = 0", "PCSC_LOG_DEBUG = 1"),
        (
            "debuglog.h",
            "log_msg(priority, \"%s:%d:%s() \" fmt",
            "log_msg(0, \"%s:%d:%s() \" fmt",
        ),
        ("debuglog.h", "__func__, a, b, c, d)", "__func__, a, b, d, c)"),
    ];
    assert_changes_are_seen(&tree("tests/c/ifd_dump.c"), &changes);
}

#[test]
fn every_macro_is_there_and_in_the_dump() {
    let dumped: BTreeSet<_> =
        identifiers(&fs::read_to_string(tree("tests/c/ifd_dump.c")).expect("a program"))
            .into_iter()
            .collect();
    for way in WAYS {
        let includes = format!("{way}{DRIVER}");
        // What they take from pcsclite.h is tested with that.
        let program = macros(Path::new(STOCK), "#include <pcsclite.h>\n");
        let mut stock = macros(Path::new(STOCK), &includes);
        stock.retain(|name, _| !program.contains_key(name));
        let ours = macros(&tree("include"), &includes);
        assert!(stock.len() > 50, "only {} macros", stock.len());
        for (name, (parameters, body)) in &stock {
            let Some((our_parameters, our_body)) = ours.get(name) else {
                panic!("{name} is not in our headers");
            };
            assert_eq!(our_parameters, parameters, "parameters of {name}");
            assert_eq!(
                our_body.is_empty(),
                body.is_empty(),
                "'{our_body}', '{body}' of {name}"
            );
            assert!(
                body.is_empty() || dumped.contains(name),
                "ifd_dump.c has no {name}"
            );
        }
    }
}

#[test]
fn every_driver_type_field_and_function_is_there() {
    for way in WAYS {
        let words = |headers: &Path| {
            let (_folder, path) = source(&format!("{way}{DRIVER}"));
            let text = compiler(C, headers, &["-E", "-P"], &path).expect("to be preprocessed");
            identifiers(&text).into_iter().collect::<BTreeSet<_>>()
        };
        let (stock, ours) = (words(Path::new(STOCK)), words(&tree("include")));
        assert!(stock.contains("IFDHPowerICC") && stock.contains("Mechanics_Supported"));
        // Names of parameters and attributes are not compared.
        let internal = ["format", "printf"];
        let missing: Vec<_> = stock
            .difference(&ours)
            .filter(|word| !internal.contains(&word.as_str()))
            .collect();
        assert!(missing.is_empty(), "not in our headers: {missing:?}");
    }
}

/// Compiled with our headers alone, the stock ones being further down the search path as they are on a
/// machine with both.
#[test]
fn a_driver_built_with_our_headers_serves_pcscd() {
    let folder = TempDir::new().expect("a folder");
    let library = folder
        .path()
        .join("ifd-pcsc-rs.bundle/Contents/Linux/libpcsc_ifd_handler.so");
    fs::create_dir_all(library.parent().expect("a folder")).expect("folders in ours");
    let mut compile = Command::new("cc");
    compile
        .args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-H", "-I"])
        .arg(tree("include"))
        .args(["-I", STOCK, "-o"])
        .arg(&library)
        .arg(tree("tests/c/ifd_handler.c"));
    let output = run(&mut compile, Duration::from_secs(300));
    let used = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{used}");
    assert!(
        used.contains("include/ifdhandler.h") && !used.contains(STOCK),
        "{used}"
    );

    let pcscd = Pcscd::start_installed(&["none"], folder.path());
    let card = pcscd.connect(0);
    let mut answer = [0; 16];
    assert_eq!(
        card.transmit(b"\x00\xA4\x04\x00", &mut answer),
        Ok(&b"\x6D\x00"[..])
    );
    let log = pcscd.log();
    assert!(
        log.contains("IFDHCreateChannelByName() reader 0, sim:none"),
        "{log}"
    );
    assert!(log.contains("command: 00 A4 04 00"), "{log}");
}
