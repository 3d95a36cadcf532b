//! Every command of the bundled cards against ISO/IEC 7816-4:2013, through the driver and a simulated reader,
//! over T=1 and T=0.

use pcsc_ccid::descriptor::interfaces;
use pcsc_ccid::reader::{Protocol, Reader, ReaderOptions, Reset};
use pcsc_sim::card::apps::Several;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::{Model, SimDevice, SimHandle, SimTransport};

type Identity = pcsc_ccid::reader::DeviceInfo;

/// A command, after others, and the status word or the whole answer. Digits in hexadecimal.
struct Row {
    clause: &'static str,
    before: &'static [&'static str],
    command: &'static str,
    answer: &'static str,
    /// Over T=0 where that differs: no Le stands beside Lc there, and an absent Lc is an Le of 0.
    over_t0: Option<&'static str>,
}

const fn row(
    clause: &'static str,
    before: &'static [&'static str],
    command: &'static str,
    answer: &'static str,
) -> Row {
    Row {
        clause,
        before,
        command,
        answer,
        over_t0: None,
    }
}

const fn differs(row: Row, over_t0: &'static str) -> Row {
    Row {
        over_t0: Some(over_t0),
        ..row
    }
}

const HELLO: &str = "00A4040C0AA00000006203010C0601";
const PKCS15: &str = "00A4040C07504B43532D3135";
/// EF 2F02: the bytes 00 to 09.
const SERIAL: &str = "00A4000C022F02";
/// EF 4401: 1,000 bytes.
const LARGE: &[&str] = &[PKCS15, "00A4000C024401"];
/// EF 4402: four records, of 5, 10, 15 and 20 bytes.
const RECORDS: &[&str] = &[PKCS15, "00A4000C024402"];
/// EF 4403, behind the PIN.
const SECRET: &[&str] = &[PKCS15, "00A4000C024403"];
const SECRET_OPEN: &[&str] = &[PKCS15, "00A4000C024403", "002000810431323334"];
const WRONG_PIN: &str = "002000810430303030";

