//! A client's calls of cards and readers.

use pcsc_constants as codes;
use pcsc_wire::{
    AttributeBody, BeginTransactionBody, Body, ConnectBody, ControlBody, DisconnectBody, EndTransactionBody,
    Header, ReconnectBody, StatusBody, TransmitBody, ATTRIBUTE_SIZE, MAX_PAYLOAD,
};

use zeroize::Zeroize;

use super::requests::{CardPlace, ClientEnd, Requests};
use crate::policy::Rights;
use crate::source::{code, Failed};

impl Requests<'_> {
    pub fn connect(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: ConnectBody = self.body(header)?;
        if self.client.rights != Rights::Full {
            return self.refuse_connection(body);
        }
        // What the client has sent in these fields does not go back to it.
        (body.card, body.rv) = (0, codes::SCARD_S_SUCCESS);
        match self.make_connection(&body) {
            Ok((card, protocol)) => (body.card, body.active) = (card, protocol),
            Err(failed) => body.rv = failed.code,
        }
        self.send(body)
    }

    /// As pcscd answers where Polkit refuses `access_card`: before it looks at anything else of the request.
    fn refuse_connection(&self, body: ConnectBody) -> Result<(), ClientEnd> {
        log::warn!("{} may not connect to readers", self.client);
        self.send(ConnectBody {
            card: -1,
            active: u32::MAX,
            rv: codes::SCARD_W_SECURITY_VIOLATION,
            ..body
        })
    }

    fn make_connection(&mut self, body: &ConnectBody) -> Result<(i32, u32), Failed> {
        let wrong_context = self.check_context(body.context);
        if wrong_context != codes::SCARD_S_SUCCESS {
            return Err(wrong_context.into());
        }
        if self.cards.len() >= self.shared.limits.cards {
            log::warn!(
                "{}: it has {} connections to cards already",
                self.client,
                self.cards.len()
            );
            return Err(codes::SCARD_E_NO_MEMORY.into());
        }
        let length = body.reader.iter().position(|byte| *byte == 0);
        let name = &body.reader[..length.unwrap_or(body.reader.len() - 1)];
        // The terms are looked at first, as by pcscd.
        pcsc_manager::check_terms(body.share, body.protocols)?;
        let found = self.shared.readers.find(name);
        let (source, name) = found.ok_or(Failed::from(codes::SCARD_E_UNKNOWN_READER))?;
        let session = self.client.session(self.shared, source)?;
        let connected = session.connect(&name, body.share, body.protocols)?;
        let number = self.new_card();
        let place = CardPlace {
            source,
            session,
            card: connected.handle,
        };
        self.cards.insert(number, place);
        Ok((number, connected.protocol))
    }

    /// A number for a connection, which no other connection of the client has.
    fn new_card(&self) -> i32 {
        loop {
            let number = self.shared.new_card();
            if !self.cards.contains_key(&number) {
                return number;
            }
        }
    }

    pub fn reconnect(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: ReconnectBody = self.body(header)?;
        let (session, card) = self.card(body.card)?;
        let protocol = session.reconnect(card, body.share, body.protocols, body.initialization);
        body.rv = code(&protocol);
        body.active = protocol.unwrap_or(codes::SCARD_PROTOCOL_UNDEFINED);
        self.send(body)
    }

    pub fn disconnect(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: DisconnectBody = self.body(header)?;
        let (session, card) = self.card(body.card)?;
        let ended = session.disconnect(card, body.disposition);
        if ended.is_ok() {
            self.cards.remove(&body.card);
        }
        body.rv = code(&ended);
        self.send(body)
    }

    pub fn begin_transaction(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: BeginTransactionBody = self.body(header)?;
        let (session, card) = self.card(body.card)?;
        body.rv = code(&session.begin_transaction(card));
        self.send(body)
    }

    pub fn end_transaction(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: EndTransactionBody = self.body(header)?;
        let (session, card) = self.card(body.card)?;
        body.rv = code(&session.end_transaction(card, body.disposition));
        self.send(body)
    }

    pub fn status(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: StatusBody = self.body(header)?;
        let (session, card) = self.card(body.card)?;
        body.rv = code(&session.status(card));
        self.send(body)
    }

    pub fn transmit(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: TransmitBody = self.body(header)?;
        // Not `?`: the payload is still to be read.
        let card = self.card(body.card);
        let send_length = payload_length(body.send_length)?;
        // Less than announced is always right, and a client may announce 4 GiB.
        let room = (body.receive_length as usize).min(MAX_PAYLOAD);
        // Taken also where the connection ends, so that the client's send does not fail before it reads the
        // end.
        let command = self.incoming.take(send_length)?;
        let (session, card) = card?;
        let mut answer = self.shared.buffers.take(TransmitBody::SIZE + room);
        let response = &mut answer[TransmitBody::SIZE..];
        let mut length = 0;
        let transmitted = session.transmit(card, body.send_protocol, command, response);
        match transmitted {
            Ok(transmitted) => {
                length = transmitted.length.min(room);
                body.rv = codes::SCARD_S_SUCCESS;
                body.receive_protocol = transmitted.protocol;
                body.receive_pci_length = body.send_pci_length;
                body.receive_length = length as u32;
            }
            Err(failed) => {
                body.rv = failed.code;
                body.receive_length = failed.needed as u32;
            }
        }
        self.send_with_payload(body, &mut answer, length)
    }

    pub fn control(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: ControlBody = self.body(header)?;
        let card = self.card(body.card);
        let send_length = payload_length(body.send_length)?;
        let room = (body.receive_length as usize).min(MAX_PAYLOAD);
        let data = self.incoming.take(send_length)?;
        let (session, card) = card?;
        let mut answer = self.shared.buffers.take(ControlBody::SIZE + room);
        let answered = if self.shared.readers.policy().controls {
            session.control(card, body.code, data, &mut answer[ControlBody::SIZE..])
        } else {
            log::warn!(
                "{}: the control request {:#010X} is refused by the policy",
                self.client,
                body.code
            );
            Err(codes::SCARD_W_SECURITY_VIOLATION.into())
        };
        body.rv = code(&answered);
        let length = answered.map_or(0, |length| length.min(room));
        body.returned = answered.map_or_else(|failed| failed.needed, |_| length) as u32;
        self.send_with_payload(body, &mut answer, length)
    }

    /// Sends an answer whose payload is in its place in the buffer.
    fn send_with_payload<B: Body>(&self, body: B, answer: &mut [u8], length: usize) -> Result<(), ClientEnd> {
        body.emit(self.endian(), answer);
        Ok(self.client.outgoing.answer(|| &answer[..B::SIZE + length])?)
    }

    pub fn get_attribute(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: AttributeBody = self.body(header)?;
        let (session, card) = self.card(body.card)?;
        let room = attribute_length(body.length)?;
        let mut value = [0; ATTRIBUTE_SIZE];
        // With all the room, so that a value that does not fit has a length to report.
        let got = session.get_attribute(card, body.id, &mut value);
        let got = got.and_then(|length| self.rename(body.card, body.id, &mut value, length));
        let got = got.and_then(|length| {
            let taken = value.get(..length).filter(|_| length <= room);
            let taken = taken.ok_or(Failed::too_small(length))?;
            body.value[..length].copy_from_slice(taken);
            Ok(length)
        });
        body.rv = code(&got);
        match got {
            Ok(length) => body.length = length as u32,
            Err(Failed { needed: 0, .. }) => (),
            Err(failed) => body.length = failed.needed as u32,
        }
        self.send(body)
    }

    /// Puts the name that a reader has in the list in place of the one that it has in its source.
    fn rename(&self, card: i32, id: u32, value: &mut [u8], length: usize) -> Result<usize, Failed> {
        const NAMES: [u32; 2] = [
            codes::SCARD_ATTR_DEVICE_FRIENDLY_NAME,
            codes::SCARD_ATTR_DEVICE_SYSTEM_NAME,
        ];
        let Some(place) = self.cards.get(&card).filter(|_| NAMES.contains(&id)) else {
            return Ok(length);
        };
        let joined = &self.shared.readers.sources()[place.source];
        // Drivers differ in whether the NUL counts.
        let there = value[..length].strip_suffix(b"\0").unwrap_or(&value[..length]);
        let name = [&*joined.name_of(there), b"\0"].concat();
        let needed = name.len();
        value
            .get_mut(..needed)
            .ok_or(Failed::too_small(needed))?
            .copy_from_slice(&name);
        Ok(needed)
    }

    pub fn set_attribute(&mut self, header: Header) -> Result<(), ClientEnd> {
        let mut body: AttributeBody = self.body(header)?;
        let (session, card) = self.card(body.card)?;
        let length = attribute_length(body.length)?;
        body.rv = code(&session.set_attribute(card, body.id, &body.value[..length]));
        // It may be a key, and no client reads it back.
        body.value.zeroize();
        self.send(body)
    }
}

fn payload_length(length: u32) -> Result<usize, ClientEnd> {
    let length = length as usize;
    if length > MAX_PAYLOAD {
        return Err(ClientEnd::Protocol("a command that is too long"));
    }
    Ok(length)
}

fn attribute_length(length: u32) -> Result<usize, ClientEnd> {
    let length = length as usize;
    if length > ATTRIBUTE_SIZE {
        return Err(ClientEnd::Protocol("an attribute that is too long"));
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
