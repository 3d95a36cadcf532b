//! A device that does anything.

use std::time::Duration;

use pcsc_ccid::t1::{Block, Edc, Pcb, Supervisory, MAX_BLOCK};
use pcsc_ccid::transport::{Transport, TransportError};

/// How often it does what, in parts of the sum.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Bytes without sense.
    pub noise: u32,
    /// A right header but for its kind and status, and any data.
    pub framed: u32,
    /// A right header, and data as the command wants them.
    pub plausible: u32,
    /// More time is asked for.
    pub extension: u32,
    /// An empty transfer.
    pub empty: u32,
    /// The transfer fails.
    pub error: u32,
}

/// The device.
pub struct Hostile {
    habits: Habits,
    state: u64,
    last: [u8; 16],
    now: Duration,
    pub transfers: u64,
}

impl Hostile {
    pub fn new(habits: Habits, seed: u64) -> Hostile {
        Hostile {
            habits,
            state: seed.wrapping_mul(2).wrapping_add(1),
            last: [0; 16],
            now: Duration::ZERO,
            transfers: 0,
        }
    }

    fn below(&mut self, n: u32) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as u32 % n.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    fn bytes(&mut self, most: u32) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.byte()).collect()
    }

    fn spend(&mut self) {
        self.transfers += 1;
        self.now += Duration::from_micros(125);
    }

    fn error(&mut self, timeout: Duration) -> TransportError {
        match self.below(8) {
            0..=3 => {
                self.now += timeout;
                TransportError::Timeout
            }
            4 => TransportError::Cancelled,
            5 => TransportError::Stall,
            6 => TransportError::Fault,
            // Rarely, for it is the end.
            _ if self.below(8) == 0 => TransportError::Gone,
            _ => TransportError::Fault,
        }
    }

    fn message(&self, kind: u8, status: [u8; 3], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend([self.last[5], self.last[6]]);
        bytes.extend(status);
        bytes.extend(data);
        bytes
    }

    fn answered_by(&self) -> u8 {
        match self.last[0] {
            0x62 | 0x6F | 0x69 => 0x80,
            0x61 | 0x6C | 0x6D => 0x82,
            0x6B => 0x83,
            0x73 => 0x84,
            _ => 0x81,
        }
    }

    /// Data that may bring the driver further.
    fn data(&mut self) -> Vec<u8> {
        const ATRS: [&[u8]; 5] = [
            &[0x3B, 0x00],
            &[0x3B, 0x80, 0x01, 0x81],
            &[0x3B, 0x90, 0x96, 0x81, 0x31, 0xFE, 0x45, 0x5A],
            &[0x3B, 0xD0, 0x97, 0xFF, 0x81, 0xB1, 0xFE, 0x9F, 0x01, 0xE8],
            &[0x3F, 0x10, 0x95],
        ];
        let is_obeyed = self.below(4) > 0;
        match self.last[0] {
            0x62 => match self.below(8) {
                0 => self.bytes(40),
                other => ATRS[other as usize % ATRS.len()].to_vec(),
            },
            0x61 | 0x6C => match self.below(4) {
                0 => self.bytes(12),
                1 => vec![0x11, 0, 0, 10, 0],
                _ => vec![0x11, 0x10, 0, 0x45, 0, 0xFE, 0],
            },
            0x6F if self.last[10] == 0xFF && is_obeyed => self.last[10..14].to_vec(),
            0x6F | 0x69 => self.answer(),
            _ => self.bytes(16),
        }
    }

    /// What a card may say: a block, characters, or the end of an APDU.
    fn answer(&mut self) -> Vec<u8> {
        let inf = self.bytes(20);
        let pcb = match self.below(12) {
            0 => return self.bytes(300),
            1 => return vec![0x60; 1 + self.below(3) as usize],
            2 => return vec![self.last[11]],
            3 => return [&inf[..], &[0x90, 0x00]].concat(),
            4 => return [&[self.last[11]], &inf[..], &[0x61, 0x05]].concat(),
            5 => Pcb::Request(Supervisory::Wtx),
            6 => Pcb::Request(Supervisory::Ifs),
            // What the driver has asked for, agreed to.
            7 => Pcb::decode(self.last[11] | 0x20).unwrap_or(Pcb::Response(Supervisory::Resynch)),
            8 => Pcb::R {
                seq: self.byte() & 1,
                error: self.byte() & 1,
            },
            9 => Pcb::Request(Supervisory::Abort),
            _ => Pcb::I {
                seq: self.byte() & 1,
                more: self.below(4) > 0,
            },
        };
        let inf = match pcb {
            Pcb::I { .. } => &inf[..],
            Pcb::Request(Supervisory::Wtx | Supervisory::Ifs) => &[1 + self.byte() % 254],
            Pcb::Response(Supervisory::Ifs) => &self.last[13..14],
            _ => &[],
        };
        let mut block = [0; MAX_BLOCK];
        let length = Block { nad: 0, pcb, inf }.encode(Edc::Lrc, &mut block);
        block[..length].to_vec()
    }

    /// What comes instead of a reply.
    fn reply(&mut self, timeout: Duration) -> Result<Vec<u8>, TransportError> {
        let habits = self.habits;
        let all = [
            habits.noise,
            habits.framed,
            habits.plausible,
            habits.extension,
            habits.empty,
            habits.error,
        ];
        let mut at = self.below(all.iter().sum());
        let habit = all.iter().position(|part| {
            let is_this = at < *part;
            at = at.wrapping_sub(*part);
            is_this
        });
        Ok(match habit {
            Some(0) => {
                let most = [4, 20, 300, 70_000][self.below(4) as usize];
                self.bytes(most)
            }
            Some(1) => {
                let (kind, status) = (
                    0x7F + self.below(8) as u8,
                    [self.byte(), self.byte(), self.byte()],
                );
                let data = self.bytes(40);
                let mut message = self.message(kind, status, &data);
                match self.below(6) {
                    0 => message[1..5].copy_from_slice(&0x8000_0000u32.to_le_bytes()),
                    1 => message[1..5].copy_from_slice(&u32::MAX.to_le_bytes()),
                    2 => message[1] = self.byte(),
                    _ => (),
                }
                message
            }
            Some(2) => {
                let data = self.data();
                let chain = [0, 1, 2, 3, 0x10][self.below(5) as usize];
                self.message(self.answered_by(), [0, 0, chain], &data)
            }
            Some(3) => {
                let times = self.byte();
                self.message(self.answered_by(), [0x80, times, 0], &[])
            }
            Some(4) => Vec::new(),
            _ => return Err(self.error(timeout)),
        })
    }
}