const ROWS: &[Row] = &[
    // Class and instruction.
    row("5.4.1 chaining", &[], "10A4000C022F02", "6884"),
    row(
        "5.4.1 secure messaging, proprietary",
        &[],
        "04A4000C022F02",
        "6882",
    ),
    row("5.4.1 secure messaging", &[], "08A4000C022F02", "6882"),
    row("5.4.1 secure messaging with header", &[], "0CB0000001", "6882"),
    row(
        "5.4.1 secure messaging in further classes",
        &[],
        "60B0000001",
        "6882",
    ),
    row("5.4.1 chaining in further classes", &[], "50B0000001", "6884"),
    row("5.4.1 logical channel 1", &[], "01B0000001", "6881"),
    row("5.4.1 logical channel 4", &[], "40B0000001", "6881"),
    row("5.4.1 reserved class", &[], "20B0000001", "6E00"),
    row("5.4.1 no application has the class", &[], "90B0000001", "6E00"),
    row("5.5 unknown instruction", &[], "0084000008", "6D00"),
    row("5.5 unknown proprietary instruction", &[], "80CA000000", "6D00"),
    row("5.5 odd instruction", &[], "00B1000001", "6D00"),
    differs(
        row("5.5 6X is invalid", &[], "0064000001", "6D00"),
        "INS 64 cannot be sent over T=0",
    ),
    differs(
        row("5.5 9X is invalid", &[], "0094000001", "6D00"),
        "INS 94 cannot be sent over T=0",
    ),
    differs(
        row(
            "11.7.1 GET RESPONSE with nothing to fetch",
            &[],
            "00C0000001",
            "6D00",
        ),
        "6985",
    ),
    // SELECT.
    differs(
        row("11.1.1 MF without data", LARGE, "00A40000", "9000"),
        "6F0782013883023F009000",
    ),
    row(
        "11.1.1 MF with FCI",
        LARGE,
        "00A4000000",
        "6F0782013883023F009000",
    ),
    row(
        "11.1.1 MF with FCP",
        &[],
        "00A40004023F0000",
        "620782013883023F009000",
    ),
    row(
        "11.1.1 EF with FCI",
        &[],
        "00A40000022F0200",
        "6F0B82010183022F028002000A9000",
    ),
    differs(
        row("11.1.1 no Le, no FCI", &[], "00A40000022F02", "9000"),
        "6F0B82010183022F028002000A9000",
    ),
    row("11.1.1 no FCI wanted", &[], "00A4000C022F0200", "9000"),
    differs(
        row("11.1.1 short Le", &[], "00A40000022F0205", "6C0D"),
        "6F0B8201016108",
    ),
    row(
        "11.1.1 extended Lc and Le",
        &[],
        "00A400000000022F020000",
        "6F0B82010183022F028002000A9000",
    ),
    row("11.1.1 FMD is not supported", &[], "00A40008022F0200", "6A86"),
    row("11.1.1 reserved bits of P2", &[], "00A4001C022F0200", "6A86"),
    row("11.1.1 occurrence without a name", &[], "00A4000E022F02", "6A86"),
    row("11.1.1 reserved P1", &[], "00A4050C022F02", "6A86"),
    row("11.1.1 P1 of a data object", &[], "00A4100C022F02", "6A86"),
    row("11.1.1 no such file", &[], "00A4000C022F00", "6A82"),
    row("11.1.1 half an identifier", &[], "00A4000C012F", "6700"),
    row("11.1.1 an identifier and a half", &[], "00A4000C032F0200", "6700"),
    row("11.1.1 child DF", &[], "00A4010C025015", "9000"),
    row("11.1.1 an EF is no child DF", &[], "00A4010C022F02", "6A82"),
    row("11.1.1 child DF without identifier", &[], "00A4010C", "6700"),
    row("11.1.1 EF under the current DF", &[], "00A4020C022F02", "9000"),
    row("11.1.1 a DF is no EF", &[], "00A4020C025015", "6A82"),
    row("11.1.1 parent DF", LARGE, "00A4030C", "9000"),
    row("11.1.1 parent DF with data", LARGE, "00A4030C023F00", "6700"),
    row("11.1.1 the MF has no parent", &[], "00A4030C", "6A82"),
    row(
        "11.1.1 by DF name",
        &[],
        "00A4040007504B43532D313500",
        "6F10820138830250158407504B43532D31359000",
    ),
    row("11.1.1 last occurrence", &[], "00A4040D07504B43532D3135", "9000"),
    row("11.1.1 next occurrence", &[], "00A4040E07504B43532D3135", "6A82"),
    row(
        "11.1.1 previous occurrence",
        &[],
        "00A4040F0AA00000006203010C0601",
        "6A82",
    ),
    row("11.1.1 no such name", &[], "00A4040C05A000000001", "6A82"),
    row("11.1.1 name without data", &[], "00A4040000", "6700"),
    row(
        "11.1.1 name of 17 bytes",
        &[],
        "00A4040C11A000000000000000000000000000000000",
        "6700",
    ),
    row("11.1.1 path from the MF", &[], "00A4080C0450154401", "9000"),
    row(
        "11.1.1 path with the MF's identifier",
        &[],
        "00A4080C063F0050154401",
        "9000",
    ),
    row("11.1.1 path through an EF", &[], "00A4080C042F024401", "6A82"),
    row("11.1.1 path of odd length", &[], "00A4080C03501544", "6700"),
    row("11.1.1 path without data", &[], "00A4080C", "6700"),
    row(
        "11.1.1 path from the current DF",
        &[PKCS15],
        "00A4090C024401",
        "9000",
    ),
    row(
        "11.1.1 a failed SELECT changes nothing",
        &[SERIAL, "00A4000C02FFFE"],
        "00B0000001",
        "009000",
    ),
    // READ BINARY.
    row("11.2.3 part", &[SERIAL], "00B0000203", "0203049000"),
    row("11.2.3 Le of 0 to the end", &[SERIAL], "00B0000800", "08099000"),
    row(
        "11.2.3 extended Le of 0 to the end",
        &[SERIAL],
        "00B00008000000",
        "08099000",
    ),
    differs(
        row("11.2.3 Le beyond the end", &[SERIAL], "00B0000803", "08096282"),
        "08099000",
    ),
    differs(
        row(
            "11.2.3 extended Le beyond the end",
            &[SERIAL],
            "00B00008000003",
            "08096282",
        ),
        "08099000",
    ),
    row("11.2.3 offset at the end", &[SERIAL], "00B0000A01", "6B00"),
    row(
        "11.2.3 offset at the end, Le of 0",
        &[SERIAL],
        "00B0000A00",
        "6B00",
    ),
    row("11.2.3 offset beyond the end", &[SERIAL], "00B07FFF01", "6B00"),
    differs(
        row("11.2.3 no Le", &[SERIAL], "00B00000", "6700"),
        "000102030405060708099000",
    ),
    differs(
        row("11.2.3 short identifier", &[], "00B0820803", "08096282"),
        "08099000",
    ),
    row(
        "11.2.3 short identifier makes it current",
        &["00B0820801"],
        "00B0000001",
        "009000",
    ),
    row("11.2.3 no such short identifier", &[], "00B0830001", "6A82"),
    row("11.2.3 reserved bits of P1", &[SERIAL], "00B0C20001", "6A86"),
    row("11.2.3 no current EF", &[], "00B0000001", "6986"),
    row("11.2.3 a file of records", RECORDS, "00B0000001", "6981"),
    row("11.2.3 protected", SECRET, "00B0000001", "6982"),
    row(
        "11.2.3 protected, PIN given",
        SECRET_OPEN,
        "00B0000000",
        "7365637265749000",
    ),
    row("11.2.3 last byte", LARGE, "00B003E701", "F69000"),
    // UPDATE BINARY.
    row("11.2.5", &[SERIAL, "00D600080207FF"], "00B0000702", "07079000"),
    row("11.2.5 to the end", &[SERIAL], "00D60008020102", "9000"),
    row("11.2.5 past the end", &[SERIAL], "00D6000803010203", "6A84"),
    row("11.2.5 offset at the end", &[SERIAL], "00D6000A0101", "6B00"),
    row("11.2.5 no data", &[SERIAL], "00D60000", "6700"),
    differs(row("11.2.5 with Le", &[SERIAL], "00D60000010100", "6700"), "9000"),
    row("11.2.5 no current EF", &[], "00D600000101", "6986"),
    row("11.2.5 a file of records", RECORDS, "00D600000101", "6981"),
    row("11.2.5 protected", SECRET, "00D600000101", "6982"),
    row("11.2.5 reserved bits of P1", &[SERIAL], "00D6A0000101", "6A86"),
    // READ RECORD.
    row("11.3.3 all of it", RECORDS, "00B2010400", "01010101019000"),
    row("11.3.3 part", RECORDS, "00B2020403", "0202029000"),
    differs(
        row(
            "11.3.3 Le beyond the end",
            RECORDS,
            "00B2010406",
            "01010101016282",
        ),
        "01010101019000",
    ),
    row("11.3.3 no such record", RECORDS, "00B2050400", "6A83"),
    row("11.3.3 no current record", RECORDS, "00B2000400", "6A83"),
    row("11.3.3 reserved number", RECORDS, "00B2FF0400", "6A86"),
    row("11.3.3 by identifier", RECORDS, "00B2010000", "6A86"),
    row("11.3.3 all records from", RECORDS, "00B2010500", "6A86"),
    row("11.3.3 reserved short identifier", RECORDS, "00B201FC00", "6A86"),
    row(
        "11.3.3 short identifier",
        &[PKCS15],
        "00B2011400",
        "01010101019000",
    ),
    differs(row("11.3.3 no Le", RECORDS, "00B20104", "6700"), "01010101019000"),
    row("11.3.3 a transparent file", LARGE, "00B2010400", "6981"),
    row("11.3.3 no current EF", &[], "00B2010400", "6986"),
    // VERIFY.
    row("11.5.6 tries left", &[], "00200081", "63C3"),
    row("11.5.6 right", &[], "002000810431323334", "9000"),
    row("11.5.6 wrong", &[], WRONG_PIN, "63C2"),
    row("11.5.6 blocked", &[WRONG_PIN, WRONG_PIN], WRONG_PIN, "6983"),
    row(
        "11.5.6 right, but blocked",
        &[WRONG_PIN; 3],
        "002000810431323334",
        "6983",
    ),
    row("11.5.6 tries left, blocked", &[WRONG_PIN; 3], "00200081", "6983"),
    row("11.5.6 tries left, verified", SECRET_OPEN, "00200081", "9000"),
    row(
        "11.5.6 a right PIN resets the counter",
        &[WRONG_PIN, "002000810431323334"],
        WRONG_PIN,
        "63C2",
    ),
    row("11.5.6 no such PIN", &[], "002000820431323334", "6A88"),
    row("11.5.6 reserved bits of P2", &[], "002000E10431323334", "6A86"),
    row("11.5.6 reserved P1", &[], "002001810431323334", "6A86"),
    row(
        "11.5.6 17 bytes",
        &[],
        "00200081113131313131313131313131313131313131",
        "6700",
    ),
    row(
        "11.5.6 17 bytes cost no try",
        &["00200081113131313131313131313131313131313131"],
        "00200081",
        "63C3",
    ),
    differs(row("11.5.6 with Le", &[], "00200081043132333400", "6700"), "9000"),
    // CHANGE REFERENCE DATA.
    row(
        "11.5.7",
        &["00240081083132333435363738"],
        "002000810435363738",
        "9000",
    ),
    row("11.5.7 wrong", &[], "00240081083030303035363738", "63C2"),
    row("11.5.7 new PIN alone", &[], "002401810435363738", "6A86"),
    row("11.5.7 no new PIN", &[], "002400810431323334", "6700"),
    row("11.5.7 no data", &[], "00240081", "6700"),
    differs(
        row("11.5.7 with Le", &[], "0024008108313233343536373800", "6700"),
        "9000",
    ),
    row("11.5.7 no such PIN", &[], "00240002083132333435363738", "6A88"),
    row(
        "11.5.7 blocked",
        &[WRONG_PIN; 3],
        "00240081083132333435363738",
        "6983",
    ),
    // The applet, and the echo.
    row("applet", &[HELLO], "0000000000", "48656C6C6F20776F726C64219000"),
    row(
        "applet without Le",
        &[HELLO],
        "00000000",
        "48656C6C6F20776F726C64219000",
    ),
    row(
        "applet, Le as long as the text",
        &[HELLO],
        "000000000C",
        "48656C6C6F20776F726C64219000",
    ),
    differs(
        row("applet, short Le", &[HELLO], "0000000005", "6C0C"),
        "48656C6C6F20776F726C64219000",
    ),
    row("applet, P1-P2", &[HELLO], "0000000100", "6A86"),
    row("applet not selected", &[], "0000000000", "6D00"),
    row(
        "applet no longer selected",
        &[HELLO, SERIAL],
        "0000000000",
        "6D00",
    ),
    row(
        "applet still selected after a failed SELECT",
        &[HELLO, "00A4000C02FFFE"],
        "000000000C",
        "48656C6C6F20776F726C64219000",
    ),
    row(
        "applet, reserved bits of P2",
        &[],
        "00A404F00AA00000006203010C0601",
        "6A86",
    ),
    row("echo", &[], "80EC000002ABCD00", "ABCD9000"),
    row("pattern", &[], "80EE000404", "000102039000"),
];

