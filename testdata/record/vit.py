"""Records features and gradients of timm's vision transformers into vit.safetensors.

Weights and images come from names (fill.py); position embeddings are multiplied by `positions`
after that, so that they matter. Everything is computed in double precision. Metadata:
- `cases`: name, the network's options as `VitConfig` has them, image shape, chosen blocks;
- `keys`: names and shapes of whole networks, of a block once;
- `resizes`: sizes and options of the resized grids.

Keys: `<case>.out`, `<case>.block.<n>`, `<case>.norm` (every `stride`-th element of the last two),
`<case>.image` (gradient, thinned alike) and `<case>.grad.<parameter>`: the products of a gradient
with `from_name("probe." + parameter)` and with itself.
"""

import argparse
import json

import timm
import timm.models.vision_transformer as vision_transformer
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from fill import fill, from_name

POSITIONS = 200.0
STRIDE = 211
OFFSET = 0.1

timm_resample = vision_transformer.resample_abs_pos_embed


def hub_resample(posemb, new_size, old_size, num_prefix_tokens):
    """The rule of torch.hub's DINOv2 without registers."""
    if tuple(new_size) == tuple(old_size):
        return posemb
    prefix, grid = posemb[:, :num_prefix_tokens], posemb[:, num_prefix_tokens:]
    scale = [(new + OFFSET) / old for new, old in zip(new_size, old_size)]
    grid = grid.reshape(1, *old_size, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
    assert tuple(grid.shape[2:]) == tuple(new_size)
    return torch.cat([prefix, grid.flatten(2).transpose(1, 2)], 1)


def named(name, shape, scale):
    return torch.from_numpy(from_name(name, shape)).double() * scale


def thin(tensor):
    return tensor.detach().flatten()[::STRIDE].clone()


def options(model, resize):
    block = model.blocks[0]
    scaled = not isinstance(block.ls1, torch.nn.Identity)
    prefixed = model.pos_embed.shape[1] > model.patch_embed.num_patches
    return {
        "image_size": list(model.patch_embed.img_size),
        "patch": model.patch_embed.patch_size[0],
        "dim": model.embed_dim,
        "depth": len(model.blocks),
        "heads": block.attn.num_heads,
        "mlp_ratio": block.mlp.fc1.out_features // model.embed_dim,
        "layer_scale": 1e-5 if scaled else None,
        "registers": model.num_reg_tokens,
        "prefix_positions": prefixed,
        "pool": {"token": "class", "avg": "mean"}[model.global_pool],
        "position_resize": resize,
        "classes": model.num_classes,
        "drop_path_rate": 0.0,
    }


def record(out, name, architecture, image, blocks, resample=None, **arguments):
    vision_transformer.resample_abs_pos_embed = resample or timm_resample
    model = timm.create_model(architecture, pretrained=False, **arguments).eval()
    fill(model)
    model.double()
    with torch.no_grad():
        model.pos_embed *= POSITIONS
    x = named("image", image, (3 * image[2] * image[3]) ** 0.5).requires_grad_()
    norm, chosen = model.forward_intermediates(
        x, indices=blocks, return_prefix_tokens=True, output_fmt="NLC"
    )
    chosen = [torch.cat([prefix, patches], 1) for patches, prefix in chosen]
    result = model.forward_head(norm)
    loss = (result * named("weigh.out", tuple(result.shape), 1.0)).sum()
    for number, tokens in zip(blocks, chosen):
        out[f"{name}.block.{number}"] = thin(tokens)
        weights = named(f"weigh.{number}", tuple(tokens.shape), 1.0)
        loss = loss + (tokens * weights).sum()
    loss.backward()
    out[f"{name}.out"] = result.detach().clone()
    out[f"{name}.norm"] = thin(norm)
    out[f"{name}.image"] = thin(x.grad)
    for key, parameter in model.named_parameters():
        grad = parameter.grad
        probe = named(f"probe.{key}", tuple(grad.shape), 1.0)
        out[f"{name}.grad.{key}"] = torch.stack([(grad * probe).sum(), (grad * grad).sum()])
    resize = {"offset": OFFSET} if resample else "antialias"
    return {
        "name": name,
        "options": options(model, resize),
        "image": list(image),
        "blocks": blocks,
    }


def keys(architecture):
    """Names and shapes; those of a block once, after checking that all blocks agree."""
    with torch.device("meta"):
        model = timm.create_model(architecture, pretrained=False)
    top, blocks = [], {}
    for key, tensor in model.state_dict().items():
        if key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            blocks.setdefault(int(number), []).append([rest, list(tensor.shape)])
        else:
            top.append([key, list(tensor.shape)])
    assert all(block == blocks[0] for block in blocks.values())
    return {"top": top, "block": blocks[0], "depth": len(blocks)}


def resizes(out):
    cases = []
    for old, new, antialias, scale in [
        ((37, 37), (7, 9), True, None),
        ((14, 14), (32, 20), True, None),
        ((4, 6), (5, 3), True, None),
        ((37, 37), (16, 16), False, (16.1 / 37, 16.1 / 37)),
        ((37, 37), (37, 52), False, (37.1 / 37, 52.1 / 37)),
        ((4, 6), (9, 2), False, (9.1 / 4, 2.1 / 6)),
        ((4, 6), (9, 2), False, None),
        ((1, 2), (3, 1), False, None),
    ]:
        name = f"resize.{len(cases)}"
        x = named(name, (1, old[0] * old[1], 3), 30.0).requires_grad_()
        grid = x.reshape(1, *old, 3).permute(0, 3, 1, 2)
        size = {"size": new} if scale is None else {"scale_factor": scale}
        y = F.interpolate(grid, mode="bicubic", antialias=antialias, **size)
        assert tuple(y.shape[2:]) == new
        y = y.flatten(2).transpose(1, 2)
        (y * named(f"{name}.weigh", tuple(y.shape), 30.0)).sum().backward()
        out[f"{name}.out"] = y.detach().flatten()[:: STRIDE % 4].contiguous()
        out[f"{name}.grad"] = x.grad.flatten()[:: STRIDE % 4].clone()
        cases.append({"from": old, "to": new, "antialias": antialias, "scale": scale})
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    args = parser.parse_args()
    out = {}
    cases = [
        record(out, "base", "vit_base_patch16_224", (2, 3, 224, 224), [0, 1],
               depth=2, num_classes=7),
        record(out, "mae", "vit_base_patch16_224", (2, 3, 224, 224), [0],
               depth=2, num_classes=0, global_pool="avg"),
        record(out, "whole", "vit_base_patch16_224", (1, 3, 224, 224), [5],
               num_classes=3),
        record(out, "tiny", "vit_tiny_patch16_224", (2, 3, 64, 96), [1],
               depth=2, num_classes=0, dynamic_img_size=True),
        record(out, "dinov2", "vit_small_patch14_dinov2", (2, 3, 98, 98), [2],
               depth=3, img_size=98),
        record(out, "dinov2_timm", "vit_small_patch14_dinov2", (2, 3, 98, 126), [0, 2],
               depth=3, dynamic_img_size=True),
        record(out, "dinov2_hub", "vit_small_patch14_dinov2", (2, 3, 98, 126), [0, 2],
               depth=3, dynamic_img_size=True, resample=hub_resample),
        record(out, "registers", "vit_small_patch14_reg4_dinov2", (2, 3, 112, 84), [0, 1],
               depth=2, img_size=(70, 98), dynamic_img_size=True),
    ]
    architectures = [f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")]
    for size in ("small", "base", "large"):
        architectures += [f"vit_{size}_patch14_dinov2", f"vit_{size}_patch14_reg4_dinov2"]
    about = {
        "cases": cases,
        "keys": {name: keys(name) for name in architectures},
        "resizes": resizes(out),
        "positions": POSITIONS,
        "stride": STRIDE,
    }
    metadata = {key: json.dumps(value) for key, value in about.items()}
    metadata["versions"] = json.dumps({"torch": torch.__version__, "timm": timm.__version__})
    save_file(out, args.output, metadata=metadata)


if __name__ == "__main__":
    main()
