//! The allocator. Rust aborts the process if an allocation fails, but C callers expect `SCARD_E_NO_MEMORY`.
//!
//! It also wipes memory before it is freed, since it may have held a PIN.
//!
//! Requests go to malloc. If malloc fails, a small request is served from a reserve, so that the call in
//! progress can finish, and the next calls fail until there is memory again. A large request fails: the calls
//! make these with `try_reserve`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pcsc_client::Error;

use crate::convention::Result;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

static RESERVE: Reserve = Reserve::new();

/// Whether the last request to malloc that is known of has failed.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

/// Returns an error while there is no memory. For calls that need memory; those that free some do not call
/// this.
///
/// # Errors
/// `SCARD_E_NO_MEMORY`.
pub fn require() -> Result {
    /// More than a call allocates at once, except for lists of readers.
    const ENOUGH: usize = 16 << 10;
    if !IS_SHORT.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: malloc and free have no preconditions for these values.
    // Asked again and not remembered: another thread may have freed memory, and no one else would notice.
    let is_there = unsafe {
        let probe = libc::malloc(ENOUGH);
        libc::free(probe);
        !probe.is_null()
    };
    if !is_there {
        return Err(Error::NoMemory.into());
    }
    IS_SHORT.store(false, Ordering::Relaxed);
    Ok(())
}

struct Allocator;

// SAFETY: a block comes from malloc, or is a free one of the reserve that is large enough and aligned. The
// address shows which of the two it is, so that it is freed where it was allocated.
unsafe impl GlobalAlloc for Allocator {
    // Out of line, like `dealloc`: a hundred functions allocate, and no transmit does.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() {
            return spare(layout);
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            return block;
        }
        let block = spare(layout);
        if !block.is_null() {
            // SAFETY: the block has room for the layout.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises, the block has the layout's size.
        unsafe { block.write_bytes(0, layout.size()) };
        // Otherwise the compiler removes a write that nothing reads.
        std::hint::black_box(block);
        if !RESERVE.take_back(block) {
            // SAFETY: as the caller promises, and the block is malloc's.
            unsafe { System.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Not realloc, which leaves a copy of the data behind.
        // SAFETY: as the caller promises, and `size` has the same alignment.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

// Out of line: the code for a request is in each place that makes one.
#[cold]
#[inline(never)]
fn spare(layout: Layout) -> *mut u8 {
    // `Relaxed`: a hint for the next call, which asks malloc itself.
    IS_SHORT.store(true, Ordering::Relaxed);
    RESERVE.take(layout)
}

/// Blocks of one size. Takes no lock, which a forked child could find held.
struct Reserve {
    blocks: UnsafeCell<[Block; Reserve::COUNT]>,
    /// A bit for each block that is taken.
    taken: [AtomicU64; Reserve::COUNT / 64],
}

// The largest alignment that std requests.
#[repr(align(128))]
#[derive(Clone, Copy)]
struct Block(#[expect(dead_code, reason = "used through pointers")] [u8; Block::SIZE]);

impl Block {
    /// Room for what a call allocates at once: paths, error causes, names.
    const SIZE: usize = 1024;
}

// SAFETY: a block belongs to the thread that has set its bit.
unsafe impl Sync for Reserve {}

impl Reserve {
    const COUNT: usize = 256;

    const fn new() -> Reserve {
        Reserve {
            blocks: UnsafeCell::new([Block([0; Block::SIZE]); Reserve::COUNT]),
            taken: [const { AtomicU64::new(0) }; Reserve::COUNT / 64],
        }
    }

    /// A block; null where none is free, or the request is too large.
    #[allow(
        deprecated,
        reason = "`try_update`, its new name, is younger than the oldest Rust supported"
    )]
    fn take(&self, layout: Layout) -> *mut u8 {
        if layout.size() > Block::SIZE || layout.align() > align_of::<Block>() {
            return ptr::null_mut();
        }
        for (index, word) in self.taken.iter().enumerate() {
            let free = |bits: u64| (bits != u64::MAX).then(|| bits | (bits + 1));
            // Acquire, with the release of `take_back`: the thread that gave the block back has wiped it.
            if let Ok(bits) = word.fetch_update(Ordering::Acquire, Ordering::Relaxed, free) {
                let number = index * 64 + bits.trailing_ones() as usize;
                // SAFETY: the number is below COUNT.
                return unsafe { self.blocks.get().cast::<Block>().add(number).cast() };
            }
        }
        ptr::null_mut()
    }

    fn has(&self, block: *mut u8) -> bool {
        let first = self.blocks.get() as usize;
        (first..first + size_of::<[Block; Reserve::COUNT]>()).contains(&(block as usize))
    }

    /// Frees a block; false if it is not one of these.
    fn take_back(&self, block: *mut u8) -> bool {
        if !self.has(block) {
            return false;
        }
        let number = ((block as usize) - (self.blocks.get() as usize)) / Block::SIZE;
        self.taken[number / 64].fetch_and(!(1 << (number % 64)), Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_the_reserve_are_apart_and_come_back() {
        static OWN: Reserve = Reserve::new();
        let layout = Layout::from_size_align(Block::SIZE, 128).unwrap();
        let mut blocks: Vec<*mut u8> = (0..Reserve::COUNT).map(|_| OWN.take(layout)).collect();
        assert!(blocks
            .iter()
            .all(|block| OWN.has(*block) && block.cast::<Block>().is_aligned()));
        blocks.sort_unstable();
        assert!(blocks
            .windows(2)
            .all(|pair| pair[1] as usize - pair[0] as usize == Block::SIZE));
        assert!(OWN.take(layout).is_null());
        assert!(OWN.take_back(blocks[70]));
        assert_eq!(OWN.take(layout), blocks[70]);
        let end = blocks[Reserve::COUNT - 1].wrapping_add(Block::SIZE);
        assert!(!OWN.take_back(end) && !OWN.take_back(ptr::null_mut()));
    }

    #[test]
    fn memory_is_asked_for_until_there_is_some_and_no_longer() {
        IS_SHORT.store(true, Ordering::Relaxed);
        assert!(require().is_ok());
        assert!(!IS_SHORT.load(Ordering::Relaxed));
    }

    #[test]
    fn requests_that_no_block_has_room_for_are_refused() {
        static OWN: Reserve = Reserve::new();
        for (size, alignment) in [(Block::SIZE + 1, 1), (1, 256)] {
            let layout = Layout::from_size_align(size, alignment).unwrap();
            assert!(OWN.take(layout).is_null());
        }
    }

    #[test]
    fn a_block_of_the_reserve_grows_into_one_of_mallocs() {
        let layout = Layout::from_size_align(10, 1).unwrap();
        let block = RESERVE.take(layout);
        // SAFETY: the block has ten bytes, and more after it has grown.
        unsafe {
            block.copy_from_nonoverlapping(b"0123456789".as_ptr(), 10);
            let grown = ALLOCATOR.realloc(block, layout, 5000);
            assert!(!RESERVE.has(grown));
            assert_eq!(std::slice::from_raw_parts(grown, 10), b"0123456789");
            ALLOCATOR.dealloc(grown, Layout::from_size_align(5000, 1).unwrap());
        }
        assert_eq!(RESERVE.take(layout), block);
        assert!(RESERVE.take_back(block));
    }
}
