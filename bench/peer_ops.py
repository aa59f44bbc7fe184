"""Single ops of `bench/peer.py`."""

import math
import time

import torch
import torch.nn.functional as F
from named import filled

IGNORE = 255
# Ops on images, whose speed depends on the order of the elements in memory.
MAPS = (
    "conv2d",
    "depthwise_tokens",
    "batch_norm",
    "batch_norm_relu",
    "relu",
    "max_pool",
    "bilinear",
    "roi_align",
)


def attention(q, kv, heads):
    batch, queries, channels = q.shape
    q = q.view(batch, queries, heads, -1).transpose(1, 2)
    k, v = kv.view(batch, -1, 2, heads, channels // heads).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).reshape(batch, queries, channels)


def labels(batch, classes, height, width):
    runs = torch.arange(batch * height * width) // 7
    return torch.where(runs % 5 == 0, IGNORE, runs * 13 % classes).view(batch, height, width)


def regions(count=512):
    i = torch.arange(count)
    x, y = i * 37 % 1000, i * 53 % 450
    return torch.stack([0 * i, x, y, x + 20 + i * 29 % 300, y + 20 + i * 31 % 200], 1).float()


class Op:
    """A case with its tensors, images in whichever of the two layouts is faster."""

    def __init__(self, case):
        self.kind, self.set = case["kind"], case["settings"]
        # Tokens (B, H, W, C) of the other side are an image here.
        self.tokens = self.kind == "depthwise_tokens"
        values = [filled(name, dims) for name, dims in case["tensors"]]
        if self.tokens:
            values[0] = values[0].permute(0, 3, 1, 2)
        if self.kind == "cross_entropy":
            self.labels = labels(*values[0].shape)
        if self.kind == "roi_align":
            self.regions = regions()
        layouts = [torch.contiguous_format]
        if self.kind in MAPS:
            layouts.append(torch.channels_last)
        best = math.inf
        for layout in layouts:
            self.place(values, layout)
            seconds = min(self.run() for _ in range(4))
            if seconds < best:
                best, fastest = seconds, layout
        self.place(values, fastest)

    def place(self, values, layout):
        self.inputs = []
        for value in values:
            chosen = layout if value.dim() == 4 else torch.contiguous_format
            value = value.detach().clone(memory_format=torch.contiguous_format)
            self.inputs.append(value.contiguous(memory_format=chosen).requires_grad_())
        self.ones = torch.ones_like(self.apply())

    def apply(self):
        x, *rest = self.inputs
        kind, options = self.kind, self.set
        if kind in ("conv2d", "depthwise_tokens"):
            stride, padding = options["stride"], options["padding"]
            dilation, groups = options["dilation"], options["groups"]
            return F.conv2d(x, rest[0], None, stride, padding, dilation, groups)
        if kind == "linear":
            return F.linear(x, rest[0], rest[1])
        if kind == "attention":
            return attention(x, rest[0], options["heads"])
        if kind == "layer_norm":
            return F.layer_norm(x, x.shape[-1:], rest[0], rest[1], 1e-5)
        if kind == "softmax":
            return F.softmax(x, -1)
        if kind == "gelu":
            return F.gelu(x)
        if kind == "relu":
            return F.relu(x)
        if kind == "add":
            return x + rest[0]
        if kind == "batch_norm":
            return F.batch_norm(x, None, None, rest[0], rest[1], True, 0.1, 1e-5)
        if kind == "batch_norm_relu":
            y = F.batch_norm(x, None, None, rest[0], rest[1], True, 0.1, 1e-5)
            return F.relu(y, inplace=True)
        if kind == "max_pool":
            return F.max_pool2d(x, options["kernel"], options["stride"], options["padding"])
        if kind == "bilinear":
            return F.interpolate(x, size=options["size"], mode="bilinear", align_corners=False)
        if kind == "cross_entropy":
            # Ignored pixels stay in the denominator on the other side.
            loss = F.cross_entropy(x, self.labels, ignore_index=IGNORE, reduction="sum")
            return loss / self.labels.numel()
        if kind == "roi_align":
            from torchvision.ops import roi_align

            return roi_align(x, self.regions, options["size"], 0.25, 2, False)
        raise ValueError(f"unknown kind {kind}")

    def ours(self, tensor):
        """The tensor in the order of elements of the other side."""
        return tensor.permute(0, 2, 3, 1) if self.tokens else tensor

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

    def run(self, recompute=False):
        """Seconds of a forward and backward pass."""
        self.clear()
        start = time.perf_counter()
        self.apply().backward(self.ones)
        return time.perf_counter() - start
