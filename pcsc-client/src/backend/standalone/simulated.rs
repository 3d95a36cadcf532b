//! The bundled simulated reader: a card of `pcsc-ccid`'s on a virtual contact, reached through the same
//! T=0 and T=1 engines as a real one. Its time is virtual: a card's second costs nothing.

use std::sync::{Arc, Condvar, Mutex};

use pcsc_ccid::apdu::Command;
use pcsc_ccid::card::apps::Several;
use pcsc_ccid::card::{Contact, Offer, Profile, SimCard};
use pcsc_ccid::{t0, t1};

use super::board::lock;
use super::manager::{Bus, BusEvent};
use super::slot::{Fault, Found, Powered, Sight, Slot, Watch};

/// The simulated reader's name.
pub const NAME: &str = "pcsc-rs Simulated Reader";

const T0: u32 = 1;
const T1: u32 = 2;
const CLOCK_HZ: u32 = 4_000_000;
/// Waiting times in etu at the default parameters (ISO 7816-3, clauses 10.2 and 11.4.3): WI 10 is
/// 9600 etu; BWI 4 is 11 etu and 960 * 2^4 * 372 clock cycles; CWI 5 is 11 + 2^5 etu.
const WORK_WAIT: u64 = 9_600;
const BLOCK_WAIT: u64 = 11 + 960 * 16;
const CHARACTER_WAIT: u64 = 11 + 32;

/// One reader, always there, whose card stays in.
#[derive(Default)]
pub struct SimulatedBus {
    end: Arc<End>,
}

impl Bus for SimulatedBus {
    fn initial(&self) -> Vec<Found> {
        let mut profile = Profile::new(&[Offer::T0, Offer::T1]);
        profile.historical = b"pcsc-rs sim".to_vec();
        let card = SimCard::good(profile, Box::new(Several::demo()));
        let slot = SimulatedSlot {
            contact: Contact::new(Box::new(card)),
            protocol: Protocol::None,
        };
        vec![Found {
            name: NAME.to_owned(),
            slots: vec![(Box::new(slot), Arc::new(End::default()))],
        }]
    }

    fn wait(&self) -> BusEvent {
        self.end.wait();
        BusEvent::Stopped
    }

    fn stop(&self) {
        self.end.stop();
    }
}

/// Something that happens once, and can be waited for: all there is to see here.
#[derive(Default)]
struct End {
    has_come: Mutex<bool>,
    came: Condvar,
}

impl Watch for End {
    fn wait(&self) -> Sight {
        let mut has_come = lock(&self.has_come);
        while !*has_come {
            has_come = self
                .came
                .wait(has_come)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        Sight::Stopped
    }

    fn stop(&self) {
        *lock(&self.has_come) = true;
        self.came.notify_all();
    }
}

struct SimulatedSlot {
    contact: Contact,
    protocol: Protocol,
}

enum Protocol {
    None,
    T0,
    T1(Box<t1::Engine>),
}

impl Slot for SimulatedSlot {
    fn is_present(&mut self) -> Result<bool, Fault> {
        Ok(self.contact.present())
    }

    fn power_up(&mut self, warm: bool) -> Result<Powered, Fault> {
        if !warm {
            self.contact.power_off();
        }
        self.protocol = Protocol::None;
        let atr = self.contact.activate(CLOCK_HZ).ok_or(Fault::Mute)?;
        Ok(Powered {
            atr,
            offered: T0 | T1,
            first: T0,
        })
    }

    fn power_down(&mut self) -> Result<(), Fault> {
        self.contact.power_off();
        self.protocol = Protocol::None;
        Ok(())
    }

    fn set_protocol(&mut self, protocol: u32) -> Result<(), Fault> {
        let number = match protocol {
            T0 => 0,
            T1 => 1,
            _ => return Err(Fault::ProtocolUnsupported),
        };
        // PPS (ISO 7816-3, clause 9): the protocol, at the rate that the card has.
        let request = [0xFF, number, 0xFF ^ number];
        self.contact.send(&request);
        let mut answer = Vec::new();
        self.contact
            .receive(&mut answer, request.len(), WORK_WAIT, WORK_WAIT);
        if answer != request {
            return Err(Fault::Mute);
        }
        self.protocol = match protocol {
            T0 => Protocol::T0,
            _ => Protocol::T1(Box::new(t1::Engine::new(t1::Config {
                ifsc: 254,
                ..t1::Config::default()
            }))),
        };
        Ok(())
    }

    fn transmit(&mut self, command: &[u8], response: &mut [u8]) -> Result<usize, Fault> {
        match &mut self.protocol {
            Protocol::None => Err(Fault::Communication),
            Protocol::T0 => transmit_t0(&mut self.contact, command, response),
            Protocol::T1(engine) => transmit_t1(&mut self.contact, engine, command, response),
        }
    }

    fn control(&mut self, code: u32, _data: &[u8], _answer: &mut [u8]) -> Result<usize, Fault> {
        /// CM_IOCTL_GET_FEATURE_REQUEST (PC/SC part 10, clause 2.2): there is no feature.
        const GET_FEATURES: u32 = 0x4200_0000 + 3400;
        if code == GET_FEATURES {
            return Ok(0);
        }
        Err(Fault::Unsupported)
    }

