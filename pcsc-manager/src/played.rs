//! A simulated reader that this process plays for other programs, over the socket of [`pcsc_sim::control`].

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pcsc_sim::card::{named, Switches};
use pcsc_sim::control::{ControlledReader, RequestError, ServedReader, SlotChange, SlotRequest};
use pcsc_sim::SimDevice;

use crate::error::StartError;
use crate::offered::OfferedReader;
use crate::simulated::Simulated;
use crate::sync::lock;

/// A simulated reader for [`pcsc_sim::control::serve`], with empty slots. The driver works in this process.
pub struct PlayedReader {
    model: String,
    name: String,
    slots: u8,
    switches: Arc<Switches>,
    /// `None` while it is unplugged.
    plugged: Mutex<Option<Arc<Plugged>>>,
}

/// The reader from a plug to the next unplug.
struct Plugged {
    simulated: Simulated,
    offered: OfferedReader,
}

impl PlayedReader {
    /// A reader of the model with this short name, plugged in.
    pub fn new(model: &str) -> Result<PlayedReader, StartError> {
        let plugged = Plugged::new(model).ok_or_else(|| StartError::UnknownModel(model.to_owned()))?;
        Ok(PlayedReader {
            model: model.to_owned(),
            name: plugged.simulated.name().to_owned(),
            slots: plugged.offered.slots(),
            switches: Arc::default(),
            plugged: Mutex::new(Some(Arc::new(plugged))),
        })
    }

    fn plugged(&self) -> Option<Arc<Plugged>> {
        lock(&self.plugged).clone()
    }
}

impl Plugged {
    fn new(model: &str) -> Option<Plugged> {
        let simulated = Simulated::of(SimDevice::named(model)?);
        Some(Plugged {
            offered: OfferedReader::new(simulated.found()),
            simulated,
        })
    }
}

impl ControlledReader for PlayedReader {
    fn insert(&self, slot: u8, card: &str) -> Result<(), String> {
        let plugged = self.plugged().ok_or("the reader is unplugged")?;
        if slot >= self.slots {
            return Err(format!("no slot {slot}"));
        }
        plugged
            .simulated
            .device()
            .insert(slot, named::make(card, &self.switches)?);
        Ok(())
    }

    fn remove(&self, slot: u8) {
        if let Some(plugged) = self.plugged() {
            plugged.simulated.device().remove(slot);
        }
    }

    fn unplug(&self) {
        if let Some(plugged) = lock(&self.plugged).take() {
            plugged.simulated.unplug();
        }
    }

    fn plug(&self) -> Result<(), String> {
        let mut plugged = lock(&self.plugged);
        if plugged.is_none() {
            *plugged = Plugged::new(&self.model).map(Arc::new);
        }
        Ok(())
    }

    fn settle(&self, slot: u8, limit: Duration) -> bool {
        self.plugged()
            .is_none_or(|plugged| plugged.simulated.settle(slot, Instant::now() + limit))
    }

    fn set_mute(&self, is_mute: bool) {
        self.switches.set_mute(is_mute);
    }

    fn set_failing(&self, is_failing: bool) {
        self.switches.set_fails(is_failing);
    }
}

impl ServedReader for PlayedReader {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn slots(&self) -> u8 {
        self.slots
    }

    fn is_present(&self) -> bool {
        self.plugged().is_some()
    }

    fn execute(&self, slot: u8, request: &SlotRequest<'_>) -> Result<Vec<u8>, RequestError> {
        let plugged = self.plugged().ok_or(RequestError::NoDevice)?;
        let answer = plugged.offered.execute(slot, request);
        // A delay that the card has asked for. The slot is not locked meanwhile.
        // Real time: the driver's time is virtual here, and the client is another process.
        std::thread::sleep(self.switches.take_owed());
        answer
    }

    fn wait(&self, slot: u8) -> SlotChange {
        match self.plugged() {
            Some(plugged) => plugged.offered.wait(slot),
            None => SlotChange::Gone,
        }
    }

    fn open(&self, _slot: u8) -> bool {
        self.is_present()
    }

