"""Training steps of whole networks for `bench/peer.py`."""

import functools
import importlib
import math
import re
import time

import torch
import torch.nn.functional as F
from named import fill, filled
from torch import nn
from torch.utils.checkpoint import checkpoint

LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


def segmentor(config, classes):
    from peer_segmentor import Block, Segmentor

    return Segmentor(config, classes), Block


def resnet(config, classes):
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, config["depths"], num_classes=classes), Bottleneck


def vit(config, classes):
    import timm
    from timm.models.vision_transformer import Block

    options = {
        "img_size": tuple(config["image_size"]),
        "patch_size": config["patch"],
        "embed_dim": config["dim"],
        "depth": config["depth"],
        "num_heads": config["heads"],
        "num_classes": classes,
    }
    return timm.create_model("vit_base_patch16_224", pretrained=False, **options), Block


def pyramid(config, _):
    """torchvision's resnet_fpn_backbone with trainable_layers=5, of any depth."""
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.resnet import Bottleneck, ResNet
    from torchvision.ops import FrozenBatchNorm2d

    body = ResNet(Bottleneck, config["depths"], norm_layer=FrozenBatchNorm2d)
    layers = {f"layer{k + 1}": str(k) for k in range(4)}
    return BackboneWithFPN(body, layers, [256, 512, 1024, 2048], 256), Bottleneck


BUILDERS = {"segmentor": segmentor, "resnet": resnet, "vit": vit, "pyramid": pyramid}


def our_name(name):
    return re.sub(
        r"^fpn\.(inner|layer)_blocks\.(\d)\.0\.",
        lambda found: f"fpn.fpn_{found[1]}{int(found[2]) + 1}.",
        name,
    )


def labels(image, classes, dense):
    batch, _, height, width = image
    if dense:
        runs = torch.arange(batch * height * width) // 7
        return (runs * 13 % classes).view(batch, height, width)
    return (torch.arange(batch) * 131 + 7) % max(classes, 1)


def optimiser(parameters, rule):
    kinds = {"adam_w": torch.optim.AdamW, "sgd": torch.optim.SGD}
    options = {key: value for key, value in rule.items() if key != "kind"}
    return kinds[rule["kind"]](parameters, fused=True, **options)


def make_recomputable(training, block):
    plain = block.forward

    @functools.wraps(plain)
    def forward(*args):
        if not training.recompute:
            return plain(*args)
        return checkpoint(plain, *args, use_reentrant=False, preserve_rng_state=False)

    block.forward = forward


class Training:
    """A network, its optimiser and a batch."""

    def __init__(self, spec):
        architecture = spec["architecture"]
        self.kind = architecture["kind"]
        self.net, self.block = BUILDERS[self.kind](architecture, spec["classes"])
        fill(self.net, our_name)
        self.net.train()
        self.image = 10 * filled("image", spec["image"])
        self.labels = labels(spec["image"], spec["classes"], self.kind == "segmentor")
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.optimiser = optimiser(parameters, spec["optimizer"])

    def networks(self):
        return [self.net]

    def place(self, layout):
        self.net.to(memory_format=layout)
        self.image = self.image.contiguous(memory_format=layout)

    def loss(self):
        out = self.net(self.image)
        if self.kind == "pyramid":
            return sum(level.mean() for level in out.values())
        return F.cross_entropy(out, self.labels)

    def step(self):
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        self.optimiser.step()
        return [loss.item()]


def trained(spec, layout="channels first"):
    """What the question asks to be trained."""
    if spec["architecture"]["kind"] == "iteration":
        from peer_iteration import Iteration

        training = Iteration(spec)
    elif spec["architecture"]["kind"] == "classifier":
        from peer_classifier import Iteration

        training = Iteration(spec)
    elif spec["architecture"]["kind"] == "detector":
        from peer_detector import Iteration

        training = Iteration(spec)
    else:
        training = Training(spec)
    training.place(LAYOUTS[layout])
    training.recompute = False
    for module in training.networks()[0].modules():
        if isinstance(module, training.block):
            make_recomputable(training, module)
    return training


class Network:
    """A training in whichever of the two layouts is faster."""

    def __init__(self, spec):
        self.training = trained(spec)

    def run(self, recompute=False):
        """Seconds of a step."""
        self.training.recompute = recompute
        start = time.perf_counter()
        self.training.step()
        return time.perf_counter() - start

    def check(self):
        """Losses of the first three steps."""
        losses = [self.training.step() for _ in range(3)]
        best = math.inf
        for layout in LAYOUTS:
            self.training.place(LAYOUTS[layout])
            seconds = min(self.run() for _ in range(2))
            if seconds < best:
                best, fastest = seconds, layout
        self.training.place(LAYOUTS[fastest])
        return {"losses": losses, "layout": fastest}


def memory(spec, layout, recompute, steps):
    """Bytes of resident memory before there was a network, and the most while it trained."""
    for package in spec["needs"]:
        importlib.import_module(package)
    before = resident("VmRSS")
    training = trained(spec, layout)
    training.recompute = recompute
    forget_peak()
    for _ in range(steps):
        training.step()
    return {"before": before, "peak": resident("VmHWM")}


def resident(key):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(key + ":"):
                return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {key}")


def forget_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
