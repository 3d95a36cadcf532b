//! When a device is opened, and when it is given back.

use super::*;

const NAME: &[u8] = b"Bench 00 00";
const LONG: Duration = Duration::from_secs(60);

impl Rig {
    fn polls(&self) -> u32 {
        lock(&self.benches[0].state).polls
    }

    /// Waits until the device was given back so often.
    fn wait_until_given_back(&self, times: usize) {
        let bench = &self.benches[0];
        let is_pending = |_: &mut Bed| bench.given_back.load(Ordering::SeqCst) < times;
        let waited = bench
            .moved
            .wait_timeout_while(lock(&bench.state), LONG, is_pending)
            .unwrap();
        assert!(!waited.1.timed_out(), "the device is still open");
    }
}

#[test]
fn listing_and_waiting_for_readers_open_no_device() {
    let rig = Rig::new(1);
    let client = rig.client();
    assert_eq!(count(&client), 1);
    rig.plug(Arc::default());
    // Each reader that comes is an event; the count begins with 1.
    wait_until(&client, || rig.manager.events() == 3);
    assert_eq!(count(&client), 2);
    // A wait for readers alone.
    let mut watching = rig.manager.watching([]);
    watching.wait_until_open(&|| false).unwrap();
    watching.refresh(&rig.manager.readers());
    // An event of a slot that nothing waits for does not open it either.
    rig.benches[0].set(|bed| bed.has_card = false);
    assert_eq!(rig.polls(), 0);
}

#[test]
fn a_device_that_nothing_needs_is_given_back_after_a_second_without_power() {
    let rig = Rig::new(1);
    let client = rig.client();
    let begin = Instant::now();
    let card = connect(&client, SHARED).unwrap();
    assert_eq!(client.disconnect(card, 0), Ok(()));
    rig.wait_until_given_back(1);
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(rig.benches[0].downs.load(Ordering::SeqCst), 1);
    let card = connect(&client, SHARED).unwrap();
    assert_eq!(echo(&client, card), Ok(()));
}

#[test]
fn a_connection_and_a_wait_for_card_events_keep_the_device() {
    let rig = Rig::new(1);
    let client = rig.client();
    let reader = rig.manager.find(NAME).unwrap();
    let card = connect(&client, SHARED).unwrap();
    assert_eq!(reader.due(), None);
    // What a wait holds while it lasts.
    let watching = rig.manager.watching([NAME]);
    let before = Instant::now();
    assert_eq!(client.disconnect(card, 0), Ok(()));
    // The card's power is due after five seconds, and nothing before.
    let due = reader.due();
    assert!(due.is_none_or(|due| due >= before + Duration::from_secs(5)));
    drop(watching);
    // On a busy machine it may be given back by now.
    let due = reader.due();
    assert!(due.is_none_or(|due| due <= Instant::now() + Duration::from_secs(1)));
    rig.wait_until_given_back(1);
}

#[test]
fn a_card_that_is_the_same_after_the_device_was_given_back_is_no_event() {
    let rig = Rig::new(1);
    let client = rig.client();
    let present = change(&client, NAME, None).unwrap();
    rig.wait_until_given_back(1);
    let polls = rig.polls();
    let poll = || change(&client, NAME, None).unwrap();
    assert_eq!(poll(), present);
    // The slot was polled.
    assert!(rig.polls() > polls);
    rig.wait_until_given_back(2);
    rig.benches[0].set(|bed| bed.has_card = false);
    let empty = poll();
    assert_eq!(
        (empty.status, empty.event_counter),
        (ABSENT, present.event_counter + 1)
    );
    rig.wait_until_given_back(3);
    assert_eq!(poll(), empty);
}

#[test]
fn a_wait_opens_a_reader_of_its_name_that_comes_while_it_goes_on() {
    let rig = Rig::new(1);
    let mut watching = rig.manager.watching([NAME]);
    let first = rig.manager.find(NAME).unwrap();
    watching.wait_until_open(&|| false).unwrap();
    rig.benches[0].set(|bed| bed.is_gone = true);
    let client = rig.client();
    wait_until(&client, || count(&client) == 0);
    let again = Arc::<ManagerBench>::default();
    rig.plug(again.clone());
    wait_until(&client, || count(&client) == 1);
    assert!(!Arc::ptr_eq(&first, &rig.manager.find(NAME).unwrap()));
    assert_eq!(lock(&again.state).polls, 0);
    watching.refresh(&rig.manager.readers());
    watching.wait_until_open(&|| false).unwrap();
    assert!(lock(&again.state).polls > 0);
}

#[test]
fn the_end_of_the_manager_closes_a_device_that_a_wait_still_needs() {
    let rig = Rig::new(1);
    let watching = rig.manager.watching([NAME]);
    watching.wait_until_open(&|| false).unwrap();
    let given_back = || rig.benches[0].given_back.load(Ordering::SeqCst);
    assert_eq!(given_back(), 0);
    rig.manager.end();
    assert_eq!(given_back(), 1);
}

#[test]
fn the_end_of_the_manager_does_not_wait_for_a_call_without_end() {
    let rig = Rig::new(1);
    let client = rig.client();
    let card = connect(&client, SHARED).unwrap();
    let bench = &rig.benches[0];
    bench.set(|bed| bed.is_held = true);
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let resets = scope.spawn(|| reconnect(&client, card, SHARED, 1));
        bench.wait_until_it_waits();
        scope.spawn(|| {
            rig.manager.end_until(Instant::now());
            ended.send(()).unwrap();
        });
        let is_over = end.recv_timeout(LONG);
        bench.set(|bed| bed.is_held = false);
        assert_eq!(is_over, Ok(()));
        assert_eq!(resets.join().unwrap(), Err(CallError::ReaderUnavailable));
    });
    // The reset has found a card meanwhile, and the reader is of no use all the same.
    assert_eq!(echo(&client, card), Err(CallError::ReaderUnavailable));
}
