//! Command APDUs as people write them. No error text has any of a command's bytes: they may be a PIN.

use crate::hex;

/// A line of a script, or an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send a command.
    Send(Command),
    /// Reset the card.
    Reset,
}

/// A command APDU, and the status words that its answer has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The bytes to send.
    pub bytes: Vec<u8>,
    /// Four digits, of which each X stands for any.
    pub expected: Option<String>,
}

/// Reads an argument: hexadecimal digits with or without blanks or colons between bytes, or the form of
/// ykman, `[CLA]INS[P1P2][:DATA][/LE][=SW]`.
pub fn parse(text: &str) -> Result<Step, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("reset") {
        return Ok(Step::Reset);
    }
    let (command, expected) = match text.split_once('=') {
        None => (text, None),
        Some((command, "")) => (command, Some("9000".to_owned())),
        Some((command, sw)) => (command, Some(expected(sw)?)),
    };
    let (command, le) = match command.split_once('/') {
        None => (command, None),
        Some((command, le)) => (command, Some(expected_length(le.trim())?)),
    };
    let is_separated = command.matches(':').count() > 1;
    let (header, data) = match command.split_once(':') {
        Some((header, data)) if !is_separated => (header, Some(data)),
        _ => (command, None),
    };
    let bytes = hex::parse_spaced(header).ok_or("it is not made of pairs of hexadecimal digits")?;
    let bytes = match (bytes.len(), data, le) {
        // A whole command is sent as it is.
        (5.., None, None) => bytes,
        (1..=4, data, le) => {
            let data = match data {
                None => Vec::new(),
                Some(data) => {
                    hex::parse_spaced(data).ok_or("its data are not pairs of hexadecimal digits")?
                }
            };
            assemble(&bytes, &data, le)?
        }
        _ => return Err("before : or / it has at most four bytes, CLA INS P1 P2".to_owned()),
    };
    Ok(Step::Send(Command { bytes, expected }))
}

fn expected(sw: &str) -> Result<String, String> {
    let sw = sw.trim().to_ascii_uppercase();
    let is_digit = |c: char| c.is_ascii_hexdigit() || c == 'X';
    match sw.len() == 4 && sw.chars().all(is_digit) {
        true => Ok(sw),
        false => Err("after = it has four hexadecimal digits, of which X stands for any".to_owned()),
    }
}

/// Le with one byte or, for an extended command, two.
fn expected_length(le: &str) -> Result<Vec<u8>, String> {
    let bytes = hex::parse(le).filter(|bytes| matches!(bytes.len(), 1 | 2));
    bytes.ok_or_else(|| "after / it has two hexadecimal digits, or four for an extended Le".to_owned())
}

/// A command of its parts (ISO/IEC 7816-4, clause 5.1).
fn assemble(header: &[u8], data: &[u8], le: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    let mut bytes = match *header {
        [ins] => vec![0, ins, 0, 0],
        [cla, ins] => vec![cla, ins, 0, 0],
        [ins, p1, p2] => vec![0, ins, p1, p2],
        _ => header.to_vec(),
    };
    let is_extended = data.len() > 255 || le.as_ref().is_some_and(|le| le.len() == 2);
    if is_extended {
        let length = u16::try_from(data.len()).map_err(|_| "it has more than 65535 bytes of data")?;
        bytes.push(0);
        if length > 0 {
            bytes.extend(length.to_be_bytes());
        }
    } else if !data.is_empty() {
        bytes.push(data.len() as u8);
    }
    bytes.extend(data);
    match le.as_deref() {
        // 00 asks for all that a short answer can have.
        Some([0]) if is_extended => bytes.extend([1, 0]),
        Some([le]) if is_extended => bytes.extend([0, *le]),
        Some(le) => bytes.extend(le),
        None => (),
    }
    Ok(bytes)
}

