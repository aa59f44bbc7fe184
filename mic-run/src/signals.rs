//! Stopping a run from outside.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether the run has been asked to stop.
///
/// The first SIGINT (Ctrl-C) or SIGTERM asks; the second ends the process at once, with exit code
/// 128 plus the signal's number.
#[derive(Clone, Debug, Default)]
pub struct StopRequest(Arc<AtomicBool>);

impl StopRequest {
    /// One that the process's signals set.
    ///
    /// # Errors
    /// If the system refuses to install the handlers.
    pub fn on_signals() -> io::Result<Self> {
        let request = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal sets the flag that the second one finds.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&request.0))?;
            flag::register(signal, Arc::clone(&request.0))?;
        }
        Ok(request)
    }

    /// Asks the run to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has been asked.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
