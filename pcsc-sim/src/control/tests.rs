use super::*;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Barrier;
use std::time::Instant;

/// Records the commands that it gets.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl ControlledReader for Recorder {
    fn insert(&self, slot: u8, card: &str) -> Result<(), String> {
        self.note(format!("insert {slot} {card}"));
        if card == "none" {
            return Err("no card none".into());
        }
        Ok(())
    }

    fn remove(&self, slot: u8) {
        self.note(format!("remove {slot}"));
    }

    fn unplug(&self) {
        self.note("unplug".into());
    }

    fn plug(&self) -> Result<(), String> {
        self.note("plug".into());
        Ok(())
    }

    fn settle(&self, slot: u8, limit: Duration) -> bool {
        self.note(format!("settle {slot} {limit:?}"));
        slot == 0
    }

    fn set_mute(&self, is_mute: bool) {
        self.note(format!("mute {is_mute}"));
    }

    fn set_failing(&self, is_failing: bool) {
        self.note(format!("fail {is_failing}"));
    }

    fn protocol(&self) -> Result<u32, String> {
        Ok(2)
    }
}

#[test]
fn each_command_reaches_the_reader_with_its_number() {
    let recorder = Arc::new(Recorder::default());
    let as_reader: Arc<dyn ControlledReader> = recorder.clone();
    let socket = Socket::default();
    let entry = SocketReader {
        controlled: Arc::downgrade(&as_reader),
        served: None,
    };
    lock(&socket.readers).insert(3, entry);
    for (line, answer) in [
        ("insert 3 t1", Ok("")),
        ("insert 3/1 none", Err("no card none")),
        ("remove 3/2", Ok("")),
        ("unplug 3", Ok("")),
        ("plug 3", Ok("")),
        ("settle 3 5", Ok("")),
        ("settle 3/1 5", Err("not settled in 5 ms")),
        ("mute 3 on", Ok("")),
        ("fail 3 off", Ok("")),
        ("protocol 3", Ok("2")),
        ("counts 3", Err("the reader has no such command")),
        ("busy 3 5", Err("the reader has no such command")),
        ("mute 3 perhaps", Err("neither on nor off: perhaps")),
        ("settle 3 soon", Err("no time: soon")),
        ("remove 4", Err("no reader 4")),
        ("remove 300", Err("no reader 300")),
        ("remove 3/x", Err("no reader 3/x")),
        ("remove 3 now", Err("unknown: remove with 1 arguments")),
        ("jump 3", Err("unknown: jump with 0 arguments")),
        ("remove", Err("a command has a name and a reader's number")),
        ("", Err("a command has a name and a reader's number")),
    ] {
        let wanted = answer.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(socket.execute(line), wanted, "{line}");
    }
    let noted = recorder.0.lock().unwrap().join(", ");
    assert_eq!(
        noted,
        "insert 0 t1, insert 1 none, remove 2, unplug, plug, settle 0 5ms, settle 1 5ms, mute true, fail \
         false"
    );
    drop((recorder, as_reader));
    assert_eq!(socket.execute("remove 3"), Err("no reader 3".into()));
}

/// A served reader that is plugged in and out.
#[derive(Default)]
struct Pluggable {
    is_unplugged: AtomicBool,
}

impl ControlledReader for Pluggable {
    fn insert(&self, _slot: u8, _card: &str) -> Result<(), String> {
        Ok(())
    }

    fn remove(&self, _slot: u8) {}

    fn unplug(&self) {
        self.is_unplugged.store(true, Ordering::SeqCst);
    }

    fn plug(&self) -> Result<(), String> {
        // A second one that looks before this one is done takes the reader for unplugged.
        thread::yield_now();
        self.is_unplugged.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn settle(&self, _slot: u8, _limit: Duration) -> bool {
        true
    }

    fn set_mute(&self, _is_mute: bool) {}

    fn set_failing(&self, _is_failing: bool) {}
}

impl ServedReader for Pluggable {
    fn name(&self) -> String {
        "Pluggable".into()
    }

    fn slots(&self) -> u8 {
        1
    }

    fn is_present(&self) -> bool {
        !self.is_unplugged.load(Ordering::SeqCst)
    }

