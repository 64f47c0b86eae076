//! The component's memory: blocks of fixed sizes, each size with a list of its free blocks.
//!
//! A decision lives for microseconds and is made of a few dozen small texts and lists, all freed at its end. So nothing is gained by
//! putting free blocks together again: in place of the standard library's allocator (dlmalloc), this saves 6 kB of code and a seventh
//! of a decision's time. The price: a block that was once used for one size serves that size for ever. The host limits the
//! memory of an instance, and a policy of 1 MiB stays far below that limit.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

/// Sizes are powers of two from 16 octets to 2 GiB.
const SMALLEST: u32 = 4;
const CLASSES: usize = 28;

const PAGE: usize = 1 << 16;

/// The allocator. WebAssembly has one thread here, and nothing in it allocates while it allocates.
pub(crate) struct Blocks(UnsafeCell<State>);

struct State {
    /// The first free block of each size; a free block begins with the address of the next.
    free: [*mut Link; CLASSES],
    /// Memory that was never a block: from here …
    fresh: usize,
    /// … to here.
    end: usize,
}

struct Link {
    next: *mut Link,
}

// SAFETY: the target has no threads, so no two of them share it.
unsafe impl Sync for Blocks {}

impl Blocks {
    pub(crate) const fn new() -> Self {
        Blocks(UnsafeCell::new(State { free: [null_mut(); CLASSES], fresh: 0, end: 0 }))
    }
}

/// Which of the sizes holds this much, aligned to it: a block is aligned to its own size, up to a page.
fn class_of(layout: Layout) -> usize {
    let size = layout.size().max(layout.align()).max(1 << SMALLEST);
    (usize::BITS - (size - 1).leading_zeros() - SMALLEST) as usize
}

// SAFETY: a block is at least as large and as aligned as asked for (`class_of`), belongs to nobody else while it is in use, since it
// is either fresh or was taken from a list of free blocks, and comes back to the list that it was taken from, since the layout is
// the same.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > PAGE {
            return null_mut(); // Blocks are aligned to a page at most.
        }
        let class = class_of(layout);
        // SAFETY: one thread, and no call in here comes back to the allocator.
        let state = unsafe { &mut *self.0.get() };
        let Some(first) = state.free.get_mut(class) else { return null_mut() };
        if first.is_null() {
            return state.carve(class);
        }
        let block = *first;
        // SAFETY: a block in the list holds a link that `dealloc` wrote.
        *first = unsafe { (*block).next };
        block.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        let state = unsafe { &mut *self.0.get() };
        if let Some(first) = state.free.get_mut(class_of(layout)) {
            let link: *mut Link = block.cast();
            // SAFETY: the block is the caller's to give back, and at least 16 octets large and aligned.
            unsafe { link.write(Link { next: *first }) };
            *first = link;
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that is a layout's.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if class_of(wanted) == class_of(layout) {
            return block;
        }
        // SAFETY: `wanted` is a layout of more than no octets, as the caller promises.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            // SAFETY: both are at least this large, and a block in use overlaps no other.
            unsafe {
                core::ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}

impl State {
    /// A block of memory that was none before; null where the host gives no more.
    #[cold]
    fn carve(&mut self, class: usize) -> *mut u8 {
        let size = 1_usize << (class as u32 + SMALLEST);
        let aligned = self.fresh.next_multiple_of(size.min(PAGE));
        if self.end == 0 || size > self.end.saturating_sub(aligned) {
            return self.grow_and_carve(size);
        }
        self.fresh = aligned + size;
        aligned as *mut u8
    }

    fn grow_and_carve(&mut self, size: usize) -> *mut u8 {
        // New pages follow the old ones unless something else grew the memory; what is left of the old ones is given up.
        let pages = size.div_ceil(PAGE);
        let before = core::arch::wasm32::memory_grow::<0>(pages);
        if before == usize::MAX {
            return null_mut();
        }
        let start = before * PAGE;
        self.fresh = start + size;
        self.end = start + pages * PAGE;
        start as *mut u8
    }
}
