//! Free lists of large blocks.

use std::alloc::Layout;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Usage;
use super::pages::{map, unmap};

/// Size of the smallest blocks, as a power of two: 64 KiB.
const SMALLEST: u32 = 16;
/// Steps between powers of two, as a power of two.
const STEPS: u32 = 3;
/// Sizes up to 2^46 bytes.
const CLASSES: usize = (46 - SMALLEST as usize) << STEPS;
/// The alignment of every mapping.
const PAGE: usize = 4096;
/// From here on, class sizes are multiples of 64 KiB, the largest page of any processor, so that
/// blocks can be cut.
const CUT: usize = 512 << 10;

/// Kept blocks may add this part to the most that was ever in use: sizes peak at different times,
/// and without any slack some blocks would be cut and mapped again in every step.
const SLACK: usize = 8;
/// Or this much, where it is more: in a small process unmapping costs more than it saves, as every
/// processor that runs one of its threads has to be told.
const RESERVE: usize = 64 << 20;

/// The pool of [`super::TensorAllocator`].
pub(super) static GLOBAL: Pool = Pool::new(SLACK, RESERVE);

/// A block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) struct Class(usize);

impl Class {
    /// The smallest class that has room for `layout`; `None` where the system serves it.
    #[inline]
    pub(super) fn of(layout: Layout) -> Option<Self> {
        let size = layout.size();
        if size < 1 << SMALLEST || layout.align() > PAGE {
            return None;
        }
        let power = size.ilog2();
        let step = power - STEPS;
        // The steps above the power of two; all of them together are the next power.
        let above = (size - (1 << power)).div_ceil(1 << step);
        let index = (((power - SMALLEST) as usize) << STEPS) + above;
        (index < CLASSES).then_some(Self(index))
    }

    pub(super) fn bytes(self) -> usize {
        let power = SMALLEST as usize + (self.0 >> STEPS);
        let eighths = (1 << STEPS) + self.0 % (1 << STEPS);
        eighths << (power - STEPS as usize)
    }
}

/// Memory that nobody else has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    /// Null when there is no memory left.
    pub(super) start: *mut u8,
    /// Whether all of it is 0.
    pub(super) zeroed: bool,
}

/// The first bytes of a free block.
struct Free {
    next: *mut Free,
    class: Class,
}

struct State {
    /// For every class a list of free blocks, the one freed last first.
    lists: [*mut Free; CLASSES],
    in_use: usize,
    kept: usize,
    peak: usize,
    /// The most that was ever in use at one time; `in_use + kept` stays below it and [`SLACK`].
    most: usize,
    mapped: u64,
    slack: usize,
    reserve: usize,
}

// SAFETY: the lists own the blocks that they point to, whatever thread looks at them.
unsafe impl Send for State {}

/// Where a block comes from.
enum Source {
    Kept(*mut u8),
    /// A larger block, of which the rest goes back to the kernel.
    Cut(*mut u8, Class),
    /// A new mapping, after this list of blocks has gone back.
    Map(*mut Free),
}

/// Free blocks of all sizes and what is in use.
///
/// The lists run through the free blocks themselves, so that keeping one needs no memory. The lock
/// is held for a few instructions only, never while the kernel works.
pub(super) struct Pool(Mutex<State>);