    fn execute(&self, _slot: u8, _request: &SlotRequest<'_>) -> Result<Vec<u8>, RequestError> {
        Ok(Vec::new())
    }

    fn wait(&self, _slot: u8) -> SlotChange {
        SlotChange::Gone
    }
}

fn pluggable() -> (Arc<Pluggable>, Arc<Served>) {
    let reader = Arc::new(Pluggable::default());
    let served = Served::start(0, reader.clone()).unwrap();
    (reader, served)
}

#[test]
fn a_reader_that_two_clients_plug_in_is_announced_once() {
    const ROUNDS: usize = 100;
    let (reader, served) = pluggable();
    let socket = Socket::default();
    let (output, list) = UnixStream::pair().unwrap();
    lock(&socket.lists).insert(0, output);
    for _ in 0..ROUNDS {
        socket.unplug(&*reader, Some(&served));
        let start = Barrier::new(2);
        let plug = || {
            start.wait();
            socket.plug(&*reader, Some(&served))
        };
        thread::scope(|scope| {
            let other = scope.spawn(plug);
            plug().unwrap();
            other.join().unwrap().unwrap();
        });
    }
    drop(socket);
    assert_eq!(BufReader::new(list).lines().count(), ROUNDS);
}

#[test]
fn a_client_that_does_not_read_is_told_of_no_more_readers() {
    let (reader, served) = pluggable();
    let socket = Socket::default();
    let (output, _list) = UnixStream::pair().unwrap();
    output.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
    lock(&socket.lists).insert(0, output);
    let is_full = (0..100_000).any(|_| {
        socket.unplug(&*reader, Some(&served));
        socket.plug(&*reader, Some(&served)).unwrap();
        lock(&socket.lists).is_empty()
    });
    assert!(is_full);
}

/// A connection to the slot of a reader, and the thread that serves it.
fn connect(served: &Arc<Served>) -> (SlotClient, thread::JoinHandle<io::Result<()>>) {
    let (output, client) = UnixStream::pair().unwrap();
    let (served, input) = (served.clone(), output.try_clone().unwrap());
    let server = thread::spawn(move || served.serve_slot(0, input, output));
    (SlotClient::of(client), server)
}

fn presence(client: &mut SlotClient) -> Result<Vec<u8>, RequestError> {
    let deadline = Instant::now() + Duration::from_secs(60);
    client.ask(&SlotRequest::Presence, deadline).unwrap()
}

#[test]
fn a_slot_that_nobody_watches_is_in_use_while_it_is_open() {
    let (_, served) = pluggable();
    assert!(!served.is_in_use(0));
    let (mut client, server) = connect(&served);
    presence(&mut client).unwrap();
    assert!(served.is_in_use(0));
    drop(client);
    server.join().unwrap().unwrap();
    assert!(!served.is_in_use(0));
}

#[test]
fn a_connection_is_to_the_reader_of_one_plug() {
    let (reader, served) = pluggable();
    let socket = Socket::default();
    let connect = || connect(&served).0;
    let mut client = connect();
    assert_eq!(presence(&mut client), Ok(Vec::new()));
    socket.unplug(&*reader, Some(&served));
    socket.plug(&*reader, Some(&served)).unwrap();
    assert_eq!(presence(&mut client), Err(RequestError::NoDevice));
    assert_eq!(presence(&mut connect()), Ok(Vec::new()));
}

#[test]
fn a_deadline_is_one_of_the_whole_answer() {
    let (mut server, client) = UnixStream::pair().unwrap();
    let mut client = SlotClient::of(client);
    let deadline = Instant::now() + Duration::from_millis(50);
    thread::scope(|scope| {
        scope.spawn(move || {
            // Never silent for long. It takes minutes, so that the answer is not complete however late the
            // client is scheduled, and ends with the connection.
            for byte in message::encode_answer(Ok(&[0; 0x1_0000])) {
                if server.write_all(&[byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        let answer = client.ask(&SlotRequest::Presence, deadline);
        client.close();
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let path = std::env::temp_dir().join(format!("pcsc-sim-silent-{}", std::process::id()));
    // The kernel accepts connections for it.
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let list = ReaderList::connect_within(&path, Duration::from_millis(1));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        list.err().map(|error| error.kind()),
        Some(io::ErrorKind::TimedOut)
    );
}
