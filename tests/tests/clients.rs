//! Programs that nobody here wrote, unmodified, on our library with a real pcscd and without any: what they print is what they
//! print on Debian's library with pcscd and the same cards, and each is seen to have loaded our file.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pcsc_client::{Choice, Context, Protocols, ShareMode};
use pcsc_tests::{artifacts, assert_same, atr, client, run, Pcscd, Reader, Simulation};

const LIMIT: Duration = Duration::from_secs(60);
const SELECT: &str = "00 A4 04 00 0A A0 00 00 00 62 03 01 0C 06 01";

/// What a program runs on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ground {
    /// Debian's library, and pcscd.
    Stock,
    /// Our library, and pcscd.
    Daemon,
    /// Our library, which manages the readers itself.
    Alone,
}

const GROUNDS: [Ground; 3] = [Ground::Stock, Ground::Daemon, Ground::Alone];

/// Two readers on a ground.
struct Stage {
    ground: Ground,
    owner: Owner,
}

enum Owner {
    Pcscd(Pcscd),
    Process(Simulation),
}

impl Stage {
    fn start(ground: Ground) -> Stage {
        let owner = match ground {
            Ground::Stock | Ground::Daemon => Owner::Pcscd(Pcscd::start(2)),
            Ground::Alone => Owner::Process(Simulation::start(2)),
        };
        Stage { ground, owner }
    }

    fn reader(&self, number: usize) -> Reader {
        match &self.owner {
            Owner::Pcscd(pcscd) => pcscd.reader(number),
            Owner::Process(simulation) => simulation.reader(number),
        }
    }

    fn command(&self, mut command: Command) -> Command {
        match self.ground {
            Ground::Stock => &mut command,
            Ground::Daemon | Ground::Alone => command.env("LD_LIBRARY_PATH", artifacts::library_folder()),
        };
        match &self.owner {
            Owner::Pcscd(pcscd) => command.env("PCSCLITE_CSOCK_NAME", pcscd.socket()),
            Owner::Process(simulation) => command.envs(simulation.environment()),
        };
        command
    }
}

/// The libpcsclite that a process has mapped; the only one.
fn loaded(pid: u32) -> Option<PathBuf> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut files: Vec<&str> = maps
        .lines()
        .filter(|line| line.contains("libpcsclite"))
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .collect();
    files.dedup();
    assert!(files.len() <= 1, "{files:?}");
    files.first().map(PathBuf::from)
}

fn our_file() -> PathBuf {
    artifacts::library().canonicalize().unwrap()
}

/// Runs a program that lives long enough to be looked at until it has loaded a library; gives which.
fn loads(command: &mut Command) -> PathBuf {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    let file = loop {
        if let Some(file) = loaded(child.id()) {
            break file;
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "{command:?} ended without a libpcsclite"
        );
        assert!(Instant::now() < deadline, "{command:?} loads no libpcsclite");
        std::thread::yield_now();
    };
    child.kill().unwrap();
    child.wait().unwrap();
    file
}

fn is_there(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).exists());
    assert!(found, "{program} is not installed: run scripts/setup");
    found
}

/// What a test does to a reader.
type Act = fn(&Reader);

/// Two readers with pcscd; and the same ones without it, made anew for each program: a reader has one process that uses it.
struct Twins {
    pcscd: Stage,
    done: Vec<(usize, Act)>,
}

impl Twins {
    fn start() -> Twins {
        Twins {
            pcscd: Stage::start(Ground::Stock),
            done: Vec::new(),
        }
    }

    /// Does something to a reader.
    fn act(&mut self, number: usize, act: Act) {
        act(&self.pcscd.reader(number));
        self.done.push((number, act));
    }

    fn alone(&self) -> Stage {
        let stage = Stage::start(Ground::Alone);
        for (number, act) in &self.done {
            act(&stage.reader(*number));
        }
        stage
    }

    /// Runs a program on all grounds; demands the same of each, and gives it.
    fn same(&self, command: impl Fn() -> Command) -> String {
        self.same_but(command, |alone| alone)
    }

    /// The same, where the text without pcscd is put right before.
    fn same_but(&self, command: impl Fn() -> Command, put_right: impl Fn(String) -> String) -> String {
        let stock = text(self.pcscd.command(command()));
        let mut ours = self.pcscd.command(command());
        ours.env("LD_LIBRARY_PATH", artifacts::library_folder());
        let what = words(&command());
        assert_same(&what, ("stock", &stock), ("ours, with pcscd", &text(ours)));
        let alone = self.alone();
        let alone = put_right(text(alone.command(command())));
        assert_same(&what, ("stock", &stock), ("ours, without pcscd", &alone));
        stock
    }
}

/// A program's name and its arguments.
fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// A program's exit code, and all that it prints.
fn text(mut command: Command) -> String {
    let output = run(&mut command, LIMIT);
    assert!(!output.timed_out, "{command:?}");
    let text = [output.stdout, output.stderr].concat();
    format!("{:?}\n{}", output.status.code(), String::from_utf8_lossy(&text))
}