fn bytes(digits: &str) -> Vec<u8> {
    assert!(digits.len() % 2 == 0, "{digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn reader(protocol: Protocol) -> Reader<SimTransport> {
    let offer = match protocol {
        Protocol::T0 => Offer::T0,
        Protocol::T1 => Offer::T1,
    };
    let device = SimDevice::named("gempc-express").unwrap();
    let interface = interfaces(&Model::configuration_descriptor(&[device.model()], 0)).remove(0);
    let handle = SimHandle::new(device);
    handle.insert(
        0,
        SimCard::good(Profile::new(&[offer]), Box::new(Several::demo())),
    );
    let options = ReaderOptions::default();
    let mut reader = Reader::open(
        handle.transport(),
        Identity::default(),
        &interface.unwrap(),
        options,
    )
    .unwrap();
    reader.power_on(0, Reset::Cold).unwrap();
    reader.set_protocol(0, protocol).unwrap();
    reader
}

fn transmit(reader: &mut Reader<SimTransport>, command: &[u8]) -> Result<Vec<u8>, String> {
    let mut response = [0; 300];
    let length = reader
        .transmit(0, command, &mut response)
        .map_err(|error| error.to_string())?;
    Ok(response[..length].to_vec())
}

/// The answer to a host that acts on '61XX' and '6CXX' (clause 5.6), which the driver leaves to it.
fn exchange(reader: &mut Reader<SimTransport>, command: &[u8]) -> Result<Vec<u8>, String> {
    let answer = transmit(reader, command)?;
    match answer[..] {
        [0x61, left] => transmit(reader, &[0x00, 0xC0, 0x00, 0x00, left]),
        [0x6C, length] => {
            let mut again = command.to_vec();
            again.truncate(4);
            again.push(length);
            transmit(reader, &again)
        }
        _ => Ok(answer),
    }
}

fn answer(row: &Row, protocol: Protocol) -> String {
    let mut reader = reader(protocol);
    for command in row.before {
        if let Err(error) = exchange(&mut reader, &bytes(command)) {
            return error;
        }
    }
    let command = bytes(row.command);
    let answer = match protocol {
        Protocol::T0 => exchange(&mut reader, &command),
        Protocol::T1 => transmit(&mut reader, &command),
    };
    answer.map_or_else(|error| error, |answer| digits(&answer))
}

#[test]
fn each_command_is_answered_as_its_clause_says() {
    let mut wrong = Vec::new();
    for row in ROWS {
        for (protocol, expected) in [
            (Protocol::T1, row.answer),
            (Protocol::T0, row.over_t0.unwrap_or(row.answer)),
        ] {
            let answer = answer(row, protocol);
            if answer != expected {
                let Row { clause, command, .. } = row;
                wrong.push(format!(
                    "{clause}: {command} over {protocol:?} gives {answer}, not {expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
