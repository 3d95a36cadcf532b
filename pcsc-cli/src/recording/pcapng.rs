//! The APDUs and ATRs of a recording as a capture file, which Wireshark reads.
//!
//! The file has the form of draft-ietf-opsawg-pcapng. Each exchange is a packet of GSMTAP over UDP and IPv4,
//! as SIMtrace sends it: the command with its response. Wireshark does not decode an ATR there; it is a
//! packet for the dissector of ATRs, on an interface of its own. A byte that was hidden is a `*`, and the
//! packet's comment says how many there are, next to what the call was.

use std::collections::HashMap;
use std::io::{self, Write};

use pcsc_sim::masked::Masked;
use serde_json::{Map, Value};

use super::{bytes, names, text, Calls, Line, RecordWriter};

/// Section header, interface description and enhanced packet blocks.
const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// Packets begin with the header of IPv4 or IPv6 (LINKTYPE_RAW).
const RAW_IP: u16 = 101;
/// Packets begin with the name of a dissector of Wireshark (LINKTYPE_WIRESHARK_UPPER_PDU).
const UPPER_PDU: u16 = 252;
/// Options of blocks.
const COMMENT: u16 = 1;
const APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;

/// Where GSMTAP is listened for.
const GSMTAP_PORT: u16 = 4729;
const GSMTAP_SIM: u8 = 4;
/// The interfaces of the file.
const APDUS: u32 = 0;
const ATRS: u32 = 1;

/// Headers of IPv4, UDP and GSMTAP.
const HEADERS: usize = 20 + 8 + 16;
/// The longest payload that IPv4 can carry.
const LONGEST: usize = 65_535 - HEADERS;
/// What stands for a byte that was hidden.
const HIDDEN: u8 = b'*';

/// A capture file.
#[derive(Debug, Default)]
pub struct Pcapng {
    calls: Calls,
    /// The last ATR of each reader.
    atrs: HashMap<String, String>,
}

impl RecordWriter for Pcapng {
    fn begin(&mut self, to: &mut dyn Write) -> io::Result<()> {
        // The byte order, the version, and that the section's length is not known.
        let mut section = Vec::new();
        section.extend(0x1A2B_3C4D_u32.to_le_bytes());
        section.extend([1, 0, 0, 0]);
        section.extend([0xFF; 8]);
        let application = concat!("pcsc ", env!("CARGO_PKG_VERSION"));
        block(to, SECTION, &section, &[(APPLICATION, application)])?;
        for (kind, name) in [(RAW_IP, "APDUs"), (UPPER_PDU, "ATRs")] {
            let mut interface = Vec::new();
            interface.extend(kind.to_le_bytes());
            // Reserved, and no limit of a packet's length.
            interface.extend([0; 6]);
            block(to, INTERFACE, &interface, &[(INTERFACE_NAME, name)])?;
        }
        Ok(())
    }

    fn line(&mut self, line: Option<&Line>, _text: &[u8], to: &mut dyn Write) -> io::Result<()> {
        let Some((line, call)) = line.and_then(|line| Some((line, self.calls.note(line)?))) else {
            return Ok(());
        };
        match call.function {
            "SCardStatus" => self.atr(line, call.results, text(call.results, "reader"), to),
            "SCardGetStatusChange" => {
                let mut watched = call.watched();
                watched.try_for_each(|(known, now)| self.atr(line, now, text(known, "reader"), to))
            }
            "SCardTransmit" => {
                let fields = [(&call.arguments, "command"), (call.results, "response")];
                let exchange: Masked = fields
                    .into_iter()
                    .flat_map(|(fields, name)| bytes(fields, name).unwrap_or_default())
                    .collect();
                let mut comment = format!("process {}, thread {}", line.process, line.thread);
                if let Some(reader) = &call.reader {
                    comment += &format!(", {reader}");
                }
                comment += &format!(", {}", names::result(call.result));
                let hidden = exchange.iter().filter(|byte| byte.is_none()).count();
                if hidden > 0 {
                    comment += &format!("; {hidden} bytes that may be secret are hidden, as *");
                }
                let packet_bytes = gsmtap(&shown(exchange), &mut comment);
                packet(to, APDUS, line.microseconds, &packet_bytes, &comment)
            }
            _ => Ok(()),
        }
    }
}

