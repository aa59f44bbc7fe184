"""One whole iteration of self-training with masked consistency (MIC, on DAFormer or HRDA) in plain
PyTorch, written from the papers' descriptions: teacher, supervised source pass, feature distance,
pseudo-labels, class mixing, colour jitter and blur, mixed pass, masked pass, AdamW.

Everything random is in the question, so that both sides compute the same.
"""

import copy
import math

import torch
import torch.nn.functional as F
from named import fill, filled
from peer_segmentor import Block, ConvModule, Embedding, Mit, Segmentor
from torch import nn

IGNORED = 255
MEAN = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)


def resized(x, size):
    if x.shape[2:] == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Attention(nn.Module):
    """DAFormer's head with a 1x1 convolution as its fusion: the scale attention of HRDA."""

    def __init__(self, inputs, channels, classes):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        self.embed_layers = nn.ModuleList(Embedding(i, channels) for i in inputs)
        self.fuse_layer = ConvModule(len(inputs) * channels, channels, 1)

    def forward(self, features):
        size = features[0].shape[2:]
        levels = [resized(e(f), size) for e, f in zip(self.embed_layers, features)]
        return self.conv_seg(self.fuse_layer(torch.cat(levels, 1)))


class Daformer(Segmentor):
    """Logits at a quarter of the image's size, and the backbone's last level."""

    def predict(self, image):
        return self.decode_head(self.backbone(image))

    def train_pass(self, image, _):
        features = self.backbone(image)
        return self.decode_head(features), features[-1], None

    def features(self, image):
        return image


class HrdaHead(nn.Module):
    def __init__(self, head, attention):
        super().__init__()
        self.head = head
        self.scale_attention = attention


