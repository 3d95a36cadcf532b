//! The names of readers. They are those that `pcscd` gives, so that a name that an application has saved
//! stays valid.
//!
//! A name has up to five parts: `MODEL [INTERFACE] (SERIAL) NN SS`.
//!
//! * MODEL is not the device's own string but what the driver's bundle lists for its vendor and
//!   product ([`model`]). A device that no bundle lists is named by its own strings; `pcscd` would
//!   not use it at all.
//! * INTERFACE and SERIAL are the device's strings, if it has them; a serial number that is part of
//!   the interface's name is not repeated.
//! * NN is a number in two hexadecimal digits. All readers of one driver share the numbers, whatever
//!   their models: the first is 00, the next 01. A new reader gets the lowest number that is free.
//! * SS is the slot of the reader, in two hexadecimal digits.
//!
//! The part before the numbers is cut to [`MAX_BASE`] bytes, so that a name and its NUL fit in 128.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

mod known;

pub use known::{model, models};

/// Size of a reader name with its NUL, in bytes (`MAX_READERNAME`).
pub const MAX_SIZE: usize = 128;
/// Longest part before the numbers, in bytes.
pub const MAX_BASE: usize = MAX_SIZE - " 00 00\0".len();
/// How many readers can have a number at once: one driver serves 255.
pub const MAX_READERS: usize = 255;

/// The numbers and strings of a device and one of its interfaces. An empty string counts as absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NameIdentity<'a> {
    /// `idVendor`.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// The string of `iManufacturer`; used only for a device that no bundle lists.
    pub manufacturer: Option<&'a str>,
    /// The string of `iProduct`; used only for a device that no bundle lists.
    pub product_name: Option<&'a str>,
    /// The string of `iInterface`.
    pub interface: Option<&'a str>,
    /// The string of `iSerialNumber`.
    pub serial: Option<&'a str>,
}

impl NameIdentity<'_> {
    /// The name without its numbers, of at most [`MAX_BASE`] bytes.
    ///
    /// In the interface's name each byte that is not ASCII becomes a dot, as in `pcscd`. A cut in the
    /// middle of a character takes the whole character, where `pcscd` leaves a part of it.
    pub fn base_name(&self) -> String {
        let mut name = self.model_name();
        let interface = present(self.interface);
        if let Some(interface) = interface {
            name.push_str(" [");
            name.extend(
                interface
                    .bytes()
                    .map(|byte| if byte.is_ascii() { char::from(byte) } else { '.' }),
            );
            name.push(']');
        }
        if let Some(serial) = present(self.serial) {
            // pcscd does so, and saved names have it.
            if !interface.is_some_and(|interface| contains(interface, serial)) {
                name.push_str(" (");
                name.push_str(serial);
                name.push(')');
            }
        }
        cut(&mut name, MAX_BASE);
        name
    }

    fn model_name(&self) -> String {
        if let Some(name) = model(self.vendor, self.product) {
            return name;
        }
        let mut name = String::new();
        for part in [self.manufacturer, self.product_name]
            .into_iter()
            .filter_map(present)
        {
            if !name.is_empty() {
                name.push(' ');
            }
            // A control character could send an escape sequence to the terminal on which the name is printed.
            name.extend(part.chars().map(|c| if c.is_control() { '.' } else { c }));
        }
        if name.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(name, "USB reader {:04X}:{:04X}", self.vendor, self.product);
        }
        name
    }

    /// The names of all `slots` of a new reader, given the names in use. `extension` goes before the
    /// numbers, as `PCSCLITE_FILTER_EXTEND_READER_NAMES` does; it is empty as a rule.
    ///
    /// `None` when all numbers are taken.
    pub fn names<'n>(
        &self,
        slots: u8,
        extension: &str,
        in_use: impl IntoIterator<Item = &'n str>,
    ) -> Option<Vec<String>> {
        let number = free_number(in_use)?;
        let mut base = self.base_name();
        base.push_str(extension);
        Some((0..slots.max(1)).map(|slot| name(&base, number, slot)).collect())
    }
}

/// The name of a slot. A base beyond [`MAX_BASE`] bytes is cut, at a character's boundary.
pub fn name(base: &str, number: u8, slot: u8) -> String {
    let mut name = String::with_capacity(base.len().min(MAX_BASE) + 6);
    name.push_str(base);
    cut(&mut name, MAX_BASE);
    let _ = write!(name, " {number:02X} {slot:02X}");
    name
}

/// A name's parts: the base, the reader's number and the slot. `None` if it does not end in two numbers.
pub fn parse(name: &str) -> Option<(&str, u8, u8)> {
    let base = name.len().checked_sub(6)?;
    let tail = name.get(base..)?;
    let [b' ', n1, n0, b' ', s1, s0] = *tail.as_bytes() else {
        return None;
    };
    Some((name.get(..base)?, hex(n1, n0)?, hex(s1, s0)?))
}

/// The lowest number that none of the readers in use has; `None` when all are taken. Names that do not
/// end in two numbers count for nothing.
pub fn free_number<'n>(in_use: impl IntoIterator<Item = &'n str>) -> Option<u8> {
    let mut used = [false; MAX_READERS];
    for (_, number, _) in in_use.into_iter().filter_map(parse) {
        if let Some(used) = used.get_mut(usize::from(number)) {
            *used = true;
        }
    }
    let free = used.iter().position(|used| !used)?;
    u8::try_from(free).ok()
}

/// Whether a filter hides a reader: patterns parted by colons, of which one is in the reader's
/// [base name](NameIdentity::base_name). It is what `PCSCLITE_FILTER_IGNORE_READER_NAMES` means.
pub fn is_ignored(base: &str, filter: &str) -> bool {
    filter
        .split(':')
        .any(|pattern| !pattern.is_empty() && contains(base, pattern))
}

/// `str::contains` for short texts. The standard library's searches in linear time, with 6 kB of code.
fn contains(text: &str, part: &str) -> bool {
    (0..text.len()).any(|at| text.as_bytes()[at..].starts_with(part.as_bytes()))
}

fn present(text: Option<&str>) -> Option<&str> {
    // A C string ends at its first NUL, and the kernel's attribute at its last line feed.
    let text = text?.split('\0').next()?.trim_end_matches(['\r', '\n']);
    (!text.is_empty()).then_some(text)
}

fn cut(text: &mut String, size: usize) {
    let mut end = text.len().min(size);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests;
