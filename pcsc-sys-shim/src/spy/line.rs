//! A line of text that is built piece by piece.
#![forbid(unsafe_code)]

use std::fmt::{self, Write};

use zeroize::Zeroizing;

/// A line. It is in memory of its own until it is too long for that, and on the heap then.
pub struct Line {
    // It may hold a PIN, if the user wants PINs recorded. The allocator wipes the heap.
    short: Zeroizing<[u8; Line::SHORT]>,
    length: usize,
    /// The whole line, once it is long.
    long: Vec<u8>,
    is_lost: bool,
}

impl Line {
    /// Signal handlers may run on a stack of a few thousand bytes.
    const SHORT: usize = 512;

    pub fn new() -> Line {
        Line {
            short: Zeroizing::new([0; Line::SHORT]),
            length: 0,
            long: Vec::new(),
            is_lost: false,
        }
    }

    /// Appends bytes. Without memory for them, the line is lost.
    pub fn put(&mut self, bytes: &[u8]) {
        if self.is_lost {
            return;
        }
        if self.long.is_empty() {
            if let Some(room) = self.short[self.length..].get_mut(..bytes.len()) {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
                return;
            }
            if self.long.try_reserve(2 * Line::SHORT + bytes.len()).is_err() {
                self.is_lost = true;
                return;
            }
            self.long.extend_from_slice(&self.short[..self.length]);
        }
        if self.long.try_reserve(bytes.len()).is_err() {
            self.is_lost = true;
            return;
        }
        self.long.extend_from_slice(bytes);
    }

    /// Appends two capital digits for each byte.
    pub fn put_hex(&mut self, bytes: &[u8]) {
        // Not by `core::fmt`, which would leave the digits of a secret on the stack.
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for byte in bytes {
            self.put(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }

    /// Appends a formatted text.
    pub fn put_text(&mut self, text: fmt::Arguments<'_>) {
        // A line that has no memory is lost, and that is no error here.
        let _ = self.write_fmt(text);
    }

    /// The text; `None` if a part of it is lost.
    pub fn text(&self) -> Option<&[u8]> {
        match self.long.is_empty() {
            _ if self.is_lost => None,
            true => Some(&self.short[..self.length]),
            false => Some(&self.long),
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_lengths_are_whole() {
        for length in [0, 1, Line::SHORT - 1, Line::SHORT, Line::SHORT + 1, 10_000] {
            for piece in [1, 7, 600] {
                let text: Vec<u8> = (0..length).map(|at| at as u8).collect();
                let mut line = Line::new();
                text.chunks(piece).for_each(|piece| line.put(piece));
                assert_eq!(line.text(), Some(&text[..]), "{length} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn bytes_have_two_digits() {
        let mut line = Line::new();
        line.put_hex(&[0x00, 0x9A, 0xFF]);
        assert_eq!(line.text(), Some(&b"009AFF"[..]));
    }
}