class Hrda(nn.Module):
    def __init__(self, config, classes, side):
        super().__init__()
        single = Segmentor(config, classes)
        self.backbone = single.backbone
        attention = Attention(config["backbone"]["embed_dims"], config["channels"], classes)
        self.decode_head = HrdaHead(single.decode_head, attention)
        self.side = side

    def features(self, image):
        """The context, which the feature distance sees."""
        return resized(image, [side // 2 for side in image.shape[2:]])

    def context(self, image):
        features = self.backbone(self.features(image))
        return features, self.decode_head.head(features)

    def attention(self, features):
        return torch.sigmoid(self.decode_head.scale_attention(features))

    def train_pass(self, image, box):
        top, bottom, left, right = box
        context, low = self.context(image)
        detail = self.backbone(image[:, :, top:bottom, left:right])
        high = self.decode_head.head(detail)
        weight = self.attention(context)
        seen = torch.zeros_like(weight)
        seen[:, :, top // 8 : bottom // 8, left // 8 : right // 8] = 1
        weight = weight * seen
        size = [2 * side for side in low.shape[2:]]
        low = resized((1 - weight) * low, size)
        weight = resized(weight, size)
        pad = (left // 4, size[1] - right // 4, top // 4, size[0] - bottom // 4)
        return weight * F.pad(high, pad) + low, context[-1], high

    def predict(self, image):
        """Logits with the detail of overlapping crops, all as one batch."""
        context, low = self.context(image)
        side, (height, width) = self.side, image.shape[2:]
        places = [
            (min(y, height - side), min(x, width - side))
            for y in range(0, height - side // 2, side // 2)
            for x in range(0, width - side // 2, side // 2)
        ]
        crops = [image[:, :, y : y + side, x : x + side] for y, x in places]
        logits = self.decode_head.head(self.backbone(torch.cat(crops))).chunk(len(places))
        size = [2 * length for length in low.shape[2:]]
        canvas = low.new_zeros(*low.shape[:2], *size)
        count = low.new_zeros(1, 1, *size)
        for (y, x), part in zip(places, logits):
            y, x, part_side = y // 4, x // 4, part.shape[2]
            canvas[:, :, y : y + part_side, x : x + part_side] += part
            count[:, :, y : y + part_side, x : x + part_side] += 1
        weight = self.attention(context)
        low = resized((1 - weight) * low, size)
        return resized(weight, size) * (canvas / count) + low


def cross_entropy(logits, label, weight):
    """The mean over all pixels, the ignored ones too."""
    logits = resized(logits, label.shape[1:])
    loss = F.cross_entropy(logits, label, ignore_index=IGNORED, reduction="none")
    return (loss if weight is None else loss * weight).mean()


def downscaled(label, factor, ratio, classes):
    """The majority label of every window, where it covers at least `ratio`."""
    known = torch.where(label == IGNORED, classes, label)
    shares = F.one_hot(known, classes + 1).permute(0, 3, 1, 2).float()
    share, coarse = F.avg_pool2d(shares, factor).max(1)
    return torch.where((share < ratio) | (coarse == classes), IGNORED, coarse)


def hue_of(rgb):
    """Hue in turns, saturation, value."""
    value, first = rgb.max(1)
    spread = value - rgb.min(1).values
    saturation = spread / (value + 1e-6)
    divisor = torch.where(spread == 0, 1.0, spread)
    red, green, blue = (value.unsqueeze(1) - rgb).unbind(1)
    sixths = torch.stack([blue - green, red - blue + 2 * divisor, green - red + 4 * divisor])
    sixth = sixths.gather(0, first.unsqueeze(0))[0] / divisor
    return (sixth / 6) % 1, saturation, value


def rgb_of(hue, saturation, value):
    sixth = hue * 6
    index = torch.floor(sixth) % 6
    rest = (sixth % 6) - index
    low = value * (1 - saturation)
    falling = value * (1 - rest * saturation)
    rising = value * (1 - (1 - rest) * saturation)
    index = index.long().unsqueeze(0)
    channels = [
        (value, falling, low, low, rising, value),
        (rising, value, value, falling, low, low),
        (low, low, rising, value, value, falling),
    ]
    return torch.stack([torch.stack(c).gather(0, index)[0] for c in channels], 1)


def jitter(x, drawn):
    """`drawn`: factors of every image, and one order."""
    factor = {name: torch.tensor(drawn[name]).view(-1, 1, 1, 1) for name in FACTORS}
    x = (x * STD + MEAN) / 255
    for op in drawn["order"]:
        if op == 0:
            x = (x + (factor["brightness"] - 1)).clamp(0, 1)
        elif op == 1:
            x = (x * factor["contrast"]).clamp(0, 1)
        else:
            hue, saturation, value = hue_of(x)
            if op == 2:
                saturation = (saturation * factor["saturation"][:, 0]).clamp(0, 1)
            else:
                hue = torch.fmod(hue + factor["hue"][:, 0], 1)
            x = rgb_of(hue, saturation, value)
    return (x * 255 - MEAN) / STD


FACTORS = ("brightness", "contrast", "saturation", "hue")


def taps(side, sigma):
    tenth = math.ceil(0.1 * side)
    size = math.floor(tenth - 0.5 + tenth % 2)
    distance = torch.arange(size) - size // 2
    values = torch.exp(-(distance**2) / (2 * sigma**2))
    return values / values.sum()


def blur(x, sigma):
    """Separable, the border reflected."""
    for axis in (2, 3):
        kernel = taps(x.shape[axis], sigma)
        half = len(kernel) // 2
        pad = (0, 0, half, half) if axis == 2 else (half, half, 0, 0)
        shape = (3, 1, -1, 1) if axis == 2 else (3, 1, 1, -1)
        weight = kernel.repeat(3, 1).view(shape).contiguous()
        x = F.conv2d(F.pad(x, pad, mode="reflect"), weight, groups=3)
    return x


def labels(image):
    """Squares of 64 pixels, every eleventh pixel ignored."""
    batch, _, height, width = image
    b, y, x = torch.meshgrid(*map(torch.arange, (batch, height, width)), indexing="ij")
    label = (11 + 7 * b + 5 * (y // 64) + 3 * (x // 64)) % 19
    flat = torch.arange(label.numel()).view(label.shape)
    return torch.where(flat % 11 == 0, IGNORED, label)


class Iteration:
    """A student, its teacher, the backbone of the feature distance, an optimiser and a batch."""

    block = Block

    def __init__(self, spec):
        self.spec = config = spec["architecture"]
        self.classes = spec["classes"]
        if config["detail"] is None:
            self.student = Daformer(config, self.classes)
        else:
            self.student = Hrda(config, self.classes, config["detail"]["side"])
        fill(self.student)
        self.student.train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.imagenet = Mit(config["backbone"]).requires_grad_(False).eval()
        fill(self.imagenet, lambda name: f"imagenet.{name}")
        self.image = 10 * filled("image", spec["image"])
        self.target = 10 * filled("target", spec["image"])
        self.label = labels(spec["image"])
        rows = spec["image"][2] // config["block"]
        uniform = 5 * filled("blocks", [spec["image"][0], 1, rows, rows]) + 0.5
        visible = (uniform > config["ratio"]).float()
        self.visible = F.interpolate(visible, size=spec["image"][2:], mode="nearest")
        self.things = torch.tensor(config["things"])
        self.optimiser = torch.optim.AdamW(self.groups(spec["optimizer"]), fused=True)
        self.teacher_parameters = list(self.teacher.parameters())
        self.student_parameters = list(self.student.parameters())
        self.steps = 0

    def networks(self):
        return [self.student, self.teacher, self.imagenet]

    def place(self, layout):
        for network in self.networks():
            network.to(memory_format=layout)
        self.image = self.image.contiguous(memory_format=layout)
        self.target = self.target.contiguous(memory_format=layout)

    def groups(self, rule):
        """The head learns ten times as fast; norms of the backbone do not decay."""
        groups = {"head": [], "norm": [], "rest": []}
        for name, parameter in self.student.named_parameters():
            key = next((key for key in ("head", "norm") if key in name), "rest")
            groups[key].append(parameter)
        lr, decay = rule["lr"], rule["weight_decay"]
        return [
            {"params": groups["head"], "lr": 10 * lr, "weight_decay": decay},
            {"params": groups["norm"], "lr": lr, "weight_decay": 0.0},
            {"params": groups["rest"], "lr": lr, "weight_decay": decay},
        ]

    def follow(self):
        momentum = min(1 - 1 / (self.steps + 1), self.spec["alpha"])
        with torch.no_grad():
            pairs = self.teacher_parameters, self.student_parameters
            torch._foreach_lerp_(*pairs, 1 - momentum)
        self.steps += 1

    def losses(self, prefix, output, label, weight, box):
        logits, _, high = output
        if high is None:
            return {f"{prefix}decode.loss_seg": cross_entropy(logits, label, weight)}
        top, bottom, left, right = box
        share = self.spec["detail"]["loss"]
        part = (slice(None), slice(top, bottom), slice(left, right))
        cut = None if weight is None else weight[part]
        return {
            f"{prefix}decode.loss_seg": (1 - share) * cross_entropy(logits, label, weight),
            f"{prefix}decode.hr.loss_seg": share * cross_entropy(high, label[part], cut),
        }

    def feature_distance(self, feature):
        with torch.no_grad():
            reference = self.imagenet(self.student.features(self.image))[-1]
        factor = self.label.shape[2] // feature.shape[3]
        coarse = downscaled(self.label, factor, 0.75, self.classes)
        counted = torch.isin(coarse, self.things)
        distance = torch.linalg.vector_norm(feature - reference, dim=1)
        return self.spec["feature_distance"] * distance[counted].mean()

    def pseudo_labels(self):
        with torch.no_grad():
            logits = resized(self.teacher.predict(self.target), self.target.shape[2:])
            confidence, label = torch.softmax(logits, 1).max(1)
            share = (confidence >= self.spec["threshold"]).float().mean()
            return label, torch.full(label.shape, share.item())

    def mixed(self, label, weight):
        distinct = torch.unique(self.label)
        pasted = torch.isin(self.label, distinct[::2])
        image = torch.where(pasted.unsqueeze(1), self.image, self.target)
        images = [
            blur(jitter(image[i : i + 1], drawn), drawn["sigma"])
            for i, drawn in enumerate(self.spec["mixed"])
        ]
        label = torch.where(pasted, self.label, label)
        return torch.cat(images), label, torch.where(pasted, 1.0, weight)

    def masked(self):
        drawn = self.spec["masked"]
        with torch.no_grad():
            return blur(jitter(self.target, drawn), drawn["sigma"]) * self.visible

    def step(self):
        """The numbers that are logged, in the order of their names."""
        boxes = self.spec["detail"] or {}
        self.optimiser.zero_grad(set_to_none=True)
        self.follow()
        told = {}

        def learn(losses):
            sum(losses.values()).backward()
            told.update({name: loss.item() for name, loss in losses.items()})

        output = self.student.train_pass(self.image, boxes.get("source"))
        losses = self.losses("", output, self.label, None, boxes.get("source"))
        losses["src.loss_imnet_feat_dist"] = self.feature_distance(output[1])
        del output
        learn(losses)
        del losses

        label, weight = self.pseudo_labels()
        told["pseudo.weight"] = weight.flatten()[0].item()
        image, mixed_label, mixed_weight = self.mixed(label, weight)
        output = self.student.train_pass(image, boxes.get("mixed"))
        learn(self.losses("mix.", output, mixed_label, mixed_weight, boxes.get("mixed")))
        del output, image

        output = self.student.train_pass(self.masked(), boxes.get("masked"))
        learn(self.losses("masked.", output, label, weight, boxes.get("masked")))
        del output
        self.optimiser.step()
        return [told[name] for name in sorted(told)]
