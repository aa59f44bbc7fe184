//! Memory from the kernel.

/// Size and alignment of a huge page.
pub(super) const HUGE: usize = 2 << 20;

/// A new private mapping of `bytes`, all 0, or `None` when the kernel has no more. From [`HUGE`]
/// on it starts at a multiple of that and asks for huge pages.
pub(super) fn map(bytes: usize) -> Option<*mut u8> {
    if bytes < HUGE {
        return anonymous(bytes);
    }
    let wide = anonymous(bytes.checked_add(HUGE)?)?;
    let before = wide.align_offset(HUGE);
    // SAFETY: `before` is below HUGE, so the block of `bytes` and what surrounds it are parts of
    // the mapping, all at page boundaries, and only the surroundings are unmapped.
    unsafe {
        let start = wide.add(before);
        unmap(wide, before);
        unmap(start.add(bytes), HUGE - before);
        // Without huge pages the block has small ones; nothing is lost if the kernel refuses.
        libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE);
        Some(start)
    }
}

fn anonymous(bytes: usize) -> Option<*mut u8> {
    // SAFETY: a new private mapping at an address of the kernel's choice touches nothing.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    (start != libc::MAP_FAILED).then_some(start.cast())
}

/// Gives `bytes` from `start` back to the kernel.
///
/// # Safety
/// The range is at page boundaries, was mapped by [`map`], and nobody uses it any more.
pub(super) unsafe fn unmap(start: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: the caller's promise. A failure (too many mappings) leaves the pages mapped.
        unsafe { libc::munmap(start.cast(), bytes) };
    }
}
