//! Readers that this process drives itself, with pcsc-manager.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pcsc_constants as codes;
use pcsc_manager::{
    environment, Bus, CallError, Client, Interest, ManagedReader, Manager, StartError, UsbBus,
};
use pcsc_process::wait::ChangeCounter;
use pcsc_wire::ReaderStateRecord;

use super::{Connected, Failed, Source, SourceSession, Transmitted};
use crate::sync::lock;

/// How long a look at the readers waits for one that starts.
// pcscd too waits for a reader that starts. Some take seconds for their first answer.
const START: Duration = Duration::from_secs(5);

/// Readers of this process. They are held open, as by pcscd: the server sees every card that comes or goes,
/// and no other process drives them meanwhile.
pub struct ManagerSource {
    manager: Arc<Manager>,
    held: Mutex<Held>,
}

/// Readers that are held open.
#[derive(Default)]
struct Held {
    /// The manager's list of them.
    readers: Arc<[Arc<ManagedReader>]>,
    interests: Vec<Interest<Arc<ManagedReader>>>,
}

impl ManagerSource {
    /// The readers on the USB. The variables of [`pcsc_manager::environment`] set up the driver.
    ///
    /// # Errors
    /// Where the USB cannot be watched or a thread cannot be started.
    pub fn usb() -> Result<ManagerSource, StartError> {
        ManagerSource::on(Arc::new(UsbBus::new(environment::options(variable))?))
    }

    /// Simulated readers: those behind a socket, where `what` is its path; those of models, where it is a
    /// list of their names between commas; and the bundled one where it is empty.
    ///
    /// # Errors
    /// For a model that does not exist, or a path where nothing answers.
    #[cfg(feature = "sim")]
    pub fn simulated(what: &str) -> Result<ManagerSource, StartError> {
        let options = environment::options(variable);
        ManagerSource::on(pcsc_manager::simulated_bus(what, options)?)
    }

    /// The readers of a bus.
    ///
    /// # Errors
    /// Where a thread cannot be started.
    pub fn on(bus: Arc<dyn Bus>) -> Result<ManagerSource, StartError> {
        Ok(ManagerSource {
            manager: Arc::new(Manager::start(bus, environment::settings(variable))?),
            held: Mutex::default(),
        })
    }

    /// The readers, each held open from now on.
    fn readers(&self) -> Arc<[Arc<ManagedReader>]> {
        // First, so that no thread releases a reader for a list that is older than another thread's.
        let mut held = lock(&self.held);
        let readers = self.manager.readers();
        if !Arc::ptr_eq(&held.readers, &readers) {
            let mut before = std::mem::take(&mut held.interests);
            let hold = |reader: &Arc<ManagedReader>| {
                let is_of = |interest: &Interest<_>| std::ptr::eq(interest.reader(), &**reader);
                let place = before.iter().position(is_of);
                place.map_or_else(
                    || Interest::new(reader.clone()),
                    |place| before.swap_remove(place),
                )
            };
            held.interests = readers.iter().map(hold).collect();
            held.readers = readers.clone();
        }
        readers
    }
}

/// An environment variable's text; empty where it has none.
fn variable(name: &str) -> String {
    std::env::var_os(name).map_or(String::new(), |value| value.to_string_lossy().into_owned())
}

impl Source for ManagerSource {
    fn each_reader(&self, look: &mut dyn FnMut(ReaderStateRecord<'_>)) {
        let readers = self.readers();
        // One for all: they start at the same time.
        let deadline = Instant::now() + START;
        for reader in &*readers {
            // One that takes longer is reported as it is; its change is an event.
            let now = reader.snapshot_when_open(deadline);
            look(ReaderStateRecord {
                name: reader.name().as_bytes(),
                event_counter: now.event_counter,
                state: now.status,
                sharing: now.sharing,
                atr: &now.atr,
                protocol: now.protocol,
            });
        }
    }

    fn each_name(&self, look: &mut dyn FnMut(&[u8])) {
        self.readers()
            .iter()
            .for_each(|reader| look(reader.name().as_bytes()));
    }

    fn state_changes(&self) -> Option<u64> {
        Some(self.manager.state_changes())
    }

    fn reader_events(&self) -> u32 {
        self.manager.events()
    }

    fn changes(&self) -> &ChangeCounter {
        self.manager.card_changes()
    }

    fn session(&self) -> Result<Box<dyn SourceSession>, Failed> {
        Ok(Box::new(ManagerSession(Client::new(self.manager.clone(), false))))
    }
}

/// A client of the manager that does not wait for other connections' transactions.
struct ManagerSession(Client);

impl SourceSession for ManagerSession {
    fn connect(&self, reader: &[u8], share: u32, protocols: u32) -> Result<Connected, Failed> {
        Ok(self.0.connect(reader, share, protocols, None)?)
    }

    fn reconnect(&self, card: i32, share: u32, protocols: u32, initialization: u32) -> Result<u32, Failed> {
        Ok(self.0.reconnect(card, share, protocols, initialization, None)?)
    }

    fn disconnect(&self, card: i32, disposition: u32) -> Result<(), Failed> {
        Ok(self.0.disconnect(card, disposition)?)
    }

    fn begin_transaction(&self, card: i32) -> Result<(), Failed> {
        // A deadline of now: the client asks again by itself, and must be able to give up.
        match self.0.begin_transaction(card, Some(Instant::now())) {
            Err(CallError::Timeout) => Err(codes::SCARD_E_SHARING_VIOLATION.into()),
            begun => Ok(begun?),
        }
    }

