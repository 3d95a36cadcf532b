//! Clients of every protocol version, byte by byte, at once on our server with a reader on the USB.

use crate::daemon::Pcscd;
use crate::path::appear;
use crate::sharing::plug;
use crate::simulated::{base_name, Simulated};
use crate::{argument, fact, hex, Result};
use pcsc_client::State;
use pcsc_constants::{SCARD_ABSENT, SCARD_LEAVE_CARD, SCARD_PRESENT, SCARD_SHARE_SHARED, SCARD_S_SUCCESS};
use pcsc_sim::card::apps::Echo;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::SimDevice;
use pcsc_tests::WireClient;
use pcsc_wire::{
    CancelBody, DisconnectBody, ReaderEventsBody, ReaderStateRecords, ReleaseBody, RequestCode, StatusBody,
    Version,
};
use std::path::Path;

/// Makes the card send back its data.
const COMMAND: [u8; 10] = [0x80, 0xEC, 0, 0, 4, 1, 2, 3, 4, 0];

const SOCKET: &str = "/run/versions.comm";

/// Argument number 7 is the command `pcsc`.
pub fn scenario() -> Result<()> {
    let socket = Path::new(SOCKET);
    let (_server, context) = Pcscd::start_share(&argument(7)?, socket, "versions")?;
    let device = SimDevice::named("scr3310").ok_or("no such reader")?;
    let base = base_name(device.model());
    let mut simulated = Simulated::new(vec![device], 1);
    // With T=1, which the clients transmit over.
    simulated.insert(0, SimCard::good(Profile::new(&[Offer::T1]), Box::new(Echo)));
    let device = plug(simulated)?;
    let reader = appear(&context, &base, State::PRESENT)?.into_string()?;
    let names = context.list_readers_owned()?;
    let names = names.into_iter().map(|name| Ok(name.into_string()?));
    let names = names.collect::<Result<Vec<_>>>()?;

    let minors = Version::OLDEST.minor..=Version::NEWEST.minor;
    let mut clients: Vec<_> = minors.map(|minor| Client::new(socket, minor, &reader)).collect();
    for client in &mut clients {
        client.list(&names)?;
        client.connect();
        client.transmit("transmit");
        client.status("status");
    }
    let mut before = Vec::new();
    for client in &mut clients {
        let states = client.wire.states();
        let state = client.find(&states)?;
        client.fact("connected", &state.text);
        before.push(client.wait()?);
    }
    device.with(|simulated| simulated.remove(0));
    for (client, before) in clients.iter_mut().zip(before) {
        let seen = client.wait_until(SCARD_ABSENT)?;
        client.fact("removed", &seen.text);
        client.fact("events-of-the-card", seen.counter.wrapping_sub(before.counter));
        client.transmit("removed-transmit");
        client.status("removed-status");
        client.cancel(socket)?;
        client.disconnect();
        client.release();
        client.wire.is_in_step();
    }
    device.unplug()?;
    Ok(())
}

/// A connection to the server, with one context and one card.
struct Client<'a> {
    minor: i32,
    wire: WireClient,
    reader: &'a str,
    context: u32,
    card: i32,
}

/// The state of the reader.
struct Seen {
    state: u32,
    counter: u32,
    /// All but the counter.
    text: String,
}

