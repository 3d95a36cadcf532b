//! The user's choices in the environment: when they are read, what they do, and who must not listen to them.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pcsc_client::{Context, Error, Scope};
use pcsc_tests::{artifacts, run, Output, Pcscd};

const LIMIT: Duration = Duration::from_secs(60);
const NO_SERVICE: &str = "8010001D";

/// What a C program's one establish gives.
fn establish(command: &mut Command) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::File::create(&script)
        .unwrap()
        .write_all(b"establish\n")
        .unwrap();
    command.arg(artifacts::library());
    run(
        command.stdin(Stdio::from(std::fs::File::open(&script).unwrap())),
        LIMIT,
    )
}

#[test]
fn the_socket_is_looked_up_at_each_establish() {
    let pcscds = [Pcscd::start(1), Pcscd::start(2)];
    for (pcscd, readers) in pcscds.iter().zip([1, 2]) {
        std::env::set_var("PCSCLITE_CSOCK_NAME", pcscd.socket());
        assert_eq!(
            Context::establish(Scope::User)
                .unwrap()
                .list_readers_owned()
                .unwrap()
                .len(),
            readers
        );
    }
    std::env::set_var("PCSCLITE_CSOCK_NAME", format!("/{}", "x".repeat(200)));
    assert_eq!(Context::establish(Scope::User).map(drop), Err(Error::NoService));
}

#[test]
fn the_log_goes_to_stderr_and_only_when_asked_for() {
    let pcscd = Pcscd::start(0);
    let client = || {
        let mut command = Command::new(artifacts::binary("pcsc-tests", "winscard"));
        command
            .env("PCSCLITE_CSOCK_NAME", pcscd.socket())
            .env_remove("PCSCLITE_DEBUG");
        command
    };
    let quiet = establish(&mut client());
    assert_eq!((quiet.stdout().trim(), &quiet.stderr[..]), ("00000000", &b""[..]));
    let loud = establish(client().env("PCSCLITE_DEBUG", "0"));
    assert_eq!(loud.stdout().trim(), "00000000");
    let log = String::from_utf8_lossy(&loud.stderr).into_owned();
    assert!(log.contains("protocol 4.4"), "{log}");
    let failing = establish(
        client()
            .env("PCSCLITE_DEBUG", "2")
            .env("PCSCLITE_CSOCK_NAME", "/nonexistent"),
    );
    assert_eq!(failing.stdout().trim(), NO_SERVICE);
    let log = String::from_utf8_lossy(&failing.stderr).into_owned();
    assert!(log.contains("/nonexistent") && log.lines().count() == 1, "{log}");
}

#[test]
fn the_simulated_reader_shows_only_when_asked_for() {
    let client = || {
        let mut command = Command::new(artifacts::binary("pcsc-tests", "winscard"));
        command
            .env("PCSCLITE_CSOCK_NAME", "/nonexistent")
            .env_remove("PCSCLITE_BACKEND");
        command
    };
    assert_eq!(establish(&mut client()).stdout().trim(), NO_SERVICE);
    assert_eq!(
        establish(client().env("PCSCLITE_BACKEND", "daemon"))
            .stdout()
            .trim(),
        NO_SERVICE
    );
    assert_eq!(
        establish(client().env("PCSCLITE_BACKEND", "nonsense"))
            .stdout()
            .trim(),
        NO_SERVICE
    );
    assert_eq!(
        establish(client().env("PCSCLITE_BACKEND", "simulated"))
            .stdout()
            .trim(),
        "00000000"
    );
}

#[test]
fn a_privileged_program_ignores_its_callers_environment() {
    assert!(
        !Path::new("/run/pcscd/pcscd.comm").exists(),
        "stop the system's pcscd: this test looks for its absence"
    );
    let pcscd = Pcscd::start(0);
    let folder = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("winscard");
    let library = folder.path().join("libpcsclite.so");
    std::fs::copy(artifacts::binary("pcsc-tests", "winscard"), &program).unwrap();
    std::fs::copy(artifacts::library(), &library).unwrap();
    for (mode, expected) in [(0o755, "00000000"), (0o4755, NO_SERVICE)] {
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program)
            .arg(&library);
        command
            .env("PCSCLITE_BACKEND", "simulated")
            .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"establish\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            expected,
            "mode {mode:o}"
        );
    }
}
