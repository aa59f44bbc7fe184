"""Records torchvision's ResNets for `mic-nn/tests/resnet_torchvision.rs`.

    python testdata/record/resnet.py testdata/recorded/resnet.safetensors

Weights, images and cotangents are filled from names (fill.py), and everything is computed in
double precision. Per network and mode (`eval`, `train`):

    <net>.<mode>.c<stage>   up to 256 evenly spaced values of each stage's features
    <net>.<mode>.logits     complete
    <net>.<mode>.loss       sum of <features, cotangent.c<stage>> and <logits, cotangent.logits>
    <net>.<mode>.image      projection and norm of the gradient of the image
    <net>.<mode>.grads      the same of each parameter, by name in alphabetical order
    <net>.train.after       the same of each running statistic after this one pass

A projection is the inner product with the values of `probe.<name>`. The header's `nets` holds the
sizes, and `keys` for every architecture the number of tensors and of trainable scalars and the
FNV-1a hash of the sorted lines `<name> <sizes>`; `lists` are two of these lists in full.
"""

import argparse
import json

import torch
import torchvision
from safetensors.torch import save_file

from fill import fill, from_name

NETS = {
    "resnet18": dict(shape=(3, 3, 64, 96), classes=10),
    "resnet50": dict(shape=(3, 3, 64, 96), classes=10),
}
ALL = [f"resnet{d}" for d in (18, 34, 50, 101, 152)] + ["resnext50_32x4d", "wide_resnet50_2"]
LISTED = ["resnet18", "resnet50"]
SAMPLES = 256


def vector(name, count):
    """Values in [-0.1, 0.1) for a flat tensor."""
    return torch.from_numpy(from_name(name, (count,))).double()


def projection(name, tensor):
    flat = tensor.detach().double().flatten()
    return torch.stack([flat @ vector(f"probe.{name}", flat.numel()), flat.norm()])


def samples(tensor):
    flat = tensor.detach().flatten()
    return flat[:: max(flat.numel() // SAMPLES, 1)][:SAMPLES].clone()


def record(net, mode, shape, classes):
    model = torchvision.models.get_model(net, num_classes=classes)
    fill(model)
    model = model.double().train(mode == "train")
    count = torch.Size(shape).numel()
    image = (10 * vector("image", count)).reshape(shape).requires_grad_()
    stages = [getattr(model, f"layer{n}") for n in (1, 2, 3, 4)]
    features = []
    for stage in stages:
        stage.register_forward_hook(lambda _, __, output: features.append(output))
    logits = model(image)
    named = {f"c{n + 2}": f for n, f in enumerate(features)} | {"logits": logits}
    loss = sum(
        tensor.flatten() @ vector(f"cotangent.{name}", tensor.numel())
        for name, tensor in named.items()
    )
    loss.backward()
    out = {name: samples(f) for name, f in named.items()}
    out["loss"] = loss.detach().reshape(1)
    out["image"] = projection("image", image.grad)
    parameters = sorted(model.named_parameters())
    out["grads"] = torch.stack([projection(name, p.grad) for name, p in parameters])
    if mode == "train":
        buffers = sorted((n, b) for n, b in model.named_buffers() if b.is_floating_point())
        out["after"] = torch.stack([projection(name, b) for name, b in buffers])
    return {f"{net}.{mode}.{key}": value for key, value in out.items()}


def lines(net):
    state = torchvision.models.get_model(net).state_dict()
    return sorted(" ".join([name, *map(str, tensor.shape)]) for name, tensor in state.items())


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return f"{value:016x}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    args = parser.parse_args()
    out = {}
    for net, options in NETS.items():
        for mode in ("eval", "train"):
            out |= record(net, mode, **options)
    keys = {}
    for net in ALL:
        model = torchvision.models.get_model(net)
        keys[net] = dict(
            tensors=len(model.state_dict()),
            parameters=sum(p.numel() for p in model.parameters()),
            hash=fnv1a("\n".join(lines(net))),
        )
    metadata = dict(
        nets=NETS, keys=keys, lists={net: lines(net) for net in LISTED}, samples=SAMPLES
    )
    metadata = {key: json.dumps(value) for key, value in metadata.items()}
    metadata["torchvision"] = torchvision.__version__
    save_file(out, args.output, metadata=metadata)


if __name__ == "__main__":
    main()
