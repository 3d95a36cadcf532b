//! Programs that run while cards come and go.

use crate::setups::{loaded, our_file, Setup, Stage, LIMIT, SETUPS};
use pcsc_tests::assert_same;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

/// A child whose output is read line by line; killed when dropped.
pub struct Live {
    child: Child,
    lines: mpsc::Receiver<String>,
    pub seen: Vec<String>,
}

impl Live {
    pub fn start(mut command: Command) -> Live {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        Live {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Reads up to the first line that has `text`.
    #[track_caller]
    pub fn until(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no {text:?} in:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line);
            if self.seen.last().is_some_and(|line| line.contains(text)) {
                return;
            }
        }
    }

    pub fn is_on(&self, stage: &Stage) {
        if stage.setup != Setup::Stock {
            assert_eq!(loaded(self.child.id()), Some(our_file()));
        }
    }
}

/// The output of a program that runs while cards come and go, which must be the same in all set-ups. `play`
/// starts it and moves the cards.
pub fn same_live(play: impl Fn(&Stage) -> Live) -> String {
    let texts = SETUPS.map(|setup| play(&Stage::start(setup)).seen.join("\n"));
    for (setup, text) in SETUPS.iter().zip(&texts) {
        let name = format!("{setup:?}");
        assert_same("a program that goes on", ("Stock", &texts[0]), (&name, text));
    }
    texts.into_iter().next().unwrap()
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
