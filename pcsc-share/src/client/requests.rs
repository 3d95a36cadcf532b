//! A client's requests, one after another.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use pcsc_constants as codes;
use pcsc_wire::{
    Body, CancelBody, Endian, EstablishBody, EventBody, Header, ReaderEventsBody, ReleaseBody, RequestCode,
    Version, VersionBody,
};
use rustix::io::Errno;

use super::handle::Client;
use super::states::{self, Table};
use crate::incoming::Incoming;
use crate::policy::Rights;
use crate::shared::Shared;
use crate::source::SourceSession;

/// Why a client is not served any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEnd {
    /// Its connection has ended, or it is too slow.
    Socket(Errno),
    /// It has sent what no client of pcscd sends.
    Protocol(&'static str),
}

impl From<Errno> for ClientEnd {
    fn from(errno: Errno) -> ClientEnd {
        ClientEnd::Socket(errno)
    }
}

impl fmt::Display for ClientEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientEnd::Socket(Errno::PIPE) => f.write_str("its connection is closed"),
            ClientEnd::Socket(errno) => write!(f, "{errno}"),
            ClientEnd::Protocol(what) => f.write_str(what),
        }
    }
}

/// A connection to a card: the number of the source that has the reader, the session there, and the
/// connection's number in it.
pub struct CardPlace {
    pub source: usize,
    pub session: Arc<dyn SourceSession>,
    pub card: i32,
}

/// The state of a client's thread.
pub struct Requests<'a> {
    pub client: &'a Client,
    pub shared: &'a Shared,
    pub incoming: Incoming,
    /// The byte order of the client's machine; known with its first request.
    endian: Option<Endian>,
    version: Version,
    pub context: Option<u32>,
    /// The client's connections, by their `hCard`.
    pub cards: BTreeMap<i32, CardPlace>,
    table: Table,
}

/// Whether a request looks at what there is, which is answered at once. Our own client sends several of these
/// together.
fn is_look(command: RequestCode) -> bool {
    matches!(
        command,
        RequestCode::Version
            | RequestCode::GetReadersState
            | RequestCode::GetReadersStateSize
            | RequestCode::GetReadersStateArray
            | RequestCode::GetReaderEvents
    )
}

