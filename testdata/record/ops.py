"""Records single ops: pooling, box ops, ops by index, products, norms and elementary functions, from PyTorch and torchvision into ops.safetensors.

Keys are `<op>.<case>.<x|index|source|rois|boxes|scores|classes|y|d...>`; options of a case are in
the header under its name, as JSON. Floating-point results have the cotangent `from_name("<op>.<case>")`
and every floating-point input `from_name("<op>.<case>.<input>")`, so that only results are stored.
"""

import argparse
import json

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from fill import from_name
from safetensors.torch import save_file
from torchvision.ops import batched_nms, nms, roi_align


def filled(name, shape):
    count = int(np.prod(shape))
    return torch.from_numpy(from_name(name, (count,)).reshape(shape).copy()).double() * 10


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    args = parser.parse_args()
    torch.manual_seed(0)
    out, header = {}, {"torch": torch.__version__, "torchvision": torchvision.__version__}

    def record(name, f, shapes, **options):
        """`f` of inputs of these shapes, and its gradients."""
        inputs = {k: filled(f"{name}.{k}", s).requires_grad_() for k, s in shapes.items()}
        y = f(*inputs.values())
        (y * filled(name, y.shape)).sum().backward()
        out[f"{name}.y"] = y.detach().clone()
        for key, tensor in inputs.items():
            out[f"{name}.d{key}"] = tensor.grad.clone()
        header[name] = json.dumps({"shapes": {k: list(s) for k, s in shapes.items()}, **options})

    def integers(name, shape, size):
        index = torch.randint(0, size, shape)
        out[f"{name}.index"] = index
        return index

    pools = [((3, 3), (2, 2), (1, 1)), ((2, 3), (1, 2), (1, 0)), ((1, 1), (2, 2), (0, 0)),
             ((5, 4), (3, 1), (2, 2))]
    for n, (kernel, stride, padding) in enumerate(pools):
        o = {"kernel": kernel, "stride": stride, "padding": padding}
        x = {"x": (2, 2, 7, 6)}
        record(f"max_pool2d.{n}", lambda x: F.max_pool2d(x, *o.values()), x, **o)
        for include in (True, False):
            f = lambda x: F.avg_pool2d(x, *o.values(), ceil_mode=False, count_include_pad=include)
            record(f"avg_pool2d.{n}{'ab'[include]}", f, x, **o, count_include_pad=include)
    for n, size in enumerate([(1, 1), (3, 2), (7, 6), (5, 9), (2, 4)]):
        f = lambda x: F.adaptive_avg_pool2d(x, size)
        record(f"adaptive_avg_pool2d.{n}", f, {"x": (2, 2, 7, 6)}, size=size)

    rois = torch.tensor([
        [0, 1.0, 2.0, 9.0, 11.0], [1, 0.0, 0.0, 15.9, 13.9], [0, 5.3, 4.1, 5.9, 4.2],
        [1, -6.0, -4.0, 3.0, 2.0], [0, 12.0, 9.0, 30.0, 40.0], [1, 7.0, 8.0, 3.0, 2.0],
        [0, 4.0, 4.0, 4.0, 4.0], [1, -40.0, -40.0, -30.0, -35.0],
    ], dtype=torch.float64)
    out["rois"] = rois
    n = 0
    for aligned in (True, False):
        for scale, ratio, size in [(1.0, 2, (2, 3)), (0.5, 0, (3, 2)), (0.25, 0, (2, 2)), (1.0, 0, (3, 9))]:
            f = lambda x: roi_align(x, rois, size, scale, ratio, aligned)
            o = {"output_size": size, "spatial_scale": scale, "sampling_ratio": ratio}
            record(f"roi_align.{n}", f, {"x": (2, 2, 9, 10)}, **o, aligned=aligned)
            n += 1

    centres = 60 * torch.rand(12, 2)
    boxes = centres.repeat_interleave(8, 0) + 3 * torch.randn(96, 2)
    boxes = torch.cat([boxes, boxes + 10 + 10 * torch.rand(96, 2)], 1)
    scores = (torch.rand(96) * 20).floor() / 20  # ties
    classes = torch.randint(0, 3, (96,))
    out |= {"nms.boxes": boxes, "nms.scores": scores, "nms.classes": classes}
    for n, threshold in enumerate((0.3, 0.5, 0.7)):
        header[f"nms.{n}"] = json.dumps({"threshold": threshold})
        out[f"nms.{n}.y"] = nms(boxes, scores, threshold)
        out[f"nms.{n}.batched"] = batched_nms(boxes, scores, classes, threshold)

    for n, (shape, k) in enumerate([((3, 7), 3), ((2, 2, 9), 9), ((20,), 1)]):
        record(f"top_k.{n}", lambda x: x.topk(k).values, {"x": shape}, k=k)
        out[f"top_k.{n}.index"] = filled(f"top_k.{n}.x", shape).topk(k).indices

    for n, (shape, ids, dim) in enumerate([
        ((4, 5), (3, 7), 1), ((4, 5), (6, 5), 0), ((3, 4, 5), (2, 6, 3), 1), ((6,), (9,), 0)
    ]):
        index = integers(f"gather.{n}", ids, shape[dim])
        record(f"gather.{n}", lambda x: x.gather(dim, index), {"x": shape}, dim=dim)
        index = integers(f"scatter_add.{n}", ids, shape[dim])
        f = lambda x, source: x.scatter_add(dim, index, source)
        record(f"scatter_add.{n}", f, {"x": shape, "source": ids}, dim=dim)
        index = integers(f"index_select.{n}", (7,), shape[dim])
        record(f"index_select.{n}", lambda x: x.index_select(dim, index), {"x": shape}, dim=dim)

    tokens = {"x": (2, 5, 12)}
    for dim in range(3):
        record(f"softmax.{dim}", lambda x: x.softmax(dim), tokens, dim=dim)
    for name, f in [("gelu", F.gelu), ("relu", F.relu), ("sigmoid", torch.sigmoid)]:
        record(f"{name}.0", lambda x: f(4 * x), tokens)
    affine = {"x": (2, 5, 12), "a_gamma": (12,), "b_beta": (12,)}
    record("layer_norm.0", lambda x, g, b: F.layer_norm(x, (12,), g, b, 1e-6), affine, eps=1e-6)
    maps = {"x": (3, 4, 5, 6), "a_gamma": (4,), "b_beta": (4,)}
    for groups in (1, 2, 4):
        f = lambda x, g, b: F.group_norm(x, groups, g, b, 1e-5)
        record(f"group_norm.{groups}", f, maps, groups=groups, eps=1e-5)
    f = lambda x, g, b: F.batch_norm(x, None, None, g, b, True, 0.1, 1e-5)
    record("batch_norm.0", f, maps, eps=1e-5)
    for n, (cout, group, kernel, stride, padding, dilation) in enumerate([
        (6, 1, (3, 3), (1, 1), (1, 1), (1, 1)), (6, 1, (3, 3), (2, 2), (1, 1), (1, 1)),
        (6, 2, (3, 2), (1, 2), (2, 0), (2, 1)), (4, 4, (3, 3), (1, 1), (2, 2), (2, 2)),
        (8, 1, (1, 1), (1, 1), (0, 0), (1, 1)), (3, 1, (7, 7), (4, 4), (3, 3), (1, 1)),
    ]):
        shapes = {"x": (2, 4, 9, 8), "a_weight": (cout, 4 // group, *kernel), "b_bias": (cout,)}
        f = lambda x, w, b: F.conv2d(x, w, b, stride, padding, dilation, group)
        record(f"conv2d.{n}", f, shapes, stride=stride, padding=padding, dilation=dilation, groups=group)
    record("linear.0", F.linear, {"x": (2, 5, 12), "a_weight": (7, 12), "b_bias": (7,)})
    for heads in (1, 3):
        def attend(qkv):
            q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in qkv.chunk(3, 2))
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        record(f"attention.{heads}", attend, {"x": (2, 7, 36)}, heads=heads)
    for n, size in enumerate([(9, 13), (3, 2), (1, 1), (4, 12)]):
        o = {"size": size}
        for corners in (True, False):
            f = lambda x: F.interpolate(x, size, mode="bilinear", align_corners=corners)
            record(f"bilinear.{n}{'ab'[corners]}", f, {"x": (2, 2, 4, 6)}, **o, align_corners=corners)
        record(f"nearest.{n}", lambda x: F.interpolate(x, size), {"x": (2, 2, 4, 6)}, **o)
    for n, (shape, kept) in enumerate([((4, 3, 2, 2), (4,)), ((4, 3, 2, 2), (4, 3)), ((4, 3), (4, 3))]):
        keep = torch.rand(kept) < 0.6
        out[f"dropout.{n}.keep"] = keep.to(torch.uint8)
        mask = keep.reshape(kept + (1,) * (len(shape) - len(kept)))
        record(f"dropout.{n}", lambda x: x * mask / (1 - 0.3), {"x": shape}, rate=0.3)

    save_file(out, args.output, metadata=header)


if __name__ == "__main__":
    main()
