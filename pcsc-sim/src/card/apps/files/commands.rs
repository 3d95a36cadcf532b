//! The file system's commands. Each checks P1-P2, then the length fields, then the file.

use super::{File, FileSystem, Path};
use crate::card::apps::{is_le_absent, status, sw, wants_all, App};
use pcsc_ccid::apdu::CommandApdu;

/// Response data and a status that is no error, or an error.
type Answer = Result<(Vec<u8>, u16), u16>;

const LONGEST_NAME: usize = 16;
const LONGEST_PIN: usize = 16;

fn done(data: Vec<u8>) -> Answer {
    Ok((data, sw::OK))
}

/// The data field may have these lengths.
fn check_data(command: &CommandApdu<'_>, lengths: std::ops::RangeInclusive<usize>) -> Result<(), u16> {
    let is_allowed = lengths.contains(&command.data.len());
    is_allowed.then_some(()).ok_or(sw::WRONG_LENGTH)
}

/// A command without response data has no Le field.
fn check_no_le(command: &CommandApdu<'_>) -> Result<(), u16> {
    is_le_absent(command).then_some(()).ok_or(sw::WRONG_LENGTH)
}

/// A command that reads has an Le field and no data field; its Ne.
fn check_read(command: &CommandApdu<'_>) -> Result<usize, u16> {
    check_data(command, 0..=0)?;
    command.ne.ok_or(sw::WRONG_LENGTH)
}

/// Up to Ne bytes of what is there. A warning says that an Le other than zero asked for more.
fn read(rest: &[u8], ne: usize, command: &CommandApdu<'_>) -> Answer {
    let data = rest[..rest.len().min(ne)].to_vec();
    let is_short = data.len() < ne && !wants_all(command);
    Ok((data, if is_short { sw::END_REACHED } else { sw::OK }))
}

impl FileSystem {
    /// SELECT (clause 11.1.1). Gives the FCI or FCP template, or nothing, as P2 says. A DF name has one
    /// occurrence.
    fn select(&mut self, command: &CommandApdu<'_>) -> Answer {
        let [_, _, p1, p2] = command.header;
        let data = command.data;
        let occurrence = p2 & 0x03;
        if p2 & 0xF0 != 0 || p2 & 0x0C == 0x08 || (p1 != 0x04 && occurrence != 0) {
            return Err(sw::WRONG_P1_P2);
        }
        let identifier = || {
            let id: [u8; 2] = data.try_into().map_err(|_| sw::WRONG_LENGTH)?;
            Ok::<u16, u16>(u16::from_be_bytes(id))
        };
        let path = match p1 {
            0x00 if data.is_empty() => Some(Path::new()),
            0x00 => self.find(identifier()?),
            0x01 | 0x02 => self
                .child(&self.df, identifier()?)
                .filter(|path| self.at(path).is_some_and(File::is_df) == (p1 == 0x01)),
            0x03 => {
                check_data(command, 0..=0)?;
                self.df.split_last().map(|(_, parent)| parent.to_vec())
            }
            0x04 => {
                check_data(command, 1..=LONGEST_NAME)?;
                let is_first_or_last = occurrence < 2;
                self.named(data).filter(|_| is_first_or_last)
            }
            0x08 | 0x09 => {
                let from_mf = p1 == 0x08;
                // The MF's own identifier in front of a path is left out; hosts that send it are served.
                let ids = data
                    .strip_prefix(&[0x3F, 0x00])
                    .filter(|_| from_mf)
                    .unwrap_or(data);
                if data.is_empty() || ids.len() % 2 != 0 {
                    return Err(sw::WRONG_LENGTH);
                }
                self.walk(if from_mf { &[] } else { &self.df }, ids)
            }
            _ => return Err(sw::WRONG_P1_P2),
        };
        let path = path.ok_or(sw::NOT_FOUND)?;
        let file = self.at(&path).ok_or(sw::NOT_FOUND)?;
        let template = match (command.ne, p2 & 0x0C) {
            (None, _) | (_, 0x0C) => Vec::new(),
            (_, 0x04) => file.control_information(0x62),
            _ => file.control_information(0x6F),
        };
        // A template is not read in parts: a shorter Le is wrong, and the status says which is right.
        if command.ne.is_some_and(|ne| ne < template.len()) {
            return Err(sw::WRONG_LE | template.len() as u16);
        }
        if file.is_df() {
            self.df = path;
            self.ef = None;
        } else {
            self.df = path[..path.len() - 1].to_vec();
            self.ef = Some(path);
        }
        done(template)
    }

    /// The EF and the offset in it that P1-P2 give: with bit 8 of P1 a short identifier and 8 bits (clause
    /// 11.2.2).
    fn offset(&mut self, command: &CommandApdu<'_>) -> Result<(Path, usize), u16> {
        let [_, _, p1, p2] = command.header;
        match p1 {
            0x00..=0x7F => Ok((self.ef(0)?, usize::from(u16::from_be_bytes([p1, p2])))),
            0x80..=0x9F => Ok((self.ef(p1 & 0x1F)?, usize::from(p2))),
            _ => Err(sw::WRONG_P1_P2),
        }
    }

