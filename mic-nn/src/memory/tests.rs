use super::*;

#[cfg(all(target_os = "linux", not(miri)))]
mod pool_tests {
    use super::super::pages::HUGE;
    use super::super::pool::{Class, Pool};
    use super::*;
    use std::sync::Arc;

    fn class(size: usize) -> Class {
        Class::of(Layout::from_size_align(size, 4).unwrap()).unwrap()
    }

    #[test]
    fn classes_hold_their_sizes_with_little_waste() {
        let none = |size, align| Class::of(Layout::from_size_align(size, align).unwrap()).is_none();
        assert!(none(0, 1) && none((64 << 10) - 1, 1) && none(1 << 20, 8192) && none(1 << 50, 1));
        let mut size = 64usize << 10;
        while size < 1 << 40 {
            for size in [size - size / 1000, size, size + 1, size + size / 3] {
                if size >= 64 << 10 {
                    let bytes = class(size).bytes();
                    assert!(bytes >= size && bytes - size < size / 8, "{size}: {bytes}");
                    assert_eq!(class(bytes), class(size));
                    assert!(bytes.is_multiple_of(4096));
                    assert!(bytes < 512 << 10 || bytes.is_multiple_of(64 << 10));
                }
            }
            size += size / 16;
        }
    }

    #[test]
    fn freed_blocks_come_back_and_fresh_ones_are_zero() {
        let pool = Pool::new(0, 0);
        for size in [100 << 10, 1 << 20, 5 << 20] {
            let class = class(size);
            let first = pool.allocate(class);
            assert!(first.zeroed && (size < HUGE || (first.start as usize).is_multiple_of(HUGE)));
            // SAFETY: a block of this size in this test's hands.
            let bytes = unsafe { std::slice::from_raw_parts_mut(first.start, size) };
            assert!(bytes.iter().all(|&b| b == 0));
            bytes.fill(7);
            // SAFETY: `bytes` is not used again.
            unsafe { pool.free(first.start, class) };
            let again = pool.allocate(class);
            assert!(again.start == first.start && !again.zeroed);
            // SAFETY: the block is not used again.
            unsafe { pool.free(again.start, class) };
        }
        assert_eq!(pool.usage().mapped, 3);
        pool.release_kept();
        let usage = pool.usage();
        assert_eq!((usage.kept, usage.in_use), (0, 0));
    }

    #[test]
    fn what_is_kept_does_not_raise_the_peak() {
        let pool = Pool::new(0, 0);
        let (small, large) = (class(1 << 20), class(8 << 20));
        let total = || {
            let usage = pool.usage();
            assert!(usage.in_use + usage.kept <= usage.peak);
            usage
        };
        let blocks: Vec<_> = (0..8)
            .map(|_| pool.allocate(small).start as usize)
            .collect();
        for &block in &blocks {
            // SAFETY: allocated above, freed once.
            unsafe { pool.free(block as *mut u8, small) };
        }
        assert_eq!(total().kept, 8 << 20);
        // The larger block takes the place of the eight.
        let block = pool.allocate(large).start;
        assert_eq!((total().kept, total().in_use), (0, 8 << 20));
        // SAFETY: allocated above, freed once.
        unsafe { pool.free(block, large) };
        // The smaller one is cut from the larger one, which costs no mapping.
        let mapped = total().mapped;
        let block = pool.allocate(small).start;
        assert_eq!((total().kept, total().in_use), (0, 1 << 20));
        assert_eq!(total().mapped, mapped);
        // There is room for this one under the peak.
        let other = pool.allocate(class(3 << 20)).start;
        assert_eq!(total().peak, 8 << 20);
        pool.reset_peak();
        assert_eq!(pool.usage().peak, 4 << 20);
        // SAFETY: allocated above, freed once.
        unsafe {
            assert!(pool.shrink(other, class(3 << 20), class(2 << 20)));
            other.write_bytes(1, 2 << 20);
            pool.free(other, class(2 << 20));
            pool.free(block, small);
        }
        pool.release_kept();
    }

    /// Numbers that look random.
    fn next(state: &mut u64) -> usize {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (*state >> 33) as usize
    }

    #[test]
    fn threads_never_share_a_block() {
        let pool = Arc::new(Pool::new(0, 0));
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let pool = Arc::clone(&pool);
                std::thread::spawn(move || {
                    let mut random = thread + 1;
                    let mut held: Vec<(usize, usize, u64)> = Vec::new();
                    for round in 0..3000u64 {
                        let size = (64 << 10) << (next(&mut random) % 6);
                        let size = size + next(&mut random) % size;
                        let start = pool.allocate(class(size)).start.cast::<u64>();
                        let mark = thread << 32 | round;
                        // The first, a middle and the last word of the block.
                        for place in [0, size / 16, size / 8 - 1] {
                            // SAFETY: inside a block that this thread holds.
                            unsafe { start.add(place).write(mark) };
                        }
                        held.push((start as usize, size, mark));
                        if held.len() > 12 {
                            let (start, size, mark) =
                                held.swap_remove(next(&mut random) % held.len());
                            let start = start as *mut u64;
                            for place in [0, size / 16, size / 8 - 1] {
                                // SAFETY: as above.
                                assert_eq!(unsafe { start.add(place).read() }, mark);
                            }
                            // SAFETY: allocated above, freed once.
                            unsafe { pool.free(start.cast(), class(size)) };
                        }
                    }
                    for (start, size, _) in held {
                        // SAFETY: allocated above, freed once.
                        unsafe { pool.free(start as *mut u8, class(size)) };
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let usage = pool.usage();
        assert_eq!(usage.in_use, 0);
        assert!(usage.kept <= usage.peak && usage.kept > 0);
        pool.release_kept();
    }

    #[test]
    fn memory_that_does_not_exist_is_refused() {
        let pool = Pool::new(0, 0);
        assert!(pool.allocate(class(1 << 45)).start.is_null());
        assert_eq!(pool.usage().in_use, 0);
    }
}

/// These tests run on the allocator, as all of the crate's do.
#[test]
fn vectors_grow_shrink_and_start_at_zero() {
    for round in 0..3u8 {
        let mut grown = Vec::new();
        for i in 0..3_000_000u32 {
            grown.push(i);
        }
        grown.truncate(200_000);
        grown.shrink_to_fit();
        assert!(grown.iter().enumerate().all(|(i, &v)| i as u32 == v));
        grown.truncate(1000);
        grown.shrink_to_fit();
        assert!(grown.iter().enumerate().all(|(i, &v)| i as u32 == v));
        let mut zeros = vec![0u8; 5 << 20];
        assert!(zeros.iter().all(|&z| z == 0));
        zeros.fill(round + 1);
    }
    assert_eq!(cfg!(all(target_os = "linux", not(miri))), peak() >= 5 << 20);
}
