//! The commands that are sent to a card over every path.

use crate::path::Path;
use crate::{fact, hex, Result};

/// The applets of a CAC card's three certificates: the last two bytes differ.
const CERTIFICATES: [u16; 3] = [0x0100, 0x0101, 0x0102];

/// Everything about QEMU's emulated card, a CAC card: its answer to reset, its applets, certificates and
/// keys.
pub fn emulated_card(path: &mut dyn Path) -> Result<()> {
    fact("atr", hex(&path.atr()?));
    ask(
        path,
        "select-nothing",
        &[0x00, 0xA4, 0x04, 0x00, 0x05, 1, 2, 3, 4, 5],
    )?;
    ask(path, "unknown-instruction", &[0x00, 0xFE, 0x00, 0x00])?;
    ask(path, "unknown-class", &[0x4F, 0xA4, 0x00, 0x00, 0x02])?;
    for applet in CERTIFICATES {
        let name = format!("{applet:04x}");
        let [high, low] = applet.to_be_bytes();
        let select = [
            0x00, 0xA4, 0x04, 0x00, 0x07, 0xA0, 0x00, 0x00, 0x00, 0x79, high, low,
        ];
        ask(path, &format!("{name}-select"), &select)?;
        ask(
            path,
            &format!("{name}-properties"),
            &[0x80, 0x56, 0x01, 0x00, 0x00],
        )?;
        // What the buffer holds, in pieces; tags and lengths are one buffer, values the other.
        for (kind, what) in [(1, "tags"), (2, "values")] {
            for piece in 0..16_u16 {
                let [high, low] = (piece * 0x80).to_be_bytes();
                let command = [0x80, 0x52, high, low, 0x02, kind, 0x80];
                let response = ask(path, &format!("{name}-{what}-{piece}"), &command)?;
                if !response.ends_with(&[0x90, 0x00]) {
                    break;
                }
            }
        }
        sign(path, &name)?;
    }
    path.reset()?;
    fact("atr-after-reset", hex(&path.atr()?));
    ask(
        path,
        "select-after-reset",
        &[
            0x00, 0xA4, 0x04, 0x00, 0x07, 0xA0, 0x00, 0x00, 0x00, 0x79, 0x01, 0x00,
        ],
    )?;
    Ok(())
}

/// A private key's operation over 256 bytes, which the card takes in two commands.
fn sign(path: &mut dyn Path, name: &str) -> Result<()> {
    let block: Vec<u8> = (0..=255)
        .map(|byte: u8| if byte == 0 { 0 } else { byte ^ 0x5A })
        .collect();
    let (first, last) = block.split_at(128);
    for (index, (part, more)) in [(first, 0x80), (last, 0x00)].into_iter().enumerate() {
        let mut command = vec![0x80, 0x42, more, 0x00, 0x80];
        command.extend_from_slice(part);
        ask(path, &format!("{name}-sign-{index}"), &command)?;
    }
    Ok(())
}

/// Sends a command, again with the length that the card wants if it names one, and asks for the rest while
/// the card has more (ISO 7816-4, GET RESPONSE): each response is a fact. Gives the whole with the last
/// status word.
fn ask(path: &mut dyn Path, name: &str, command: &[u8]) -> Result<Vec<u8>> {
    let mut response = path.transmit(command)?;
    fact(name, hex(&response));
    if let ([.., 0x6C, length], Some((_, command))) = (response.as_slice(), command.split_last()) {
        response = path.transmit(&[command, &[*length]].concat())?;
        fact(&format!("{name}-again"), hex(&response));
    }
    let mut whole = response.clone();
    for _ in 0..32 {
        let [.., 0x61, more] = response.as_slice() else {
            break;
        };
        response = path.transmit(&[0x00, 0xC0, 0x00, 0x00, *more])?;
        fact(&format!("{name}-rest"), hex(&response));
        whole.truncate(whole.len().saturating_sub(2));
        whole.extend_from_slice(&response);
    }
    Ok(whole)
}
