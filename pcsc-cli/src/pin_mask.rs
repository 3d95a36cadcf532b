//! Commands as they are printed: without the data that may be a PIN or a key.

use pcsc_ccid::secrets::shown_of_command;

use crate::hex;

/// The digits of a command, with `**` for each byte that may be secret.
pub fn shown(command: &[u8]) -> String {
    let (shown, hidden) = command.split_at(shown_of_command(command));
    hex::compact(shown) + &"**".repeat(hidden.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_stars_stand_for_each_byte() {
        assert_eq!(shown(&[0, 0x20, 0, 0x80, 2, 0x31, 0x32]), "0020008002****");
        assert_eq!(shown(&[0, 0xB0, 0, 0]), "00B00000");
    }
}