    fn get_attribute(&mut self, id: u32, value: &mut [u8]) -> Result<usize, Fault> {
        const VENDOR_NAME: u32 = 0x0001_0100;
        const MAXINPUT: u32 = 0x0007_A007;
        let data: &[u8] = match id {
            VENDOR_NAME => b"pcsc-rs\0",
            MAXINPUT => &(pcsc_ccid::apdu::MAX_EXTENDED_COMMAND as u32).to_ne_bytes(),
            _ => return Err(Fault::Unsupported),
        };
        let room = value.get_mut(..data.len()).ok_or(Fault::BufferTooSmall)?;
        room.copy_from_slice(data);
        Ok(data.len())
    }

    fn set_attribute(&mut self, _id: u32, _value: &[u8]) -> Result<(), Fault> {
        Err(Fault::Unsupported)
    }
}

fn transmit_t1(
    contact: &mut Contact,
    engine: &mut t1::Engine,
    command: &[u8],
    response: &mut [u8],
) -> Result<usize, Fault> {
    let mut exchange = engine.exchange(command, response);
    let mut action = exchange.start();
    loop {
        let wait = match action {
            t1::Action::Send { wait } => wait,
            t1::Action::Done(length) => return Ok(length),
            t1::Action::Failed(t1::Error::ResponseTooLong) => return Err(Fault::BufferTooSmall),
            t1::Action::Failed(error) => {
                log::debug!("{NAME}: {error}");
                return Err(Fault::Communication);
            }
        };
        contact.send(exchange.block());
        let mut block = Vec::with_capacity(t1::MAX_BLOCK);
        let first = BLOCK_WAIT * u64::from(wait.max(1));
        let received = contact.receive(&mut block, t1::MAX_BLOCK, first, CHARACTER_WAIT);
        action = if block.is_empty() {
            exchange.on_timeout()
        } else if received.parity_error {
            exchange.on_parity_error()
        } else {
            exchange.on_block(&block)
        };
    }
}

fn transmit_t0(contact: &mut Contact, apdu: &[u8], response: &mut [u8]) -> Result<usize, Fault> {
    let failed = |error: t0::Error| {
        log::debug!("{NAME}: {error}");
        match error {
            t0::Error::ResponseTooLong => Fault::BufferTooSmall,
            _ => Fault::Communication,
        }
    };
    let command = Command::parse(apdu).map_err(|_| Fault::Communication)?;
    let mut exchange = t0::Exchange::new(apdu, command, t0::Policy::default(), response).map_err(failed)?;
    let mut action = exchange.start();
    loop {
        match action {
            t0::Action::Done(length) => return Ok(length),
            t0::Action::Failed(error) => return Err(failed(error)),
            t0::Action::Send => (),
        }
        let mut answer = [0; t0::MAX_TPDU_RESPONSE];
        let (header, direction) = exchange.parts();
        let mut line = t0::Character::new(header, direction, &mut answer).map_err(failed)?;
        let mut step = line.start();
        let length = loop {
            match step {
                t0::Step::Done(length) => break length,
                t0::Step::Failed(error) => return Err(failed(error)),
                t0::Step::Transfer { expect } => {
                    contact.send(line.outgoing());
                    let mut bytes = Vec::with_capacity(expect);
                    contact.receive(&mut bytes, expect, WORK_WAIT, WORK_WAIT);
                    step = if bytes.is_empty() {
                        line.on_timeout()
                    } else {
                        line.on_bytes(&bytes)
                    };
                }
            }
        };
        action = exchange.on_response(&answer[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apdus_of_all_cases_and_lengths_go_over_both_protocols() {
        let found = SimulatedBus::default().initial().remove(0);
        let mut slot = found.slots.into_iter().next().unwrap().0;
        let mut response = vec![0; pcsc_ccid::apdu::MAX_RESPONSE];
        for protocol in [T0, T1] {
            let powered = slot.power_up(false).unwrap();
            assert_eq!(powered.atr[0], 0x3B);
            slot.set_protocol(protocol).unwrap();
            let mut exchange = |command: &[u8]| {
                let length = slot.transmit(command, &mut response).unwrap();
                response[..length].to_vec()
            };
            assert_eq!(
                exchange(b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01"),
                b"\x90\x00"
            );
            // T=0 says how much it wants, also where it is a case 1 command over T=1.
            let hello: &[u8] = if protocol == T0 { &[0; 5] } else { &[0; 4] };
            assert_eq!(exchange(hello), b"Hello world!\x90\x00");
            let mut lengths = vec![1, 100, 254, 255];
            if protocol == T1 {
                lengths.extend([256, 1000, 65_535]);
            }
            for length in lengths {
                let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
                let mut command = vec![0x80, 0xEC, 0, 0];
                match u8::try_from(length) {
                    Ok(short) => command.push(short),
                    Err(_) => command.extend([0, (length >> 8) as u8, length as u8]),
                }
                command.extend(&data);
                command.extend(if length < 256 { &[0][..] } else { &[0, 0] });
                assert_eq!(
                    exchange(&command),
                    [&data[..], b"\x90\x00"].concat(),
                    "{length} over {protocol}"
                );
            }
        }
        assert_eq!(
            slot.transmit(b"\x00\x00\x00\x00", &mut []),
            Err(Fault::BufferTooSmall)
        );
    }
}
