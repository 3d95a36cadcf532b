//! Ports on which virtual cards connect.

use std::ffi::{CStr, CString};
use std::net::SocketAddr;

use pcsc_manager::{StartError, VpcdReader};

use super::Simulation;
use crate::error::{Error, Failure};

/// A port that virtual cards connect to, and its reader.
#[derive(Debug, Clone)]
pub struct CardPort {
    address: SocketAddr,
    name: CString,
}

impl CardPort {
    /// The address that cards connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name of the reader, as contexts list it.
    pub fn name(&self) -> &CStr {
        &self.name
    }
}

/// On Unix.
impl Simulation {
    /// Plugs in a reader for virtual cards that are programs of their own: they connect to a TCP port, where
    /// they find the protocol of vsmartcard's driver vpcd. A card is present while it is connected. Port
    /// number 0 stands for one that the system chooses.
    ///
    /// Whoever reaches the address can be a card: it should be on the loopback interface.
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    ///
    /// # fn main() -> Result<(), pcsc_client::Failure> {
    /// let bus = pcsc_client::sim::Simulation::new();
    /// let port = bus.listen((Ipv4Addr::LOCALHOST, 0))?;
    /// println!("vicc --hostname 127.0.0.1 --port {} is a card in {:?}", port.address().port(), port.name());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoService`] if the port cannot be opened, otherwise as
    /// [`Simulation::plug`].
    pub fn listen(&self, address: impl Into<SocketAddr>) -> Result<CardPort, Failure> {
        let manager = self.manager()?;
        let reader = VpcdReader::new([address.into()]);
        let addresses = reader.open().map_err(StartError::Listen)?;
        let slots = manager.add(reader.found())?;
        let (Some(address), Some(slot)) = (addresses.first(), slots.first()) else {
            return Err(Error::InternalError.into());
        };
        Ok(CardPort {
            address: *address,
            name: CString::new(slot.name()).unwrap_or_default(),
        })
    }
}
