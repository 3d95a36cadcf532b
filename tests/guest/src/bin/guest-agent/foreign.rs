//! Devices and cards of others: a security token's firmware (`usbd-ccid` with an OpenPGP card, a
//! program of tests/cards) over USB/IP, and QEMU's reader with its CAC card. Unmodified clients make keys and
//! signatures with them, without a daemon.

use crate::path::appear;
use crate::sharing::standalone;
use crate::{argument, fact, Result, LIMIT};
use pcsc_client::State;
use pcsc_guest_tests::usbip::Imported;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where the token's program listens, and its only device there.
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 3240);
const BUS_ID: &str = "1-1";

/// The user PIN of a new OpenPGP card. QEMU's card takes any.
const PIN: &str = "123456";

/// OpenPGP card 3.4: SELECT, VERIFY of the admin PIN, PUT DATA (the signature key is a P-256 key), GENERATE,
/// PUT DATA of a fingerprint and a date, without which OpenSC takes the key for absent. OpenSC's own tool
/// generates RSA keys only, for which the emulated processor needs minutes.
const GENERATE: [&str; 6] = [
    "00A4040006D27600012401",
    "00200083083132333435363738",
    "00DA00C109132A8648CE3D030107",
    "0047800002B60000",
    "00DA00C7145A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A",
    "00DA00CE0460000000",
];

/// The files of a hash and of its signature.
const MESSAGE: &str = "/run/message";
const SIGNATURE: &str = "/run/signature";

/// The labels that OpenSC gives the tokens: the OpenPGP card's PIN for signatures, and the first certificate
/// of QEMU's card.
const OPENPGP: &str = "OpenPGP card (User PIN (sig))";
const CAC: &str = "pcsc-guest identity";

/// Arguments: the folder of our library, and last the token's program.
pub fn scenario() -> Result<()> {
    let token = Token::start(&argument(6)?)?;
    let imported = token.plug()?;
    let name = present("Nitrokey")?;
    fact("openpgp/reader", &name);
    client(
        "openpgp/card",
        "openpgp-tool",
        &["--reader", &name],
        &["--card-info"],
    )?;
    let generate: Vec<&str> = GENERATE.iter().flat_map(|command| ["-s", *command]).collect();
    let raw = ["--reader", &name, "--card-driver", "default"];
    client("openpgp/key", "opensc-tool", &raw, &generate)?;
    fs::write(MESSAGE, [0x5A; 32])?;
    let key = ["--mechanism", "ECDSA", "--id", "01", "--input-file", MESSAGE];
    let sign = ["--login", "--pin", PIN, "--sign", "--output-file", SIGNATURE];
    let verify = ["--verify", "--signature-file", SIGNATURE];
    // Without probes for all kinds of cards, which take half of the time; QEMU's card gets them below.
    let openpgp = ["OPENSC_DRIVER=openpgp", "pkcs11-tool", "--token-label", OPENPGP];
    client("openpgp/sign", "env", &openpgp, &[&key[..], &sign[..]].concat())?;
    client(
        "openpgp/verify",
        "env",
        &openpgp,
        &[&key[..], &verify[..]].concat(),
    )?;
    drop(imported);

    present("433-Swap")?;
    let cac = ["--token-label", CAC];
    client(
        "cac/test",
        "pkcs11-tool",
        &cac,
        &["--test", "--login", "--pin", PIN],
    )
}

/// The token's program. It ends when dropped.
struct Token(Child);

impl Token {
    fn start(program: &str) -> Result<Self> {
        Ok(Self(Command::new(program).stdin(Stdio::null()).spawn()?))
    }

    /// Plugs the token in, once its program listens.
    fn plug(&self) -> Result<Imported> {
        let end = Instant::now() + LIMIT;
        loop {
            match Imported::import(SocketAddr::from(SERVER), BUS_ID) {
                Err(error)
                    if error.kind() == std::io::ErrorKind::ConnectionRefused && Instant::now() < end =>
                {
                    thread::sleep(Duration::from_millis(5));
                }
                imported => return Ok(imported?),
            }
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a reader whose name contains `part`, with a card; gives the name.
fn present(part: &str) -> Result<String> {
    let context = standalone()?;
    let name = appear(&context, part, State::PRESENT)?;
    Ok(name.into_string()?)
}

/// Runs a program on our library; its exit code and its output are a fact.
fn client(name: &str, program: &str, first: &[&str], rest: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(first).args(rest).stdin(Stdio::null());
    command.env("LD_LIBRARY_PATH", argument(2)?);
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    fact(name, format!("{:?} {}", output.status.code(), lines.join(" | ")));
    Ok(())
}