/// Reads a script as scriptor takes it: a command or `reset` on each line; blank lines and those that begin
/// with # are ignored, a backslash at the end continues a line, and `exit` ends the script. Each step comes
/// with its line's number.
pub fn script(text: &str) -> Result<Vec<(usize, Step)>, String> {
    let mut steps = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut whole = line.to_owned();
        while let Some(begun) = whole.strip_suffix('\\') {
            whole = format!("{begun} {}", lines.next().map_or("", |(_, line)| line.trim()));
            whole.truncate(whole.trim_end().len());
        }
        if whole.eq_ignore_ascii_case("exit") {
            break;
        }
        let step = parse(&whole).map_err(|error| format!("line {}: {error}", number + 1))?;
        steps.push((number + 1, step));
    }
    Ok(steps)
}

/// Whether the data of a command are a PIN or hold one: VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER
/// (ISO/IEC 7816-4, clauses 11.5.6, 11.5.7, 11.5.10).
pub fn holds_pin(command: &[u8]) -> bool {
    matches!(command, [_, 0x20 | 0x21 | 0x24 | 0x2C, _, _, _, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str) -> Result<Vec<u8>, String> {
        match parse(text)? {
            Step::Send(command) => Ok(command.bytes),
            Step::Reset => panic!("no command"),
        }
    }

    #[test]
    fn whole_commands_are_sent_as_they_are() {
        for text in ["00A4040000", "00 a4 04 00 00", "00:A4:04:00:00"] {
            assert_eq!(sent(text), Ok(vec![0, 0xA4, 4, 0, 0]), "{text}");
        }
        assert_eq!(sent("00A40400"), Ok(vec![0, 0xA4, 4, 0]));
        assert_eq!(parse(" Reset "), Ok(Step::Reset));
    }

    #[test]
    fn short_forms_are_completed() {
        for (text, bytes) in [
            ("a4", "00A40000"),
            ("80ca", "80CA0000"),
            ("a40400", "00A40400"),
            ("a40400:a000", "00A4040002A000"),
            ("00a40400:a000/00", "00A4040002A00000"),
            ("b0/10", "00B0000010"),
            ("b0/0100", "00B00000000100"),
            ("d6:01/0000", "00D600000000 01 01 0000"),
        ] {
            assert_eq!(sent(text), Ok(hex::parse_spaced(bytes).unwrap()), "{text}");
        }
        let long = format!("d6:{}/00", "AB".repeat(256));
        let bytes = sent(&long).unwrap();
        assert_eq!(
            (&bytes[..7], &bytes[263..]),
            (&[0, 0xD6, 0, 0, 0, 1, 0][..], &[1, 0][..])
        );
        assert!(sent(&format!("d6:{}", "AB".repeat(65_536))).is_err());
    }

    #[test]
    fn expected_status_words() {
        let expected = |text| match parse(text) {
            Ok(Step::Send(command)) => Ok(command.expected.unwrap()),
            other => Err(other),
        };
        assert_eq!(expected("a4="), Ok("9000".into()));
        assert_eq!(expected("00A40400=61xx"), Ok("61XX".into()));
        for wrong in ["a4=900", "a4=90000", "a4=9g00"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_have_none_of_the_bytes() {
        for wrong in [
            "",
            "0",
            "zz",
            "00A4040:31",
            "00A40400:313",
            "002000800131/",
            "0020008001:31",
            "0020/1",
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(!error.contains("31") && !error.is_empty(), "{wrong}: {error}");
        }
    }

    #[test]
    fn scripts() {
        let text = "# a comment\n\nreset\n00 A4 04 00 \\\n 00\nA4=\nexit\nnonsense";
        let steps = script(text).unwrap();
        let numbers: Vec<usize> = steps.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [3, 4, 6]);
        assert_eq!(steps[1].1, parse("00A4040000").unwrap());
        assert_eq!(
            script("\n00A4\nxx").unwrap_err(),
            "line 3: it is not made of pairs of hexadecimal digits"
        );
        assert_eq!(script("A4\\").unwrap().len(), 1);
    }

    #[test]
    fn commands_with_pins() {
        assert!(holds_pin(&[0, 0x20, 0, 0x80, 1, 0x31]));
        assert!(!holds_pin(&[0, 0x20, 0, 0x80]));
        assert!(!holds_pin(&[0, 0xA4, 4, 0, 0]));
    }
}
