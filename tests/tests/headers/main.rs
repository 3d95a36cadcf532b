//! Our C headers against the distribution's: the same names, values, types, layouts and prototypes, for C and
//! for C++.

mod driver;
mod rust;

use pcsc_tests::run;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const STOCK: &str = "/usr/include/PCSC";
const HEADERS: [&str; 6] = [
    "wintypes.h",
    "pcsclite.h",
    "winscard.h",
    "reader.h",
    "ifdhandler.h",
    "debuglog.h",
];

/// The headers of programs; those of drivers are tested in [`driver`].
const PROGRAM: &str = "#include <reader.h>\n#include <winscard.h>\n";

/// Macros whose values differ, and why.
const DIFFERENT: [(&str, &str); 1] = [(
    "PCSCLITE_VERSION_NUMBER",
    "ours is the release whose API we offer, not the one that is installed",
)];

/// Macros that ours has and Debian 12's 1.9.9 has not, and why.
const ADDED: [(&str, &str); 1] = [(
    "SCARD_E_UNKNOWN_RES_MSG",
    "2.0 corrected the spelling of SCARD_E_UNKNOWN_RES_MNG and kept both",
)];

const C: [&str; 4] = ["cc", "-std=c99", "-x", "c"];
const C89: [&str; 4] = ["cc", "-std=gnu89", "-x", "c"];
const C17: [&str; 4] = ["cc", "-std=c17", "-x", "c"];
const CXX: [&str; 4] = ["c++", "-std=c++11", "-x", "c++"];

