//! The system calls of each call, counted by strace. These numbers do not depend on the machine.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pcsc_tests::{artifacts, atr, run, stock, Pcscd};

/// The system calls of a client on its socket for a line of commands, after those that open it.
fn socket_calls(pcscd: &Pcscd, library: &Path, commands: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (script, trace) = (folder.path().join("script"), folder.path().join("trace"));
    std::fs::write(&script, commands).unwrap();
    let mut command = Command::new("strace");
    command
        .args([
            "-e",
            "trace=network,poll,ppoll,read,readv,write,writev,select,fcntl",
            "-o",
        ])
        .arg(&trace);
    command
        .arg(artifacts::binary("pcsc-tests", "winscard"))
        .arg(library)
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    command.stdin(Stdio::from(std::fs::File::open(&script).unwrap()));
    let text = run(&mut command, Duration::from_secs(60)).stdout();
    assert!(
        text.lines()
            .all(|line| line.starts_with("00000000") || line.starts_with("8010000A")),
        "{text}"
    );
    let trace = std::fs::read_to_string(trace).unwrap();
    let connected = trace
        .lines()
        .position(|line| line.contains("pcscd.comm"))
        .expect("a connection");
    trace
        .lines()
        .skip(connected + 1)
        .filter(|line| !line.starts_with("read(0") && !line.starts_with("write(1") && !line.starts_with('+'))
        .map(|line| line.split('(').next().unwrap().to_owned())
        .collect()
}

/// The number of system calls of ten equal commands.
fn cost(pcscd: &Pcscd, library: &Path, command: &str) -> usize {
    let before = "establish\nconnect 2 3 pcsc-tests 00 00\n";
    let once = |count: usize| {
        let script = format!("{before}{}", format!("{command}\n").repeat(count));
        socket_calls(pcscd, library, &script).len()
    };
    once(11) - once(1)
}

#[test]
fn no_call_costs_more_system_calls_than_stock_and_one_exchange_three() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let (ours, stock) = (artifacts::library(), stock::library());
    for command in [
        "transmit 80EC00000401020304",
        "status",
        "list",
        "attribute 90303",
        // Two calls. The answer to the first also serves the second.
        "sized-list",
        "sized-attribute 10100",
        "control 42000001 01020304",
    ] {
        let counts = [&stock, &ours].map(|library| cost(&pcscd, library, command));
        println!(
            "{command}: stock {}, ours {} system calls for ten",
            counts[0], counts[1]
        );
        // The daemon may write a reply in two pieces, in the ten exchanges or in the one that is subtracted.
        assert!((25..=45).contains(&counts[1]), "{command}: {counts:?}");
        assert!(counts[1] <= counts[0], "{command}: {counts:?}");
    }
}
