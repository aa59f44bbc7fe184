//! The `mic-det` program; all of it is in [`mic_det::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mic_nn::memory::TensorAllocator = mic_nn::memory::TensorAllocator;

fn main() -> ExitCode {
    // SAFETY: nothing has run before this line, so there is one thread.
    unsafe { mic_nn::threads::stop_candle_spinning() };
    mic_det::cli::main()
}
