//! Work over indices on several threads, with results in the order of the indices.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// `[f(0), ..., f(len - 1)]`, computed by `threads` threads (0 and 1: the calling thread). The
/// error is that of the smallest failing index tried, and work stops early after an error.
pub(crate) fn map_indices<T: Send>(
    len: usize,
    threads: usize,
    f: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    if threads <= 1 {
        return (0..len).map(f).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(len));
    let work = || {
        let mut mine = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= len {
                break;
            }
            let result = catching(|| f(index));
            if result.is_err() {
                // Indices are handed out in order, so every smaller one is done or in work.
                next.store(len, Ordering::Relaxed);
            }
            mine.push((index, result));
        }
        lock(&done).append(&mut mine);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.min(len) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Runs `f`; a panic becomes an error.
pub(crate) fn catching<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Error::Invalid(format!("a data worker panicked: {text}")))
    })
}

/// Locks; nothing in this crate panics while holding a lock, so poison cannot mean broken data.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_indices() {
        for threads in [0, 1, 2, 5] {
            let squares = map_indices(100, threads, |i| Ok(i * i)).unwrap();
            assert!(squares.iter().enumerate().all(|(i, s)| *s == i * i));
            assert_eq!(squares.len(), 100);
        }
    }

    #[test]
    fn the_first_error_and_a_panic_are_reported() {
        for threads in [1, 3] {
            let result = map_indices(50, threads, |i| {
                if i % 20 == 7 {
                    return Err(Error::Invalid(format!("index {i}")));
                }
                Ok(i)
            });
            assert_eq!(result.unwrap_err().to_string(), "index 7");
        }
        let result: Result<Vec<()>> = map_indices(4, 2, |_| panic!("boom"));
        assert!(result.unwrap_err().to_string().contains("boom"));
    }
}