    fn end_transaction(&self, card: i32, disposition: u32) -> Result<(), Failed> {
        Ok(self.0.end_transaction(card, disposition)?)
    }

    fn status(&self, card: i32) -> Result<(), Failed> {
        Ok(self.0.status(card)?)
    }

    fn transmit(
        &self,
        card: i32,
        protocol: u32,
        command: &[u8],
        response: &mut [u8],
    ) -> Result<Transmitted, Failed> {
        Ok(self.0.transmit(card, protocol, command, response, None)?)
    }

    fn control(&self, card: i32, code: u32, data: &[u8], answer: &mut [u8]) -> Result<usize, Failed> {
        Ok(self.0.control(card, code, data, answer, None)?)
    }

    fn get_attribute(&self, card: i32, id: u32, value: &mut [u8]) -> Result<usize, Failed> {
        Ok(self.0.get_attribute(card, id, value)?)
    }

    fn set_attribute(&self, card: i32, id: u32, value: &[u8]) -> Result<(), Failed> {
        Ok(self.0.set_attribute(card, id, value)?)
    }

    fn interrupt(&self) {
        self.0.interrupt();
    }

    fn release(&self) {
        self.0.release();
    }
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Failed {
        Failed {
            code: error.code(),
            needed: error.needed(),
        }
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;

    /// The name, the number of connections and the protocol of the only reader.
    fn look(source: &ManagerSource) -> (Vec<u8>, i32, u32) {
        let mut found = None;
        source
            .each_reader(&mut |reader| found = Some((reader.name.to_vec(), reader.sharing, reader.protocol)));
        found.expect("a reader")
    }

    #[test]
    fn changes_are_counted_also_those_that_are_no_events_and_looks_are_not() {
        let source = ManagerSource::simulated("").unwrap();
        let (name, ..) = look(&source);
        let is_unmoved = |_| {
            let before = source.state_changes();
            look(&source);
            source.each_name(&mut |listed| assert_eq!(listed, name));
            source.state_changes() == before
        };
        // At any time the card may be powered down, which is a change.
        assert!((0..100).any(is_unmoved));

        let session = source.session().unwrap();
        let moves = |change: &mut dyn FnMut(), expected| {
            let before = source.state_changes();
            change();
            assert!(source.state_changes() > before);
            let (_, sharing, protocol) = look(&source);
            assert_eq!((sharing, protocol), expected);
        };
        let mut card = 0;
        moves(
            &mut || card = session.connect(&name, 2, 2).unwrap().handle,
            (1, 2),
        );
        moves(
            &mut || session.disconnect(card, codes::SCARD_UNPOWER_CARD).unwrap(),
            (0, 0),
        );
    }

    #[test]
    fn calls_reach_the_card_and_meet_those_of_other_sessions() {
        const SELECT: &[u8] = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
        let source = ManagerSource::simulated("").unwrap();
        let (name, ..) = look(&source);
        let [session, other] = [(); 2].map(|()| source.session().unwrap());
        let card = session.connect(&name, 2, 2).unwrap().handle;
        let others = other.connect(&name, 2, 2).unwrap().handle;
        let mut room = [0; 300];
        let transmitted = session.transmit(card, 2, SELECT, &mut room).unwrap();
        assert_eq!(room[..transmitted.length], [0x90, 0]);
        assert_eq!(transmitted.protocol, 1);
        let features = codes::control_code(3400);
        let length = session.control(card, features, &[], &mut room).unwrap();
        assert!(length > 0 && length % 6 == 0, "{length} bytes of features");
        let length = session.get_attribute(card, codes::SCARD_ATTR_ATR_STRING, &mut room);
        assert_eq!(room[..length.unwrap()].first(), Some(&0x3B));
        let no_attribute = session.set_attribute(card, codes::SCARD_ATTR_ATR_STRING, &[0]);
        assert!(no_attribute.is_err());
        assert_eq!(session.begin_transaction(card), Ok(()));
        let busy = Failed::from(codes::SCARD_E_SHARING_VIOLATION);
        assert_eq!(other.begin_transaction(others), Err(busy));
        assert_eq!(session.status(card), Ok(()));
        assert_eq!(session.end_transaction(card, codes::SCARD_LEAVE_CARD), Ok(()));
        assert_eq!(other.begin_transaction(others), Ok(()));
        other.release();
        let reset = Failed::from(codes::SCARD_W_RESET_CARD);
        assert_eq!(session.status(card), Err(reset));
        assert_eq!(session.reconnect(card, 2, 2, codes::SCARD_LEAVE_CARD), Ok(2));
        assert_eq!(session.status(card), Ok(()));
        assert_eq!(look(&source).1, 1);
        session.release();
        assert_eq!(look(&source).1, 0);
        assert_eq!(session.status(card), Err(codes::SCARD_E_INVALID_HANDLE.into()));
    }

    #[test]
    fn readers_that_come_later_are_held_open_too() {
        let source = ManagerSource::simulated("").unwrap();
        source.readers();
        let came = pcsc_manager::Simulated::new("scr3310").unwrap().found();
        let before = source.state_changes();
        source.manager.add(came).unwrap();
        assert!(source.state_changes() > before);
        let readers = source.readers();
        let held = lock(&source.held);
        assert!(Arc::ptr_eq(&held.readers, &readers));
        let is_held = |reader: &Arc<ManagedReader>| {
            let mut held = held.interests.iter();
            held.any(|interest| std::ptr::eq(interest.reader(), &**reader))
        };
        assert_eq!(held.interests.len(), 2);
        assert!(readers.iter().all(is_held));
    }
}
