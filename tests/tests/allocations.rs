//! A transmit allocates nothing after the first.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pcsc_client::{Context, Protocols, ShareMode};
use pcsc_tests::{atr, Pcscd};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator; the counter is a plain thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_transmit_allocates_nothing() {
    let pcscd = Pcscd::start(1);
    pcscd.reader(0).insert(atr::T1);
    let context = Context::builder()
        .socket_path(pcscd.socket())
        .establish()
        .unwrap();
    let reader = context.list_readers_owned().unwrap().remove(0);
    let card = context
        .connect(&reader, ShareMode::Shared, Protocols::ANY)
        .unwrap();
    let mut response = vec![0; 70_000];
    let long = [&[0x80, 0xEC, 0, 0, 0, 0x80, 0][..], &vec![7; 0x8000], &[0, 0]].concat();
    for command in [&b"\x00\x00\x00\x00"[..], &long, b"\x80\xE2\x02\x00"] {
        card.transmit(command, &mut response).unwrap();
        let before = COUNT.get();
        for _ in 0..100 {
            card.transmit(command, &mut response).unwrap();
        }
        assert_eq!(COUNT.get() - before, 0, "{} bytes", command.len());
    }
    let before = COUNT.get();
    drop(context.list_readers_owned().unwrap());
    assert!(COUNT.get() > before, "the counter counts");
}
