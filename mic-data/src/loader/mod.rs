//! Making the results of coming steps ahead of time.

mod queue;
mod size;
mod statistics;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::Result;
use crate::parallel::{catching, lock};

use queue::Queue;
pub use size::MemorySize;
use statistics::Clock;
pub use statistics::LoaderStats;

/// How far an [`OrderedLoader`] works ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Worker threads; 0 makes each result in the calling thread when it is asked for.
    pub threads: usize,
    /// Results beyond the one asked for that may wait or be in work.
    pub ahead: usize,
    /// Bytes of finished results that may wait ([`MemorySize`]). A result larger than that is made
    /// only when it is the next one. What a worker needs while it makes a result comes on top.
    pub memory: u64,
}

impl LoaderConfig {
    /// Two results a thread ahead, in at most 1 GiB.
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            ahead: 2 * threads,
            memory: 1 << 30,
        }
    }
}

/// An endless iterator over `make(start)`, `make(start + 1)`, ... in this order, computed ahead by
/// worker threads. As each step is a function of its number alone, the number of threads changes
/// nothing but the time.
///
/// An error comes out at its step and does not end the iterator; a panic in `make` is an error.
/// Dropping the loader waits for the steps in work, not for those ahead of them.
pub struct OrderedLoader<T> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
    clock: Clock,
}

struct Shared<T> {
    make: Box<Make<T>>,
    threads: usize,
    size: fn(&T) -> u64,
    state: Mutex<State<T>>,
    /// A result came in, or it is time to stop.
    made: Condvar,
    /// There may be a step to make, or it is time to stop.
    free: Condvar,
}

/// The result of a step, made with that many threads.
type Make<T> = dyn Fn(u64, usize) -> Result<T> + Send + Sync;

struct State<T> {
    queue: Queue<T>,
    stop: bool,
}

impl<T: Send + 'static> OrderedLoader<T> {
    /// Starts `threads` workers (0: `make` runs in the calling thread when a result is asked for)
    /// that work up to two results a thread ahead, whatever their size.
    pub fn new(
        start: u64,
        threads: usize,
        make: impl Fn(u64) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let config = LoaderConfig {
            memory: u64::MAX,
            ..LoaderConfig::new(threads)
        };
        Self::start(start, &config, |_| 0, move |step, _| make(step))
    }

    /// Starts workers that keep to the limits of `config`.
    pub fn with_config(
        start: u64,
        config: &LoaderConfig,
        make: impl Fn(u64) -> Result<T> + Send + Sync + 'static,
    ) -> Self
    where
        T: MemorySize,
    {
        Self::start(start, config, T::memory_size, move |step, _| make(step))
    }

    /// As [`OrderedLoader::with_config`], with `make(step, threads)` told how many threads it may
    /// use: 1 as long as the workers have steps to make, and those that would be idle as well where
    /// the limits allow no other step, as before the first result.
    pub fn with_idle_threads(
        start: u64,
        config: &LoaderConfig,
        make: impl Fn(u64, usize) -> Result<T> + Send + Sync + 'static,
    ) -> Self
    where
        T: MemorySize,
    {
        Self::start(start, config, T::memory_size, make)
    }

    fn start(
        start: u64,
        config: &LoaderConfig,
        size: fn(&T) -> u64,
        make: impl Fn(u64, usize) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            queue: Queue::new(start, config.ahead as u64, config.memory),
            stop: false,
        };
        let shared = Arc::new(Shared {
            make: Box::new(make),
            threads: config.threads,
            size,
            state: Mutex::new(state),
            made: Condvar::new(),
            free: Condvar::new(),
        });
        let worker = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work())
        };
        Self {
            workers: (0..config.threads).map(worker).collect(),
            shared,
            clock: Clock::default(),
        }
    }
}

impl<T> OrderedLoader<T> {
    /// How long the caller waited so far, and how much memory results took.
    pub fn stats(&self) -> LoaderStats {
        let state = lock(&self.shared.state);
        LoaderStats {
            peak_memory: state.queue.peak,
            made_again: state.queue.made_again,
            ..self.clock.read()
        }
    }
}

