use std::io;
use std::sync::{Arc, Mutex};

use pcsc_sim::usb_record::UsbRecord;
use pcsc_sim::SimDevice;

use super::*;
use crate::connections::T1;
use crate::simulated::Simulated;
use crate::slot::{Presence, Slot, SlotError, Watch};
use crate::sync::lock;

/// A file in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for an event after which the slot is so.
fn wait_until(slot: &mut dyn Slot, watch: &dyn Watch, wanted: Presence) {
    loop {
        watch.wait();
        if slot.presence() == Ok(wanted) {
            return;
        }
    }
}

/// A card comes, answers and goes; what `act` does, the user does.
fn use_card(found: FoundReader, act: impl Fn(bool)) -> Vec<u8> {
    let (mut slot, watch) = found.slots.into_iter().next().unwrap();
    assert_eq!(slot.presence(), Ok(Presence::Absent));
    act(true);
    wait_until(&mut *slot, &*watch, Presence::Present);
    slot.power_up(false, None).unwrap();
    slot.set_protocol(T1, None).unwrap();
    let mut response = [0; 300];
    let length = slot
        .transmit(b"\x80\xEC\x00\x00\x05hello\x00", &mut response, None)
        .unwrap();
    act(false);
    wait_until(&mut *slot, &*watch, Presence::Absent);
    assert_eq!(slot.power_up(false, None), Err(SlotError::NoCard));
    response[..length].to_vec()
}

#[test]
fn a_card_comes_and_goes_in_a_replay_as_it_did() {
    // With an interrupt pipe and without one.
    for model in ["gempc-express", "scr3310", "rutoken-lite"] {
        let memory = Memory::default();
        let reader = Simulated::of(SimDevice::named(model).unwrap());
        let (reader, recorder) = reader.recorded(Box::new(memory.clone())).unwrap();
        let recorded = use_card(reader.found(), |comes| match comes {
            true => reader.insert_card(0),
            false => reader.device().remove(0),
        });
        recorder.finish().unwrap();
        assert_eq!(recorded, b"hello\x90\x00");
        let text = lock(&memory.0).clone();
        let lines = String::from_utf8_lossy(&text).into_owned();
        let notified = lines.lines().filter(|line| line.ends_with(" 5003")).count();
        assert_eq!(notified, usize::from(model != "rutoken-lite"), "{lines}");
        let replay = UsbReplay::new(UsbRecord::parse(&text).unwrap());
        let found = replayed_reader(&replay, ReaderOptions::default());
        assert_eq!(found.name, reader.name());
        let replayed = use_card(found, |_| ());
        assert_eq!((replayed, replay.outcome()), (recorded, Ok(())), "{model}");
    }
}

#[test]
fn a_reader_that_was_unplugged_is_gone_at_the_end_of_its_record() {
    let memory = Memory::default();
    let reader = Simulated::new("scr3310").unwrap();
    let (reader, _) = reader.recorded(Box::new(memory.clone())).unwrap();
    let end = |found: FoundReader, unplug: &dyn Fn()| {
        let (mut slot, _watch) = found.slots.into_iter().next().unwrap();
        assert_eq!(slot.presence(), Ok(Presence::Present));
        slot.power_up(false, None).unwrap();
        unplug();
        slot.power_up(true, None).unwrap_err()
    };
    // The device alone: the driver gets no event.
    let recorded = end(reader.found(), &|| reader.device().unplug());
    let replay = UsbReplay::new(UsbRecord::parse(&lock(&memory.0)).unwrap());
    let replayed = end(replayed_reader(&replay, ReaderOptions::default()), &|| ());
    assert_eq!((recorded, replayed), (SlotError::NoDevice, SlotError::NoDevice));
    assert_eq!(replay.outcome(), Ok(()));
}

#[test]
fn a_record_that_cannot_be_written_ends_and_the_reader_works_on() {
    /// A disk with room for the lines about the reader.
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let reader = Simulated::of(SimDevice::named("scr3310").unwrap());
    let (reader, recorder) = reader.recorded(Box::new(Full(400))).unwrap();
    reader.insert_card(0);
    let (mut slot, _watch) = reader.found().slots.remove(0);
    assert_eq!(slot.presence(), Ok(Presence::Present));
    slot.power_up(false, None).unwrap();
    assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
}
