//! What a transmit costs: transfers and allocations, counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use pcsc_ccid::descriptor::{Features, Interface};
use pcsc_ccid::reader::{DeviceInfo, Protocol, Reader, ReaderOptions, Reset};
use pcsc_ccid::transport::{Transport, TransportError};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all work is the system allocator's; the count is a thread's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A reader with a card that answers every command, block or APDU with 9000.
struct Instant {
    reply: [u8; 64],
    length: usize,
    transfers: (u64, u64),
}

impl Transport for Instant {
    fn send(&mut self, message: &[u8], _: Duration) -> Result<(), TransportError> {
        self.transfers.0 += 1;
        let (kind, data): (u8, &[u8]) = match message[0] {
            0x62 => (0x80, &[0x3B, 0x80, 0x01, 0x81]),
            // T=1: the same N(S) as the command's, or the answer to S(IFS request).
            0x6F if self.is_block(message) && message[11] == 0xC1 => (0x80, &[0, 0xE1, 1, 0xFE, 0x1E]),
            0x6F if self.is_block(message) && message[11] == 0x40 => (0x80, &[0, 0x40, 2, 0x90, 0, 0xD2]),
            0x6F if self.is_block(message) => (0x80, &[0, 0, 2, 0x90, 0, 0x92]),
            0x6F => (0x80, &[0x90, 0]),
            0x61 => (0x82, &[0x11, 0x10, 0, 0x4D, 0, 0xFE, 0]),
            _ => (0x81, &[]),
        };
        self.reply[..10].copy_from_slice(&[kind, data.len() as u8, 0, 0, 0, 0, message[6], 0, 0, 0]);
        self.reply[10..10 + data.len()].copy_from_slice(data);
        self.length = 10 + data.len();
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _: Duration) -> Result<usize, TransportError> {
        self.transfers.1 += 1;
        buffer[..self.length].copy_from_slice(&self.reply[..self.length]);
        Ok(self.length)
    }

    fn control_out(&mut self, _: u8, _: u16, _: &[u8], _: Duration) -> Result<(), TransportError> {
        Err(TransportError::Stall)
    }

    fn control_in(&mut self, _: u8, _: u16, _: &mut [u8], _: Duration) -> Result<usize, TransportError> {
        Err(TransportError::Stall)
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        Ok(())
    }

    fn pause(&mut self, _: Duration) -> Result<(), TransportError> {
        Ok(())
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl Instant {
    /// Blocks begin with NAD 0, and the commands of this test with A0.
    fn is_block(&self, message: &[u8]) -> bool {
        message[10] == 0
    }
}

fn ready(level: u32) -> Reader<Instant> {
    let mut interface = Interface::default();
    interface.class = 0x0B;
    (interface.bulk_out, interface.bulk_in) = (Some(1), Some(0x81));
    let descriptor = &mut interface.descriptor;
    descriptor.protocols = 3;
    (descriptor.default_clock_khz, descriptor.max_clock_khz) = (4000, 4000);
    (descriptor.data_rate_bps, descriptor.max_data_rate_bps) = (10_752, 10_752);
    descriptor.max_ifsd = 254;
    descriptor.features = Features(level | 0xBA);
    descriptor.max_message_length = 271;
    let transport = Instant {
        reply: [0; 64],
        length: 0,
        transfers: (0, 0),
    };
    let mut reader = Reader::open(
        transport,
        DeviceInfo::default(),
        &interface,
        ReaderOptions::default(),
    )
    .unwrap();
    reader.power_on(0, Reset::Cold).unwrap();
    reader.set_protocol(0, Protocol::T1).unwrap();
    reader
}

#[test]
fn a_transmit_allocates_nothing_and_takes_one_transfer_each_way() {
    const ROUNDS: u64 = 1000;
    for level in [0x1_0000, 0x2_0000, 0x4_0000] {
        let mut reader = ready(level);
        let mut response = [0; 258];
        let apdu = [0xA0, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00];
        assert_eq!(reader.transmit(0, &apdu, &mut response), Ok(2));
        let before = (ALLOCATIONS.with(Cell::get), reader.transport().transfers);
        for _ in 0..ROUNDS {
            assert_eq!(reader.transmit(0, &apdu, &mut response), Ok(2));
        }
        let after = (ALLOCATIONS.with(Cell::get), reader.transport().transfers);
        assert_eq!(after.0 - before.0, 0, "level {level:X}: allocations");
        assert_eq!(after.1 .0 - before.1 .0, ROUNDS, "level {level:X}: bulk OUT");
        assert_eq!(after.1 .1 - before.1 .1, ROUNDS, "level {level:X}: bulk IN");
    }
}