impl Client<'_> {
    fn new<'a>(socket: &Path, minor: i32, reader: &'a str) -> Client<'a> {
        let mut wire = WireClient::connect(socket, minor);
        Client {
            minor,
            context: wire.establish(),
            wire,
            reader,
            card: 0,
        }
    }

    fn fact(&self, name: &str, value: impl std::fmt::Display) {
        fact(&format!("4.{}/{name}", self.minor), value);
    }

    /// A return code as a fact.
    fn code(&self, name: &str, code: u32) {
        self.fact(name, format!("{code:08X}"));
    }

    fn find(&self, states: &[u8]) -> Result<Seen> {
        let states = ReaderStateRecords::new(states, self.wire.endian());
        let found = states.find(self.reader.as_bytes()).ok_or("no such reader")?;
        let (state, counter) = (found.state, found.event_counter);
        let (sharing, atr, protocol) = (found.sharing, hex(found.atr), found.protocol);
        Ok(Seen {
            state,
            counter,
            text: format!("{state:x} {sharing} {protocol} {atr}"),
        })
    }

    /// The list, and the reader in it. How long the card has been in it determines whether it has power.
    fn list(&mut self, names: &[String]) -> Result<()> {
        let bytes = self.wire.states();
        let states = ReaderStateRecords::new(&bytes, self.wire.endian());
        self.fact("slots", states.slots());
        let listed: Vec<_> = states.readers().map(|state| state.name).collect();
        self.fact(
            "list",
            listed == names.iter().map(String::as_bytes).collect::<Vec<_>>(),
        );
        let state = self.find(&bytes)?.state;
        self.fact("present", state & (SCARD_PRESENT | SCARD_ABSENT) == SCARD_PRESENT);
        if self.minor >= 5 {
            self.wire.request(RequestCode::GetReaderEvents);
            let events: ReaderEventsBody = self.wire.receive();
            self.fact(
                "counts-readers",
                events.rv == SCARD_S_SUCCESS && events.events > 0,
            );
        }
        Ok(())
    }

    fn connect(&mut self) {
        let connected = self
            .wire
            .connect_card(self.context, self.reader, SCARD_SHARE_SHARED);
        self.card = connected.card;
        self.fact("connect", format!("{:08X} {}", connected.rv, connected.active));
    }

    fn transmit(&mut self, name: &str) {
        let (code, response) = self.wire.transmit(self.card, &COMMAND);
        self.fact(name, format!("{code:08X} {}", hex(&response)));
    }

    fn status(&mut self, name: &str) {
        let asked = StatusBody {
            card: self.card,
            rv: 0,
        };
        let answer = self.wire.call(RequestCode::Status, asked);
        self.code(name, answer.rv);
    }

    /// Registers for the next event, and returns the reader's state.
    fn wait(&mut self) -> Result<Seen> {
        let states = self.wire.wait();
        self.find(&states)
    }

    /// Waits until the reader has this state. The client is registered. Other changes have events too.
    fn wait_until(&mut self, bit: u32) -> Result<Seen> {
        loop {
            let code = self.wire.event();
            if code != SCARD_S_SUCCESS {
                return Err(format!("4.{}: {code:08X} instead of an event", self.minor).into());
            }
            let seen = self.wait()?;
            if seen.state & bit != 0 {
                self.wire.stop();
                let code = self.wire.event();
                self.code("stop", code);
                return Ok(seen);
            }
        }
    }

    /// Waits, and is cancelled by another connection.
    fn cancel(&mut self, socket: &Path) -> Result<()> {
        let mut other = WireClient::connect(socket, self.minor);
        loop {
            self.wait()?;
            let asked = CancelBody {
                context: self.context as i32,
                rv: 0,
            };
            let cancel = other.call(RequestCode::Cancel, asked).rv;
            let event = self.wire.event();
            // A change may have ended the wait before.
            if (cancel, event) != (SCARD_S_SUCCESS, SCARD_S_SUCCESS) {
                self.fact("cancel", format!("{cancel:08X} {event:08X}"));
                return Ok(());
            }
        }
    }

    fn disconnect(&mut self) {
        let asked = DisconnectBody {
            card: self.card,
            disposition: SCARD_LEAVE_CARD,
            rv: 0,
        };
        let answer = self.wire.call(RequestCode::Disconnect, asked);
        self.code("disconnect", answer.rv);
    }

    fn release(&mut self) {
        let asked = ReleaseBody {
            context: self.context,
            rv: 0,
        };
        let answer = self.wire.call(RequestCode::ReleaseContext, asked);
        self.code("release", answer.rv);
    }
}
