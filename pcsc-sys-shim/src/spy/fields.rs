//! The fields of a JSON object: what a call is given, or what it gives.
#![forbid(unsafe_code)]

use pcsc_ccid::secrets;
use pcsc_client::ffi::{DWORD, INFINITE, LONG, SCARD_AUTOALLOCATE};

use super::line::Line;

/// The fields of one object, written one after another.
pub struct Fields<'a> {
    line: &'a mut Line,
    is_first: bool,
    /// Whether what may be a PIN or a key is written as it is.
    shows_secrets: bool,
}

impl Fields<'_> {
    pub fn new(line: &mut Line, shows_secrets: bool) -> Fields<'_> {
        Fields {
            line,
            is_first: true,
            shows_secrets,
        }
    }

    fn name(&mut self, name: &str) -> &mut Line {
        let comma = if self.is_first { "" } else { "," };
        self.is_first = false;
        self.line.put_text(format_args!("{comma}\"{name}\":"));
        self.line
    }

    pub fn null(&mut self, name: &str) {
        self.name(name).put(b"null");
    }

    /// A number of 32 bits on the wire. Callers may pass more.
    pub fn number(&mut self, name: &str, number: DWORD) {
        self.name(name).put_text(format_args!("{number}"));
    }

    pub fn handle(&mut self, name: &str, handle: LONG) {
        self.name(name).put_text(format_args!("{handle}"));
    }

    /// Eight hexadecimal digits.
    pub fn code(&mut self, name: &str, code: DWORD) {
        let line = self.name(name);
        line.put_text(format_args!("\"0x{:08X}\"", code as u32));
    }

    /// The room for a result; null without a buffer.
    pub fn room(&mut self, has_buffer: bool, room: Option<DWORD>) {
        match room.filter(|_| has_buffer) {
            Some(SCARD_AUTOALLOCATE) => self.name("room").put(b"\"allocate\""),
            Some(room) => self.number("room", room),
            None => self.null("room"),
        }
    }

    /// Milliseconds; null without end.
    pub fn timeout(&mut self, timeout: DWORD) {
        match timeout {
            #[allow(unreachable_patterns)] // the two are one where DWORD has 32 bits
            INFINITE | DWORD::MAX => self.null("timeout"),
            milliseconds => self.number("timeout", milliseconds),
        }
    }

    pub fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.partly_hidden(name, bytes, 0..0);
    }

    /// Bytes of which any may be secret.
    pub fn secret(&mut self, name: &str, bytes: &[u8]) {
        self.partly_hidden(name, bytes, 0..bytes.len());
    }

    /// Bytes, with `**` for each of the hidden ones.
    fn partly_hidden(&mut self, name: &str, bytes: &[u8], hidden: std::ops::Range<usize>) {
        let hidden = if self.shows_secrets { 0..0 } else { hidden };
        let line = self.name(name);
        line.put(b"\"");
        for (at, byte) in bytes.iter().enumerate() {
            match hidden.contains(&at) {
                true => line.put(b"**"),
                false => line.put_hex(&[*byte]),
            }
        }
        line.put(b"\"");
    }

    /// A command for the card.
    pub fn command(&mut self, bytes: &[u8]) {
        self.partly_hidden("command", bytes, secrets::shown_of_command(bytes)..bytes.len());
    }

    /// A response of the card.
    pub fn response(&mut self, bytes: &[u8], is_secret: bool) {
        let data = if is_secret {
            bytes.len().saturating_sub(2)
        } else {
            0
        };
        self.partly_hidden("response", bytes, 0..data);
    }

    /// What `SCardControl` sends.
    pub fn control(&mut self, code: DWORD, data: &[u8]) {
        let shown = secrets::shown_of_control(code as u32, data).data;
        self.partly_hidden("data", data, shown..data.len());
    }

    /// What `SCardControl` gives.
    pub fn answer(&mut self, code: DWORD, answer: &[u8]) {
        let is_shown = secrets::shown_of_control(code as u32, &[]).answer;
        self.partly_hidden("answer", answer, 0..if is_shown { 0 } else { answer.len() });
    }

    /// Text; null where there is none.
    pub fn text(&mut self, name: &str, text: Option<&[u8]>) {
        let line = self.name(name);
        match text {
            Some(text) => put_text(line, text),
            None => line.put(b"null"),
        }
    }

    /// The strings of a list in the form of C, each with its NUL.
    pub fn strings(&mut self, name: &str, list: &[u8]) {
        let texts = list.split(|byte| *byte == 0).filter(|text| !text.is_empty());
        self.array(name, texts, put_text);
    }

    /// Objects with fields of their own.
    pub fn objects<T>(
        &mut self,
        name: &str,
        items: impl Iterator<Item = T>,
        write: impl Fn(&mut Fields<'_>, T),
    ) {
        let shows_secrets = self.shows_secrets;
        self.array(name, items, |line, item| {
            line.put(b"{");
            write(&mut Fields::new(line, shows_secrets), item);
            line.put(b"}");
        });
    }

    fn array<T>(&mut self, name: &str, items: impl Iterator<Item = T>, put: impl Fn(&mut Line, T)) {
        let line = self.name(name);
        line.put(b"[");
        for (index, item) in items.enumerate() {
            if index > 0 {
                line.put(b",");
            }
            put(line, item);
        }
        line.put(b"]");
    }
}

