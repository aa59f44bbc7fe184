"""Records sequences of optimiser steps of PyTorch for `mic-nn/tests/optim.rs`.

    python testdata/record/optim.py testdata/recorded/optim/steps.safetensors

Every case starts from `start.<name>` and takes one step for each `<case>.<step>.grad.<name>`, at
the learning-rate factor `<case>.<step>.factor`; `<case>.<step>.after.<name>` are the parameters
afterwards. A parameter without a gradient has no such tensor in that step. Options and groups are
JSON in the file's metadata.
"""

import argparse
import json
import platform

import torch
from safetensors.torch import save_file

SHAPES = {
    "backbone.conv.weight": (3, 2, 2, 2),
    "backbone.norm.weight": (3,),
    "head.conv.weight": (2, 3),
    "head.conv.bias": (2,),
}
# (key, factor on the learning rate, factor on the weight decay). The first match decides; the keys
# have one length and are in alphabetical order, so that mmcv's order is the same.
RULES = [("bias", 2.0, 0.0), ("head", 10.0, 1.0), ("norm", 1.0, 0.0)]
STEPS = 6

CASES = {
    "sgd": dict(type="sgd", lr=0.05, weight_decay=0.0, momentum=0.0, nesterov=False),
    "sgd_decay": dict(type="sgd", lr=0.05, weight_decay=0.01, momentum=0.0, nesterov=False),
    "momentum": dict(type="sgd", lr=0.05, weight_decay=0.01, momentum=0.9, nesterov=False),
    "nesterov": dict(type="sgd", lr=0.05, weight_decay=0.01, momentum=0.9, nesterov=True),
    "nesterov_clip": dict(
        type="sgd", lr=0.05, weight_decay=0.01, momentum=0.9, nesterov=True, clip=1.5
    ),
    "adam": dict(type="adam", lr=0.01, weight_decay=0.0, betas=(0.9, 0.99), eps=1e-8),
    "adamw": dict(type="adamw", lr=0.01, weight_decay=0.05, betas=(0.9, 0.999), eps=1e-8),
    "adamw_clip": dict(
        type="adamw", lr=0.01, weight_decay=0.05, betas=(0.9, 0.999), eps=1e-6, clip=1.5
    ),
}


def group(name, parameter, options):
    for key, lr, decay in RULES:
        if key in name:
            break
    else:
        lr, decay = 1.0, 1.0
    return dict(
        params=[parameter],
        lr=options["lr"] * lr,
        weight_decay=options["weight_decay"] * decay,
    )


def optimiser(groups, options):
    if options["type"] == "sgd":
        chosen = {key: options[key] for key in ("momentum", "nesterov")}
        return torch.optim.SGD(groups, lr=options["lr"], foreach=False, **chosen)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options["type"]]
    return kind(groups, lr=options["lr"], betas=options["betas"], eps=options["eps"], foreach=False)


def record(case, options, start, dtype, out):
    generator = torch.Generator().manual_seed(7)
    parameters = {name: torch.nn.Parameter(value.to(dtype, copy=True)) for name, value in start.items()}
    groups = [group(name, parameter, options) for name, parameter in parameters.items()]
    optimizer = optimiser(groups, options)
    base = [g["lr"] for g in optimizer.param_groups]
    for step in range(STEPS):
        key = f"{case}.{step}"
        factor = 1.0 / (1 + step)
        out[f"{key}.factor"] = torch.tensor(factor, dtype=torch.float64)
        for g, lr in zip(optimizer.param_groups, base):
            g["lr"] = lr * factor
        for i, (name, parameter) in enumerate(parameters.items()):
            value = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            # One parameter gets its first gradient late, and misses one later.
            absent = name == "head.conv.bias" and step in (0, 3)
            parameter.grad = None if absent else value.to(dtype)
            if not absent:
                out[f"{key}.grad.{name}"] = parameter.grad.clone()
        if "clip" in options:
            norm = torch.nn.utils.clip_grad_norm_(parameters.values(), options["clip"], foreach=False)
            out[f"{key}.norm"] = norm.double()
        optimizer.step()
        for name, parameter in parameters.items():
            out[f"{key}.after.{name}"] = parameter.detach().clone()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("output")
    output = arguments.parse_args().output
    torch.manual_seed(0)
    start = {name: torch.randn(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    out = {f"start.{name}": value for name, value in start.items()}
    for case, options in CASES.items():
        # F64 pins the formula down, F32 the rounding.
        record(f"{case}.f64", options, start, torch.float64, out)
        record(f"{case}.f32", options, start, torch.float32, out)
    metadata = {
        "cases": json.dumps(CASES),
        "rules": json.dumps(RULES),
        "steps": str(STEPS),
        "versions": json.dumps({"torch": torch.__version__, "python": platform.python_version()}),
    }
    save_file(out, output, metadata=metadata)


if __name__ == "__main__":
    main()
