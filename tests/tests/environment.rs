//! Environment variables: when they are read, what they do, and that setuid programs ignore them.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pcsc_client::{Cause, Context, Error, Scope};
use pcsc_tests::{artifacts, copy_program, in_namespace, run, Output, Pcscd, USB};

const LIMIT: Duration = Duration::from_secs(300);
const NO_SERVICE: &str = "8010001D";

/// The reader that our library simulates.
const SIMULATED: &str = "pcsc-rs Simulated Reader 00 00";

/// The output of a C program that establishes a context.
fn establish(command: &mut Command) -> Output {
    say(command.arg(artifacts::library()), b"establish\n")
}

/// The output of a C program for these lines of input.
fn say(command: &mut Command, lines: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::File::create(&script).unwrap().write_all(lines).unwrap();
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
fn the_log_goes_to_stderr_and_only_when_enabled() {
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
    // The library is the system's itself, and ignores a choice of the system's.
    let ignoring = establish(client().env("PCSCLITE_BACKEND", "system"));
    assert_eq!(
        (ignoring.stdout().trim(), &ignoring.stderr[..]),
        ("00000000", &b""[..])
    );
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
fn the_simulated_reader_is_listed_only_when_chosen() {
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
fn commands_for_the_reader_itself_are_offered_only_if_the_user_allows_them() {
    /// `CM_IOCTL_GET_FEATURE_REQUEST`, and `FEATURE_CCID_ESC_COMMAND` of 4 bytes in its answer.
    const FEATURES: &str = "control 42000D48 -";
    const ESCAPES: &str = "1304";
    for (options, are_allowed) in [
        (None, false),
        (Some("4"), false),
        (Some("1"), true),
        (Some("0x5"), true),
    ] {
        let mut command = Command::new(artifacts::binary("pcsc-tests", "winscard"));
        command
            .arg(artifacts::library())
            .env("PCSCLITE_BACKEND", "simulated")
            .env_remove("PCSC_IFD_DRIVER_OPTIONS")
            .envs(options.map(|options| ("PCSC_IFD_DRIVER_OPTIONS", options)));
        let lines = format!("establish\nconnect 2 3 {SIMULATED}\n{FEATURES}\n");
        let output = say(&mut command, lines.as_bytes());
        let text = output.stdout();
        let answer = text.lines().last().unwrap();
        assert!(answer.starts_with("00000000 "), "{text}");
        assert_eq!(answer.contains(ESCAPES), are_allowed, "{options:?}: {text}");
    }
}

#[test]
fn the_backend_is_the_chosen_one() {
    let pcscd = Pcscd::start(1);
    let of_pcscd = pcscd.reader(0).name();
    for (backend, expected, logged) in [
        (None, Some(of_pcscd.as_str()), "its socket is named"),
        (Some("daemon"), Some(&of_pcscd), "it was asked for"),
        (Some("nonsense"), Some(&of_pcscd), "its socket is named"),
        (Some("simulated"), Some(SIMULATED), "it was asked for"),
        // Readers on this machine's USB may be listed, but not pcscd's and not simulated ones.
        (Some("standalone"), None, "it was asked for"),
    ] {
        let mut command = Command::new(artifacts::binary("pcsc-tests", "winscard"));
        command
            .arg(artifacts::library())
            .env("PCSCLITE_CSOCK_NAME", pcscd.socket())
            .env("PCSCLITE_DEBUG", "0")
            .env_remove("PCSCLITE_BACKEND")
            .envs(backend.map(|backend| ("PCSCLITE_BACKEND", backend)));
        let output = say(&mut command, b"establish\nlist\n");
        let text = output.stdout();
        match expected {
            Some(name) => assert_eq!(
                text.lines().last(),
                Some(format!("00000000 {name}").as_str()),
                "{backend:?}"
            ),
            None => assert!(
                !text.contains(&of_pcscd) && !text.contains(SIMULATED),
                "{backend:?}: {text}"
            ),
        }
        let is_served = text.starts_with("00000000");
        let log = String::from_utf8_lossy(&output.stderr);
        let choices: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("the backend is"))
            .collect();
        assert!(
            choices.len() == usize::from(is_served) && choices.iter().all(|choice| choice.contains(logged)),
            "{backend:?}: {log}"
        );
    }
}

/// A copy of the C program and of our library that any user can run, and an empty folder for the system's
/// daemon.
struct ForAnyUser {
    folder: tempfile::TempDir,
}

impl ForAnyUser {
    fn new() -> ForAnyUser {
        let folder = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = ForAnyUser { folder };
        copy_program(
            artifacts::binary("pcsc-tests", "winscard"),
            program.at("winscard"),
        );
        std::fs::copy(artifacts::library(), program.at("libpcsclite.so")).unwrap();
        std::fs::create_dir(program.at("pcscd")).unwrap();
        program
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// The output and the log of the program for an establish as this user, with the folder `pcscd` as the
    /// system's, and with a USB without devices.
    fn establish(&self, user: &str) -> (String, String) {
        let mut command = in_namespace(&self.at("pcscd"), USB, "setpriv");
        command
            .args(["--reuid", user, "--regid", user, "--clear-groups"])
            .arg(self.at("winscard"))
            .arg(self.at("libpcsclite.so"))
            .env_remove("PCSCLITE_CSOCK_NAME")
            .env_remove("PCSCLITE_BACKEND")
            .env("PCSCLITE_DEBUG", "1");
        let output = say(&mut command, b"establish\n");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.stdout().trim().to_owned(), log)
    }
}

#[test]
fn the_log_names_the_daemons_limit_of_clients() {
    const CLIENTS: usize = 3;
    let pcscd = Pcscd::start_limited(CLIENTS);
    let context = || Context::builder().socket_path(pcscd.socket()).establish();
    // pcscd notices later than the client that a connection has ended: the harness's, and the one dropped
    // below.
    let served = || {
        let end = Instant::now() + LIMIT;
        loop {
            match context() {
                Ok(served) => return served,
                Err(failure) => assert!(Instant::now() < end, "{failure}"),
            }
        }
    };
    let mut held: Vec<Context> = (0..CLIENTS).map(|_| served()).collect();
    let refused = context().unwrap_err();
    assert_eq!(refused.error(), Error::SecurityViolation, "{refused}");
    assert!(
        matches!(refused.cause(), Some(Cause::Refused { .. })),
        "{refused}"
    );
    let output = establish(
        Command::new(artifacts::binary("pcsc-tests", "winscard"))
            .env("PCSCLITE_CSOCK_NAME", pcscd.socket())
            .env("PCSCLITE_DEBUG", "2"),
    );
    assert_eq!(output.stdout().trim(), "8010006A");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("(pcscd --max-thread, 200 by default)"), "{log}");
    // It was the limit, and not Polkit.
    let daemons = pcscd.log();
    assert!(daemons.contains("Too many context running: 3"), "{daemons}");
    assert!(!daemons.contains("unauthorized"), "{daemons}");
    drop(held.pop());
    assert_eq!(served().is_valid(), Ok(()));
}

#[test]
fn a_daemon_that_refuses_access_counts_as_running() {
    let program = ForAnyUser::new();
    let pcscd = program.at("pcscd");
    let comm = pcscd.join("pcscd.comm");
    let _daemon = std::os::unix::net::UnixListener::bind(&comm).unwrap();
    let modes = |folder: u32, socket: u32| {
        std::fs::set_permissions(&comm, std::fs::Permissions::from_mode(socket)).unwrap();
        std::fs::set_permissions(&pcscd, std::fs::Permissions::from_mode(folder)).unwrap();
    };
    for (folder, socket, named) in [
        (
            0o755,
            0o660,
            "/run/pcscd/pcscd.comm belongs to user root and group root and has mode 0660",
        ),
        (
            0o700,
            0o666,
            "/run/pcscd belongs to user root and group root and has mode 0700",
        ),
    ] {
        modes(folder, socket);
        let (text, log) = program.establish("65534");
        assert_eq!(text, NO_SERVICE, "{log}");
        assert!(
            log.lines().count() == 1
                && [
                    "at /run/pcscd/pcscd.comm",
                    named,
                    "this process is of user nobody"
                ]
                .iter()
                .all(|part| log.contains(part)),
            "{log}"
        );
    }
}

#[test]
fn the_reason_for_using_the_usb_is_logged() {
    let program = ForAnyUser::new();
    let comm = program.at("pcscd/pcscd.comm");
    let check = |found: &str| {
        let (text, log) = program.establish("0");
        let choices: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("the backend is"))
            .collect();
        assert_eq!(
            (text.as_str(), choices.len()),
            ("00000000", 1),
            "{found}: {text} {log}"
        );
        assert!(
            choices[0].contains("INFO: the backend is the bundled driver") && choices[0].contains(found),
            "{found}: {log}"
        );
    };
    check("no such file is there");
    drop(std::os::unix::net::UnixListener::bind(&comm).unwrap());
    check("a stale socket is there");
    std::fs::remove_file(&comm).unwrap();
    std::fs::create_dir(&comm).unwrap();
    check("a directory");
}

