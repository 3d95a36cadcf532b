//! Processes, files and artifacts: a test leaves none behind.

use crate::client::Client;
use crate::SUCCESS;
use pcsc_tests::{artifacts, run, stock, Pcscd};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn nothing_is_left_behind() {
    let pcscd = Pcscd::start(1);
    let folder = pcscd
        .socket()
        .ancestors()
        .nth(2)
        .expect("the daemon's folder")
        .to_owned();
    let process = PathBuf::from(format!("/proc/{}", pcscd.pid()));
    assert!(folder.join("log").is_file());
    assert_eq!(
        fs::read_to_string(process.join("comm"))
            .expect("a process")
            .trim(),
        "pcscd"
    );
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("our mounts");
    assert!(
        !mounts().contains(&*folder.to_string_lossy()),
        "the mount has got out of its namespace"
    );
    drop(pcscd);
    assert!(!folder.exists() && !process.exists());
}

/// A test that is killed does not clean up, but its daemon must end. This test starts itself as that test.
#[test]
fn the_daemon_ends_with_the_tests_process() {
    const ROLE: &str = "PCSC_TESTS_PRINT_PID_AND_DIE";
    if std::env::var_os(ROLE).is_some() {
        // From a thread that ends at once: the daemon must outlive the thread, but not the process.
        let pcscd = std::thread::spawn(|| Pcscd::start(0)).join().expect("a daemon");
        assert_eq!(Client::new(&pcscd).call("release").0, SUCCESS);
        // With one processor the harness has begun a line.
        println!(
            "\nfolder {}",
            pcscd
                .socket()
                .ancestors()
                .nth(2)
                .expect("the daemon's folder")
                .display()
        );
        println!("daemon {}", pcscd.pid());
        std::process::abort();
    }
    let mut myself = Command::new(std::env::current_exe().expect("this program"));
    myself
        .args([
            "--exact",
            "processes::the_daemon_ends_with_the_tests_process",
            "--nocapture",
        ])
        .env(ROLE, "1");
    // Not by `run`, which would kill the daemon with its group.
    let output = myself.output().expect("this program");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    let text = String::from_utf8_lossy(&output.stdout);
    let word = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_else(|| panic!("no {key} in {text}"))
    };
    let process = Path::new("/proc").join(word("daemon ")).join("root/run/pcscd");
    let start = Instant::now();
    while process.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "the daemon is still there"
        );
    }
    fs::remove_dir_all(word("folder ")).expect("the folder of the killed test");
}

#[test]
fn artifacts_are_built_and_found() {
    let winscard = artifacts::binary("pcsc-tests", "winscard");
    assert_eq!(
        winscard.canonicalize().ok(),
        Path::new(env!("CARGO_BIN_EXE_winscard")).canonicalize().ok()
    );
    let ours = artifacts::library_folder()
        .join("libpcsclite.so.1")
        .canonicalize()
        .expect("our library");
    assert_eq!(
        ours.file_name().and_then(|name| name.to_str()),
        Some("libpcsclite.so")
    );
    assert_ne!(
        fs::read(ours).expect("our library"),
        fs::read(stock::library()).expect("Debian's")
    );
}

#[test]
fn a_command_is_killed_with_its_children_at_the_deadline() {
    let start = Instant::now();
    let mut command = Command::new("sh");
    command.args(["-c", "echo begun; sleep 600 & sleep 600"]);
    // On a busy machine the shell may begin late.
    for seconds in [5, 30, 90] {
        let output = run(&mut command, Duration::from_secs(seconds));
        assert!(output.timed_out && !output.status.success());
        if output.stdout == b"begun\n" {
            break;
        }
        assert!(output.stdout.is_empty() && seconds < 90, "{output:?}");
    }
    // A child that keeps the output open after the end of its parent does not delay the result.
    command = Command::new("sh");
    command.args(["-c", "echo done; echo why >&2; sleep 600 &"]);
    let output = run(&mut command, Duration::from_secs(300));
    assert_eq!(
        (output.stdout().as_str(), output.stderr.as_slice()),
        ("done\n", &b"why\n"[..])
    );
    assert!(start.elapsed() < Duration::from_secs(300));
}
