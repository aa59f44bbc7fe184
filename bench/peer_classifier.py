"""One iteration of SDAT with masked image consistency for `bench/peer.py`, in plain PyTorch.

The order is that of the published code: teacher, masked images, the losses whose gradient climbs
(one backward pass for their sum), the losses at the perturbed weights (one again), the
discriminator's step, the weights restored, the student's step. Names are those of `mic_cls::model`.
"""

import copy

import torch
import torch.nn.functional as F
from named import fill, filled
from peer_iteration import blur, jitter
from torch import nn


def backbone(config):
    if config["kind"] == "vit":
        import timm
        from timm.models.vision_transformer import Block

        options = {
            "img_size": tuple(config["image_size"]),
            "patch_size": config["patch"],
            "embed_dim": config["dim"],
            "depth": config["depth"],
            "num_heads": config["heads"],
            "num_classes": 0,
        }
        return timm.create_model("vit_base_patch16_224", pretrained=False, **options), Block
    from torchvision.models.resnet import Bottleneck, ResNet

    net = ResNet(Bottleneck, config["depths"])
    net.fc = nn.Identity()
    return net, Bottleneck


class Classifier(nn.Module):
    def __init__(self, config, classes):
        super().__init__()
        self.backbone, self.block = backbone(config["backbone"])
        inputs, features = config["features"], config["bottleneck"]
        layers = nn.Linear(inputs, features), nn.BatchNorm1d(features), nn.ReLU()
        self.bottleneck = nn.Sequential(*layers)
        self.head = nn.Linear(features, classes)

    def forward(self, image):
        features = self.bottleneck(self.backbone(image))
        return self.head(features), features


def discriminator(inputs, hidden):
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, 1),
        nn.Sigmoid(),
    )


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.factor * grad, None


def entropy(p):
    return -(p * torch.log(p + 1e-5)).sum(1)


def class_confusion(logits, temperature):
    p = torch.softmax(logits / temperature, 1)
    weight = 1 + torch.exp(-entropy(p).detach())
    weight = len(p) * weight / weight.sum()
    confusion = (p * weight.unsqueeze(1)).T @ p
    confusion = confusion / confusion.sum(1)
    return (confusion.sum() - confusion.trace()) / logits.shape[1]


