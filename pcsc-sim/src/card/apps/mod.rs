//! Applications for simulated cards. Clause numbers are those of ISO/IEC 7816-4:2013.

mod echo;
mod files;
mod hello;

pub use echo::Echo;
pub use files::{File, FileSystem};
pub use hello::Hello;

use pcsc_ccid::apdu::{ApduError, CommandApdu};

/// Status words (clause 5.6).
mod sw {
    pub const OK: u16 = 0x9000;
    /// Warning: the end of the file or record was reached before Ne bytes were read.
    pub const END_REACHED: u16 = 0x6282;
    /// The low four bits count the tries.
    pub const TRIES_LEFT: u16 = 0x63C0;
    pub const WRONG_LENGTH: u16 = 0x6700;
    pub const NO_LOGICAL_CHANNEL: u16 = 0x6881;
    pub const NO_SECURE_MESSAGING: u16 = 0x6882;
    pub const NO_CHAINING: u16 = 0x6884;
    pub const WRONG_STRUCTURE: u16 = 0x6981;
    pub const NOT_ALLOWED: u16 = 0x6982;
    pub const BLOCKED: u16 = 0x6983;
    pub const NO_CURRENT_EF: u16 = 0x6986;
    pub const NOT_FOUND: u16 = 0x6A82;
    pub const RECORD_NOT_FOUND: u16 = 0x6A83;
    pub const FILE_FULL: u16 = 0x6A84;
    pub const WRONG_P1_P2: u16 = 0x6A86;
    pub const REFERENCE_NOT_FOUND: u16 = 0x6A88;
    /// The offset in P1-P2 is outside the EF.
    pub const WRONG_OFFSET: u16 = 0x6B00;
    /// The low byte is the right Le.
    pub const WRONG_LE: u16 = 0x6C00;
    pub const WRONG_INSTRUCTION: u16 = 0x6D00;
    pub const WRONG_CLASS: u16 = 0x6E00;
}

/// The Ne of a command with data over T=0, where no Le stands beside Lc and GET RESPONSE fetches any length.
/// In short length fields no other command has it.
pub(super) const ANY_NE: usize = 65_536;

/// No Le field is there; over T=0 that is not known, and no error.
fn is_le_absent(command: &CommandApdu<'_>) -> bool {
    command.ne.is_none_or(|ne| ne == ANY_NE && !command.extended)
}

/// Whether Le is zero, which asks for all that there is (clause 5.2).
fn wants_all(command: &CommandApdu<'_>) -> bool {
    let zero = if command.extended { 65_536 } else { 256 };
    command.ne.is_some_and(|ne| ne >= zero)
}

/// What a card runs.
pub trait App: Send {
    /// The card was reset.
    fn reset(&mut self) {}

    /// Another application of the card was selected.
    fn deselect(&mut self) {}

    /// Executes a command: appends data and status word to `response`. The transmission protocol cuts data
    /// beyond Ne, or keeps them for GET RESPONSE. Over T=0 a command with data comes with an Ne of 65,536,
    /// and one without data with the Ne of its P3.
    fn process(&mut self, command: &CommandApdu<'_>, response: &mut Vec<u8>);

    /// Whether commands with this header carry data: a T=0 header does not show it. The default is the
    /// table of ISO 7816-4 as far as these applications use it.
    fn carries_data(&self, header: &[u8; 4]) -> bool {
        matches!(
            header[1],
            0x20 | 0x24 | 0x2C | 0x82 | 0xA4 | 0xD0 | 0xD6 | 0xDA | 0xDC | 0xE2 | 0xEC
        )
    }
}

/// Several applications on one card. A command goes to the first one that supports it: that does not answer
/// '6E00', '6D00' or, to a SELECT, '6A82'. Where none does, the last of these in this order is the answer.
pub struct Several(pub Vec<Box<dyn App>>);

impl Several {
    /// Hello world!, the echo, and the example file system.
    pub fn demo() -> Self {
        Several(vec![
            Box::new(Hello::default()),
            Box::new(Echo),
            Box::new(FileSystem::example()),
        ])
    }
}

impl App for Several {
    fn reset(&mut self) {
        self.0.iter_mut().for_each(|app| app.reset());
    }

    fn process(&mut self, command: &CommandApdu<'_>, response: &mut Vec<u8>) {
        let refusals = [sw::WRONG_CLASS, sw::WRONG_INSTRUCTION, sw::NOT_FOUND].map(u16::to_be_bytes);
        let start = response.len();
        let mut refusal = 0;
        for i in 0..self.0.len() {
            self.0[i].process(command, response);
            let Some(rank) = refusals.iter().position(|sw| response[start..] == *sw) else {
                let is_selected = command.header[1] == 0xA4 && response[start..].ends_with(&[0x90, 0x00]);
                if is_selected {
                    let others = self.0.iter_mut().enumerate().filter(|(other, _)| *other != i);
                    others.for_each(|(_, app)| app.deselect());
                }
                return;
            };
            refusal = refusal.max(rank);
            response.truncate(start);
        }
        response.extend(refusals[refusal]);
    }

    fn carries_data(&self, header: &[u8; 4]) -> bool {
        self.0.iter().any(|app| app.carries_data(header))
    }
}

/// Appends a status word.
fn status(response: &mut Vec<u8>, sw: u16) {
    response.extend(sw.to_be_bytes());
}

/// What every card here refuses before its application sees it (clauses 5.4 and 5.5).
fn refusal(header: [u8; 4]) -> Option<u16> {
    let [cla, ins, ..] = header;
    let (secure, chained, channel) = match cla {
        0x00..=0x1F => (cla & 0x0C != 0, cla & 0x10 != 0, cla & 0x03 != 0),
        // Logical channels 4 to 19.
        0x40..=0x7F => (cla & 0x20 != 0, cla & 0x10 != 0, true),
        // Proprietary: what the bits mean is the application's affair.
        0x80..=0xFE => (false, false, false),
        _ => return Some(sw::WRONG_CLASS),
    };
    if secure {
        Some(sw::NO_SECURE_MESSAGING)
    } else if chained {
        Some(sw::NO_CHAINING)
    } else if channel {
        Some(sw::NO_LOGICAL_CHANNEL)
    } else if matches!(ins >> 4, 6 | 9) {
        Some(sw::WRONG_INSTRUCTION)
    } else {
        None
    }
}

/// Executes a command on an application.
pub(super) fn execute(command: &CommandApdu<'_>, app: &mut dyn App) -> Vec<u8> {
    let mut response = Vec::new();
    match refusal(command.header) {
        Some(sw) => status(&mut response, sw),
        None => app.process(command, &mut response),
    }
    response
}

/// Executes a command APDU; the answer has at most Ne bytes of data.
pub(super) fn execute_apdu(apdu: &[u8], app: &mut dyn App) -> Vec<u8> {
    let command = match CommandApdu::parse(apdu) {
        Ok(command) => command,
        Err(ApduError::InvalidClass) => return sw::WRONG_CLASS.to_be_bytes().to_vec(),
        Err(_) => return sw::WRONG_LENGTH.to_be_bytes().to_vec(),
    };
    let mut response = execute(&command, app);
    let length = response.len().saturating_sub(2);
    if let Some(ne) = command.ne.filter(|ne| *ne < length) {
        response.drain(ne..length);
    }
    response
}
