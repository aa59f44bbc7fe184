"""One iteration of SADA with masked image consistency for `bench/peer.py`, out of torchvision's parts.

The order is that of the published code: the teacher follows and detects, one pass over source and
target with all losses, one over the masked target, one backward pass over their sum, one step of SGD.
Anchors, proposals, sampled boxes, region head and detections are torchvision's; domain heads are
written out here. Choices that are random in training are fixed, as on the other side.
"""

import copy
import re

import torch
import torch.nn.functional as F
from named import fill, filled
from peer_iteration import blur
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

NAMES = [
    (r"^fpn\.(inner|layer)_blocks\.(\d)\.0\.", lambda m: f"fpn.fpn_{m[1]}{int(m[2]) + 1}."),
    (r"^(body|fpn)\.", r"backbone.\1."),
    (r"^rpn\.head\.conv\.0\.0\.", "rpn.head.conv."),
    (r"^roi_heads\.box_head\.", "roi_heads.box.feature_extractor."),
    (r"^roi_heads\.box_predictor\.", "roi_heads.box.predictor."),
    (r"^image\.(\d)\.0\.", r"da_heads.imghead.da_img_conv1_level\1."),
    (r"^image\.(\d)\.2\.", r"da_heads.imghead.da_img_conv2_level\1."),
    (r"^instance\.0\.", "da_heads.inshead.da_ins_fc1_level0."),
    (r"^instance\.2\.", "da_heads.inshead.da_ins_fc2_level0."),
    (r"^instance\.4\.", "da_heads.inshead.da_ins_fc3_level0."),
]


def our_name(name):
    name = re.sub(r"^(backbone|domain)\.", "", name)
    for pattern, ours in NAMES:
        name = re.sub(pattern, ours, name)
    return name


