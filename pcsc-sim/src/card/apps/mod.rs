//! Applications for simulated cards.

mod echo;
mod files;
mod hello;

pub use echo::Echo;
pub use files::{File, FileSystem};
pub use hello::Hello;

use pcsc_ccid::apdu::Command;

/// What a card runs.
pub trait App: Send {
    /// The card was reset.
    fn reset(&mut self) {}

    /// Executes a command: appends data and status word to `response`. Data beyond Ne are cut, or
    /// wait for GET RESPONSE, below. Over T=0 a command with data comes without Ne, and one without
    /// data with the Ne of its P3.
    fn process(&mut self, command: &Command<'_>, response: &mut Vec<u8>);

    /// Whether commands with this header carry data: over T=0 only the card knows. The default is
    /// the table of ISO 7816-4 as far as these applications use it.
    fn carries_data(&self, header: &[u8; 4]) -> bool {
        matches!(
            header[1],
            0x20 | 0x24 | 0x2C | 0x82 | 0xA4 | 0xD0 | 0xD6 | 0xDA | 0xDC | 0xE2 | 0xEC
        )
    }
}

/// Several applications on one card: a command goes to the first one that does not answer '6D00' or
/// '6E00' or, to a SELECT, '6A82'.
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

    fn process(&mut self, command: &Command<'_>, response: &mut Vec<u8>) {
        let start = response.len();
        response.extend([0x6D, 0x00]);
        for app in &mut self.0 {
            response.truncate(start);
            app.process(command, response);
            if !matches!(response[start..], [0x6D | 0x6E, 0x00] | [0x6A, 0x82]) {
                return;
            }
        }
    }

    fn carries_data(&self, header: &[u8; 4]) -> bool {
        self.0.iter().any(|app| app.carries_data(header))
    }
}

/// Appends a status word.
fn status(response: &mut Vec<u8>, sw: u16) {
    response.extend(sw.to_be_bytes());
}
