//! A client process on the stock library.

use crate::SUCCESS;
use pcsc_tests::{stock, Pcscd};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The `winscard` program on Debian's library.
pub struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    pub fn new(pcscd: &Pcscd) -> Self {
        let mut client = Self::unconnected(pcscd);
        assert_eq!(client.call("establish").0, SUCCESS);
        client
    }

    pub fn unconnected(pcscd: &Pcscd) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_winscard"))
            .arg(stock::library())
            .env("PCSCLITE_CSOCK_NAME", pcscd.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("winscard starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, input, output }
    }

    pub fn send(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("winscard runs");
    }

    pub fn receive(&mut self) -> (u32, String) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("winscard answers");
        let (code, text) = line
            .trim_end_matches('\n')
            .split_once(' ')
            .expect("a code and a text");
        (u32::from_str_radix(code, 16).expect("a code"), text.to_owned())
    }

    pub fn call(&mut self, line: &str) -> (u32, String) {
        self.send(line);
        self.receive()
    }

    /// The text of a call that has to succeed.
    #[track_caller]
    pub fn ok(&mut self, line: &str) -> String {
        let (code, text) = self.call(line);
        assert_eq!(code, SUCCESS, "{line}: {code:#010X}");
        text
    }

    #[track_caller]
    pub fn connect(&mut self, reader: &str) -> String {
        self.ok(&format!("connect 2 3 {reader}"))
    }

    /// The state of a reader now, without counter and "changed", and the ATR.
    #[track_caller]
    pub fn state(&mut self, reader: &str) -> (u32, String) {
        let (state, atr) = event(&self.ok(&format!("watch 0 0 {reader}")));
        (state & 0xFFFC, atr)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The state and the ATR that `watch` prints.
pub fn event(text: &str) -> (u32, String) {
    let (state, atr) = text.split_once(' ').expect("a state and an ATR");
    (u32::from_str_radix(state, 16).expect("a state"), atr.to_owned())
}
