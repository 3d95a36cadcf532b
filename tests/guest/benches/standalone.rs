//! A short APDU on the way to one reader over USB/IP, in the guest: our library in the client's process
//! against Debian's library, pcscd and libccid. Both stand beside the same two USB transfers by the system
//! calls alone: what the reader and the kernel take themselves.
//!
//! Times are those of batches, in turns; QEMU interprets the guest's instructions, so that ratios count and
//! not microseconds. System calls are counted by strace, but for looks at the clock, and sleeps by the
//! kernel: of 300 exchanges less those of 100. In the client the system calls are those of the thread that
//! makes the calls of PC/SC; everything else is of all threads.
//!
//! `cargo bench -p pcsc-guest-tests --bench standalone`, or scripts/bench-guest.

use pcsc_guest_tests::lab::{Error, Lab};
use pcsc_tests::{artifacts, run};
use std::process::Command;
use std::time::Duration;

/// The facts that the guest has reported.
struct Facts(Vec<(String, String)>);

impl Facts {
    /// All values of a fact.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = f64> + 'a {
        let told = self.0.iter().filter(move |(known, _)| known == name);
        told.flat_map(|(_, values)| values.split_whitespace())
            .map(|value| value.parse().expect("a number"))
    }

    /// The one number.
    fn get(&self, name: &str) -> f64 {
        self.all(name)
            .next()
            .unwrap_or_else(|| panic!("nothing was told of {name}"))
    }

    /// What one of ten batches is quicker than, and one of two, in microseconds. The first is what a machine
    /// does that has nothing else to do.
    fn quantiles(&self, name: &str) -> [f64; 2] {
        let mut times: Vec<f64> = self.all(name).collect();
        times.sort_by(f64::total_cmp);
        [10, 2].map(|part| times[times.len() / part] / 1e3)
    }
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = folder.path().join("transmits");
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O2", "-Wall", "-Werror", "-o"])
        .arg(&client)
        .arg(format!("{tests}/c/transmits.c"))
        .arg(format!("-I{tests}/../include"))
        .arg("-lpcsclite");
    run(&mut compiler, Duration::from_secs(60)).stdout();

    let library = artifacts::library_folder().display().to_string();
    let client = client.display().to_string();
    let words = [env!("CARGO_BIN_EXE_guest-agent"), "bench", &library, &client];
    let mut lab = Lab::new();
    lab.command("bench", &words, Duration::from_secs(600));
    let report = match lab.boot() {
        Ok(report) => report,
        Err(Error::Unavailable(reason)) => {
            println!("SKIPPED: {reason}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let finished = report.finished("bench").expect("the only command");
    assert_eq!(finished.status, Some(0), "{}{}", finished.stdout, finished.stderr);
    let facts = finished.stdout.lines().filter_map(|line| line.split_once(": "));
    let facts = Facts(facts.map(|(name, values)| (name.into(), values.into())).collect());
    let table = table(&facts);
    println!("{table}");
    let file = artifacts::library().with_file_name("bench-guest.md");
    std::fs::write(&file, table).expect("a file in the target folder");
    println!("written to {}", file.display());
}

fn table(facts: &Facts) -> String {
    let [floor, stock, ours] = ["floor", "stock", "ours"].map(|name| facts.quantiles(name));
    let row = |name: &str, stock: f64, ours: f64| {
        format!("| {name} | {stock:.1} | {ours:.1} | {:.2} |\n", ours / stock)
    };
    let count = |what: &str| {
        let stock = ["client", "daemon"].map(|who| facts.get(&format!("stock/{who}/{what}")));
        (
            stock.iter().sum::<f64>(),
            facts.get(&format!("ours/client/{what}")),
        )
    };
    let (stock_calls, our_calls) = count("calls");
    let (stock_switches, our_switches) = count("switches");
    let own = |what: &str| facts.get(&format!("calls/client/{what}"));
    [
        "| a short APDU | library, pcscd, libccid | ours, in the process | ours / stock |\n\
         |---|---|---|---|\n",
        &row("microseconds, median", stock[1], ours[1]),
        &row("microseconds, first decile", stock[0], ours[0]),
        &row("system calls", stock_calls, our_calls),
        &row("sleeps of a thread", stock_switches, our_switches),
        "| beyond the USB transfers' own: | | | |\n",
        &row(
            "microseconds, first decile",
            stock[0] - floor[0],
            ours[0] - floor[0],
        ),
        &row(
            "system calls",
            stock_calls - own("calls"),
            our_calls - own("calls"),
        ),
        &row(
            "sleeps of a thread",
            stock_switches - own("switches"),
            our_switches - own("switches"),
        ),
        &format!(
            "\nThe USB transfers alone take {:.1} microseconds, first decile {:.1}; {:.1} system calls and \
             {:.1} sleeps. System calls are those of the client's thread and of all threads of the daemon, \
             sleeps those of all threads of both.\n",
            floor[1],
            floor[0],
            own("calls"),
            own("switches"),
        ),
    ]
    .concat()
}
