//! Another process: it does what a line on its standard input asks, and answers with a line. It can be
//! killed.

use crate::path::reader;
use crate::{hex, Result};
use pcsc_client::{Card, Choice, Context, Error, Protocols, ReaderState, ShareMode, State};
use std::ffi::CString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The parent's handle on the other process, which is killed when this is dropped.
pub struct Actor {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("actor");
        Self::of(command)
    }

    /// Starts another program that answers lines.
    pub fn of(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        Ok(Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks for something, and waits for the answer.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.tell(line)?;
        self.hear()
    }

    /// The next answer.
    pub fn hear(&mut self) -> Result<String> {
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        if answer.is_empty() {
            return Err("the other process has ended".into());
        }
        Ok(answer.trim_end().into())
    }

    /// Asks for something, and does not wait.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.stdin, "{line}")?)
    }

    /// Kills it, and waits until nothing of it is left.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does: one context, one card.
pub fn scenario() -> Result<()> {
    let mut stage = Stage::default();
    for line in std::io::stdin().lines() {
        let line = line?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = stage.act(word, rest).unwrap_or_else(|error| format!("{error:?}"));
        println!("{answer}");
    }
    Ok(())
}

#[derive(Default)]
struct Stage {
    context: Option<Context>,
    card: Option<Card>,
}

impl Stage {
    fn act(&mut self, word: &str, rest: &str) -> std::result::Result<String, Error> {
        match word {
            "establish" => {
                let choice = if rest == "standalone" {
                    Choice::Standalone
                } else {
                    Choice::Automatic
                };
                let builder = Context::builder().choose_backend(choice);
                self.context = Some(builder.establish().map_err(Error::from)?);
                Ok("yes".into())
            }
            "list" => {
                let names = self.context()?.list_readers_owned()?;
                let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
                Ok(names.join("|"))
            }
            "connect" => {
                let name = self.reader(rest)?;
                let card = self
                    .context()?
                    .connect(&name, ShareMode::Shared, Protocols::ANY)?;
                self.card = Some(card);
                Ok("yes".into())
            }
            "transmit" => {
                let card = self.card.as_ref().ok_or(Error::InvalidHandle)?;
                let command: Vec<u8> = rest
                    .split(' ')
                    .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
                    .collect();
                let mut buffer = [0; pcsc_client::MAX_BUFFER_SIZE_EXTENDED];
                Ok(hex(card.transmit(&command, &mut buffer)?))
            }
            // Waits for ever, or until the reader is gone.
            "wait" => {
                let name = self.reader(rest)?;
                let mut states = [ReaderState::new(name, State::UNAWARE)];
                loop {
                    match self.context()?.get_status_change(None, &mut states) {
                        // It failed first, which was reported, and was gone before the next wait began.
                        Err(Error::UnknownReader) => return Ok("gone".into()),
                        told => told?,
                    }
                    let [seen] = &mut states;
                    if seen.event_state().contains(State::UNKNOWN) {
                        return Ok("gone".into());
                    }
                    seen.sync_current_state();
                }
            }
            "disconnect" => {
                self.card = None;
                Ok("yes".into())
            }
            "release" => {
                self.card = None;
                self.context = None;
                Ok("yes".into())
            }
            _ => Err(Error::InvalidParameter),
        }
    }

    /// Waits for a reader whose name contains `part`.
    fn reader(&self, part: &str) -> std::result::Result<CString, Error> {
        reader(self.context()?, part).map_err(|_| Error::UnknownReader)
    }

    fn context(&self) -> std::result::Result<&Context, Error> {
        self.context.as_ref().ok_or(Error::InvalidHandle)
    }
}