impl<'a> Requests<'a> {
    /// Those of a client that has sent nothing yet.
    pub fn new(client: &'a Client, shared: &'a Shared) -> Requests<'a> {
        Requests {
            client,
            shared,
            incoming: Incoming::new(client.stream.clone(), shared.limits.patience),
            endian: None,
            version: Version::NEWEST,
            context: None,
            cards: BTreeMap::new(),
            table: Table::default(),
        }
    }

    /// Answers requests until the connection ends.
    pub fn serve(mut self) -> ClientEnd {
        loop {
            if let Err(end) = self.serve_one() {
                // What is held is sent before the connection ends.
                self.client.outgoing.set_followed(false);
                // The connection ends either way.
                let _ = self.client.outgoing.answer(|| [0; 0]);
                return end;
            }
        }
    }

    pub fn serve_one(&mut self) -> Result<(), ClientEnd> {
        let served = self.serve_next();
        // A request may have a PIN or a key in it.
        self.incoming.wipe();
        served
    }

    fn serve_next(&mut self) -> Result<(), ClientEnd> {
        let is_refused = self.client.rights == Rights::Nothing;
        if is_refused {
            // There are few places for clients without rights.
            self.incoming.hurry();
        } else {
            self.incoming.begin();
        }
        let bytes = self.incoming.take(Header::SIZE)?;
        let unknown = ClientEnd::Protocol("an unknown command");
        let endian = self.endian.or_else(|| Endian::of_request(bytes)).ok_or(unknown)?;
        let header = Header::parse(bytes, endian).ok_or(unknown)?;
        let command = RequestCode::from_code(header.command).ok_or(unknown)?;
        // With the first request, and before any event can be sent.
        if self.endian.replace(endian).is_none() {
            self.client.outgoing.set_endian(endian);
        }
        log::trace!("client {}: {command:?}", self.client.number);
        // libpcsclite sends a header, its body and what follows one after the other.
        if self.incoming.received().len() < header.size as usize {
            self.shared.yields.yield_now();
        }
        if command != RequestCode::GetReadersStateArray {
            self.table.forget();
        }
        let is_followed = is_look(command) && self.is_followed(command, header);
        self.client.outgoing.set_followed(is_followed);
        match command {
            RequestCode::Version => self.version(header),
            RequestCode::EstablishContext if is_refused => self.refuse(header),
            _ if is_refused => Err(ClientEnd::Protocol("a request of a client that is refused")),
            RequestCode::EstablishContext => self.establish(header),
            RequestCode::ReleaseContext => self.release(header),
            RequestCode::Cancel => self.cancel(header),
            RequestCode::GetReadersState => self.states(),
            RequestCode::WaitReaderStateChange => self.wait(header),
            RequestCode::StopWaitingReaderStateChange => self.stop_waiting(header),
            RequestCode::GetReaderEvents => self.reader_events(),
            RequestCode::GetReadersStateSize => self.table_size(),
            RequestCode::GetReadersStateArray => self.table(),
            RequestCode::Connect => self.connect(header),
            RequestCode::Reconnect => self.reconnect(header),
            RequestCode::Disconnect => self.disconnect(header),
            RequestCode::BeginTransaction => self.begin_transaction(header),
            RequestCode::EndTransaction => self.end_transaction(header),
            RequestCode::Status => self.status(header),
            RequestCode::Transmit => self.transmit(header),
            RequestCode::Control => self.control(header),
            RequestCode::GetAttrib => self.get_attribute(header),
            RequestCode::SetAttrib => self.set_attribute(header),
        }
    }

    /// Whether another look has come whole behind this one.
    fn is_followed(&self, command: RequestCode, header: Header) -> bool {
        // The others have no body, whatever their headers say.
        let body = match command {
            RequestCode::Version => header.size as usize,
            _ => 0,
        };
        let behind = self.incoming.received().get(body..);
        let Some((next, body)) = behind.and_then(|bytes| bytes.split_at_checked(Header::SIZE)) else {
            return false;
        };
        let next = Header::parse(next, self.endian());
        next.is_some_and(|next| {
            RequestCode::from_code(next.command).is_some_and(is_look) && next.size as usize <= body.len()
        })
    }

    /// The client's byte order.
    pub fn endian(&self) -> Endian {
        self.endian.unwrap_or(Endian::NATIVE)
    }

    /// The body of a request.
    pub fn body<B: Body>(&mut self, header: Header) -> Result<B, ClientEnd> {
        let wrong = ClientEnd::Protocol("a request of another length");
        if header.size as usize != B::SIZE {
            return Err(wrong);
        }
        let endian = self.endian();
        B::parse(self.incoming.take(B::SIZE)?, endian).ok_or(wrong)
    }

    /// Sends an answer.
    pub fn send<B: Body>(&self, body: B) -> Result<(), ClientEnd> {
        // The longest is that of an attribute.
        let mut bytes = [0; 512];
        body.emit(self.endian(), &mut bytes);
        Ok(self.client.outgoing.answer(|| &bytes[..B::SIZE])?)
    }

    /// The session of a connection, and its number there.
    ///
    /// # Errors
    /// A number that is not this client's ends its connection, as with pcscd.
    pub fn card(&self, number: i32) -> Result<(Arc<dyn SourceSession>, i32), ClientEnd> {
        let unknown = ClientEnd::Protocol("a connection that is not the client's");
        let place = self.cards.get(&number).ok_or(unknown)?;
        Ok((place.session.clone(), place.card))
    }

    /// Each client is answered in its own version.
    fn version(&mut self, header: Header) -> Result<(), ClientEnd> {
        let asked = self.body::<VersionBody>(header)?.version();
        let (rv, version) = if asked.is_spoken() {
            self.version = asked;
            (codes::SCARD_S_SUCCESS, asked)
        } else {
            let newest = Version::NEWEST;
            log::warn!("{} speaks protocol {asked}, and is told {newest}", self.client);
            (codes::SCARD_E_SERVICE_STOPPED, newest)
        };
        self.send(VersionBody {
            rv,
            ..VersionBody::new(version)
        })
    }

    /// A client that is refused learns so from its first call, and not from the end of its connection, which
    /// it would take for the end of the server.
    fn refuse(&mut self, header: Header) -> Result<(), ClientEnd> {
        let body: EstablishBody = self.body(header)?;
        self.send(EstablishBody {
            rv: codes::SCARD_W_SECURITY_VIOLATION,
            ..body
        })?;
        Err(ClientEnd::Protocol("it is refused"))
    }

    fn establish(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: EstablishBody = self.body(header)?;
        if body.scope > codes::SCARD_SCOPE_GLOBAL {
            body.rv = codes::SCARD_E_INVALID_VALUE;
            return self.send(body);
        }
        // A connection has one context. As in pcscd a new one has the connections of the one before.
        self.forget_context();
        body.context = self.shared.contexts.add(self.client.number);
        body.rv = codes::SCARD_S_SUCCESS;
        self.context = Some(body.context);
        self.send(body)
    }

    fn release(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: ReleaseBody = self.body(header)?;
        body.rv = self.check_context(body.context);
        if body.rv == codes::SCARD_S_SUCCESS {
            self.forget_context();
            self.cards.clear();
            self.client.release();
        }
        self.send(body)
    }

    /// Whether a context is the client's.
    pub fn check_context(&self, context: u32) -> u32 {
        match self.context {
            None => codes::SCARD_E_INVALID_HANDLE,
            Some(own) if own != context => codes::SCARD_E_INVALID_VALUE,
            Some(_) => codes::SCARD_S_SUCCESS,
        }
    }

    fn forget_context(&mut self) {
        if let Some(context) = self.context.take() {
            self.shared.contexts.remove(context);
        }
    }

    /// Ends another client's wait.
    fn cancel(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: CancelBody = self.body(header)?;
        body.rv = match self.shared.contexts.client(body.context as u32) {
            Some(client) => {
                self.shared.waiters.end(client, codes::SCARD_E_CANCELLED);
                codes::SCARD_S_SUCCESS
            }
            None => codes::SCARD_E_INVALID_HANDLE,
        };
        self.send(body)
    }

    /// The states as up to 4.5.
    fn states(&self) -> Result<(), ClientEnd> {
        let outgoing = &self.client.outgoing;
        Ok(outgoing.answer(|| states::sixteen(&self.shared.readers, self.endian()))?)
    }

    fn wait(&mut self, header: Header) -> Result<(), ClientEnd> {
        let has_body = self.version.waits_with_body();
        if has_body {
            let _: EventBody = self.body(header)?;
        }
        let register = || self.shared.waiters.add(self.client.number, &self.client.outgoing);
        if has_body || self.version.sends_table_size() {
            register();
        } else {
            // The event of a change after the registration is sent behind the states, which may have it
            // already.
            self.client.outgoing.answer(|| {
                register();
                states::sixteen(&self.shared.readers, self.endian())
            })?;
        }
        Ok(())
    }

    /// A client that is not registered any more has been sent its event, which is then the answer.
    fn stop_waiting(&mut self, header: Header) -> Result<(), ClientEnd> {
        if self.version.waits_with_body() {
            let _: EventBody = self.body(header)?;
        }
        // See `Waiters`: either this thread answers, or the event is on its way. The client reads exactly one
        // of the two.
        if self.shared.waiters.remove(self.client.number) {
            self.send(EventBody {
                timeout: 0,
                rv: codes::SCARD_S_SUCCESS,
            })?;
        }
        Ok(())
    }

    fn reader_events(&self) -> Result<(), ClientEnd> {
        self.send(ReaderEventsBody {
            events: self.shared.readers.events(),
            rv: codes::SCARD_S_SUCCESS,
        })
    }

    fn table_size(&mut self) -> Result<(), ClientEnd> {
        let (outgoing, endian) = (&self.client.outgoing, self.endian());
        Ok(outgoing.answer(|| {
            let mut bytes = [0; 4];
            endian.write_u32(&mut bytes, self.table.announce(&self.shared.readers, endian));
            bytes
        })?)
    }

    fn table(&mut self) -> Result<(), ClientEnd> {
        let (outgoing, endian) = (&self.client.outgoing, self.endian());
        Ok(outgoing.answer(|| self.table.states(&self.shared.readers, endian))?)
    }
}

impl Drop for Requests<'_> {
    fn drop(&mut self) {
        self.forget_context();
    }
}

#[cfg(test)]
mod tests;
