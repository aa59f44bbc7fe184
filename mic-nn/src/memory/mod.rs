//! Memory for tensors: an allocator that keeps large blocks for the next step.
//!
//! Training asks for the same blocks in every step. The system's allocator returns large ones to
//! the kernel at once, so that every step pays for mapping and clearing each page again, which for
//! element-wise ops takes longer than the op. [`TensorAllocator`] keeps them.

#[cfg(all(target_os = "linux", not(miri)))]
mod pages;
#[cfg(all(target_os = "linux", not(miri)))]
mod pool;

use std::alloc::{GlobalAlloc, Layout, System};

/// An allocator that keeps freed blocks of 64 KiB and more and hands them out again.
///
/// A program that trains installs it once, in its `main.rs`:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: mic_nn::memory::TensorAllocator = mic_nn::memory::TensorAllocator;
/// # fn main() {}
/// ```
///
/// - Sizes are rounded up to one of eight steps between powers of two, less than 12.5 % above
///   the request. Smaller blocks, and those with an alignment above 4 KiB, are the system's.
/// - Blocks of 2 MiB and more start at a multiple of 2 MiB and ask for huge pages (where
///   `/sys/kernel/mm/transparent_hugepage/enabled` is `madvise` or `always`), which take fewer page
///   faults and fewer address translations. The last part of a block that does not fill a huge
///   page has small ones, so nothing is wasted.
/// - What is kept hardly raises the peak: blocks in use and blocks kept together never exceed the
///   most that has been in use at one time by more than an eighth or 64 MiB. A block that would
///   exceed it is cut from a larger kept one, or kept blocks go back to the kernel first, the
///   largest first.
///
/// On other systems than Linux all of it is the system's allocator.
#[derive(Clone, Copy, Debug, Default)]
pub struct TensorAllocator;

/// What the blocks of [`TensorAllocator`] occupy, in bytes. All 0 where it is not installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blocks in use.
    pub in_use: usize,
    /// The most that was in use at one time since the start or [`reset_peak`].
    pub peak: usize,
    /// Freed blocks that are kept for reuse.
    pub kept: usize,
    /// Blocks taken from the kernel since the start: constant in a loop that reuses all.
    pub mapped: u64,
}

/// What the allocator's blocks occupy now.
pub fn usage() -> Usage {
    #[cfg(all(target_os = "linux", not(miri)))]
    return pool::GLOBAL.usage();
    #[cfg(not(all(target_os = "linux", not(miri))))]
    Usage::default()
}

/// Bytes of blocks in use; see [`Usage::in_use`].
pub fn in_use() -> usize {
    usage().in_use
}

/// The most bytes that were in use at one time; see [`Usage::peak`].
pub fn peak() -> usize {
    usage().peak
}

/// Starts a new measurement of [`peak`] at what is in use now.
pub fn reset_peak() {
    #[cfg(all(target_os = "linux", not(miri)))]
    pool::GLOBAL.reset_peak();
}

/// Gives all kept blocks back to the kernel: after a phase that needed much more memory than what
/// follows.
pub fn release_kept() {
    #[cfg(all(target_os = "linux", not(miri)))]
    pool::GLOBAL.release_kept();
}

#[cfg(not(all(target_os = "linux", not(miri))))]
// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for TensorAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
// SAFETY: a layout alone decides whether a block is the pool's or the system's and how large it
// is, so a block goes back where it came from. The pool's blocks are private mappings of at
// least the layout's size that start at a page boundary, each in one owner's hands at a time.
// Nothing here allocates or panics.
unsafe impl GlobalAlloc for TensorAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match pool::Class::of(layout) {
            Some(class) => pool::GLOBAL.allocate(class).start,
            // SAFETY: the caller keeps the contract.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = pool::Class::of(layout) else {
            // SAFETY: the caller keeps the contract.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let block = pool::GLOBAL.allocate(class);
        if !block.zeroed && !block.start.is_null() {
            // SAFETY: the block has at least this size and nobody else has it.
            unsafe { block.start.write_bytes(0, layout.size()) };
        }
        block.start
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match pool::Class::of(layout) {
            // SAFETY: by the contract the block came from `alloc` with this layout, so it is a
            // mapping of this class, and the caller does not use it any more.
            Some(class) => unsafe { pool::GLOBAL.free(block, class) },
            // SAFETY: the caller keeps the contract.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` rounded up to the alignment is in range.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (pool::Class::of(layout), pool::Class::of(new)) {
            // SAFETY: the caller keeps the contract.
            (None, None) => return unsafe { System.realloc(block, layout, size) },
            (Some(old), Some(new)) if old == new => return block,
            // SAFETY: as in `dealloc`; the cut part is beyond the new size.
            (Some(old), Some(new)) if unsafe { pool::GLOBAL.shrink(block, old, new) } => {
                return block;
            }
            _ => {}
        }
        // SAFETY: two different blocks of at least the copied size; the old one is freed once.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests;