impl<T> Shared<T> {
    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            if state.stop {
                return;
            }
            let Some(step) = state.queue.take_up() else {
                let woken = self.free.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let threads = state.queue.threads_for_one(self.threads);
            drop(state);
            let result = catching(|| (self.make)(step, threads));
            let size = result.as_ref().map_or(0, self.size);
            state = lock(&self.state);
            state.queue.put(step, result, size);
            self.made.notify_all();
            // The result may have told how large results are.
            self.free.notify_all();
        }
    }

    /// Waits for the next result of the workers.
    fn wait(&self) -> Result<T> {
        let mut state = lock(&self.state);
        let step = state.queue.next_asked;
        state.queue.next_asked += 1;
        self.free.notify_all();
        loop {
            if let Some(result) = state.queue.take_out(step) {
                self.free.notify_all();
                return result;
            }
            let woken = self.made.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes the next result in this thread.
    fn make_now(&self) -> Result<T> {
        let mut state = lock(&self.state);
        let step = state.queue.next_asked;
        state.queue.next_asked += 1;
        drop(state);
        catching(|| (self.make)(step, 1))
    }
}

impl<T> Iterator for OrderedLoader<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let asked = Instant::now();
        let result = match self.workers[..] {
            [] => self.shared.make_now(),
            _ => self.shared.wait(),
        };
        self.clock.handed_out(asked);
        Some(result)
    }
}

impl<T> Drop for OrderedLoader<T> {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.free.notify_all();
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

    #[derive(Debug)]
    struct Block(u64);

    impl MemorySize for Block {
        fn memory_size(&self) -> u64 {
            // From 1 to 9 bytes.
            1 + self.0 * 7919 % 9
        }
    }

    #[test]
    fn memory_stays_within_its_limit_with_a_slow_consumer() {
        for threads in [1, 2, 8] {
            let config = LoaderConfig {
                threads,
                ahead: 1000,
                memory: 40,
            };
            let mut loader = OrderedLoader::with_config(3, &config, |step| Ok(Block(step)));
            for step in 3..203 {
                if step % 20 == 0 {
                    std::thread::sleep(Duration::from_millis(3));
                }
                assert_eq!(loader.next().unwrap().unwrap().0, step);
            }
            let stats = loader.stats();
            assert!((20..=40).contains(&stats.peak_memory), "{stats:?}");
            assert_eq!(stats.handed_out, 200);
        }
    }

    #[test]
    fn idle_workers_help_with_the_only_step() {
        // Nothing is known of the sizes before the first result, and one result fills the memory.
        let config = LoaderConfig {
            threads: 4,
            ahead: 8,
            memory: 9,
        };
        let make = |step, threads| {
            assert!((1..=4).contains(&threads));
            Ok(Block(step * 9 + threads as u64))
        };
        let mut loader = OrderedLoader::with_idle_threads(0, &config, make);
        assert_eq!(loader.next().unwrap().unwrap().0, 4);
        let unlimited = LoaderConfig {
            memory: u64::MAX,
            ..config
        };
        let make = |_, threads| Ok(Block(threads as u64));
        let mut loader = OrderedLoader::with_idle_threads(0, &unlimited, make);
        assert_eq!(loader.next().unwrap().unwrap().0, 1);
    }

    #[test]
    fn waiting_is_told_from_working() {
        let slow = |step| {
            std::thread::sleep(Duration::from_millis(4));
            Ok(step)
        };
        let mut loader = OrderedLoader::new(0, 1, slow);
        for _ in 0..10 {
            loader.next();
        }
        let bound = loader.stats();
        let mut at_ease = OrderedLoader::new(0, 1, slow);
        for _ in 0..10 {
            at_ease.next();
            std::thread::sleep(Duration::from_millis(12));
        }
        let at_ease = at_ease.stats();
        assert!(bound.first_wait >= Duration::from_millis(4));
        assert!(bound.waiting_share() > 0.7, "{bound:?}");
        assert!(at_ease.waiting_share() < 0.3, "{at_ease:?}");
    }
}
