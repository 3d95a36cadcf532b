use super::*;
use std::sync::OnceLock;

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

    fn execute(&self, _slot: u8, _request: &Request<'_>) -> Result<Vec<u8>, Fault> {
        Ok(Vec::new())
    }

    fn wait(&self, _slot: u8) -> Change {
        Change::Gone
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
        .serve_slot(0, &Request::Presence.encode()[..], output)
        .unwrap();
    assert_eq!(*lock(&reader.was_claimable), [false]);
}
