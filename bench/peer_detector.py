"""An iteration of MIC on SADA with Faster R-CNN FPN, out of torchvision's parts.

    python peer_detector.py [HEIGHT WIDTH [ITERATIONS]]

prints seconds and peak memory of each, like `mic-det/examples/iteration.rs`: ResNet-50, 9 classes,
one image of each domain, weights drawn at random. The step is the published one: the teacher follows
and detects, one pass over source and target with all losses, one over the masked target, one backward
pass over their sum, one step of SGD. Anchors, sampling and boxes are torchvision's, in the published
numbers; domain heads are written out here.
"""

import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.transforms.v2.functional import gaussian_blur

CLASSES = 9
IMAGE_WEIGHT, INSTANCE_WEIGHT, CONSISTENCY_WEIGHT = 0.025, 0.1, 0.1
BLOCK, ALPHA, THRESHOLD = 32, 0.9, 0.1


class Scale(torch.autograd.Function):
    """The identity, whose gradient is scaled."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


class DomainHeads(nn.Module):
    """SADA's heads: an image head for each of five maps, the finest level's instance head."""

    def __init__(self):
        super().__init__()
        image = lambda: nn.Sequential(nn.Conv2d(256, 512, 1), nn.ReLU(True), nn.Conv2d(512, 1, 1))
        self.image = nn.ModuleList(image() for _ in range(5))
        self.instance = nn.Sequential(
            nn.Linear(1024, 1024), nn.ReLU(True), nn.Dropout(0.5),
            nn.Linear(1024, 1024), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(1024, 1),
        )

    def images(self, maps, factor):
        return [head(Scale.apply(x, factor)) for head, x in zip(self.image, maps)]

    def instances(self, features, small, factor):
        logits = features.new_zeros(len(features))
        if small.any():
            found = self.instance(Scale.apply(features[small], factor)).squeeze(1)
            logits = logits.index_put((small.nonzero().squeeze(1),), found)
        return logits

    def forward(self, maps, boxes, sizes, features, pool):
        logits = self.images(maps, -IMAGE_WEIGHT)
        truth = torch.zeros_like(logits[0])
        truth[0] = 1.0
        up = [F.interpolate(x, truth.shape[2:], mode="bilinear", align_corners=True) for x in logits]
        image = sum(F.binary_cross_entropy_with_logits(x, truth) for x in up) / len(up)

        every = torch.cat(boxes)
        sides = (every[:, 2:] - every[:, :2] + 1).prod(1).sqrt()
        source = torch.cat([torch.full((len(b),), float(i == 0)) for i, b in enumerate(boxes)])
        found = self.instances(features, sides < 112, -INSTANCE_WEIGHT)
        instance = F.binary_cross_entropy_with_logits(found, source)

        consistent = self.images(maps, CONSISTENCY_WEIGHT * IMAGE_WEIGHT)
        found = self.instances(features, sides < 112, CONSISTENCY_WEIGHT * INSTANCE_WEIGHT)
        named = {str(i): x.sigmoid() for i, x in enumerate(consistent[:4])}
        of_image = pool(named, boxes, sizes).flatten(1).mean(1)
        return image, instance, (of_image - found.sigmoid()).abs().mean()


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        backbone = resnet_fpn_backbone(
            backbone_name="resnet50", weights=None, trainable_layers=3,
            norm_layer=lambda width: FrozenNorm(width),
        )
        self.net = FasterRCNN(
            backbone, CLASSES,
            rpn_pre_nms_top_n_train=2000, rpn_post_nms_top_n_train=1000,
            rpn_pre_nms_top_n_test=1000, rpn_post_nms_top_n_test=1000,
            box_batch_size_per_image=256,
        )
        self.domain = DomainHeads()

    def detect(self, image):
        net, sizes = self.net, [tuple(image.shape[2:])] * len(image)
        maps = net.backbone(image)
        proposals, _ = net.rpn(ImageList(image, sizes), maps)
        return net.roi_heads(maps, proposals, sizes)[0]

    def losses(self, image, targets, weighted, domain):
        """Losses of the first `len(targets)` images; of all images those of the domain heads."""
        net, sizes = self.net, [tuple(image.shape[2:])] * len(image)
        maps = net.backbone(image)
        levels, rpn, labelled = list(maps.values()), net.rpn, len(targets)
        objectness, deltas = rpn.head(levels)
        anchors = rpn.anchor_generator(ImageList(image, sizes), levels)
        counts = [x[0].numel() for x in objectness]
        images = len(image)
        logits, deltas = concat_box_prediction_layers(objectness, deltas)
        with torch.no_grad():
            decoded = rpn.box_coder.decode(deltas.detach(), anchors).view(images, -1, 4)
            proposals, _ = rpn.filter_proposals(decoded, logits, sizes, counts)
        labels, matched = rpn.assign_targets_to_anchors(anchors[:labelled], targets)
        offsets = rpn.box_coder.encode(matched, anchors[:labelled])
        rows = labelled * len(anchors[0])
        of_objects, of_boxes = self.rpn_loss(logits[:rows], deltas[:rows], labels, offsets, weighted)

        nothing = {"boxes": image.new_zeros((0, 4)), "labels": torch.zeros(0, dtype=torch.int64)}
        every = targets + [nothing] * (images - labelled)
        roi = net.roi_heads
        proposals, _, labels, offsets = roi.select_training_samples(proposals, every)
        features = roi.box_head(roi.box_roi_pool(maps, proposals, sizes))
        classes, boxes = roi.box_predictor(features)
        rows = sum(len(p) for p in proposals[:labelled])
        classifier, regression = fastrcnn_loss(
            classes[:rows], boxes[:rows], labels[:labelled], offsets[:labelled]
        )
        if weighted:
            truth = torch.cat(labels[:labelled])
            sure = classes[:rows].detach().softmax(1).amax(1)
            classifier = (F.cross_entropy(classes[:rows], truth, reduction="none") * sure).mean()
        losses = [classifier, regression, of_objects, of_boxes]
        if domain:
            losses += self.domain(levels, proposals, sizes, features, roi.box_roi_pool)
        return losses

    def rpn_loss(self, logits, deltas, labels, offsets, weighted):
        positive, negative = self.net.rpn.fg_bg_sampler(labels)
        positive = torch.cat(positive).nonzero().squeeze(1)
        chosen = torch.cat([positive, torch.cat(negative).nonzero().squeeze(1)])
        labels, offsets = torch.cat(labels), torch.cat(offsets)
        distance = F.smooth_l1_loss(
            deltas[positive], offsets[positive], beta=1 / 9, reduction="sum"
        )
        logits = logits.flatten()[chosen]
        loss = F.binary_cross_entropy_with_logits(logits, labels[chosen], reduction="none")
        loss = (logits.sigmoid() * loss if weighted else loss).mean()
        return loss, distance / max(len(chosen), 1)


class FrozenNorm(nn.Module):
    """Constants, without epsilon; so small that activations of random weights stay finite."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("weight", torch.ones(width))
        self.register_buffer("bias", torch.zeros(width))

    def forward(self, x):
        return x * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class Adaptation:
    def __init__(self):
        self.student, self.teacher = Detector(), Detector().eval()
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        self.student.train()
        named = [(n, p) for n, p in self.student.named_parameters() if p.requires_grad]
        self.sgd = torch.optim.SGD(
            [
                {"params": [p for n, p in named if "bias" not in n]},
                {"params": [p for n, p in named if "bias" in n], "lr": 0.005, "weight_decay": 0.0},
            ],
            lr=0.0025, momentum=0.9, weight_decay=1e-4,
        )

    def follow(self):
        with torch.no_grad():
            own = list(self.teacher.state_dict().values())
            theirs = list(self.student.state_dict().values())
            torch._foreach_lerp_(own, theirs, 1 - ALPHA)

    def step(self, source, target, targets):
        height, width = target.shape[2:]
        keep = (torch.rand(1, 1, height // BLOCK, width // BLOCK) > 0.5).float()
        masked = gaussian_blur(target, [25, 25], [0.7, 0.7])
        masked = masked * F.interpolate(keep, (height, width), mode="nearest")
        self.follow()
        with torch.no_grad():
            found = self.teacher.detect(target)[0]
        sure = found["scores"] >= THRESHOLD
        losses = self.student.losses(torch.cat([source, target]), targets, False, True)
        if sure.any():
            pseudo = [{"boxes": found["boxes"][sure], "labels": found["labels"][sure]}]
            classifier, _, objectness, _ = self.student.losses(masked, pseudo, True, False)
            losses += [classifier, objectness]
        loss = sum(losses)
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()
        return int(sure.sum()), float(loss)


def image(height, width, phase):
    wave = 60 * torch.sin(0.01 * torch.arange(3.0 * height * width) + phase)
    return wave.view(1, 3, height, width) / 60


def main():
    numbers = [int(text) for text in sys.argv[1:]]
    height, width, times = (numbers + [608, 1216, 3][len(numbers):])[:3]
    height, width = -(-height // 32) * 32, -(-width // 32) * 32
    torch.manual_seed(0)
    method = Adaptation()
    parts = torch.tensor([
        [0.1, 0.3, 0.18, 0.5], [0.4, 0.4, 0.45, 0.55], [0.6, 0.2, 0.9, 0.8],
    ])
    boxes = parts * torch.tensor([width, height, width, height])
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 3, 5])}]
    for number in range(times):
        clock = time.perf_counter()
        objects, loss = method.step(
            image(height, width, number), image(height, width, number + 0.5), targets
        )
        seconds = time.perf_counter() - clock
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(
            f"{height} x {width}: {seconds:.2f} s, {objects} objects, loss {loss:.4f}, "
            f"peak {peak} MiB", flush=True,
        )


if __name__ == "__main__":
    main()
