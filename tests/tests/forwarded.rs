//! The daemon's socket, forwarded: by `ssh -R` with a real sshd, as a guest uses its host's readers, and over
//! a line that takes 20 ms each way, where each call's round trips are counted.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pcsc_client::{Context, Error, Protocols, ShareMode};
use pcsc_tests::relay::Relay;
use pcsc_tests::{artifacts, atr, client, run, Pcscd};

const LIMIT: Duration = Duration::from_secs(300);

/// A child that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn keygen(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path);
    run(&mut command, LIMIT).stdout();
}

/// A client that forwards `remote` to `local`, with an sshd of its own at the other end of a pipe: a port
/// that is free can be another process's before an sshd listens there.
struct Tunnel {
    ssh: Running,
}

impl Tunnel {
    fn new(folder: &Path, remote: &Path, local: &Path) -> Tunnel {
        let sshd = Path::new("/usr/sbin/sshd");
        assert!(
            sshd.exists(),
            "openssh-server is not installed: run scripts/setup"
        );
        std::fs::create_dir_all("/run/sshd").unwrap();
        let (host_key, key) = (folder.join("host"), folder.join("key"));
        if !key.exists() {
            keygen(&host_key);
            keygen(&key);
        }
        let config = folder.join("config");
        let public = key.with_extension("pub");
        let text = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nStreamLocalBindUnlink yes\n",
            host_key.display(),
            public.display()
        );
        std::fs::write(&config, text).unwrap();
        let options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "ExitOnForwardFailure=yes",
            "BatchMode=yes",
        ];
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut ssh = Command::new("ssh");
            ssh.args(["-F", "none", "-N"]);
            for option in options {
                ssh.args(["-o", option]);
            }
            // `-i` serves one connection, on stdin and stdout.
            let proxy = format!("ProxyCommand={} -i -e -f {}", sshd.display(), config.display());
            let forwarded = format!("{}:{}", remote.display(), local.display());
            ssh.args(["-o", &proxy, "-R", &forwarded, "-i"])
                .arg(&key)
                .arg("sshd");
            let mut ssh = Running(ssh.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
            while ssh.0.try_wait().unwrap().is_none() {
                if Context::builder().socket_path(remote).establish().is_ok() {
                    return Tunnel { ssh };
                }
                assert!(Instant::now() < deadline, "the tunnel does not come up");
                std::thread::yield_now();
            }
            assert!(Instant::now() < deadline, "ssh does not connect");
        }
    }
}

#[test]
fn through_ssh() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let folder = tempfile::tempdir().unwrap();
    let remote = folder.path().join("forwarded.comm");
    let tunnel = Tunnel::new(folder.path(), &remote, &pcscd.socket());

    // An unmodified client.
    let mut tool = client("opensc-tool");
    tool.args(["-s", "00A404000AA00000006203010C0601", "-s", "00000000"]);
    tool.env("LD_LIBRARY_PATH", artifacts::library_folder())
        .env("PCSCLITE_CSOCK_NAME", &remote);
    assert!(run(&mut tool, LIMIT).stdout().contains("Hello world!"));

    // And a long APDU both ways.
    let context = Context::builder().socket_path(&remote).establish().unwrap();
    let reader = context.list_readers_owned().unwrap().remove(0);
    let card = context
        .connect(&reader, ShareMode::Shared, Protocols::ANY)
        .unwrap();
    let data: Vec<u8> = (0..60_000).map(|at| at as u8).collect();
    let command = [&[0x80, 0xEC, 0, 0, 0, 0xEA, 0x60][..], &data, &[0, 0]].concat();
    let mut response = vec![0; 65_548];
    assert_eq!(
        card.transmit(&command, &mut response).unwrap(),
        [&data[..], &[0x90, 0]].concat()
    );

    // Without the tunnel calls fail; a new tunnel serves new contexts.
    drop(tunnel.ssh);
    let lost = card.transmit(b"\x00\x00\x00\x00", &mut response).unwrap_err();
    assert!([Error::CommError, Error::NoService].contains(&lost), "{lost}");
    assert_eq!(context.is_valid(), Err(Error::InvalidHandle));
    assert_eq!(context.list_readers_owned(), Err(Error::NoService));
    let _tunnel = Tunnel::new(folder.path(), &remote, &pcscd.socket());
    let context = Context::builder().socket_path(&remote).establish().unwrap();
    assert_eq!(context.list_readers_owned().unwrap(), [reader]);
}

#[test]
fn each_call_of_the_c_library_costs_one_round_trip_on_a_slow_line() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let folder = tempfile::tempdir().unwrap();
    let rounds = |library: &Path, name: &str| {
        let path = folder.path().join(name);
        let relay = Relay::start(&path, &pcscd.socket(), Duration::from_millis(20));
        let mut client = Command::new(artifacts::binary("pcsc-tests", "winscard"));
        client.arg(library).env("PCSCLITE_CSOCK_NAME", &path);
        let mut client = Running(
            client
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut input = client.0.stdin.take().unwrap();
        let mut output = BufReader::new(client.0.stdout.take().unwrap());
        let mut cost = |line: &str| {
            let before = relay.rounds();
            writeln!(input, "{line}").unwrap();
            let mut answer = String::new();
            output.read_line(&mut answer).unwrap();
            assert!(
                answer.starts_with("00000000") || answer.starts_with("8010000A"),
                "{line}: {answer}"
            );
            relay.rounds() - before
        };
        // An older daemon than is asked for takes one more the first time.
        cost("establish");
        cost("release");
        let counts: Vec<(String, usize)> = [
            "establish",
            "list",
            "connect 2 3 pcsc-tests 00 00",
            "status",
            "transmit 00000000",
            "transmit 80E04000",
            "watch 0 122 pcsc-tests 00 00",
            "control 42000001 0102",
            "attribute 90303",
            "begin",
            "end 0",
            "reconnect 2 3 0",
            "disconnect 0",
            "release",
        ]
        .map(|line| (line.to_owned(), cost(line)))
        .to_vec();
        drop((input, output));
        drop(client);
        counts
    };
    let stock = rounds(&pcsc_tests::stock::library(), "stock.comm");
    let ours = rounds(&artifacts::library(), "ours.comm");
    for ((line, ours), (_, stock)) in ours.iter().zip(&stock) {
        println!("{line}: stock {stock}, ours {ours} round trips");
        assert_eq!(*ours, 1, "{line}");
    }
}