class Scale(torch.autograd.Function):
    """The identity, whose gradient is scaled."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


class Sampler:
    """So many boxes, a share of them positive: at regular distances, or the first."""

    def __init__(self, batch, share, regular):
        self.batch, self.positives, self.regular = batch, int(batch * share), regular

    def chosen(self, candidates, count):
        found = candidates.nonzero().squeeze(1)
        count = min(count, len(found))
        if self.regular and count > 0:
            found = found[torch.arange(count) * len(found) // count]
        mask = torch.zeros_like(candidates)
        mask[found[:count]] = True
        return mask

    def __call__(self, labels):
        positive, negative = [], []
        for of_image in labels:
            positive.append(self.chosen(of_image >= 1, self.positives))
            rest = self.batch - int(positive[-1].sum())
            negative.append(self.chosen(of_image == 0, rest))
        return positive, negative


class DomainHeads(nn.Module):
    """SADA's heads: an image head for each of five maps, and the finest level's instance head."""

    def __init__(self, spec):
        super().__init__()
        channels, hidden, wide = spec["channels"], spec["image_hidden"], spec["instance_hidden"]

        def image():
            return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, 1, 1))

        self.image = nn.ModuleList(image() for _ in range(5))
        self.instance = nn.Sequential(
            nn.Linear(spec["hidden"], wide), nn.ReLU(),
            nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, 1),
        )  # fmt: skip
        self.weights = spec["domain_weights"]

    def images(self, maps, factor):
        return [head(Scale.apply(x, factor)) for head, x in zip(self.image, maps)]

    def instances(self, features, finest, factor):
        logits = features.new_zeros(len(features))
        rows = finest.nonzero().squeeze(1)
        if len(rows) == 0:
            return logits
        found = self.instance(Scale.apply(features[rows], factor)).squeeze(1)
        return logits.index_put((rows,), found)

    def forward(self, maps, boxes, sizes, features, pool, sources):
        of_image, of_region, share = self.weights
        logits = self.images(maps, -of_image)
        truth = torch.zeros_like(logits[0])
        truth[:sources] = 1.0
        size = truth.shape[2:]
        up = [F.interpolate(x, size, mode="bilinear", align_corners=True) for x in logits]
        image = sum(F.binary_cross_entropy_with_logits(x, truth) for x in up) / len(up)

        finest = pool.map_levels(boxes) == 0
        source = torch.cat([torch.full((len(b),), float(i < sources)) for i, b in enumerate(boxes)])
        found = self.instances(features, finest, -of_region)
        instance = F.binary_cross_entropy_with_logits(found, source)

        consistent = self.images(maps, share * of_image)
        found = self.instances(features, finest, share * of_region)
        named = {str(i): x.sigmoid() for i, x in enumerate(consistent[:4])}
        pooled = pool(named, boxes, sizes).flatten(1).mean(1)
        return image, instance, (pooled - found.sigmoid()).abs().mean()


class Detector(nn.Module):
    def __init__(self, spec, classes):
        super().__init__()
        body = ResNet(Bottleneck, spec["depths"], norm_layer=FrozenBatchNorm2d)
        for part in (body.conv1, body.layer1):
            part.requires_grad_(False)
        layers = {f"layer{k + 1}": str(k) for k in range(4)}
        channels = spec["channels"]
        self.backbone = BackboneWithFPN(body, layers, [256, 512, 1024, 2048], channels)
        sizes = ((32,), (64,), (128,), (256,), (512,))
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
        counts = dict(zip(("training", "testing"), spec["proposals"]))
        self.rpn = RegionProposalNetwork(
            anchors, RPNHead(channels, 3), 0.7, 0.3, 256, 0.5, counts, counts, 0.7
        )
        self.rpn.fg_bg_sampler = Sampler(256, 0.5, regular=True)
        pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
        head = TwoMLPHead(channels * 49, spec["hidden"])
        predictor = FastRCNNPredictor(spec["hidden"], classes)
        self.roi_heads = RoIHeads(
            pool, head, predictor, 0.5, 0.5, 256, 0.25, None, 0.05, 0.5, 100
        )
        self.roi_heads.fg_bg_sampler = Sampler(256, 0.25, regular=False)
        self.domain = DomainHeads(spec)

    def detect(self, image, sizes):
        maps = self.backbone(image)
        proposals, _ = self.rpn(ImageList(image, sizes), maps)
        return self.roi_heads(maps, proposals, sizes)[0]

    def losses(self, image, sizes, targets, weighted, domain):
        """Losses of the first `len(targets)` images; of all images those of the domain heads."""
        maps, rpn, labelled = self.backbone(image), self.rpn, len(targets)
        levels, images = list(maps.values()), len(image)
        objectness, deltas = rpn.head(levels)
        anchors = rpn.anchor_generator(ImageList(image, sizes), levels)
        counts = [x[0].numel() for x in objectness]
        logits, deltas = concat_box_prediction_layers(objectness, deltas)
        with torch.no_grad():
            decoded = rpn.box_coder.decode(deltas.detach(), anchors).view(images, -1, 4)
            proposals, _ = rpn.filter_proposals(decoded, logits, sizes, counts)
        labels, matched = rpn.assign_targets_to_anchors(anchors[:labelled], targets)
        offsets = rpn.box_coder.encode(matched, anchors[:labelled])
        rows = labelled * len(anchors[0])
        told = self.rpn_loss(logits[:rows], deltas[:rows], labels, offsets, weighted)

        roi, every = self.roi_heads, list(targets)
        for i in range(labelled, images):
            # Nothing is known of a target image; the published code adds a frame.
            height, width = sizes[i]
            frame = image.new_tensor([[0, 0, width - 2, height - 2]])
            proposals[i] = torch.cat([proposals[i], frame])
            nothing = torch.zeros(0, dtype=torch.int64)
            every.append({"boxes": image.new_zeros((0, 4)), "labels": nothing})
        proposals, _, labels, offsets = roi.select_training_samples(proposals, every)
        features = roi.box_head(roi.box_roi_pool(maps, proposals, sizes))
        classes, boxes = roi.box_predictor(features)
        rows = sum(len(p) for p in proposals[:labelled])
        classes, boxes = classes[:rows], boxes[:rows]
        labels, offsets = labels[:labelled], offsets[:labelled]
        classifier, regression = fastrcnn_loss(classes, boxes, labels, offsets)
        if weighted:
            sure = classes.detach().softmax(1).amax(1)
            classifier = F.cross_entropy(classes, torch.cat(labels), reduction="none")
            classifier = (classifier * sure).mean()
        told |= {"loss_classifier": classifier, "loss_box_reg": regression}
        if domain:
            pool = roi.box_roi_pool
            found = self.domain(levels, proposals, sizes, features, pool, labelled)
            told |= zip(("loss_da_image", "loss_da_instance", "loss_da_consistency"), found)
        return told

    def rpn_loss(self, logits, deltas, labels, offsets, weighted):
        positive, negative = self.rpn.fg_bg_sampler(labels)
        positive = torch.cat(positive).nonzero().squeeze(1)
        chosen = torch.cat([positive, torch.cat(negative).nonzero().squeeze(1)])
        labels, offsets = torch.cat(labels), torch.cat(offsets)
        distance = F.smooth_l1_loss(
            deltas[positive], offsets[positive], beta=1 / 9, reduction="sum"
        )
        logits = logits.flatten()[chosen]
        loss = F.binary_cross_entropy_with_logits(logits, labels[chosen], reduction="none")
        loss = (logits.sigmoid() * loss if weighted else loss).mean()
        return {"loss_objectness": loss, "loss_rpn_box_reg": distance / max(len(chosen), 1)}


class Iteration:
    """Student, teacher, optimiser and a batch."""

    block = Bottleneck

    def __init__(self, spec):
        self.spec = config = spec["architecture"]
        self.student = Detector(config, spec["classes"])
        fill(self.student, our_name)
        self.student.train()
        self.teacher = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.pairs = [
            (own, theirs)
            for own, theirs in zip(
                self.teacher.state_dict().values(), self.student.state_dict().values()
            )
            if own.is_floating_point()
        ]
        rule = spec["optimizer"]
        named = [(n, p) for n, p in self.student.named_parameters() if p.requires_grad]
        biases = {"lr": 2 * rule["lr"], "weight_decay": 0.0}
        groups = [
            {"params": [p for n, p in named if "bias" not in n]},
            {"params": [p for n, p in named if "bias" in n], **biases},
        ]
        options = {key: rule[key] for key in ("lr", "momentum", "weight_decay")}
        self.optimiser = torch.optim.SGD(groups, fused=True, **options)
        images, _, height, width = spec["image"]
        self.image = 10 * filled("image", spec["image"])
        self.target = 10 * filled("target", spec["image"])
        self.sizes = [tuple(config["size"])] * images
        truth = {"boxes": torch.tensor(config["boxes"]), "labels": torch.tensor(config["labels"])}
        self.truth = [truth] * images
        cells = [round(side / config["block"]) for side in (height, width)]
        uniform = 5 * filled("blocks", [images, 1, *cells]) + 0.5
        visible = (uniform > config["ratio"]).float()
        self.visible = F.interpolate(visible, size=(height, width), mode="nearest")
        self.steps = 0

    def networks(self):
        return [self.student, self.teacher]

    def place(self, layout):
        for network in self.networks():
            network.to(memory_format=layout)
        self.image = self.image.contiguous(memory_format=layout)
        self.target = self.target.contiguous(memory_format=layout)

    def follow(self):
        momentum = self.spec["alpha"] if self.steps > 0 else 0.0
        with torch.no_grad():
            own, theirs = zip(*self.pairs)
            torch._foreach_lerp_(list(own), list(theirs), 1 - momentum)

    def pseudo(self):
        """Images in which the teacher is sure of objects, and those objects."""
        with torch.no_grad():
            found = self.teacher.detect(self.target, self.sizes)
        images, truth = [], []
        for i, of_image in enumerate(found):
            sure = of_image["scores"] >= self.spec["threshold"]
            if sure.any():
                images.append(i)
                truth.append({key: of_image[key][sure] for key in ("boxes", "labels")})
        return images, truth

    def step(self):
        """What was logged, in the order of the names."""
        with torch.no_grad():
            masked = blur(self.target, self.spec["sigma"]) * self.visible
        self.follow()
        images, truth = self.pseudo()
        both = torch.cat([self.image, self.target])
        losses = self.student.losses(both, 2 * self.sizes, self.truth, False, True)
        if images:
            sizes = [self.sizes[i] for i in images]
            again = self.student.losses(masked[images], sizes, truth, True, False)
            # Boxes do not learn from masked images.
            factors = {name: float(not name.endswith("box_reg")) for name in again}
            losses |= {f"{name}_mask": factors[name] * loss for name, loss in again.items()}
        loss = sum(losses.values())
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.steps += 1
        told = {name: value.item() for name, value in losses.items()}
        told |= {"loss": loss.item(), "pseudo.boxes": float(sum(len(t["labels"]) for t in truth))}
        return [told[name] for name in sorted(told)]