#[test]
fn an_invalid_value_is_always_reported_on_stderr() {
    for (name, value, code, written) in [
        (
            "PCSCLITE_SIMULATED",
            "no-such-reader",
            NO_SERVICE,
            "there is no simulated reader called \"no-such-reader\"",
        ),
        (
            "PCSCLITE_SIMULATED",
            "/nonexistent/readers",
            NO_SERVICE,
            "/nonexistent/readers: No such file",
        ),
        (
            "PCSCLITE_BACKEND",
            "simulate",
            NO_SERVICE,
            "PCSCLITE_BACKEND is \"simulate\"; it can be",
        ),
    ] {
        let mut command = Command::new(artifacts::binary("pcsc-tests", "winscard"));
        command
            .env("PCSCLITE_BACKEND", "simulated")
            .env("PCSCLITE_CSOCK_NAME", "/nonexistent")
            .env_remove("PCSCLITE_SIMULATED")
            .env_remove("PCSCLITE_DEBUG")
            .env(name, value);
        let output = establish(&mut command);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.stdout().trim(), code, "{name}={value}: {log}");
        assert!(
            log.lines().count() == 1 && log.contains(written),
            "{name}={value}: {log}"
        );
    }
}

#[test]
fn a_privileged_program_ignores_its_callers_environment() {
    let pcscd = Pcscd::start(1);
    let of_pcscd = pcscd.reader(0).name();
    let copies = ForAnyUser::new();
    let (program, library) = (copies.at("winscard"), copies.at("libpcsclite.so"));
    let socket = pcscd.socket().to_string_lossy().into_owned();
    for (name, value, reader) in [
        ("PCSCLITE_BACKEND", "simulated", SIMULATED),
        ("PCSCLITE_CSOCK_NAME", &socket, &of_pcscd),
    ] {
        for (mode, is_heard) in [(0o755, true), (0o4755, false)] {
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
            let mut command = in_namespace(&copies.at("pcscd"), USB, "setpriv");
            command
                .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
                .arg(&program)
                .arg(&library)
                .env_remove("PCSCLITE_BACKEND")
                .env_remove("PCSCLITE_CSOCK_NAME")
                .env(name, value);
            // The variable is ignored: the backend is the USB, which has no devices.
            let text = say(&mut command, b"establish\nlist\n").stdout();
            assert_eq!(text.contains(reader), is_heard, "{name}, mode {mode:o}: {text}");
        }
    }
    let record = copies.at("record");
    for (mode, is_heard) in [(0o755, true), (0o4755, false)] {
        std::fs::write(&record, "").unwrap();
        std::fs::set_permissions(&record, std::fs::Permissions::from_mode(0o666)).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = in_namespace(&copies.at("pcscd"), USB, "setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program)
            .arg(&library)
            .env("PCSCLITE_SPY", &record);
        say(&mut command, b"establish\n").stdout();
        let text = std::fs::read_to_string(&record).unwrap();
        assert_eq!(
            text.contains("SCardEstablishContext"),
            is_heard,
            "mode {mode:o}: {text}"
        );
    }
}