class Iteration:
    """Student, teacher, discriminator, their optimisers and a batch."""

    def __init__(self, spec):
        self.spec = config = spec["architecture"]
        self.classes = spec["classes"]
        self.student = Classifier(config, self.classes)
        self.block = self.student.block
        fill(self.student)
        self.student.train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        features = config["bottleneck"]
        self.adversary = discriminator(features * self.classes, config["hidden"])
        fill(self.adversary)
        rule = spec["optimizer"]
        options = {
            "lr": rule["lr"],
            "momentum": rule["momentum"],
            "weight_decay": rule["weight_decay"],
            "nesterov": True,
        }
        self.parameters = list(self.student.parameters())
        slow = list(self.student.backbone.parameters())
        fast = [*self.student.bottleneck.parameters(), *self.student.head.parameters()]
        groups = [{"params": slow, "lr": 0.1 * rule["lr"]}, {"params": fast}]
        self.optimiser = torch.optim.SGD(groups, fused=True, **options)
        self.second = torch.optim.SGD(self.adversary.parameters(), fused=True, **options)
        self.teacher_parameters = list(self.teacher.parameters())
        batch, _, side, _ = spec["image"]
        self.image = 10 * filled("image", spec["image"])
        self.target = 10 * filled("target", spec["image"])
        self.label = (torch.arange(batch) * 131 + 7) % self.classes
        cells = round(side / config["block"])
        uniform = 5 * filled("blocks", [batch, 1, cells, cells]) + 0.5
        visible = (uniform > config["ratio"]).float()
        self.visible = F.interpolate(visible, size=(side, side), mode="nearest")
        self.base_lrs = [[group["lr"] for group in o.param_groups] for o in self.optimisers()]
        self.steps = 0

    def optimisers(self):
        return [self.optimiser, self.second]

    def networks(self):
        return [self.student, self.teacher, self.adversary]

    def place(self, layout):
        self.student.to(memory_format=layout)
        self.teacher.to(memory_format=layout)
        self.image = self.image.contiguous(memory_format=layout)
        self.target = self.target.contiguous(memory_format=layout)

    def follow(self):
        momentum = min(1 - 1 / (self.steps + 1), self.spec["alpha"])
        with torch.no_grad():
            torch._foreach_lerp_(self.teacher_parameters, self.parameters, 1 - momentum)

    def pseudo_labels(self):
        with torch.no_grad():
            p = torch.softmax(self.teacher(self.target)[0], 1)
            weight, label = p.max(1)
            return label, weight

    def masked(self):
        drawn = self.spec["drawn"]
        with torch.no_grad():
            return blur(jitter(self.target, drawn), drawn["sigma"]) * self.visible

    def domain_loss(self, logits, features):
        p = torch.softmax(logits, 1).detach()
        joint = (p.unsqueeze(2) * features.unsqueeze(1)).flatten(1)
        factor = torch.tanh(torch.tensor(self.steps / 2000.0)).item()
        found = self.adversary(Reverse.apply(joint, factor)).squeeze(1)
        half = len(found) // 2
        truth = torch.cat([torch.ones(half), torch.zeros(half)])
        return F.binary_cross_entropy(found, truth)

    def step(self):
        """The losses of both passes, in the order of their names."""
        for optimiser, rates in zip(self.optimisers(), self.base_lrs):
            optimiser.zero_grad(set_to_none=True)
            for group, rate in zip(optimiser.param_groups, rates):
                group["lr"] = rate * (1 + 0.001 * self.steps) ** -0.75
        told = {}

        def tell(**losses):
            told.update({name.replace("_", "."): loss.item() for name, loss in losses.items()})

        masked = self.masked()
        self.follow()
        label, weight = self.pseudo_labels()
        images = torch.cat([self.image, self.target])
        batch, temperature = len(self.image), self.spec["temperature"]

        logits, _ = self.student(images)
        cls = F.cross_entropy(logits[:batch], self.label)
        mcc = class_confusion(logits[batch:], temperature)
        again = F.cross_entropy(self.student(masked)[0], label, reduction="none")
        consistency = (weight * again).mean()
        loss = cls + mcc + consistency
        loss.backward()
        tell(ascent_cls=cls, ascent_mcc=mcc, ascent_masked=consistency, ascent_total=loss)
        del logits, cls, mcc, again, consistency, loss

        climbed = [p for p in self.parameters if p.grad is not None]
        grads = [p.grad for p in climbed]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        tell(ascent_norm=norm)
        with torch.no_grad():
            moves = torch._foreach_mul(grads, (self.spec["rho"] / (norm + 1e-12)).item())
            torch._foreach_add_(climbed, moves)
        del grads
        self.optimiser.zero_grad(set_to_none=True)

        logits, features = self.student(images)
        cls = F.cross_entropy(logits[:batch], self.label)
        consistency = F.cross_entropy(self.student(masked)[0], label)
        cdan = self.domain_loss(logits, features)
        mcc = class_confusion(logits[batch:], temperature)
        transfer = cdan + mcc + consistency
        loss = cls + self.spec["trade_off"] * transfer
        loss.backward()
        tell(loss_cls=cls, loss_cdan=cdan, loss_mcc=mcc, loss_masked=consistency)
        tell(loss_transfer=transfer, loss_total=loss)
        del logits, features, cls, cdan, mcc, consistency, transfer, loss

        self.second.step()
        with torch.no_grad():
            torch._foreach_sub_(climbed, moves)
        del moves
        self.optimiser.step()
        self.steps += 1
        return [told[name] for name in sorted(told)]
