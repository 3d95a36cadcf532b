use super::*;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that accepts connections and answers nothing.
struct RemoteBench {
    path: PathBuf,
    listener: UnixListener,
    slot: RemoteSlot,
    watch: RemoteWatch,
}

impl RemoteBench {
    fn new(name: &str) -> RemoteBench {
        let path = std::env::temp_dir().join(format!("pcsc-remote-{}-{name}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let current = Arc::new(Mutex::default());
        RemoteBench {
            slot: RemoteSlot {
                path: path.clone(),
                reader: 0,
                slot: 0,
                client: None,
                current: current.clone(),
            },
            watch: RemoteWatch::new(Err(io::ErrorKind::NotConnected.into()), current),
            listener,
            path,
        }
    }
}

impl Drop for RemoteBench {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The slot's connection, up to its first byte of a request.
fn accept(listener: &UnixListener) -> BufReader<UnixStream> {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut input = BufReader::new(stream);
    input.read_line(&mut String::new()).unwrap();
    input.read_exact(&mut [0]).unwrap();
    input
}

#[test]
fn wakes_without_a_waiter_do_not_block() {
    let (one, other) = UnixStream::pair().unwrap();
    let watch = RemoteWatch::new(Ok(one), Arc::default());
    for _ in 0..1000 {
        watch.wake();
    }
    assert_eq!(watch.wait(), WatchEvent::Card);
    drop(other);
    assert_eq!(watch.wait(), WatchEvent::Gone);
}

#[test]
fn a_request_to_a_server_that_does_not_answer_ends_at_its_deadline() {
    let mut bench = RemoteBench::new("deadline");
    let deadline = Some(Instant::now() + Duration::from_millis(10));
    let result = bench.slot.transmit(&[0; 4], &mut [0; 300], deadline);
    assert_eq!(result, Err(SlotError::TimedOut));
    // An answer that comes later is not that of the next request.
    assert!(bench.slot.client.is_none());
}

#[test]
fn the_end_of_a_watch_ends_the_request_and_limits_the_next_one() {
    let mut bench = RemoteBench::new("stop");
    std::thread::scope(|scope| {
        let slot = &mut bench.slot;
        let deadline = Some(Instant::now() + PATIENCE);
        let asked = scope.spawn(move || slot.transmit(&[0; 4], &mut [0; 300], deadline));
        let _server = accept(&bench.listener);
        bench.watch.stop();
        assert_eq!(asked.join().unwrap(), Err(SlotError::NoDevice));
    });
    assert_eq!(bench.slot.power_down(), Err(SlotError::NoDevice));
}

#[test]
fn a_slot_is_given_back_although_a_child_has_the_connection() {
    let mut bench = RemoteBench::new("child");
    let client = SlotClient::connect(&bench.path, 0, 0).unwrap();
    let _childs = client.stopper().unwrap();
    bench.slot.client = Some(client);
    bench.slot.give_back();
    let mut server = bench.listener.accept().unwrap().0;
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    server.read_to_end(&mut Vec::new()).unwrap();
}
