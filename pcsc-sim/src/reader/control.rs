//! The control pipe: the class's requests (CCID 1.1, clause 5.3), and all requests to an ICCD device without
//! bulk pipes (ICCD 1.0, clauses 6.1 and 6.2).

use std::time::Duration;

use super::device::{HeldAnswer, MessageDirection, SimDevice};
use super::exchange::Block;
use super::oddities::Lists;
use pcsc_ccid::descriptor::{ExchangeLevel, Flavour};
use pcsc_ccid::message::{IccStatus, SlotErrorCode, Voltage};
use pcsc_ccid::transport::TransportError;

const ABORT: u8 = 0x01;
const GET_CLOCK_FREQUENCIES: u8 = 0x02;
const GET_DATA_RATES: u8 = 0x03;
/// ICC_POWER_ON, ICC_POWER_OFF, XFR_BLOCK, DATA_BLOCK of both versions; SLOT_STATUS of version B and
/// GET_ICC_STATUS of version A.
const POWER_ON: u8 = 0x62;
const POWER_OFF: u8 = 0x63;
const XFR_BLOCK: u8 = 0x65;
const DATA_BLOCK: u8 = 0x6F;
const SLOT_STATUS: u8 = 0x81;
const GET_ICC_STATUS: u8 = 0xA0;

/// The instructions that carry data (ISO 7816-4, clause 5.4.2). Which way data go over T=0 is the card's to
/// say; a token's firmware is the card itself, and has the list of its commands.
const CARRY_DATA: [u8; 17] = [
    0x20, 0x24, 0x2A, 0x2C, 0x82, 0x88, 0xA4, 0xC2, 0xD0, 0xD2, 0xD6, 0xDA, 0xDB, 0xDC, 0xE0, 0xE2, 0xEC,
];

impl SimDevice {
    /// A class request with data for the device.
    ///
    /// # Errors
    /// [`TransportError::Gone`], or [`TransportError::Stall`] if it does not support the request.
    pub fn control_out(&mut self, request: u8, value: u16, data: &[u8]) -> Result<(), TransportError> {
        self.begin_request()?;
        let [low, high] = value.to_le_bytes();
        match (self.model.flavour(), request) {
            (Flavour::Ccid, ABORT) => {
                if usize::from(low) >= self.slots.len() {
                    return Err(TransportError::Stall);
                }
                self.abort(low, Some(high), None);
                Ok(())
            }
            (Flavour::IccdA | Flavour::IccdB, POWER_OFF) => {
                self.slots.first_mut().ok_or(TransportError::Stall)?.power_off();
                self.held = HeldAnswer::Idle;
                self.held_at = self.now;
                Ok(())
            }
            (Flavour::IccdB, POWER_ON) => {
                let voltage = match low {
                    0 => Voltage::Automatic,
                    1 => Voltage::V5,
                    2 => Voltage::V3,
                    3 => Voltage::V1_8,
                    _ => return Err(TransportError::Stall),
                };
                self.iccd_run(|device| device.iccd_power_on(voltage));
                Ok(())
            }
            (Flavour::IccdA, XFR_BLOCK) => {
                self.record(MessageDirection::ToReader, data);
                self.iccd_run(|device| device.iccd_a_block(data));
                Ok(())
            }
            (Flavour::IccdB, XFR_BLOCK) => {
                self.record(MessageDirection::ToReader, data);
                self.iccd_run(|device| device.iccd_xfr(data, high));
                Ok(())
            }
            _ => Err(TransportError::Stall),
        }
    }

    /// A class request with data from the device, `length` of them at most.
    ///
    /// # Errors
    /// As [`control_out`](Self::control_out).
    pub fn control_in(&mut self, request: u8, _value: u16, length: usize) -> Result<Vec<u8>, TransportError> {
        self.begin_request()?;
        let mut answer = match (self.model.flavour(), request) {
            (_, GET_CLOCK_FREQUENCIES) => self.list(&self.model.clocks_khz)?,
            (_, GET_DATA_RATES) => self.list(&self.model.data_rates_bps)?,
            (Flavour::IccdA, POWER_ON) => {
                self.iccd_run(|device| device.iccd_power_on(Voltage::Automatic));
                match std::mem::take(&mut self.held) {
                    HeldAnswer::Ready(atr, _) => {
                        self.now = self.now.max(self.held_at);
                        atr
                    }
                    _ => return Err(TransportError::Stall),
                }
            }
            (Flavour::IccdA, GET_ICC_STATUS) => Vec::from([self.iccd_a_status()]),
            (Flavour::IccdA, DATA_BLOCK) => self.iccd_a_data(length)?,
            (Flavour::IccdB, SLOT_STATUS) => {
                let error = match &self.held {
                    HeldAnswer::Failed(error) => error.code(),
                    _ => 0,
                };
                let failed = u8::from(error != 0) << 6;
                Vec::from([0, self.icc(0) as u8 | failed, error])
            }
            (Flavour::IccdB, DATA_BLOCK) => self.iccd_b_data(),
            _ => return Err(TransportError::Stall),
        };
        answer.truncate(length);
        if matches!(request, DATA_BLOCK | POWER_ON) {
            self.record(MessageDirection::FromReader, &answer);
        }
        Ok(answer)
    }

    fn begin_request(&mut self) -> Result<(), TransportError> {
        if self.gone {
            return Err(TransportError::Gone);
        }
        self.counters.control += 1;
        Ok(())
    }

    fn list(&self, values: &[u32]) -> Result<Vec<u8>, TransportError> {
        let mut bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        match self.oddities.lists {
            Lists::Sound if values.is_empty() => return Err(TransportError::Stall),
            Lists::Stalled => return Err(TransportError::Stall),
            Lists::Short(length) => bytes.truncate(length),
            Lists::Padded => bytes.resize(256 * 4, 0),
            Lists::Empty => bytes.clear(),
            Lists::Sound => (),
        }
        Ok(bytes)
    }

