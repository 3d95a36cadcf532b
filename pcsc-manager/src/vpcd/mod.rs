//! Readers for virtual cards that are programs of their own: they connect to a TCP port and speak the
//! protocol of vsmartcard's driver vpcd. A card is present while it is connected.
//!
//! Cards answer APDUs, and have neither a transmission protocol nor a speed. Unlike the other simulated
//! readers these are used in real time.

mod port;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pcsc_constants::MAX_ATR_SIZE;

use crate::ccid;
use crate::error::StartError;
use crate::slot::{copy, earlier, FoundReader, Powered, Presence, Slot, SlotError, Watch};
use port::{Connection, Control, Port};

/// The name that vsmartcard gives its reader.
const NAME: &str = "Virtual PCD";
/// How long a card may take to answer a reset, as on a contact.
const ATR_LIMIT: Duration = Duration::from_secs(30);
/// The same for a card that still works on a command whose caller has given up: it cannot be interrupted.
const LATE_LIMIT: Duration = Duration::from_secs(1);
/// How long a card may work on a command. The driver of real readers has the same limit.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(600);

/// A reader with a slot for each port.
#[derive(Clone)]
pub struct VpcdReader {
    ports: Vec<Arc<Port>>,
}

impl VpcdReader {
    /// A reader at these addresses, one for each slot.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> VpcdReader {
        VpcdReader {
            ports: addresses
                .into_iter()
                .map(|address| Arc::new(Port::new(address)))
                .collect(),
        }
    }

    /// The reader that `vpcd`, `vpcd:PORT` or `vpcd:ADDRESS:PORT` describes, with a slot more for each
    /// further port. Without an address it listens on the loopback interface, and without a port where
    /// vsmartcard's driver does.
    pub(crate) fn parse(text: &str, more: impl Iterator<Item = u16>) -> Result<VpcdReader, StartError> {
        let unknown = || StartError::UnknownPort(text.to_owned());
        let first = match text.strip_prefix("vpcd").ok_or_else(unknown)? {
            "" => Some(port::DEFAULT_PORT.to_string()),
            place => place.strip_prefix(':').map(str::to_owned),
        };
        let first = first.and_then(|place| match place.parse() {
            Ok(port) => Some(Port::default_address(port)),
            Err(_) => place.parse().ok(),
        });
        let more = more.map(Port::default_address);
        Ok(VpcdReader::new(
            std::iter::once(first.ok_or_else(unknown)?).chain(more),
        ))
    }

    /// Opens the ports. Returns their addresses, in which the system has chosen those whose number was 0. The
    /// slots of a reader that was not opened open theirs when they are used, and again if another process has
    /// had the port.
    ///
    /// # Errors
    /// That of the first port that cannot be opened.
    pub fn open(&self) -> io::Result<Vec<SocketAddr>> {
        self.ports.iter().map(|port| port.open()).collect()
    }

    /// The reader as a bus finds it.
    pub fn found(&self) -> FoundReader {
        let slot = |port: &Arc<Port>| {
            let slot = VpcdSlot {
                port: port.clone(),
                last_seen: 0,
                atr: Vec::new(),
            };
            let watch: Arc<dyn Watch> = port.clone();
            (Box::new(slot) as Box<dyn Slot>, watch)
        };
        FoundReader::new(NAME, self.ports.iter().map(slot).collect())
    }
}

struct VpcdSlot {
    port: Arc<Port>,
    /// The number of the card that was in at the last look; 0 before the first one.
    last_seen: u64,
    /// The ATR of the last reset.
    atr: Vec<u8>,
}

impl VpcdSlot {
    fn with_card<T>(&self, work: impl FnOnce(&Connection) -> Result<T, SlotError>) -> Result<T, SlotError> {
        let card = self.port.card().filter(|(_, number)| *number == self.last_seen);
        let Some((card, _)) = card else {
            // It has gone since, and another one may have come. The watch reports what this look has seen.
            self.port.wake();
            return Err(SlotError::NoCard);
        };
        let result = work(&card);
        if matches!(result, Err(SlotError::NoCard)) {
            log::debug!("the virtual card has ended its connection, or does not keep to the protocol");
            self.port.throw_out(&card);
            // The next wait reports it.
            self.port.wake();
        }
        result
    }
}

impl Slot for VpcdSlot {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        if let Err(error) = self.port.open() {
            log::debug!("cannot wait for virtual cards: {error}");
            return Err(match error.kind() {
                ErrorKind::AddrInUse => SlotError::Busy,
                _ => SlotError::Communication,
            });
        }
        // By number and not by whether one is there: between two looks one card may have gone and another
        // come.
        let before = self.last_seen;
        match self.port.card() {
            None => Ok(Presence::Absent),
            Some((_, number)) if number == before => Ok(Presence::Present),
            Some((_, number)) => {
                self.last_seen = number;
                Ok(match before {
                    0 => Presence::Present,
                    _ => Presence::Replaced,
                })
            }
        }
    }

    fn knows_presence(&self) -> bool {
        true
    }

    fn power_up(&mut self, warm: bool, deadline: Option<Instant>) -> Result<Powered, SlotError> {
        let control = if warm { Control::Reset } else { Control::PowerOn };
        let atr = self.with_card(|card| {
            let limit = if card.is_late() { LATE_LIMIT } else { ATR_LIMIT };
            card.tell(control)?;
            // A longer answer is no ATR.
            let mut atr = [0; MAX_ATR_SIZE];
            let (until, is_callers) = earlier(deadline, limit);
            match card.ask(&[Control::Atr as u8], &mut atr, until) {
                Ok(length) => Ok(atr[..length].to_vec()),
                Err(SlotError::TimedOut) if is_callers => Err(SlotError::TimedOut),
                Err(SlotError::NoCard) => Err(SlotError::NoCard),
                Err(_) => Err(SlotError::Mute),
            }
        })?;
        self.atr.clone_from(&atr);
        Ok(ccid::powered(&atr))
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        self.with_card(|card| card.tell(Control::PowerOff))
    }

    fn set_protocol(&mut self, protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
        ccid::check_protocol(protocol)
    }

    fn transmit(
        &mut self,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        // One byte would be a request about the card's power.
        if command.len() < 2 {
            return Err(SlotError::Communication);
        }
        let (until, is_callers) = earlier(deadline, EXCHANGE_LIMIT);
        self.with_card(|card| card.ask(command, response, until))
            .map_err(|error| match error {
                // pcscd's answer for a card that is lost in the middle of a command.
                SlotError::NoCard => SlotError::Communication,
                SlotError::TimedOut if !is_callers => SlotError::Communication,
                error => error,
            })
    }

    fn get_attribute(&mut self, id: u32, value: &mut [u8]) -> Result<usize, SlotError> {
        if id != pcsc_constants::SCARD_ATTR_ATR_STRING {
            return Err(SlotError::Unsupported);
        }
        copy(&self.atr, value)
    }
}