/// A JSON string. What is not UTF-8 becomes U+FFFD.
fn put_text(line: &mut Line, text: &[u8]) {
    line.put(b"\"");
    for chunk in text.utf8_chunks() {
        for byte in chunk.valid().as_bytes() {
            match byte {
                b'"' | b'\\' => line.put(&[b'\\', *byte]),
                0..=0x1F => line.put_text(format_args!("\\u{byte:04X}")),
                _ => line.put(&[*byte]),
            }
        }
        if !chunk.invalid().is_empty() {
            line.put("\u{FFFD}".as_bytes());
        }
    }
    line.put(b"\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shows_secrets: bool, write: impl FnOnce(&mut Fields<'_>), expected: &str) {
        let mut line = Line::new();
        write(&mut Fields::new(&mut line, shows_secrets));
        assert_eq!(String::from_utf8_lossy(line.text().unwrap()), expected);
    }

    #[test]
    fn fields_are_json() {
        check(
            false,
            |fields| {
                fields.handle("card", -2);
                fields.code("result", 0x8010_000A);
                fields.room(true, Some(SCARD_AUTOALLOCATE));
                fields.room(true, Some(7));
                fields.room(false, Some(7));
                fields.timeout(INFINITE);
                fields.timeout(100);
                fields.text("reader", Some(b"\"a\\\x01\xFF\xC3\xA9"));
                fields.text("reader", None);
                fields.strings("readers", b"one\0two\0\0");
                fields.strings("readers", b"\0");
                fields.objects("states", [1, 2].into_iter(), |fields, n| fields.number("n", n));
            },
            "\"card\":-2,\"result\":\"0x8010000A\",\"room\":\"allocate\",\"room\":7,\"room\":null,\
             \"timeout\":null,\"timeout\":100,\"reader\":\"\\\"a\\\\\\u0001\u{FFFD}\u{e9}\",\"reader\":null,\
             \"readers\":[\"one\",\"two\"],\"readers\":[],\"states\":[{\"n\":1},{\"n\":2}]",
        );
    }

    #[test]
    fn secrets_are_hidden_unless_they_are_asked_for() {
        let verify = [0, 0x20, 0, 0x80, 2, 0x31, 0x32];
        let escape = 0x4200_0001;
        let write = |fields: &mut Fields<'_>| {
            fields.command(&verify);
            fields.response(&[1, 2, 0x90, 0], true);
            fields.response(&[0x90, 0], true);
            fields.response(&[1, 0x90, 0], false);
            fields.control(escape, &[1]);
            fields.answer(escape, &[2]);
        };
        check(
            false,
            write,
            "\"command\":\"0020008002****\",\"response\":\"****9000\",\"response\":\"9000\",\
             \"response\":\"019000\",\"data\":\"**\",\"answer\":\"**\"",
        );
        check(
            true,
            write,
            "\"command\":\"00200080023132\",\"response\":\"01029000\",\"response\":\"9000\",\
             \"response\":\"019000\",\"data\":\"01\",\"answer\":\"02\"",
        );
    }
}