/// The model of the simulated reader in our library, and its card's ATR.
const MODEL: &str = "gempc-express";

/// Runs a program with the simulated reader that is in our library, and on Debian's library with pcscd, our driver and the same
/// simulated reader; demands the same, but for the reader's name, and gives it. `command` has the name.
fn same_on_the_driver(command: impl Fn(&str) -> Command) -> String {
    let context = Context::builder()
        .choose_backend(Choice::Simulated)
        .establish()
        .unwrap();
    let reader = context.list_readers_owned().unwrap().remove(0);
    let card = context
        .connect(&reader, ShareMode::Shared, Protocols::ANY)
        .unwrap();
    let name = reader.into_string().unwrap();
    let hex: String = card
        .status2_owned()
        .unwrap()
        .atr()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();

    let pcscd = Pcscd::start_driver(&[&format!("{MODEL}:card={hex}")]);
    let mut stock = command(&pcscd.reader(0).name());
    stock.env("PCSCLITE_CSOCK_NAME", pcscd.socket());
    let mut ours = command(&name);
    ours.env("LD_LIBRARY_PATH", artifacts::library_folder())
        .env("PCSCLITE_BACKEND", "simulated");
    let ours = text(ours).replace(&name, &pcscd.reader(0).name());
    let what = words(&command(""));
    assert_same(
        &what,
        ("stock, with pcscd", &text(stock)),
        ("ours, without", &ours),
    );
    ours
}

fn opensc(arguments: &[&str]) -> Command {
    let mut command = client("opensc-tool");
    command.args(arguments);
    command
}

const SELECT_AND_SEND: [&str; 6] = [
    "--reader",
    "0",
    "-s",
    "00A404000AA00000006203010C0601",
    "-s",
    "00000000",
];

#[test]
fn opensc_tool() {
    is_there("opensc-tool");
    let mut twins = Twins::start();
    let list = || opensc(&["--list-readers"]);
    assert!(twins.same(list).contains("pcsc-tests 00 00"));
    twins.act(0, |reader| reader.insert(atr::T1));
    assert!(twins.same(list).contains("Yes"));
    twins.same(|| opensc(&["--reader", "0", "--atr"]));
    let sent = twins.same(|| opensc(&SELECT_AND_SEND));
    assert!(sent.contains("Hello world!"), "{sent}");
    twins.same(|| opensc(&["--reader", "1", "--atr"]));
    twins.same(|| opensc(&["--reader", "9", "--atr"]));
    twins.act(0, |reader| {
        reader.mute(true);
        reader.remove();
        reader.insert(atr::T1);
    });
    twins.same(|| opensc(&["--reader", "0", "--atr"]));

    let wait = || opensc(&["--wait", "--reader", "1", "--atr"]);
    for stage in [Stage::start(Ground::Daemon), Stage::start(Ground::Alone)] {
        assert_eq!(loads(&mut stage.command(wait())), our_file());
    }
}

#[test]
fn opensc_tool_on_the_driver() {
    let list = same_on_the_driver(|_| opensc(&["--list-readers"]));
    assert!(list.contains("Yes"), "{list}");
    same_on_the_driver(|_| opensc(&["--reader", "0", "--atr"]));
    let sent = same_on_the_driver(|_| opensc(&SELECT_AND_SEND));
    assert!(sent.contains("Hello world!"), "{sent}");
}

