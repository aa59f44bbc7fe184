//! Watching a run.

use crate::record::{Event, Histogram, Picture};

/// Is told what happens in a run. Watching must not stop a run: what cannot be shown or written is
/// kept and reported at the end.
pub trait Watch: Send {
    /// An event, right after it happened.
    fn event(&mut self, event: &Event);
    /// Pictures made after `done` steps.
    fn pictures(&mut self, _done: u64, _pictures: &[Picture]) {}
    /// Histograms made after `done` steps.
    fn histograms(&mut self, _done: u64, _histograms: &[Histogram]) {}
    /// A checkpoint is about to be written: what it follows must be on the disk before it is, so
    /// that a run killed right after it has all records up to it.
    fn flush(&mut self) {}
    /// The run has ended, well or not; the first thing that could not be shown or written.
    ///
    /// # Errors
    /// That first thing.
    fn finish(&mut self) -> crate::Result<()> {
        Ok(())
    }
}

/// Watches nothing.
impl Watch for () {
    fn event(&mut self, _event: &Event) {}
}
