//! Which step to make next, and what may wait to be handed out.

use std::collections::{BTreeMap, BTreeSet};

use crate::Result;

/// The books of a loader. Steps are handed out in order; those after the next one are made ahead
/// as long as both limits allow it.
pub(super) struct Queue<T> {
    /// The most results to be made or waiting beyond the step asked for.
    ahead: u64,
    /// The most bytes of results that wait or are being made.
    memory: u64,
    /// The next step to ask for.
    pub(super) next_asked: u64,
    /// The next step to hand out.
    next_out: u64,
    /// The next step that nobody has taken up.
    next_in: u64,
    /// Steps made too early for the memory limit, to be made again.
    again: BTreeSet<u64>,
    waiting: BTreeMap<u64, (Result<T>, u64)>,
    /// Bytes of what waits.
    held: u64,
    /// Steps being made.
    in_work: u64,
    /// The size of the largest result so far: what a step in work is expected to take.
    largest: Option<u64>,
    /// The most bytes that waited at once.
    pub(super) peak: u64,
    /// Results thrown away because they did not fit.
    pub(super) made_again: u64,
}

impl<T> Queue<T> {
    pub(super) fn new(start: u64, ahead: u64, memory: u64) -> Self {
        Self {
            ahead,
            memory,
            next_asked: start,
            next_out: start,
            next_in: start,
            again: BTreeSet::new(),
            waiting: BTreeMap::new(),
            held: 0,
            in_work: 0,
            largest: None,
            peak: 0,
            made_again: 0,
        }
    }

    /// A step to make now, if there is one that may be made.
    pub(super) fn take_up(&mut self) -> Option<u64> {
        let step = self.next_to_make()?;
        if !self.again.remove(&step) {
            self.next_in += 1;
        }
        self.in_work += 1;
        Some(step)
    }

    fn next_to_make(&self) -> Option<u64> {
        let step = self.again.first().copied().unwrap_or(self.next_in);
        let allowed = step < self.next_asked + self.ahead;
        (allowed && (step == self.next_out || self.has_room())).then_some(step)
    }

    /// How many of all `threads` a step just taken up may use: its own and, if no other step may be
    /// made now, the idle ones.
    pub(super) fn threads_for_one(&self, threads: usize) -> usize {
        match self.next_to_make() {
            Some(_) => 1,
            None => 1 + threads.saturating_sub(self.in_work as usize),
        }
    }

    /// Whether one more result is expected to fit. The first result tells how large they are.
    fn has_room(&self) -> bool {
        match self.largest {
            Some(largest) => {
                let expected = largest.saturating_mul(self.in_work + 1);
                self.held.saturating_add(expected) <= self.memory
            }
            None => self.memory == u64::MAX,
        }
    }

    /// Takes in what was made; results that do not fit are thrown away, the latest steps first,
    /// but never the next one to hand out.
    pub(super) fn put(&mut self, step: u64, result: Result<T>, size: u64) {
        self.in_work -= 1;
        self.largest = self.largest.max(result.is_ok().then_some(size));
        self.waiting.insert(step, (result, size));
        self.held += size;
        while self.held > self.memory {
            let last = self.waiting.last_entry();
            let Some(last) = last.filter(|last| *last.key() != self.next_out) else {
                break;
            };
            let (step, (_, size)) = last.remove_entry();
            self.again.insert(step);
            self.held -= size;
            self.made_again += 1;
        }
        self.peak = self.peak.max(self.held);
    }

    /// The result of `step`, the next to hand out, if it is there.
    pub(super) fn take_out(&mut self, step: u64) -> Option<Result<T>> {
        let (result, size) = self.waiting.remove(&step)?;
        self.held -= size;
        self.next_out = step + 1;
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_result_tells_how_many_fit() {
        let mut queue = Queue::new(5, 10, 100);
        assert_eq!(queue.take_up(), Some(5));
        assert_eq!(queue.take_up(), None, "its size is not known yet");
        queue.put(5, Ok(()), 30);
        // 30 wait, so two more of 30 fit.
        assert_eq!((queue.take_up(), queue.take_up()), (Some(6), Some(7)));
        assert_eq!(queue.take_up(), None);
        assert!(queue.take_out(5).is_some());
        assert_eq!(queue.take_up(), Some(8));
        assert_eq!(queue.take_up(), None);
    }

    #[test]
    fn what_turns_out_too_large_is_made_again_later() {
        let mut queue = Queue::new(0, 10, 100);
        assert_eq!(queue.take_up(), Some(0));
        queue.put(0, Ok('a'), 10);
        assert_eq!((queue.take_up(), queue.take_up()), (Some(1), Some(2)));
        queue.put(2, Ok('c'), 95);
        assert_eq!((queue.held, queue.made_again), (10, 1));
        // Steps may be as large from now on, so nothing is taken up before step 0 is out.
        queue.put(1, Ok('b'), 80);
        assert_eq!((queue.held, queue.take_up()), (90, None));
        assert_eq!(queue.take_out(0).and_then(Result::ok), Some('a'));
        assert_eq!(queue.take_up(), None);
        assert_eq!(queue.take_out(1).and_then(Result::ok), Some('b'));
        assert_eq!((queue.take_up(), queue.peak), (Some(2), 90));
    }

    #[test]
    fn the_next_step_is_made_and_kept_whatever_its_size() {
        let mut queue = Queue::new(0, 10, 5);
        for step in 0..3 {
            assert_eq!(queue.take_up(), Some(step));
            queue.put(step, Ok(()), 50);
            assert_eq!(queue.take_up(), None);
            assert!(queue.take_out(step).is_some());
        }
        assert_eq!((queue.peak, queue.made_again), (50, 0));
    }
}
