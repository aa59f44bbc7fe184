"""Records torchvision's feature pyramid for `mic-nn/tests/fpn.rs`.

    python testdata/record/fpn.py testdata/recorded/fpn.safetensors

Weights are filled from the names that they have here, maps and cotangents from `<case>.map.<k>`
and `<case>.cotangent.<k>` (fill.py). Sizes are odd, so that maps are repeated unevenly. Per case:

    <case>.level.<k>       levels from the finest to the coarsest
    <case>.grad.<name>     gradient of sum <level, cotangent>, by torchvision's names
    <case>.map_grad.<k>    the same for the backbone's maps
"""

import argparse
import json
import re
from collections import OrderedDict

import torch
import torchvision
from safetensors.torch import save_file
from torchvision.ops.feature_pyramid_network import (
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)

from fill import fill, from_name

MAPS = [(2, 6, 13, 18), (2, 10, 7, 9), (2, 12, 4, 5)]
OUTPUTS = 8
CASES = {
    "none": None,
    "max_pool": LastLevelMaxPool(),
    "from_backbone": LastLevelP6P7(MAPS[-1][1], OUTPUTS),
    "from_last": LastLevelP6P7(OUTPUTS, OUTPUTS),
}


def ours(name):
    found = re.fullmatch(r"(inner|layer)_blocks\.(\d)\.0\.(.*)", name)
    if found:
        return f"fpn_{found[1]}{int(found[2]) + 1}.{found[3]}"
    return name.replace("extra_blocks.", "top_blocks.")


def values(name, shape):
    flat = from_name(name, (torch.Size(shape).numel(),))
    return 10 * torch.from_numpy(flat).double().reshape(shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    args = parser.parse_args()
    out = {}
    for case, extra in CASES.items():
        net = FeaturePyramidNetwork([shape[1] for shape in MAPS], OUTPUTS, extra)
        fill(net, ours)
        net = net.double()
        maps = [values(f"{case}.map.{k}", shape) for k, shape in enumerate(MAPS)]
        maps = [m.requires_grad_() for m in maps]
        levels = list(net(OrderedDict((str(k), m) for k, m in enumerate(maps))).values())
        loss = sum(
            (level * values(f"{case}.cotangent.{k}", level.shape)).sum()
            for k, level in enumerate(levels)
        )
        loss.backward()
        out |= {f"{case}.level.{k}": level.detach().float() for k, level in enumerate(levels)}
        out |= {f"{case}.map_grad.{k}": m.grad.float() for k, m in enumerate(maps)}
        out |= {f"{case}.grad.{n}": p.grad.float() for n, p in net.named_parameters()}
    out = {key: tensor.contiguous() for key, tensor in out.items()}
    metadata = dict(maps=json.dumps(MAPS), outputs=json.dumps(OUTPUTS), cases=json.dumps([*CASES]))
    save_file(out, args.output, metadata=metadata | {"torchvision": torchvision.__version__})


if __name__ == "__main__":
    main()
