//! A reader with many slots, of which one thread listens to the device for all.

use super::*;
use crate::FixedBus;

#[test]
fn each_slot_is_opened_whichever_thread_listens() {
    for _ in 0..10 {
        let bus = Arc::new(FixedBus::of_models("octsim", Default::default()).unwrap());
        let manager = Manager::start(bus, Settings::default()).unwrap();
        let deadline = Some(Instant::now() + Duration::from_secs(60));
        // The first slot opens the device, and the thread of any slot begins to listen to it.
        let interests: Vec<_> = manager.readers().iter().cloned().map(Interest::new).collect();
        for interest in &interests {
            assert_eq!(interest.reader().wait_until_open(deadline, &|| false), Ok(()));
        }
    }
}
