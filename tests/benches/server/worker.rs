//! A program with a library, whose calls the benchmark times. Each is a process, since Debian's library has
//! states that all contexts of a process share.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::library::{time, Client};
use crate::CALLS;

/// A process with a context, and a connection to a card.
pub struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one. It is connected when this returns.
    pub fn start(library: &Path, socket: &Path, reader: &str) -> Worker {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg("worker")
            .arg(library)
            .arg(reader)
            .env("PCSCLITE_CSOCK_NAME", socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut worker = Worker {
            child,
            orders,
            answers,
        };
        worker.answer();
        worker
    }

    /// Has it make a call `count` times.
    pub fn order(&mut self, call: usize, count: u32) {
        writeln!(self.orders, "{call} {count}").expect("the worker runs");
    }

    /// Waits until it has, and returns the time of one, in nanoseconds.
    pub fn answer(&mut self) -> f64 {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the worker runs");
        line.trim().parse().expect("the worker answers with a number")
    }

    /// Both.
    pub fn call(&mut self, call: usize, count: u32) -> f64 {
        self.order(call, count);
        self.answer()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The work of such a process.
pub fn work(library: &str, reader: &str) {
    let mut client = Client::new(Path::new(library), reader);
    println!("0");
    for order in std::io::stdin().lines() {
        let order = order.expect("a line");
        let (call, count) = order.split_once(' ').expect("a call and a count");
        let call = CALLS[call.parse::<usize>().expect("a number")].0;
        let count = count.parse().expect("a number");
        println!("{}", time(|| client.call(call), count));
    }
}
