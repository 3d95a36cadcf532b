//! A card that a test writes.

use super::{Offer, Profile};

/// A card that a test writes: command APDUs go in, response APDUs come out (ISO/IEC 7816-4, clause 5). The
/// transmission protocol between the card and the reader is simulated beneath it.
///
/// ```
/// use pcsc_sim::card::VirtualCard;
///
/// struct Counter(u8);
///
/// impl VirtualCard for Counter {
///     fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
///         match command {
///             [0x80, 0x10, ..] => {
///                 self.0 += 1;
///                 vec![self.0, 0x90, 0x00]
///             }
///             _ => vec![0x6D, 0x00],
///         }
///     }
/// }
/// ```
pub trait VirtualCard: Send {
    /// The answer to reset (ISO/IEC 7816-3, clause 8), which is asked for at each reset. The card has the
    /// protocols and the speed that it offers; bytes that are no ATR make a card that only sends them. The
    /// default offers T=1 at 372/1.
    fn atr(&self) -> Vec<u8> {
        Profile::new(&[Offer::T1]).atr()
    }

    /// The card was reset, or powered up.
    fn reset(&mut self) {}

    /// Executes a command APDU. Returns the response APDU: data and status word.
    ///
    /// Over T=1 the command is what the program sent. Over T=0 a command with data comes without Le, any
    /// other one with Le, and a program fetches the response's data with GET RESPONSE, as it does from a real
    /// card; extended commands come whole. A response that is shorter than Le is answered with 6C XX, and
    /// kept for the same command with that Le: the card is called once, as a Java Card applet is. Neither
    /// parses the command or the response.
    fn transmit(&mut self, command: &[u8]) -> Vec<u8>;

    /// Whether commands with this header carry data, which a T=0 header does not show. The default is true
    /// of the commands of ISO/IEC 7816-4, -8 and -9 that do.
    fn carries_data(&self, header: &[u8; 4]) -> bool {
        matches!(
            header[1],
            0x20..=0x22 | 0x24..=0x2E | 0x46 | 0x47 | 0x82 | 0x86..=0x88 | 0xA0..=0xA4 | 0xB1 | 0xB3 | 0xC3
                | 0xCB | 0xD0..=0xDD | 0xE0..=0xE6
        )
    }
}
