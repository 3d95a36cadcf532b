//! Command APDUs as people write them. No error text has any of a command's bytes: they may be a PIN.

use pcsc_ccid::apdu;

use crate::hex;

/// A line of a script, or an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send a command.
    Send(WrittenCommand),
    /// Reset the card.
    Reset,
}

/// A command APDU, and the status words that its answer has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenCommand {
    /// The bytes to send.
    pub bytes: Vec<u8>,
    /// Four digits, of which each X stands for any.
    pub expected: Option<String>,
}

/// How a command is written.
pub const FORMS: &str =
    "Write all bytes in hexadecimal digits, as '00 A4 04 00 00', or [CLA]INS[P1P2][:DATA][/LE][=SW].";

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
    if command.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let is_separator = |c: char| c.is_whitespace() || matches!(c, ':' | '/');
    let mut words = command.split(is_separator);
    if words.any(|word| word.starts_with("0x") || word.starts_with("0X")) {
        return Err("write it without 0x".to_owned());
    }
    let (command, le) = match command.split_once('/') {
        None => (command, None),
        Some((command, le)) => (command, Some(expected_length(le.trim())?)),
    };
    let (bytes, data) = at_colons(command)?;
    let bytes = match (bytes.len(), data, le) {
        // A whole command is sent as it is.
        (5.., None, None) => bytes,
        (1..=4, data, le) => assemble(&bytes, &data.unwrap_or_default(), le)?,
        _ => return Err("before : or / it has at most four bytes, CLA INS P1 P2".to_owned()),
    };
    Ok(Step::Send(WrittenCommand { bytes, expected }))
}

/// The bytes before the colon of the data, and the data. Where colons can be read in several ways, bytes of a
/// PIN could become a command's header: this is an error.
fn at_colons(command: &str) -> Result<(Vec<u8>, Option<Vec<u8>>), String> {
    let whole = |text: &str| hex::parse_spaced(text).ok_or("it is not made of pairs of hexadecimal digits");
    let data = |text: &str| hex::parse_spaced(text).ok_or("its data are not pairs of hexadecimal digits");
    let groups: Vec<&str> = command.split(':').map(str::trim).collect();
    let is_byte = |group: &&str| group.len() == 2;
    match groups[..] {
        [all] => return Ok((whole(all)?, None)),
        [header, rest] => return Ok((whole(header)?, Some(data(rest)?))),
        // Three bytes may be INS P1 P2, or INS and data; so may more bytes that are no APDU.
        [_, _, _, _, ..] if groups.iter().all(is_byte) => {
            let bytes = whole(&groups.concat())?;
            if apdu::CommandApdu::parse_of_any_class(&bytes).is_ok() {
                return Ok((bytes, None));
            }
        }
        [ref header, ref rest @ ..] if rest.iter().all(is_byte) && !is_byte(header) => {
            return Ok((whole(header)?, Some(data(&rest.concat())?)));
        }
        _ => (),
    }
    Err(
        "its colons can be read in several ways; write one colon, before the data, or no colon at all"
            .to_owned(),
    )
}