impl Transport for Hostile {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        self.spend();
        if self.habits.error > 0 && self.below(64) == 0 {
            return Err(self.error(timeout));
        }
        let length = message.len().min(self.last.len());
        self.last = [0; 16];
        self.last[..length].copy_from_slice(&message[..length]);
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        self.spend();
        let reply = self.reply(timeout)?;
        let length = reply.len().min(buffer.len());
        buffer[..length].copy_from_slice(&reply[..length]);
        Ok(length)
    }

    fn control_out(
        &mut self,
        request: u8,
        _: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        self.spend();
        if self.habits.error > 0 && self.below(16) == 0 {
            return Err(self.error(timeout));
        }
        self.last = [0; 16];
        // The same data are wanted as over bulk pipes.
        self.last[0] = if request == 0x65 { 0x6F } else { request };
        let length = data.len().min(6);
        self.last[10..10 + length].copy_from_slice(&data[..length]);
        Ok(())
    }

    fn control_in(
        &mut self,
        request: u8,
        _: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        self.spend();
        let is_plausible = self.below(4) > 0;
        let reply = match request {
            0x6F if is_plausible => [
                &[[0, 1, 2, 3, 0x80, 0x40][self.below(6) as usize]],
                &self.data()[..],
            ]
            .concat(),
            0xA0 | 0x81 if is_plausible => {
                vec![
                    [0, 0x10, 0x20, 0x40, 0x80][self.below(5) as usize],
                    self.byte(),
                    self.byte(),
                ]
            }
            _ => self.reply(timeout)?,
        };
        let length = reply.len().min(buffer.len());
        buffer[..length].copy_from_slice(&reply[..length]);
        Ok(length)
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        self.spend();
        match self.habits.error > 0 && self.below(8) == 0 {
            true => Err(self.error(Duration::from_secs(1))),
            false => Ok(()),
        }
    }

    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.spend();
        self.now += time;
        Ok(())
    }

    fn now(&self) -> Duration {
        self.now
    }
}
