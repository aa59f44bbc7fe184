"""PyTorch's side of `cargo xtask bench cpu`: reads questions and writes answers, a JSON line each.

{"prepare": case} builds a case's tensors, runs it once and answers with a weighted sum of the
output and a projection of every gradient; {"run": true} answers with the seconds of one forward
and backward pass.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "testdata" / "record"))
from fill import from_name  # noqa: E402


def filled(name, dims):
    return torch.from_numpy(from_name(name, (int(np.prod(dims)),)).reshape(dims).copy())


class Case:
    def __init__(self, case):
        self.case = case
        self.last = case["channels_last"]
        self.inputs = []
        for name, dims in case["tensors"]:
            value = filled(name, dims)
            if self.last and name == "x":
                value = value.permute(0, 3, 1, 2).contiguous()
            self.inputs.append(value.requires_grad_())
        self.ones = torch.ones_like(self.apply())

    def apply(self):
        case, x, rest = self.case, self.inputs[0], self.inputs[1:]
        kind = case["kind"]
        if kind in ("conv2d", "depthwise_tokens"):
            return F.conv2d(x, rest[0], None, case["stride"], case["padding"], 1, case["groups"])
        if kind == "layer_norm":
            return F.layer_norm(x, x.shape[-1:], rest[0], rest[1], 1e-5)
        if kind == "softmax":
            return F.softmax(x, -1)
        if kind == "gelu":
            return F.gelu(x)
        if kind == "batch_norm":
            return F.batch_norm(x, None, None, rest[0], rest[1], True, 0.1, 1e-5)
        if kind == "bilinear":
            return F.interpolate(x, size=case["size"], mode="bilinear", align_corners=False)
        raise ValueError(f"unknown kind {kind}")

    def ours(self, tensor):
        """The tensor in the order of elements of the other side."""
        return tensor.permute(0, 2, 3, 1).contiguous() if self.last else tensor

    def clear(self):
        for tensor in self.inputs:
            tensor.grad = None

    def check(self):
        self.clear()
        y = self.ours(self.apply())
        loss = (y * filled("loss", y.shape)).sum()
        loss.backward()
        gradients = []
        for index, tensor in enumerate(self.inputs):
            g = self.ours(tensor.grad) if index == 0 else tensor.grad
            gradients.append((g * filled("gradient", g.shape)).sum().item())
        return {"loss": loss.item(), "gradients": gradients}

    def run(self):
        self.clear()
        start = time.perf_counter()
        self.apply().backward(self.ones)
        return {"seconds": time.perf_counter() - start}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps({"version": torch.__version__}), flush=True)
    case = None
    for line in sys.stdin:
        question = json.loads(line)
        if "prepare" in question:
            case = Case(question["prepare"])
            answer = case.check()
        else:
            answer = case.run()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
