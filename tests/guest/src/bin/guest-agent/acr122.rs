//! An ACR122U, for which the kernel has a driver of its own, pn533_usb: it binds to the reader as soon as
//! that answers.

use crate::echo::EchoReader;
use pcsc_guest_tests::usbip::{Stall, UsbFunction};
use std::collections::VecDeque;

/// PC_to_RDR_Escape and its answer (CCID 1.1, clauses 6.1.8 and 6.2.4).
const ESCAPE: u8 = 0x6B;
const ESCAPE_ANSWER: u8 = 0x83;

/// Where a command of the PN532 is in the Escape: after the header, and the header of a pseudo-APDU of five
/// bytes.
const COMMAND: usize = 15;

/// GetFirmwareVersion (PN532 user manual, clause 7.2.2).
const GET_FIRMWARE_VERSION: u8 = 0x02;

/// The reader, with the numbers of an ACR122U.
#[derive(Debug)]
pub struct Acr122 {
    reader: EchoReader,
    answers: VecDeque<Vec<u8>>,
}

impl Acr122 {
    pub fn new() -> Self {
        Self {
            reader: EchoReader::with_card(),
            answers: VecDeque::new(),
        }
    }
}

impl UsbFunction for Acr122 {
    fn device_descriptor(&self) -> [u8; 18] {
        let mut descriptor = self.reader.device_descriptor();
        // 072f:2200, and a release that the driver does not refuse.
        descriptor[8..14].copy_from_slice(&[0x2F, 0x07, 0x00, 0x22, 0x14, 0x02]);
        descriptor
    }

    fn configuration(&self) -> Vec<u8> {
        self.reader.configuration()
    }

    fn string(&self, index: u8) -> Option<String> {
        self.reader.string(index)
    }

    fn control(&mut self, setup: [u8; 8], data: &[u8]) -> Result<Vec<u8>, Stall> {
        self.reader.control(setup, data)
    }

    fn bulk_out(&mut self, endpoint: u8, data: &[u8]) -> Result<(), Stall> {
        let command = match data {
            [ESCAPE, ..] => data.get(COMMAND + 1),
            _ => None,
        };
        let Some(&command) = command else {
            return self.reader.bulk_out(endpoint, data);
        };
        // D5 and the command's number plus one begin the answer; the status words of the pseudo-APDU end it.
        let mut answer = vec![0xD5, command.wrapping_add(1)];
        if command == GET_FIRMWARE_VERSION {
            answer.extend([0x32, 0x01, 0x06, 0x07]);
        }
        answer.extend([0x90, 0x00]);
        let mut message = vec![ESCAPE_ANSWER, answer.len() as u8, 0, 0, 0, 0, data[6], 0, 0, 0];
        message.extend(answer);
        self.answers.push_back(message);
        Ok(())
    }

    fn bulk_in(&mut self, endpoint: u8, max: usize) -> Option<Result<Vec<u8>, Stall>> {
        match self.answers.pop_front() {
            Some(answer) => Some(Ok(answer)),
            None => self.reader.bulk_in(endpoint, max),
        }
    }

    fn interrupt_in(&mut self, endpoint: u8) -> Option<Vec<u8>> {
        self.reader.interrupt_in(endpoint)
    }
}
