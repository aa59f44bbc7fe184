//! Making the results of coming steps ahead of time.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::Result;
use crate::parallel::{catching, lock};

/// An endless iterator over `make(start)`, `make(start + 1)`, ... in this order, computed ahead by
/// worker threads. As each step is a function of its number alone, the number of threads changes
/// nothing but the time.
///
/// An error comes out at its step and does not end the iterator; a panic in `make` is an error.
/// Dropping the loader waits for the steps in work, not for those ahead of them.
pub struct OrderedLoader<T> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    make: Box<dyn Fn(u64) -> Result<T> + Send + Sync>,
    /// How many steps may be taken up beyond the next one to hand out.
    ahead: u64,
    state: Mutex<State<T>>,
    /// A result came in, or it is time to stop.
    made: Condvar,
    /// A result went out, or it is time to stop.
    taken: Condvar,
}

struct State<T> {
    /// The next step to hand out.
    next_out: u64,
    /// The next step to make.
    next_in: u64,
    results: BTreeMap<u64, Result<T>>,
    stop: bool,
}

impl<T: Send + 'static> OrderedLoader<T> {
    /// Starts `threads` workers (0: `make` runs in the calling thread when a result is asked for)
    /// that work up to two results a thread ahead.
    pub fn new(
        start: u64,
        threads: usize,
        make: impl Fn(u64) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            next_out: start,
            next_in: start,
            results: BTreeMap::new(),
            stop: false,
        };
        let shared = Arc::new(Shared {
            make: Box::new(make),
            ahead: 2 * threads as u64,
            state: Mutex::new(state),
            made: Condvar::new(),
            taken: Condvar::new(),
        });
        let worker = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work())
        };
        let workers = (0..threads).map(worker).collect();
        Self { shared, workers }
    }
}

impl<T> Shared<T> {
    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            if state.stop {
                return;
            }
            if state.next_in >= state.next_out + self.ahead {
                let woken = self.taken.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let step = state.next_in;
            state.next_in += 1;
            drop(state);
            let result = catching(|| (self.make)(step));
            state = lock(&self.state);
            state.results.insert(step, result);
            self.made.notify_all();
        }
    }
}

impl<T> Iterator for OrderedLoader<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let shared = &self.shared;
        let mut state = lock(&shared.state);
        let step = state.next_out;
        state.next_out += 1;
        if self.workers.is_empty() {
            drop(state);
            return Some(catching(|| (shared.make)(step)));
        }
        shared.taken.notify_all();
        loop {
            if let Some(result) = state.results.remove(&step) {
                return Some(result);
            }
            let woken = shared.made.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for OrderedLoader<T> {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.taken.notify_all();
        for worker in self.workers.drain(..) {
            // Panics of `make` are caught, so a worker has nothing to report here.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[test]
    fn every_number_of_threads_gives_the_same_results_in_order() {
        for threads in [0, 1, 2, 5] {
            let loader = OrderedLoader::new(10, threads, |step| {
                // Later steps finish first.
                std::thread::sleep(Duration::from_micros(300 * (7 - step % 7)));
                Ok(step * step)
            });
            let results: Result<Vec<u64>> = loader.take(40).collect();
            assert!(results.unwrap().into_iter().eq((10..50).map(|s| s * s)));
        }
    }

    #[test]
    fn errors_and_panics_come_at_their_step_and_work_goes_on() {
        for threads in [0, 1, 2, 5] {
            let mut loader = OrderedLoader::new(0, threads, |step| match step {
                3 => Err(Error::Invalid("bad file".to_owned())),
                5 => panic!("bad code"),
                _ => Ok(step),
            });
            for step in 0..8 {
                match (step, loader.next().unwrap()) {
                    (3, result) => assert_eq!(result.unwrap_err().to_string(), "bad file"),
                    (5, result) => {
                        assert!(result.unwrap_err().to_string().contains("bad code"));
                    }
                    (_, result) => assert_eq!(result.unwrap(), step),
                }
            }
        }
    }

    #[test]
    fn workers_stay_within_their_lead_and_stop_when_dropped() {
        let made = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&made);
        let mut loader = OrderedLoader::new(0, 2, move |step| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(step)
        });
        loader.next().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        drop(loader);
        // One handed out and four ahead of it.
        assert_eq!(made.load(Ordering::SeqCst), 5);
        assert_eq!(Arc::strong_count(&made), 1);
    }
}