/// Whether the shell has split an APDU at its blanks: four arguments in a row are single bytes. Sent as
/// four commands of a lone INS, the bytes of a PIN would be INS as well. Up to three such commands in a row
/// are allowed.
pub fn is_unquoted(arguments: &[String]) -> bool {
    let is_byte = |text: &str| matches!(text.len(), 1 | 2) && text.bytes().all(|c| c.is_ascii_hexdigit());
    let begins_with_byte = |text: &str| text.split([':', '/', '=']).next().is_some_and(is_byte);
    arguments.windows(4).any(|four| match four {
        [first @ .., last] => first.iter().all(|text| is_byte(text)) && begins_with_byte(last),
        [] => false,
    })
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
pub fn assemble(header: &[u8], data: &[u8], le: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
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

/// Reads a script as scriptor takes it: a command or `reset` on each line; blank lines and what follows a #
/// are ignored, a backslash at the end continues a line, and `exit` ends the script. Each step comes with its
/// line's number. Comments may have any encoding.
pub fn script(text: &[u8]) -> Result<Vec<(usize, Step)>, String> {
    let text = String::from_utf8_lossy(text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text));
    let without_comment = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let mut steps = Vec::new();
    let mut lines = text.lines().map(without_comment).enumerate();
    while let Some((number, line)) = lines.next() {
        let mut whole = line;
        while let Some(begun) = whole.strip_suffix('\\') {
            whole = format!("{begun} {}", lines.next().unwrap_or_default().1);
            whole.truncate(whole.trim_end().len());
        }
        if whole.is_empty() {
            continue;
        }
        if whole.eq_ignore_ascii_case("exit") {
            break;
        }
        let step = parse(&whole).map_err(|error| format!("line {}: {error}", number + 1))?;
        steps.push((number + 1, step));
    }
    Ok(steps)
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
            "0x00200080:31",
            "00200080:0x31",
            "00:A4:31",
            "00200080:3132:33:34",
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(!error.contains("31") && !error.is_empty(), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (wrong, error) in [
            ("", "it is empty"),
            (" \t", "it is empty"),
            ("=9000", "it is empty"),
            ("0x00A40400", "write it without 0x"),
            ("00 A4 0X04 00", "write it without 0x"),
            ("b0/0x10", "write it without 0x"),
        ] {
            assert_eq!(parse(wrong), Err(error.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn colons() {
        for (text, bytes) in [
            ("00:A4:04:00", "00A40400"),
            ("00:A4:04:00:02:A0:00", "00A4040002A000"),
            ("00:A4:04:00/10", "00A4040010"),
            ("FF:CA:00:00:00", "FFCA000000"),
            ("a4:3f", "00A40000013F"),
            ("a4:3f00", "00A40000023F00"),
            ("a40400:a0:00:00:00:62", "00A4040005A000000062"),
            ("00 a4 04 00:a0:00/00", "00A4040002A00000"),
        ] {
            assert_eq!(sent(text), Ok(hex::parse_spaced(bytes).unwrap()), "{text}");
        }
        for wrong in [
            "a4:3f:00",
            "a40400:a000:0000:62",
            "00:A4:0400:00",
            "a40400:a0::62",
            "a4:3f:",
        ] {
            let error = sent(wrong).unwrap_err();
            assert!(error.contains("write one colon"), "{wrong}: {error}");
        }
    }

    #[test]
    fn split_commands() {
        let is_unquoted = |text: &str| {
            let arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
            super::is_unquoted(&arguments)
        };
        for wrong in [
            "00 20 00 80 04 31 32 33 34",
            "00 a4 04 00",
            "0 A4 4 0",
            "00 A4 04 00=",
            "00 20 00 80:31323334",
            "reset 00 A4 04 00 00",
        ] {
            assert!(is_unquoted(wrong), "{wrong}");
        }
        for right in [
            "a4",
            "a4 b0",
            "a4 b0 b0",
            "a4:3f00 b0/10 a4:2f00 b0/10",
            "00A4 00B0 00B0 00B0",
        ] {
            assert!(!is_unquoted(right), "{right}");
        }
    }

    #[test]
    fn scripts() {
        let text = "# a comment\n\nreset\n00 A4 04 00 \\\n 00\nA4=\nexit\nnonsense";
        let steps = script(text.as_bytes()).unwrap();
        let numbers: Vec<usize> = steps.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [3, 4, 6]);
        assert_eq!(steps[1].1, parse("00A4040000").unwrap());
        assert_eq!(
            script(b"\n00A4\nxx").unwrap_err(),
            "line 3: it is not made of pairs of hexadecimal digits"
        );
        assert_eq!(script(b"A4\\").unwrap().len(), 1);
        assert_eq!(script(b"\\").unwrap(), []);
    }

    #[test]
    fn comments_of_scripts() {
        let commented = b"\xEF\xBB\xBF00 A4 04 00 \\ # caf\xE9\r\n00 # Le \\\n#\xFF\n\nA4=#9000";
        assert_eq!(
            script(commented),
            script(b"00A4040000\n\n\n\nA4=").map(|mut steps| {
                steps[1].0 = 5;
                steps
            })
        );
        assert!(script(b"00 A4 \xE9 04").is_err());
    }
}