    /// READ BINARY (clause 11.2.3).
    fn read_binary(&mut self, command: &CommandApdu<'_>) -> Answer {
        let ne = check_read(command)?;
        let (path, offset) = self.offset(command)?;
        match self.at(&path) {
            Some(File::Transparent { data, protected, .. }) => {
                self.check_access(*protected)?;
                let rest = data.get(offset..).filter(|rest| !rest.is_empty());
                read(rest.ok_or(sw::WRONG_OFFSET)?, ne, command)
            }
            _ => Err(sw::WRONG_STRUCTURE),
        }
    }

    /// UPDATE BINARY (clause 11.2.5). A file does not grow.
    fn update_binary(&mut self, command: &CommandApdu<'_>) -> Answer {
        check_data(command, 1..=usize::MAX)?;
        check_no_le(command)?;
        let (path, offset) = self.offset(command)?;
        let verified = self.verified;
        match self.at_mut(&path) {
            Some(File::Transparent { protected: true, .. }) if !verified => Err(sw::NOT_ALLOWED),
            Some(File::Transparent { data, .. }) => {
                let rest = data.get_mut(offset..).filter(|rest| !rest.is_empty());
                let target = rest.ok_or(sw::WRONG_OFFSET)?.get_mut(..command.data.len());
                target.ok_or(sw::FILE_FULL)?.copy_from_slice(command.data);
                done(Vec::new())
            }
            _ => Err(sw::WRONG_STRUCTURE),
        }
    }

    /// READ RECORD (clause 11.3.3) by record number.
    fn read_record(&mut self, command: &CommandApdu<'_>) -> Answer {
        let [_, _, number, p2] = command.header;
        let short_id = p2 >> 3;
        if p2 & 0x07 != 0x04 || short_id == 0x1F || number == 0xFF {
            return Err(sw::WRONG_P1_P2);
        }
        let ne = check_read(command)?;
        let path = self.ef(short_id)?;
        match self.at(&path) {
            Some(File::Records {
                records, protected, ..
            }) => {
                self.check_access(*protected)?;
                // Number 0 is the current record, and there never is one.
                let index = usize::from(number).checked_sub(1);
                let record = index.and_then(|i| records.get(i));
                read(record.ok_or(sw::RECORD_NOT_FOUND)?, ne, command)
            }
            _ => Err(sw::WRONG_STRUCTURE),
        }
    }

    fn check_access(&self, protected: bool) -> Result<(), u16> {
        let is_allowed = !protected || self.verified;
        is_allowed.then_some(()).ok_or(sw::NOT_ALLOWED)
    }

    /// P1-P2 of a command on the PIN: none given, or number 1, of the card or of the DF (clause 11.5.1).
    fn check_pin_reference(command: &CommandApdu<'_>) -> Result<(), u16> {
        match command.header {
            [_, _, 0, 0x00 | 0x01 | 0x81] => Ok(()),
            [_, _, 0, p2] if p2 & 0x60 == 0 => Err(sw::REFERENCE_NOT_FOUND),
            _ => Err(sw::WRONG_P1_P2),
        }
    }

    /// VERIFY (clause 11.5.6). Without data, the status says how many tries are left.
    fn verify(&mut self, command: &CommandApdu<'_>) -> Answer {
        Self::check_pin_reference(command)?;
        check_data(command, 0..=LONGEST_PIN)?;
        check_no_le(command)?;
        if command.data.is_empty() {
            return match (self.tries_left, self.verified) {
                (0, _) => Err(sw::BLOCKED),
                (_, true) => done(Vec::new()),
                (left, false) => Err(sw::TRIES_LEFT | u16::from(left)),
            };
        }
        self.try_pin(command.data)
    }

    /// CHANGE REFERENCE DATA (clause 11.5.7): the old PIN, then the new one.
    fn change_pin(&mut self, command: &CommandApdu<'_>) -> Answer {
        Self::check_pin_reference(command)?;
        check_no_le(command)?;
        let (old, new) = command
            .data
            .split_at_checked(self.pin.len())
            .filter(|(_, new)| (1..=LONGEST_PIN).contains(&new.len()))
            .ok_or(sw::WRONG_LENGTH)?;
        self.try_pin(old)?;
        self.pin = new.to_vec();
        done(Vec::new())
    }

    fn try_pin(&mut self, pin: &[u8]) -> Answer {
        if self.tries_left == 0 {
            return Err(sw::BLOCKED);
        }
        self.verified = pin == self.pin;
        if self.verified {
            self.tries_left = Self::PIN_TRIES;
            return done(Vec::new());
        }
        self.tries_left -= 1;
        Err(match self.tries_left {
            0 => sw::BLOCKED,
            left => sw::TRIES_LEFT | u16::from(left),
        })
    }
}

impl App for FileSystem {
    fn reset(&mut self) {
        self.verified = false;
        self.df = Path::new();
        self.ef = None;
    }

    fn process(&mut self, command: &CommandApdu<'_>, response: &mut Vec<u8>) {
        let answer = match command.header {
            [0x80..=0xFF, ..] => Err(sw::WRONG_CLASS),
            [_, 0xA4, ..] => self.select(command),
            [_, 0xB0, ..] => self.read_binary(command),
            [_, 0xD6, ..] => self.update_binary(command),
            [_, 0xB2, ..] => self.read_record(command),
            [_, 0x20, ..] => self.verify(command),
            [_, 0x24, ..] => self.change_pin(command),
            _ => Err(sw::WRONG_INSTRUCTION),
        };
        let (data, sw) = answer.unwrap_or_else(|sw| (Vec::new(), sw));
        response.extend_from_slice(&data);
        status(response, sw);
    }
}
