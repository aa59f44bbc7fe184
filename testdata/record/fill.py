"""Weights that both languages compute from tensor names; see `mic_nn::init::from_name`.

Run as a script it prints the values that the Rust test expects.
"""

import numpy as np

STEP = np.uint64(0x9E3779B97F4A7C15)


def from_name(name, shape):
    """Float32 values of `shape` for the tensor `name`."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * STEP
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    value = 2.0 * ((z >> np.uint64(11)).astype(np.float64) / 2.0**53) - 1.0
    if len(shape) >= 2:
        value *= np.sqrt(3.0 / max(count / max(shape[0], 1), 1.0))
    elif name.rsplit(".", 1)[-1] in ("weight", "gamma", "running_var"):
        value = 1.0 + 0.1 * value
    else:
        value = 0.0 + 0.1 * value
    return value.astype(np.float32).reshape(shape)


def fill(module, rename=lambda name: name):
    """Fills every floating-point tensor of a torch module; `rename` gives our name of a key."""
    import torch

    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                value = from_name(rename(key), tuple(tensor.shape))
                tensor.copy_(torch.from_numpy(value))


if __name__ == "__main__":
    for name, shape in [("conv1.weight", (2, 3)), ("bn.running_var", (3,))]:
        print(name, [float(np.format_float_positional(v)) for v in from_name(name, shape).ravel()])
