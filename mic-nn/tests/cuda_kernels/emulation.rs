//! The emulation itself: it has to find the faults that it is there to find.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::emulator::{Emulator, emulators};
use super::memory::{Argument, Buffer};

fn message(
    emulator: &Emulator,
    kernel: &str,
    block: [usize; 2],
    arguments: &[&dyn Argument],
) -> String {
    let run = || emulator.launch(kernel, [1, 1, 1], block, arguments);
    let Err(panic) = catch_unwind(AssertUnwindSafe(run)) else {
        panic!("the launch should fail")
    };
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn wrong_launches_are_found() {
    let Some(emulator) = emulators().first() else {
        return;
    };
    let (x, y) = (emulator.put(&[1.0; 8]), emulator.room(8));
    let text = message(emulator, "gelu_forward", [32, 1], &[&x, &y]);
    assert!(text.contains("number of arguments"), "{text}");
    let text = message(emulator, "gelu_forward", [32, 1], &[&x, &y, &8i32]);
    assert!(text.contains("argument's size"), "{text}");
    // A result longer than its buffer.
    let text = message(emulator, "gelu_forward", [32, 1], &[&x, &y, &9i64]);
    assert!(text.contains("wrote outside of buffer 1"), "{text}");
    // A reduction over more threads than there are.
    let mean = emulator.room(1);
    let text = message(
        emulator,
        "global_avg_pool_forward",
        [16, 1],
        &[&emulator.put(&[1.0; 40]), &40i32, &mean],
    );
    assert!(text.contains("warp exchange"), "{text}");
    // Neighbours that are read after they were changed.
    let (x, taps) = (
        emulator.put(&[1.0, 2.0, 5.0, 4.0]),
        Buffer::floats(&[0.5, 0.25]),
    );
    let arguments: [&dyn Argument; 6] = [&x, &taps, &1i32, &1i32, &4i32, &x];
    let text = message(emulator, "gaussian_blur_rows", [32, 1], &arguments);
    assert!(text.contains("depends on the order"), "{text}");
}