impl Pool {
    /// A pool that keeps at most what was in use at one time and a `slack`-th of it, or `reserve`
    /// bytes more where that is larger; 0 and 0 for nothing more.
    pub(super) const fn new(slack: usize, reserve: usize) -> Self {
        Self(Mutex::new(State {
            lists: [null_mut(); CLASSES],
            in_use: 0,
            kept: 0,
            peak: 0,
            most: 0,
            mapped: 0,
            slack,
            reserve,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn usage(&self) -> Usage {
        let state = self.lock();
        Usage {
            in_use: state.in_use,
            peak: state.peak,
            kept: state.kept,
            mapped: state.mapped,
        }
    }

    pub(super) fn reset_peak(&self) {
        let mut state = self.lock();
        state.peak = state.in_use;
    }

    pub(super) fn release_kept(&self) {
        let all = self.lock().release(usize::MAX);
        // SAFETY: the list has been taken out of the pool.
        unsafe { unmap_list(all) };
    }

    /// A block of `class`, which is the caller's until it is freed.
    pub(super) fn allocate(&self, class: Class) -> Fresh {
        let bytes = class.bytes();
        let source = self.lock().source(class);
        match source {
            Source::Kept(start) => Fresh {
                start,
                zeroed: false,
            },
            Source::Cut(start, larger) => {
                // SAFETY: the larger block has been taken out of the pool; both sizes are at page
                // boundaries, see `CUT`.
                unsafe { unmap(start.add(bytes), larger.bytes() - bytes) };
                Fresh {
                    start,
                    zeroed: false,
                }
            }
            Source::Map(released) => {
                // SAFETY: the list has been taken out of the pool.
                unsafe { unmap_list(released) };
                let start = map(bytes).or_else(|| {
                    self.release_kept();
                    map(bytes)
                });
                if start.is_none() {
                    self.lock().in_use -= bytes;
                }
                Fresh {
                    start: start.unwrap_or(null_mut()),
                    zeroed: true,
                }
            }
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// `block` came from [`Self::allocate`] with this class (or was cut to it), and nobody uses it.
    pub(super) unsafe fn free(&self, block: *mut u8, class: Class) {
        let mut state = self.lock();
        // SAFETY: the caller's promise.
        unsafe { state.push(block, class) };
        state.in_use -= class.bytes();
    }

    /// Cuts a block in use down to a smaller class, in place, if that can be done.
    ///
    /// # Safety
    /// `block` came from [`Self::allocate`] with class `old`, and nobody uses what is beyond `new`.
    pub(super) unsafe fn shrink(&self, block: *mut u8, old: Class, new: Class) -> bool {
        if new > old || new.bytes() < CUT {
            return false;
        }
        let (kept, whole) = (new.bytes(), old.bytes());
        // SAFETY: the caller's promise; both sizes are at page boundaries, see `CUT`.
        unsafe { unmap(block.add(kept), whole - kept) };
        self.lock().in_use -= whole - kept;
        true
    }
}

impl State {
    /// Finds a block of `class` and counts it as in use.
    fn source(&mut self, class: Class) -> Source {
        let bytes = class.bytes();
        let source = if let Some(block) = self.pop(class) {
            Source::Kept(block)
        } else {
            let most = self.most.max(self.in_use + bytes);
            let part = most.checked_div(self.slack).unwrap_or(0);
            let limit = most + part.max(self.reserve);
            let excess = (self.in_use + self.kept + bytes).saturating_sub(limit);
            match self.larger(class) {
                // A block at hand has its pages already; cut it rather than unmap and map.
                Some((block, larger)) if excess > 0 => Source::Cut(block, larger),
                Some((block, larger)) => {
                    // SAFETY: the block has just been taken from the list of this class.
                    unsafe { self.push(block, larger) };
                    self.map(0)
                }
                None => self.map(excess),
            }
        };
        self.in_use += bytes;
        self.peak = self.peak.max(self.in_use);
        self.most = self.most.max(self.in_use);
        source
    }

    fn map(&mut self, excess: usize) -> Source {
        self.mapped += 1;
        Source::Map(self.release(excess))
    }

    /// The smallest kept block that one of `class` can be cut from, taken out.
    fn larger(&mut self, class: Class) -> Option<(*mut u8, Class)> {
        if class.bytes() < CUT {
            return None;
        }
        (class.0 + 1..CLASSES).find_map(|i| Some((self.pop(Class(i))?, Class(i))))
    }

    /// Takes at least `bytes` of kept blocks out, the largest first, and returns them as a list.
    fn release(&mut self, bytes: usize) -> *mut Free {
        let mut released = null_mut();
        let mut sum = 0;
        for index in (0..CLASSES).rev() {
            let class = Class(index);
            while sum < bytes
                && let Some(block) = self.pop(class)
            {
                sum += class.bytes();
                // SAFETY: the block is free, at least 64 KiB large and aligned to a page.
                unsafe {
                    block.cast::<Free>().write(Free {
                        next: released,
                        class,
                    })
                };
                released = block.cast();
            }
        }
        released
    }

    fn pop(&mut self, class: Class) -> Option<*mut u8> {
        let head = self.lists[class.0];
        if head.is_null() {
            return None;
        }
        // SAFETY: a list holds free blocks whose first bytes `push` has written.
        self.lists[class.0] = unsafe { (*head).next };
        self.kept -= class.bytes();
        Some(head.cast())
    }

    /// # Safety
    /// `block` is a mapping of this class that nobody uses.
    unsafe fn push(&mut self, block: *mut u8, class: Class) {
        let block: *mut Free = block.cast();
        let next = self.lists[class.0];
        // SAFETY: the caller's promise; a block is aligned to a page and larger than this.
        unsafe { block.write(Free { next, class }) };
        self.lists[class.0] = block;
        self.kept += class.bytes();
    }
}

/// # Safety
/// The list is nobody else's.
unsafe fn unmap_list(mut list: *mut Free) {
    while !list.is_null() {
        // SAFETY: `State::release` has written these bytes; they are read before they go.
        unsafe {
            let Free { next, class } = list.read();
            unmap(list.cast(), class.bytes());
            list = next;
        }
    }
}
