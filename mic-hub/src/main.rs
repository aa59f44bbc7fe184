//! The `mic-hub` program; all of it is in [`mic_hub::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mic_nn::memory::TensorAllocator = mic_nn::memory::TensorAllocator;

fn main() -> ExitCode {
    mic_hub::cli::main()
}
