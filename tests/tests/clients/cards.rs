//! Real card applications behind vsmartcard's vpcd, used by GnuPG and by tools for PKCS#11 and PIV.

use crate::python::PYTHON;
use crate::setups::{is_there, same_on_the_driver, text};
use pcsc_tests::{artifacts, assert_same, client, Pcscd, Share};
use std::process::Command;

/// The reader of a card that is behind pcscd, and of one that our library or our server waits for itself.
const READERS: [&str; 2] = ["pcsc-tests 00 00", "Virtual PCD 00 00"];

/// A network of its own, where the card program `$1` is a card at vpcd's port for one process after the
/// other.
const WITH_A_CARD: &str = r#"
    busybox ip link set lo up
    "$1" 127.0.0.1:35963 --again &
    shift
    exec "$@"
"#;

/// Runs a program with a card of its own: on Debian's library and on ours with pcscd and vsmartcard's driver,
/// on ours with neither, and on Debian's with our server. Checks that the output is the same, and returns it.
/// `program` gets the reader's name.
fn same_with_a_card(application: &str, program: impl Fn(&str) -> Command) -> String {
    let stock = with_pcscd(application, program(READERS[0]));
    let mut ours = program(READERS[0]);
    ours.env("LD_LIBRARY_PATH", artifacts::library_folder());
    let ours = with_pcscd(application, ours);
    assert_same(application, ("stock", &stock), ("ours", &ours));

    let served = with_server(application, program(READERS[1]));
    assert_same(application, ("stock", &stock), ("stock, on our server", &served));

    // Our reader gives the first card a second to connect, and the card may begin later on a busy machine.
    let mut alone = without_a_daemon(application, &program(READERS[1]));
    for _ in 0..2 {
        if alone == stock {
            break;
        }
        eprintln!("{application}: the card may have been late, and is tried again:\n{alone}");
        alone = without_a_daemon(application, &program(READERS[1]));
    }
    assert_same(application, ("stock", &stock), ("ours, without pcscd", &alone));
    ours
}

/// A program's output on our library, which has a reader for virtual cards and a card of its own.
fn without_a_daemon(application: &str, program: &Command) -> String {
    let mut alone = shell(&["--net"]);
    alone
        .args(["-c", WITH_A_CARD, "sh"])
        .arg(artifacts::card(application))
        .arg(program.get_program())
        .args(program.get_args())
        .env("LD_LIBRARY_PATH", artifacts::library_folder())
        .env("PCSCLITE_BACKEND", "simulated")
        // Two slots, as vsmartcard's driver has.
        .env("PCSCLITE_SIMULATED", "vpcd:35963,35964");
    renamed(&text(alone))
}

/// A program's output with pcscd, vsmartcard's driver and a card of its own.
fn with_pcscd(application: &str, mut program: Command) -> String {
    let pcscd = Pcscd::start_cards(&[application]);
    program.env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    text(program)
}

/// A program's output with our server and a card of its own, with the reader's name at pcscd.
fn with_server(application: &str, mut program: Command) -> String {
    let share = Share::start_cards(&[application]);
    program.env("PCSCLITE_CSOCK_NAME", share.socket());
    renamed(&text(program))
}

fn renamed(text: &str) -> String {
    text.replace("Virtual PCD 00", "pcsc-tests 00")
}

/// A shell whose processes end with it, also those that GnuPG puts into the background.
fn shell(options: &[&str]) -> Command {
    let mut command = client("unshare");
    command.args(options);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
    command
}

/// A shell script of this folder.
fn script(name: &str, arguments: &[&str]) -> Command {
    let mut command = shell(&[]);
    command
        .arg(format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR")))
        .args(arguments);
    command
}

#[test]
fn gnupg_lists_a_card_and_signs() {
    for program in ["gpg", "gpg-connect-agent", "gpgconf"] {
        is_there(program);
    }
    let text = same_with_a_card("opcard", |_| script("gnupg.sh", &[]));
    for part in [
        "OpenPGP",
        "BEGIN PGP SIGNATURE",
        "Good signature from \"Tester <test@example.org>\"",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(text.starts_with("Some(0)"), "{text}");
}

#[test]
fn tools_for_pkcs11_and_piv_sign() {
    for program in [
        "yubico-piv-tool",
        "openssl",
        "ykman",
        "opensc-tool",
        "pkcs15-tool",
        "pkcs11-tool",
        "p11tool",
        "ssh-keygen",
        "ssh-agent",
        "ssh-add",
    ] {
        is_there(program);
    }
    let text = same_with_a_card("piv", |reader| script("piv.sh", &[reader, PYTHON]));
    for part in [
        "YubiKey",
        "PIV AUTH key",
        "Verifying against public key in the token... ok",
        "64 True",
        "False",
        "Using signature algorithm ECDSA",
        "Signature is valid",
        "SHA256: OK",
        "1 errors",
        "ecdsa-sha2-nistp256 ",
        "Card added",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(text.starts_with("Some(0)"), "{text}");
}

#[test]
fn scdaemon_and_a_pkcs11_module_share_a_card() {
    for program in [
        "gpg",
        "gpg-connect-agent",
        "gpgconf",
        "pkcs11-tool",
        "opensc-tool",
    ] {
        is_there(program);
    }
    let stock = with_pcscd("opcard", script("side_by_side.sh", &[]));
    let served = with_server("opcard", script("side_by_side.sh", &[]));
    assert_same("one card", ("with pcscd", &stock), ("with our server", &served));
    for part in [
        "Failed to connect to card: Reader in use by another application",
        "Good signature from \"Tester <test@example.org>\"",
        "Signature is valid",
        "round 2",
    ] {
        assert!(stock.contains(part), "no {part:?} in:\n{stock}");
    }
    assert!(stock.starts_with("Some(0)"), "{stock}");
}

#[test]
fn the_crates_pcsc_and_card_backend_pcsc() {
    let text = same_with_a_card("opcard", |_| client(artifacts::card("openpgp-client")));
    for part in ["Some(0)", "0000:00000000", "wrong PIN:", "EccPub", "Name"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

/// `gpg --card-status` in a home of its own, by PC/SC alone.
const CARD_STATUS: &str = r#"
    GNUPGHOME=$(mktemp -d /tmp/gnupg-XXXXXX)
    export GNUPGHOME LC_ALL=C
    trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
    echo disable-ccid >"$GNUPGHOME/scdaemon.conf"
    gpg --quiet --card-status
    # scdaemon asks every kind of card that it knows.
    gpg-connect-agent 'scd learn --force' /bye
"#;

#[test]
fn gnupg_ends_on_the_bundled_card() {
    is_there("gpg");
    let status = same_on_the_driver(|_| {
        let mut command = shell(&[]);
        command.args(["-c", CARD_STATUS]);
        command
    });
    assert!(status.contains("OpenPGP card not available"), "{status}");
    assert!(status.contains("ERR "), "{status}");
}