/// A child whose output is read line by line; killed when dropped.
struct Live {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Live {
    fn start(mut command: Command) -> Live {
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
    fn until(&mut self, text: &str) {
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

    fn is_on(&self, stage: &Stage) {
        if stage.ground != Ground::Stock {
            assert_eq!(loaded(self.child.id()), Some(our_file()));
        }
    }
}

/// What a program that goes on prints while cards come and go; the same on all grounds. `play` starts it and moves the cards.
fn same_live(play: impl Fn(&Stage) -> Live) -> String {
    let texts = GROUNDS.map(|ground| play(&Stage::start(ground)).seen.join("\n"));
    for (ground, text) in GROUNDS.iter().zip(&texts) {
        let name = format!("{ground:?}");
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

#[test]
fn pcsc_scan_sees_cards_come_and_go() {
    is_there("pcsc_scan");
    same_live(|stage| {
        let mut command = client("stdbuf");
        command.args(["-oL", "pcsc_scan", "-n"]);
        let mut scan = Live::start(stage.command(command));
        let both = |scan: &mut Live, state: &str| {
            for number in 0..2 {
                scan.until(&format!("Reader {number}: pcsc-tests {number:02} 00"));
                scan.until(state);
            }
        };
        both(&mut scan, "Card removed");
        scan.is_on(stage);
        for _ in 0..3 {
            stage.reader(1).insert(atr::T1);
            scan.until("Reader 1: pcsc-tests 01 00");
            scan.until("Card inserted");
            scan.until("ATR:");
            stage.reader(1).remove();
            scan.until("Card removed");
        }
        // Each report begins with the time.
        scan.seen.retain(|line| !line.contains(&this_year()));
        scan
    });
}

fn this_year() -> String {
    let year = run(Command::new("date").arg("+ %Y"), LIMIT).stdout();
    year.trim_end().to_owned()
}

#[test]
fn pcsc_scan_on_the_driver() {
    let list = same_on_the_driver(|_| {
        let mut command = client("pcsc_scan");
        command.arg("-r");
        command
    });
    assert!(list.contains("0: pcsc-tests 00 00"), "{list}");
}

/// A command of scriptor's: the lines to a card, in a file.
fn scriptor(reader: &str, script: &Path) -> Command {
    let mut command = client("scriptor");
    command.args(["-r", reader]).arg(script);
    command
}

#[test]
fn scriptor_in_perl() {
    is_there("scriptor");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, format!("reset\n{SELECT}\n00 00 00 00\n80 E0 00 10\n")).unwrap();
    let mut twins = Twins::start();
    twins.act(0, |reader| reader.insert(atr::T1));
    let text = twins.same(|| scriptor("pcsc-tests 00 00", &script));
    assert!(text.contains("48 65 6C 6C 6F"), "{text}");
    for stage in [Stage::start(Ground::Daemon), Stage::start(Ground::Alone)] {
        stage.reader(0).insert(atr::T1);
        let mut waiting = client("scriptor");
        waiting.args(["-r", "pcsc-tests 00 00"]);
        assert_eq!(loads(&mut stage.command(waiting)), our_file());
    }

    // T=0 says how much it wants.
    std::fs::write(&script, format!("reset\n{SELECT}\n00 00 00 00 0C\n")).unwrap();
    let text = same_on_the_driver(|reader| scriptor(reader, &script));
    assert!(text.contains("48 65 6C 6C 6F"), "{text}");
}

/// Debian's Python, which has Debian's pyscard.
const PYTHON: &str = "/usr/bin/python3";

fn python(script: &Path) -> Command {
    let mut command = client(PYTHON);
    command
        .arg(script)
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME");
    command
}

#[test]
fn pyscard() {
    assert!(
        Path::new(PYTHON).exists(),
        "python3 is not installed: run scripts/setup"
    );
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/python/client.py"));
    let mut twins = Twins::start();
    twins.act(0, |reader| reader.insert(atr::T1));
    // The card came when pcscd was there, which counts that; and before the process without pcscd.
    let counted = |alone: String| alone.replace("('pcsc-tests 00 00', 34,", "('pcsc-tests 00 00', 65570,");
    let text = twins.same_but(|| python(script), counted);
    assert!(
        text.starts_with("Some(0)") && text.contains("Hello world!"),
        "{text}"
    );
    let text = same_on_the_driver(|_| {
        let mut command = python(script);
        // This card has another command for it.
        command.env("LONG_ANSWER", "80EE0FFF");
        command
    });
    assert!(
        text.starts_with("Some(0)") && text.contains("Hello world!"),
        "{text}"
    );

    // It sees a card inserted while it waits.
    same_live(|stage| {
        stage.reader(0).insert(atr::T1);
        let mut command = python(script);
        command.arg("monitor").env("PYTHONUNBUFFERED", "1");
        let mut live = Live::start(stage.command(command));
        live.until("ready");
        live.is_on(stage);
        live.until("added 3B");
        stage.reader(0).remove();
        live.until("removed 3B");
        stage.reader(1).insert(atr::T0);
        live.until("added 3B");
        live
    });
}

#[test]
fn java_smartcardio() {
    is_there("java");
    is_there("javac");
    let classes = tempfile::tempdir().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/java/Client.java");
    let mut compile = Command::new("javac");
    compile.arg("-d").arg(classes.path()).arg(source);
    run(&mut compile, LIMIT).stdout();
    // A property says which library; Debian's Java is linked against one as well.
    const JAVA: &str = r#"
        library=$LD_LIBRARY_PATH/libpcsclite.so.1
        exec java "-Dsun.security.smartcardio.library=$library" "$@"
    "#;
    let java = || {
        let mut command = client("sh");
        command.args(["-c", JAVA, "sh"]);
        command.arg("-cp").arg(classes.path()).arg("Client");
        command
    };
    let mut twins = Twins::start();
    twins.act(0, |reader| reader.insert(atr::T1));
    let text = twins.same(java);
    assert!(text.contains("Hello world!"), "{text}");
    let text = same_on_the_driver(|_| java());
    assert!(text.contains("Hello world!"), "{text}");

    same_live(|stage| {
        let mut command = java();
        command.arg("monitor");
        let mut live = Live::start(stage.command(command));
        live.until("ready");
        live.is_on(stage);
        stage.reader(1).insert(atr::T0);
        live.until("present pcsc-tests 01 00");
        stage.reader(1).remove();
        live.until("absent pcsc-tests 01 00");
        live
    });
}
