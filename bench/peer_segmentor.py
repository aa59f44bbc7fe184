"""MiT (SegFormer, sec. 3.1) with the DAFormer head (DAFormer, sec. 3.2) in plain PyTorch.

Written for speed on a CPU: attention is fused, and tokens (B, H*W, C) become images without being
copied, as images whose channels come last. Names are those of `mic_seg::model`.
"""

import torch
import torch.nn.functional as F
from torch import nn


def to_map(tokens, size):
    return tokens.transpose(1, 2).unflatten(2, size)


def to_tokens(image):
    return image.flatten(2).transpose(1, 2)


class PatchEmbed(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__()
        self.proj = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(outputs, eps=1e-5)

    def forward(self, image):
        x = self.proj(image)
        return self.norm(to_tokens(x)), x.shape[2:]


class Attention(nn.Module):
    def __init__(self, dim, heads, ratio):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.sr = nn.Conv2d(dim, dim, ratio, ratio) if ratio > 1 else None
        self.norm = nn.LayerNorm(dim, eps=1e-5) if ratio > 1 else None

    def forward(self, x, size):
        batch, queries, dim = x.shape
        q = self.q(x).view(batch, queries, self.heads, -1).transpose(1, 2)
        if self.sr is not None:
            x = self.norm(to_tokens(self.sr(to_map(x, size))))
        kv = self.kv(x).view(batch, -1, 2, self.heads, dim // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, queries, dim))


class DepthwiseConv(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, 1, 1, groups=dim)

    def forward(self, x, size):
        return to_tokens(self.dwconv(to_map(x, size)))


class MixFfn(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x, size):
        return self.fc2(F.gelu(self.dwconv(self.fc1(x), size)))


class Block(nn.Module):
    def __init__(self, dim, heads, ratio, mlp_ratio):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, ratio)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MixFfn(dim, dim * mlp_ratio)

    def forward(self, x, size):
        x = x + self.attn(self.norm1(x), size)
        return x + self.mlp(self.norm2(x), size)


class Mit(nn.Module):
    def __init__(self, config):
        super().__init__()
        inputs = 3
        self.stages = len(config["depths"])
        for index in range(self.stages):
            dim, stage = config["embed_dims"][index], index + 1
            kernel, stride = (7, 4) if index == 0 else (3, 2)
            heads, ratio = config["num_heads"][index], config["sr_ratios"][index]
            blocks = [
                Block(dim, heads, ratio, config["mlp_ratio"])
                for _ in range(config["depths"][index])
            ]
            setattr(self, f"patch_embed{stage}", PatchEmbed(inputs, dim, kernel, stride))
            setattr(self, f"block{stage}", nn.ModuleList(blocks))
            setattr(self, f"norm{stage}", nn.LayerNorm(dim, eps=1e-6))
            inputs = dim

    def forward(self, x):
        features = []
        for stage in range(1, self.stages + 1):
            tokens, size = getattr(self, f"patch_embed{stage}")(x)
            for block in getattr(self, f"block{stage}"):
                tokens = block(tokens, size)
            x = to_map(getattr(self, f"norm{stage}")(tokens), size)
            features.append(x)
        return features


class ConvModule(nn.Module):
    def __init__(self, inputs, outputs, kernel, dilation=1, groups=1):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, 1, padding, dilation, groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class SeparableConv(nn.Module):
    def __init__(self, inputs, outputs, dilation):
        super().__init__()
        self.depthwise_conv = ConvModule(inputs, inputs, 3, dilation, inputs)
        self.pointwise_conv = ConvModule(inputs, outputs, 1)

    def forward(self, x):
        return self.pointwise_conv(self.depthwise_conv(x))


class Aspp(nn.Module):
    def __init__(self, inputs, channels, dilations):
        super().__init__()
        self.aspp_modules = nn.ModuleList(
            ConvModule(inputs, channels, 1) if d == 1 else SeparableConv(inputs, channels, d)
            for d in dilations
        )
        self.bottleneck = ConvModule(len(dilations) * channels, channels, 3)

    def forward(self, x):
        return self.bottleneck(torch.cat([branch(x) for branch in self.aspp_modules], 1))


class Embedding(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.proj = nn.Linear(inputs, outputs)

    def forward(self, x):
        return to_map(self.proj(to_tokens(x)), x.shape[2:])


class DaformerHead(nn.Module):
    def __init__(self, inputs, channels, dilations, classes):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        self.embed_layers = nn.ModuleList(Embedding(i, channels) for i in inputs)
        self.fuse_layer = Aspp(len(inputs) * channels, channels, dilations)

    def forward(self, features):
        size = features[0].shape[2:]
        levels = []
        for embed, feature in zip(self.embed_layers, features):
            x = embed(feature)
            if x.shape[2:] != size:
                x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            levels.append(x)
        return self.conv_seg(self.fuse_layer(torch.cat(levels, 1)))


class Segmentor(nn.Module):
    """Logits at the size of the image (B, 3, H, W)."""

    def __init__(self, config, classes):
        super().__init__()
        backbone, channels = config["backbone"], config["channels"]
        self.backbone = Mit(backbone)
        self.decode_head = DaformerHead(
            backbone["embed_dims"], channels, config["dilations"], classes
        )

    def forward(self, image):
        logits = self.decode_head(self.backbone(image))
        return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=False)
