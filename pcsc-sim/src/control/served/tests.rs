use super::*;
use std::io::Write;
use std::sync::{mpsc, OnceLock};

/// Notes whether its slot could be claimed while it was closed.
#[derive(Default)]
struct Watched {
    served: OnceLock<Arc<Served>>,
    was_claimable: Mutex<Vec<bool>>,
}

impl ServedReader for Watched {
    fn name(&self) -> String {
        "Watched".into()
    }

    fn slots(&self) -> u8 {
        1
    }

    fn execute(&self, _slot: u8, _request: &SlotRequest<'_>) -> Result<Vec<u8>, RequestError> {
        Ok(Vec::new())
    }

    fn wait(&self, _slot: u8) -> SlotChange {
        SlotChange::Gone
    }

    fn close(&self, slot: u8) {
        let place = self.served.get().unwrap().slot(slot).unwrap();
        lock(&self.was_claimable).push(place.user.try_lock().is_ok());
    }
}

#[test]
fn a_slot_is_not_claimed_while_it_is_closed_for_its_last_user() {
    let reader = Arc::new(Watched::default());
    let served = Served::start(0, reader.clone()).unwrap();
    reader.served.set(served.clone()).ok().unwrap();
    let (output, _client) = UnixStream::pair().unwrap();
    served
        .serve_slot(0, &SlotRequest::Presence.encode()[..], output)
        .unwrap();
    assert_eq!(*lock(&reader.was_claimable), [false]);
}

/// A reader whose requests take longer than a program waits for a slot in use, as on a busy machine.
struct Slow {
    begun: Mutex<mpsc::Sender<()>>,
}

impl ServedReader for Slow {
    fn name(&self) -> String {
        "Slow".into()
    }

    fn slots(&self) -> u8 {
        1
    }

    fn execute(&self, _slot: u8, _request: &SlotRequest<'_>) -> Result<Vec<u8>, RequestError> {
        lock(&self.begun).send(()).unwrap();
        thread::sleep(CLAIM_PATIENCE * 3 / 2);
        Ok(Vec::new())
    }

    fn wait(&self, _slot: u8) -> SlotChange {
        SlotChange::Gone
    }
}

#[test]
fn a_slot_is_busy_while_its_user_lives_and_free_once_that_has_ended() {
    let (sender, begun) = mpsc::channel();
    let begin_of_requests = Mutex::new(sender);
    let served = Served::start(
        0,
        Arc::new(Slow {
            begun: begin_of_requests,
        }),
    )
    .unwrap();
    let (output, mut client) = UnixStream::pair().unwrap();
    let (other, _other_client) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| served.serve_slot(0, output.try_clone().unwrap(), output));
        client.write_all(&SlotRequest::Presence.encode()).unwrap();
        begun.recv().unwrap();
        let number = connection();
        assert_eq!(served.claim(0, number, 0, &other), Err(RequestError::Busy));
        // A request is in progress while its program ends.
        client.write_all(&SlotRequest::Presence.encode()).unwrap();
        begun.recv().unwrap();
        drop(client);
        assert_eq!(served.claim(0, number, 0, &other), Ok(()));
    });
}