impl Pcapng {
    /// Writes a reader's ATR, unless it is the one that was there before.
    fn atr(
        &mut self,
        line: &Line,
        fields: &Map<String, Value>,
        reader: Option<&str>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let (Some(reader), Some(atr)) = (reader, text(fields, "atr")) else {
            return Ok(());
        };
        let before = self.atrs.insert(reader.to_owned(), atr.to_owned());
        if atr.is_empty() || before.is_some_and(|before| before == atr) {
            return Ok(());
        }
        let comment = format!("process {}, thread {}, {reader}", line.process, line.thread);
        let bytes = upper_pdu("iso7816.atr", &shown(bytes(fields, "atr").unwrap_or_default()));
        packet(to, ATRS, line.microseconds, &bytes, &comment)
    }
}

/// Bytes, with [`HIDDEN`] for those that were hidden.
fn shown(bytes: Masked) -> Vec<u8> {
    bytes.into_iter().map(|byte| byte.unwrap_or(HIDDEN)).collect()
}

/// A packet of GSMTAP, with its headers. One that is too long for IPv4 is cut, and its comment says so.
fn gsmtap(payload: &[u8], comment: &mut String) -> Vec<u8> {
    let whole = payload.len();
    let payload = &payload[..whole.min(LONGEST)];
    if payload.len() < whole {
        *comment += &format!("; cut, {whole} bytes");
    }
    let length = HEADERS + payload.len();
    let mut ip = Vec::with_capacity(length);
    // Version and header length, service; total length; no fragments; time to live; UDP; no checksum yet.
    ip.extend([0x45, 0]);
    ip.extend((length as u16).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend([127, 0, 0, 1, 127, 0, 0, 1]);
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    // Ports, length, no checksum.
    ip.extend(GSMTAP_PORT.to_be_bytes());
    ip.extend(GSMTAP_PORT.to_be_bytes());
    ip.extend((length as u16 - 20).to_be_bytes());
    ip.extend([0, 0]);
    // GSMTAP 2, whose header has four words; nothing of the radio; an APDU.
    ip.extend([2, 4, GSMTAP_SIM, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    ip.extend(payload);
    ip
}

/// A packet for a dissector of Wireshark: the tag of its name, the name, the end of the tags.
fn upper_pdu(dissector: &str, payload: &[u8]) -> Vec<u8> {
    let mut name = dissector.as_bytes().to_vec();
    pad(&mut name);
    let length = (name.len() as u16).to_be_bytes();
    [&[0, 12][..], &length, &name, &[0; 4], payload].concat()
}

/// Writes a packet with a comment.
fn packet(
    to: &mut dyn Write,
    interface: u32,
    microseconds: u64,
    packet: &[u8],
    comment: &str,
) -> io::Result<()> {
    let length = (packet.len() as u32).to_le_bytes();
    let mut body = Vec::with_capacity(24 + packet.len());
    body.extend(interface.to_le_bytes());
    body.extend(((microseconds >> 32) as u32).to_le_bytes());
    body.extend((microseconds as u32).to_le_bytes());
    // As captured, and as it was.
    body.extend(length);
    body.extend(length);
    body.extend(packet);
    pad(&mut body);
    block(to, PACKET, &body, &[(COMMENT, comment)])
}

/// The checksum of an IPv4 header (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let words = header
        .chunks_exact(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Writes a block: its type, its length, its body, options that are text, and its length again.
fn block(to: &mut dyn Write, kind: u32, body: &[u8], options: &[(u16, &str)]) -> io::Result<()> {
    let mut rest = body.to_vec();
    for (option, text) in options {
        // Options have lengths of 16 bits; no text here is longer.
        let text = &text.as_bytes()[..text.len().min(u16::MAX.into())];
        rest.extend(option.to_le_bytes());
        rest.extend((text.len() as u16).to_le_bytes());
        rest.extend(text);
        pad(&mut rest);
    }
    // The end of the options.
    rest.extend([0; 4]);
    let length = (12 + rest.len() as u32).to_le_bytes();
    to.write_all(&[&kind.to_le_bytes(), &length, &rest[..], &length].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_whole_and_cut_where_ip_has_no_room() {
        for (length, expected) in [(0, 0), (1, 1), (LONGEST, LONGEST), (LONGEST + 1, LONGEST)] {
            let mut file = Vec::new();
            let bytes = gsmtap(&vec![7; length], &mut String::new());
            packet(&mut file, APDUS, 1, &bytes, "").unwrap();
            let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
            assert_eq!(
                (word(0), word(4), word(file.len() - 4)),
                (6, file.len(), file.len())
            );
            assert_eq!((word(20), word(24)), (HEADERS + expected, HEADERS + expected));
            assert_eq!(
                checksum(&file[28..48]),
                0,
                "the header's own checksum makes the sum zero"
            );
            assert_eq!(file.len() % 4, 0);
        }
    }
}