fn tree(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// The standard output of a compiler called with `headers` as its only folder of PC/SC headers.
fn compiler(kind: [&str; 4], headers: &Path, arguments: &[&str], source: &Path) -> Result<String, String> {
    assert!(
        headers.join("winscard.h").is_file(),
        "{} has no winscard.h: run scripts/setup",
        headers.display()
    );
    let mut command = Command::new(kind[0]);
    command
        .arg("-I")
        .arg(headers)
        .args(["-Wall", "-Wextra", "-Werror"]);
    command.args(&kind[1..]).args(arguments).arg(source);
    let output = run(&mut command, Duration::from_secs(300));
    if output.status.success() {
        Ok(output.stdout())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Compiles a program and runs it. Returns its output, or the compiler's messages.
fn compile_and_run(kind: [&str; 4], headers: &Path, source: &Path) -> Result<String, String> {
    let folder = TempDir::new().expect("a folder");
    let program = folder.path().join("program");
    let path = program.to_str().expect("UTF-8");
    compiler(kind, headers, &["-o", path], source)?;
    Ok(run(&mut Command::new(&program), Duration::from_secs(120)).stdout())
}

/// `text` as a file, in a folder that lives as long as the first value.
fn source(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("source.c");
    fs::write(&path, text).expect("a file of ours");
    (folder, path)
}

// ---- Layouts and prototypes ----

#[test]
fn sizes_values_and_prototypes_agree() {
    for kind in [C, C17, CXX] {
        let dump =
            |headers: &Path| compile_and_run(kind, headers, &tree("tests/c/abi_dump.c")).expect("to compile");
        let stock = dump(Path::new(STOCK));
        assert_eq!(dump(&tree("include")), stock, "{kind:?}");
        assert!(
            stock.contains("\nSCARD_READERSTATE "),
            "a dump of something else: {stock}"
        );
    }
}

#[test]
fn a_changed_header_is_noticed() {
    let changes = [
        ("pcsclite.h", "((LONG)0x8010000A)", "((LONG)0x8010000B)"),
        ("pcsclite.h", "#define MAX_ATR_SIZE 33", "#define MAX_ATR_SIZE 36"),
        ("pcsclite.h", "DWORD cbAtr;", "LPDWORD cbAtr;\n    int more;"),
        (
            "wintypes.h",
            "typedef unsigned long DWORD;",
            "typedef unsigned int DWORD;",
        ),
        (
            "wintypes.h",
            "typedef const BYTE *LPCBYTE;",
            "typedef const char *LPCBYTE;",
        ),
        ("winscard.h", "LPCBYTE pbAttr", "LPBYTE pbAttr"),
        ("reader.h", "#pragma pack(push, 1)", "#pragma pack(push, 2)"),
    ];
    assert_changes_are_seen(&tree("tests/c/abi_dump.c"), &changes);
}

/// Checks that a program's output differs, or that it does not compile, once one of `changes` is made: in
/// which header, what is replaced, by what.
fn assert_changes_are_seen(program: &Path, changes: &[(&str, &str, &str)]) {
    let right = compile_and_run(C, &tree("include"), program);
    assert!(right.is_ok(), "{right:?}");
    for (header, from, to) in changes {
        let folder = TempDir::new().expect("a folder");
        for name in HEADERS {
            let mut text = fs::read_to_string(tree("include").join(name)).expect("a header");
            if name == *header {
                assert!(text.contains(from), "{header} has no '{from}'");
                text = text.replacen(from, to, 1);
            }
            fs::write(folder.path().join(name), text).expect("a copy");
        }
        let changed = compile_and_run(C, folder.path(), program);
        assert_ne!(changed, right, "'{to}' in {header} went unseen");
    }
}

// ---- Completeness ----

/// The macros that the lines `includes` define: name, number of parameters and body.
fn macros(headers: &Path, includes: &str) -> BTreeMap<String, (usize, String)> {
    let defined = |text: &str| {
        let (_folder, path) = source(text);
        let output = compiler(C, headers, &["-E", "-dM"], &path).expect("to be preprocessed");
        let lines = output.lines().filter_map(|line| line.strip_prefix("#define "));
        lines.map(parse_macro).collect::<BTreeMap<_, _>>()
    };
    let before = defined("#include <inttypes.h>\n");
    let mut after = defined(&format!("#include <inttypes.h>\n{includes}"));
    after.retain(|name, _| !before.contains_key(name));
    after
}

/// `NAME body` or `NAME(a,b) body`, as the preprocessor prints them: name, number of parameters, body.
fn parse_macro(line: &str) -> (String, (usize, String)) {
    let end = line.find([' ', '(']).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((parameters, body)) => (name.into(), (parameters.split(',').count(), body.trim().into())),
        None => (name.into(), (0, rest.trim().into())),
    }
}

/// A program that prints type and value of every macro that has one.
fn probe(macros: &BTreeMap<String, (usize, String)>) -> String {
    let mut text = String::from(PROBE);
    for (name, (parameters, body)) in macros {
        let arguments = match parameters {
            0 => String::new(),
            1 => "(0x1234)".into(),
            2 => "(0x1234, 0x5678)".into(),
            more => panic!("{name} has {more} parameters"),
        };
        if !body.is_empty() {
            text += &format!("    SHOW({name}{arguments});\n");
        }
    }
    text + "    return 0;\n}\n"
}

const PROBE: &str = r#"
#include <reader.h>
#include <stdio.h>
#include <winscard.h>

const SCARD_IO_REQUEST g_rgSCardT0Pci = {1, 0};
const SCARD_IO_REQUEST g_rgSCardT1Pci = {2, 0};
const SCARD_IO_REQUEST g_rgSCardRawPci = {4, 0};

static void show_int(const char *name, int value) { printf("%s int %d\n", name, value); }
static void show_unsigned(const char *name, unsigned value) { printf("%s unsigned %u\n", name, value); }
static void show_long(const char *name, long value) { printf("%s long %ld\n", name, value); }
static void show_ulong(const char *name, unsigned long value) {
    printf("%s unsigned long %lu\n", name, value);
}
static void show_text(const char *name, const char *value) { printf("%s text %s\n", name, value); }
static void show_pci(const char *name, const SCARD_IO_REQUEST *value) {
    printf("%s pci %lu\n", name, value->dwProtocol);
}

#define SHOW(value) \
    _Generic((value), int: show_int, unsigned: show_unsigned, long: show_long, unsigned long: show_ulong, \
             char *: show_text, const SCARD_IO_REQUEST *: show_pci)(#value, (value))

int main(void)
{
"#;

#[test]
fn every_macro_is_there_with_its_type_and_value() {
    let ours = macros(&tree("include"), PROGRAM);
    let stock = macros(Path::new(STOCK), PROGRAM);
    assert!(
        stock.len() > 200,
        "only {} macros in the stock headers",
        stock.len()
    );

    let missing: Vec<_> = stock.keys().filter(|name| !ours.contains_key(*name)).collect();
    assert!(missing.is_empty(), "not in our headers: {missing:?}");
    let added = |name: &str| ADDED.iter().any(|(added, _)| *added == name);
    let more: Vec<_> = ours
        .keys()
        .filter(|name| !stock.contains_key(*name) && !added(name))
        .collect();
    assert!(more.is_empty(), "in our headers only: {more:?}");
    for (name, (parameters, body)) in &stock {
        let (our_parameters, our_body) = &ours[name];
        assert_eq!(our_parameters, parameters, "parameters of {name}");
        assert_eq!(
            our_body.is_empty(),
            body.is_empty(),
            "{name}: '{our_body}', '{body}'"
        );
    }

    let (_folder, path) = source(&probe(&stock));
    let values = |headers: &Path| {
        let output = compile_and_run(C17, headers, &path).expect("to compile");
        let lines = output.lines().filter(|line| {
            let name = line.split(' ').next().unwrap_or_default();
            !DIFFERENT.iter().any(|(different, _)| *different == name)
        });
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let valued = stock.values().filter(|(_, body)| !body.is_empty()).count();
    let stock_values = values(Path::new(STOCK));
    assert_eq!(
        stock_values.len(),
        valued - DIFFERENT.len(),
        "every value was printed"
    );
    assert_eq!(values(&tree("include")), stock_values);
}

#[test]
fn the_dump_leaves_no_constant_out() {
    let dump = compile_and_run(C, &tree("include"), &tree("tests/c/abi_dump.c")).expect("to compile");
    let printed: BTreeSet<_> = dump
        .lines()
        .filter_map(|line| identifiers(line).into_iter().next())
        .collect();
    let missing: Vec<_> = macros(Path::new(STOCK), PROGRAM)
        .into_iter()
        .filter(|(name, (_, body))| {
            !body.is_empty() && !DIFFERENT.iter().any(|(different, _)| different == name)
        })
        .map(|(name, _)| name)
        .filter(|name| !printed.contains(name))
        .collect();
    assert!(
        missing.is_empty(),
        "tests/c/abi_dump.c does not print {missing:?}"
    );
}

/// The words of a C text, in order.
fn identifiers(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_type_field_and_function_is_there() {
    let words = |headers: &Path| {
        let (_folder, path) = source(PROGRAM);
        let text = compiler(C, headers, &["-E", "-P"], &path).expect("to be preprocessed");
        identifiers(&text).into_iter().collect::<BTreeSet<_>>()
    };
    let stock = words(Path::new(STOCK));
    let ours = words(&tree("include"));
    assert!(stock.contains("SCardTransmit") && stock.contains("LPCTSTR"));
    let missing: Vec<_> = stock.difference(&ours).collect();
    assert!(missing.is_empty(), "not in our headers: {missing:?}");
}

// ---- Programs ----

/// Ways in which programs use the headers; each compiles with the stock ones too.
const PROGRAMS: [(&str, &str); 6] = [
    (
        "the library opened at run time, its calls through pointers",
        "#include <winscard.h>\n#include <stddef.h>\n\
         typedef LONG (*Transmit)(SCARDHANDLE, LPCSCARD_IO_REQUEST, LPCBYTE, DWORD, LPSCARD_IO_REQUEST, \
         LPBYTE, LPDWORD);\n\
         typedef LONG (*Change)(SCARDCONTEXT, DWORD, LPSCARD_READERSTATE, DWORD);\n\
         typedef LONG (*List)(SCARDCONTEXT, LPCSTR, LPSTR, LPDWORD);\n\
         Transmit transmit = SCardTransmit; Change change = SCardGetStatusChange; \
         List list = SCardListReaders;\n",
    ),
    (
        "results in a switch",
        "#include <winscard.h>\n\
         const char *name(LONG rv);\n\
         const char *name(LONG rv) { switch (rv) { case SCARD_S_SUCCESS: return \"ok\"; \
         case SCARD_E_TIMEOUT: return \"late\";\n\
         case SCARD_E_UNKNOWN_RES_MNG: return \"?\"; case (LONG)SCARD_W_REMOVED_CARD: return \"gone\"; \
         default: return pcsc_stringify_error(rv); } }\n",
    ),
    (
        "a PIN pad's structure filled in a buffer",
        "#include <reader.h>\n#include <winscard.h>\n\
         unsigned long pin(unsigned char *buffer);\n\
         unsigned long pin(unsigned char *buffer) { PIN_VERIFY_STRUCTURE *verify = \
         (PIN_VERIFY_STRUCTURE *)buffer;\n\
         verify->wPINMaxExtraDigit = HOST_TO_CCID_16(0x0408); verify->ulDataLength = HOST_TO_CCID_32(5); \
         verify->abData[0] = 0;\n\
         return sizeof(PIN_VERIFY_STRUCTURE) + verify->ulDataLength + CM_IOCTL_GET_FEATURE_REQUEST; }\n",
    ),
    (
        "constants of the preprocessor and of array sizes",
        "#include <winscard.h>\n#if MAX_BUFFER_SIZE_EXTENDED < 65546 || SCARD_ATR_LENGTH != MAX_ATR_SIZE || \
         MAX_READERNAME < 64\n#error small\n#endif\n\
         char readers[PCSCLITE_MAX_READERS_CONTEXTS][MAX_READERNAME]; BYTE answer[MAX_BUFFER_SIZE];\n",
    ),
    (
        "a BYTE and an INFINITE of the program's own",
        "#define BYTE unsigned char\n#define INFINITE 1234\n#include <winscard.h>\n\
         LPBYTE pointer; int wait[INFINITE == 1234 ? 1 : -1];\n",
    ),
    (
        "wide names of attributes",
        "#define UNICODE\n#include <wintypes.h>\n#include <reader.h>\n\
         int wide[SCARD_ATTR_DEVICE_FRIENDLY_NAME == SCARD_ATTR_DEVICE_FRIENDLY_NAME_W ? 1 : -1];\n",
    ),
];

#[test]
fn programs_compile_with_both() {
    for headers in [tree("include"), STOCK.into()] {
        for (what, text) in PROGRAMS {
            let (_folder, path) = source(text);
            for kind in [C89, C, C17, CXX] {
                let result = compiler(kind, &headers, &["-fsyntax-only"], &path);
                assert!(
                    result.is_ok(),
                    "{what}, {kind:?}, {}: {result:?}",
                    headers.display()
                );
            }
        }
        for kind in [C, C17] {
            let result = compiler(kind, &headers, &["-fsyntax-only"], &tree("examples/c/hello.c"));
            assert!(
                result.is_ok(),
                "hello.c, {kind:?}, {}: {result:?}",
                headers.display()
            );
        }
    }
}

#[test]
fn each_header_stands_alone_in_a_pcsc_folder() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    symlink(
        tree("include").canonicalize().expect("our headers"),
        folder.join("PCSC"),
    )
    .expect("a link");
    for name in HEADERS {
        let (_folder, path) = source(&format!("#include <PCSC/{name}>\n#include <PCSC/{name}>\n"));
        for kind in ["c", "c++"] {
            let mut command = Command::new("cc");
            command.args([
                "-fsyntax-only",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-x",
                kind,
                "-H",
                "-I",
            ]);
            let output = run(command.arg(folder).arg(&path), Duration::from_secs(300));
            let used = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{name}: {used}");
            assert!(!used.contains(STOCK), "{name} took a stock header: {used}");
        }
    }
}