    fn close(&self, slot: u8) {
        if let Some(plugged) = self.plugged() {
            plugged.offered.close(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::RemoteBus;
    use crate::slot::{Presence, Slot, SlotError, Watch, WatchEvent};
    use crate::Bus;
    use pcsc_sim::control::{order, serve};
    use std::sync::mpsc;

    /// A played reader behind a socket, and a bus on it.
    struct PlayedBench {
        path: std::path::PathBuf,
        // The socket does not keep it.
        _reader: Arc<PlayedReader>,
        bus: RemoteBus,
    }

    impl PlayedBench {
        fn new(name: &str, model: &str) -> PlayedBench {
            let path = std::env::temp_dir().join(format!("pcsc-played-{}-{name}", std::process::id()));
            let reader = Arc::new(PlayedReader::new(model).unwrap());
            let controlled: Arc<dyn ControlledReader> = reader.clone();
            serve(&path, 0, Arc::downgrade(&controlled), reader.clone()).unwrap();
            PlayedBench {
                bus: RemoteBus::connect(&path).unwrap(),
                _reader: reader,
                path,
            }
        }

        fn order(&self, command: &str) {
            assert_eq!(
                order(&self.path, command).unwrap(),
                Ok(String::new()),
                "{command}"
            );
        }
    }

    impl Drop for PlayedBench {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// The next event. The test does not wait for ever for one that does not come.
    fn event(watch: &Arc<dyn Watch>) -> Result<WatchEvent, mpsc::RecvTimeoutError> {
        let (sender, events) = mpsc::channel();
        let watch = watch.clone();
        std::thread::spawn(move || sender.send(watch.wait()));
        events.recv_timeout(PATIENCE)
    }

    const PATIENCE: Duration = Duration::from_secs(60);
    const HELLO: &[u8] = b"\x00\x00\x00\x00\x0C";

    fn hello(slot: &mut dyn Slot) -> Result<Vec<u8>, SlotError> {
        let mut response = [0; 300];
        let length = slot.transmit(HELLO, &mut response, None)?;
        Ok(response[..length].to_vec())
    }

    #[test]
    fn a_card_is_used_over_the_socket_and_is_taken_out() {
        let bench = PlayedBench::new("card", "octsim");
        let mut found = bench.bus.initial();
        let found = found.pop().unwrap();
        assert_eq!(found.slots.len(), 8);
        let (mut slot, watch) = found.slots.into_iter().nth(7).unwrap();
        assert_eq!(slot.presence(), Ok(Presence::Absent));
        bench.order("insert 0/7 t0");
        assert_eq!(event(&watch), Ok(WatchEvent::Card));
        assert_ne!(slot.presence(), Ok(Presence::Absent));
        let powered = slot.power_up(false, None).unwrap();
        assert_eq!((powered.offered, powered.first), (1, 1));
        slot.set_protocol(1, None).unwrap();
        assert_eq!(hello(&mut *slot), Ok(b"Hello world!\x90\x00".to_vec()));
        bench.order("fail 0 on");
        assert_eq!(hello(&mut *slot), Err(SlotError::Mute));
        bench.order("fail 0 off");
        bench.order("remove 0/7");
        assert_eq!(event(&watch), Ok(WatchEvent::Card));
        assert_eq!(slot.presence(), Ok(Presence::Absent));
        assert_eq!(slot.power_up(false, None), Err(SlotError::NoCard));
        let refused = order(&bench.path, "insert 0/8 t1").unwrap();
        assert_eq!(refused, Err("no slot 8".into()));
    }

    #[test]
    fn one_program_has_a_slot_at_a_time() {
        let bench = PlayedBench::new("claim", "scr3310");
        let other = RemoteBus::connect(&bench.path).unwrap();
        let [mut first, mut second] =
            [&bench.bus, &other].map(|bus| bus.initial().remove(0).slots.remove(0).0);
        assert_eq!(first.presence(), Ok(Presence::Absent));
        assert_eq!(second.presence(), Err(SlotError::Busy));
        first.give_back();
        // The server sees a moment later that the first one has ended its connection.
        let deadline = Instant::now() + PATIENCE;
        let mut presence = second.presence();
        while presence == Err(SlotError::Busy) && Instant::now() < deadline {
            presence = second.presence();
        }
        assert_eq!(presence, Ok(Presence::Absent));
    }

    #[test]
    fn a_card_delays_its_answer_when_it_is_asked_to() {
        let bench = PlayedBench::new("delay", "scr3310");
        let mut slot = bench.bus.initial().remove(0).slots.remove(0).0;
        bench.order("insert 0 t1");
        slot.power_up(false, None).unwrap();
        slot.set_protocol(2, None).unwrap();
        let start = Instant::now();
        let mut response = [0; 300];
        let length = slot.transmit(b"\x80\xDE\x00\x64", &mut response, None).unwrap();
        assert_eq!(&response[..length], b"\x90\x00");
        assert!(start.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn a_reader_that_is_plugged_in_again_is_announced() {
        let bench = PlayedBench::new("plug", "scr3310");
        let found = bench.bus.initial().pop().unwrap();
        let (mut slot, watch) = found.slots.into_iter().next().unwrap();
        assert_eq!(slot.presence(), Ok(Presence::Absent));
        bench.order("unplug 0");
        assert_eq!(event(&watch), Ok(WatchEvent::Gone));
        assert_eq!(slot.presence(), Err(SlotError::NoDevice));
        assert!(RemoteBus::connect(&bench.path).unwrap().initial().is_empty());
        bench.order("plug 0");
        let (sender, events) = mpsc::channel();
        let event = std::thread::scope(|scope| {
            scope.spawn(|| sender.send(bench.bus.wait()).is_ok());
            let event = events.recv_timeout(PATIENCE);
            bench.bus.stop();
            event
        });
        let Ok(Some(again)) = event else {
            panic!("the reader is not announced");
        };
        assert_eq!(again.name, found.name);
        let (mut slot, watch) = again.slots.into_iter().next().unwrap();
        assert_eq!(slot.presence(), Ok(Presence::Absent));
        watch.stop();
        assert!(bench.bus.wait().is_none());
    }
}