    /// Lets the card work; the answer is ready when it is.
    fn iccd_run(&mut self, work: impl FnOnce(&mut SimDevice) -> Result<HeldAnswer, SlotErrorCode>) {
        let elapsed = |device: &SimDevice| device.slots.first().map_or(Duration::ZERO, |slot| slot.elapsed());
        let before = elapsed(self);
        let answer = work(self).unwrap_or_else(HeldAnswer::Failed);
        let after = elapsed(self);
        self.held = answer;
        self.held_at = self.now.saturating_add(after.saturating_sub(before));
        if let Some(slot) = self.slots.first_mut() {
            // The host asks again by itself until the card is ready.
            slot.take_extensions();
        }
    }

    fn iccd_power_on(&mut self, voltage: Voltage) -> Result<HeldAnswer, SlotErrorCode> {
        let voltage = match self.model.descriptor.voltages {
            // A token has the supply it has.
            0 | 1 => Voltage::V5,
            _ => voltage,
        };
        let slot = self.slots.first_mut().ok_or(SlotErrorCode::Mute)?;
        Ok(HeldAnswer::Ready(slot.power_on(voltage, &self.model)?, 0))
    }

    /// Version A at character level takes a T=0 header first, and the data of the command after the card
    /// has asked for them; else a TPDU or an APDU.
    fn iccd_a_block(&mut self, data: &[u8]) -> Result<HeldAnswer, SlotErrorCode> {
        let before = std::mem::take(&mut self.held);
        if !self.is_at_character_level() {
            return self.iccd_xfr(data, 0);
        }
        let whole = match (before, <[u8; 5]>::try_from(data)) {
            (HeldAnswer::Header(header), _) => [&header, data].concat(),
            (_, Ok(header @ [_, ins, _, _, p3])) if p3 > 0 && CARRY_DATA.contains(&ins) => {
                return Ok(HeldAnswer::Header(header));
            }
            _ => data.to_vec(),
        };
        let mut answer = self.iccd_tpdu(&whole)?;
        let status = answer.split_off(answer.len().saturating_sub(2));
        Ok(HeldAnswer::Data(answer, status))
    }

    fn is_at_character_level(&self) -> bool {
        self.model.descriptor.features.exchange_level() == ExchangeLevel::Character
    }

    /// Bit 7: mute; bit 6: busy; bits 5 and 4: a status word or data are ready, or data are wanted.
    fn iccd_a_status(&mut self) -> u8 {
        if self.icc(0) == IccStatus::Absent {
            return 0x80;
        }
        if self.now < self.held_at {
            return 0x40;
        }
        match &self.held {
            HeldAnswer::Idle => 0x00,
            HeldAnswer::Header(_) => 0x10,
            HeldAnswer::Data(data, _) if !data.is_empty() => 0x10,
            HeldAnswer::Data(..) | HeldAnswer::Ready(..) => 0x20,
            HeldAnswer::Failed(_) => 0x80,
        }
    }

    fn iccd_a_data(&mut self, length: usize) -> Result<Vec<u8>, TransportError> {
        self.now = self.now.max(self.held_at);
        match std::mem::take(&mut self.held) {
            HeldAnswer::Ready(answer, _) => Ok(answer),
            HeldAnswer::Data(data, status) if data.is_empty() => Ok(status),
            HeldAnswer::Data(mut data, status) => {
                let rest = data.split_off(data.len().min(length));
                self.held = HeldAnswer::Data(rest, status);
                Ok(data)
            }
            _ => Err(TransportError::Stall),
        }
    }

    /// At character level a host that says how much it expects gets characters; a whole TPDU is carried
    /// out, for the card is in the same case as its reader.
    fn iccd_xfr(&mut self, data: &[u8], level: u8) -> Result<HeldAnswer, SlotErrorCode> {
        if self.is_at_character_level() && level == 0 {
            return Ok(HeldAnswer::Ready(self.iccd_tpdu(data)?, 0));
        }
        let slot = self.slots.first_mut().ok_or(SlotErrorCode::Mute)?;
        let block = Block {
            bwi: 0,
            level: level.into(),
            data,
        };
        let (answer, chain) = slot.xfr(block, &self.model, &self.oddities)?;
        Ok(HeldAnswer::Ready(answer, chain))
    }

    fn iccd_tpdu(&mut self, data: &[u8]) -> Result<Vec<u8>, SlotErrorCode> {
        let slot = self.slots.first_mut().ok_or(SlotErrorCode::Mute)?;
        slot.live()?;
        slot.fresh = false;
        let block = Block {
            bwi: 0,
            level: 0,
            data,
        };
        slot.tpdu(block, &self.model)
    }

    /// `bResponseType` and what belongs to it: data, an error, or a delay after which to ask again.
    fn iccd_b_data(&mut self) -> Vec<u8> {
        if self.oddities.empty_blocks {
            return Vec::new();
        }
        let left = self.held_at.saturating_sub(self.now);
        if !left.is_zero() {
            let units = (left.as_millis() / 10 + 1).min(u128::from(u16::MAX)) as u16;
            let [low, high] = units.to_le_bytes();
            return Vec::from([0x80, low, high]);
        }
        let error = match std::mem::take(&mut self.held) {
            HeldAnswer::Ready(answer, chain) => return [&[chain], &answer[..]].concat(),
            HeldAnswer::Failed(error) => error,
            HeldAnswer::Idle | HeldAnswer::Header(_) | HeldAnswer::Data(..) => SlotErrorCode::Mute,
        };
        vec![0x40, self.icc(0) as u8 | 0x40, error.code()]
    }
}
