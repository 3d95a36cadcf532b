//! The meaning of status words (ISO/IEC 7816-4, clause 5.6, tables 5 to 7).

/// What SW1 and SW2 say.
pub fn meaning(sw1: u8, sw2: u8) -> String {
    match (sw1, sw2) {
        (0x61, 0) => "256 or more bytes are available: GET RESPONSE".into(),
        (0x61, more) => format!("{more} more bytes are available: GET RESPONSE"),
        (0x63, counter @ 0xC0..=0xCF) => format!("not verified, {} tries are left", counter & 0x0F),
        (0x6C, 0) => "wrong Le; 256 is right".into(),
        (0x6C, right) => format!("wrong Le; {right} is right"),
        (0x62 | 0x64, 2..=0x80) => "the card has a query for the host".into(),
        _ => {
            let words = u16::from_be_bytes([sw1, sw2]);
            let exact = EXACT.iter().find(|(known, _)| *known == words);
            exact.map_or_else(|| class(sw1), |(_, meaning)| meaning).into()
        }
    }
}

/// Words with a meaning of their own.
const EXACT: [(u16, &str); 40] = [
    (0x9000, "success"),
    (0x6281, "a part of the data may be corrupted"),
    (0x6282, "the end of the file or record is before Le bytes"),
    (0x6283, "the file is deactivated"),
    (0x6284, "the file's control information has another format"),
    (0x6285, "the file is in the termination state"),
    (0x6286, "a sensor gives no data"),
    (0x6287, "at least one of the referenced records is deactivated"),
    (0x6300, "not verified"),
    (0x6381, "the file is full"),
    (0x6401, "the card needs an answer from the host at once"),
    (0x6581, "memory failure"),
    (0x6700, "wrong length"),
    (0x6881, "the logical channel is not supported"),
    (0x6882, "secure messaging is not supported"),
    (0x6883, "the last command of the chain is expected"),
    (0x6884, "command chaining is not supported"),
    (0x6981, "the command does not fit the file's structure"),
    (
        0x6982,
        "the security status does not allow this: a PIN or key is missing",
    ),
    (0x6983, "the authentication method is blocked"),
    (0x6984, "the reference data cannot be used"),
    (0x6985, "the conditions of use are not satisfied"),
    (0x6986, "not allowed: no file is selected"),
    (0x6987, "secure messaging data objects are missing"),
    (0x6988, "secure messaging data objects are wrong"),
    (0x6A80, "the data field is wrong"),
    (0x6A81, "the function is not supported"),
    (0x6A82, "the file or application is not found"),
    (0x6A83, "the record is not found"),
    (0x6A84, "there is not enough memory in the file"),
    (0x6A85, "Nc is inconsistent with the TLV structure"),
    (0x6A86, "P1 or P2 is wrong"),
    (0x6A87, "Nc is inconsistent with P1 and P2"),
    (0x6A88, "the referenced data are not found"),
    (0x6A89, "the file exists already"),
    (0x6A8A, "the name of the application exists already"),
    (0x6B00, "P1 or P2 is wrong"),
    (0x6D00, "the instruction is not supported"),
    (0x6E00, "the class is not supported"),
    (0x6F00, "no precise diagnosis"),
];

fn class(sw1: u8) -> &'static str {
    match sw1 {
        0x62 => "a warning; the card's memory is unchanged",
        0x63 => "a warning; the card's memory has changed",
        0x64 => "an execution error; the card's memory is unchanged",
        0x65 => "an execution error; the card's memory has changed",
        0x66 => "a security issue",
        0x68 => "a function of the class is not supported",
        0x69 => "the command is not allowed",
        0x6A | 0x6B => "the parameters are wrong",
        0x90..=0x9F => "specific to the application",
        _ => "not defined by ISO/IEC 7816-4",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_a_number_and_without() {
        assert_eq!(meaning(0x90, 0x00), "success");
        assert_eq!(meaning(0x61, 0x10), "16 more bytes are available: GET RESPONSE");
        assert_eq!(meaning(0x63, 0xC3), "not verified, 3 tries are left");
        assert_eq!(meaning(0x6C, 0), "wrong Le; 256 is right");
        assert_eq!(meaning(0x62, 0x10), "the card has a query for the host");
        assert_eq!(meaning(0x62, 0x81), "a part of the data may be corrupted");
        assert_eq!(meaning(0x69, 0xFF), "the command is not allowed");
        assert_eq!(meaning(0x12, 0x34), "not defined by ISO/IEC 7816-4");
        assert_eq!(meaning(0x61, 0), "256 or more bytes are available: GET RESPONSE");
        assert_eq!(meaning(0x6C, 8), "wrong Le; 8 is right");
        assert_eq!(meaning(0x64, 0x80), "the card has a query for the host");
    }

    #[test]
    fn other_words_have_the_meaning_of_the_first() {
        for (sw1, expected) in [
            (0x62, "a warning; the card's memory is unchanged"),
            (0x63, "a warning; the card's memory has changed"),
            (0x64, "an execution error; the card's memory is unchanged"),
            (0x65, "an execution error; the card's memory has changed"),
            (0x66, "a security issue"),
            (0x67, "not defined by ISO/IEC 7816-4"),
            (0x68, "a function of the class is not supported"),
            (0x6A, "the parameters are wrong"),
            (0x6B, "the parameters are wrong"),
            (0x91, "specific to the application"),
        ] {
            assert_eq!(meaning(sw1, 0xFE), expected, "{sw1:02X}");
        }
    }
}
