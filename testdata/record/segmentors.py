"""Records small segmentation networks in the forms of others, with their logits.

- training.pth: the networks of a training run as MMCV saves them (`meta`, `state_dict` with the
  student below `model.` and parts of other networks, `optimizer`), written by torch.save;
- hub.safetensors: transformers' SegformerForSemanticSegmentation as save_pretrained writes it;
- expected.safetensors: `image` (values are (byte - 8) / 4), `training.logits` (at a quarter of the
  image's size), `hub.logits`, and as metadata the networks' shapes.

The first network is bench/peer_segmentor.py's, in PyTorch alone.
"""

import argparse
import collections
import json
import pathlib
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import SegformerConfig, SegformerForSemanticSegmentation

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench"))
from peer_segmentor import Segmentor  # noqa: E402

CLASSES = ("leaf", "fruit", "soil")
PALETTE = [[10, 200, 30], [220, 40, 40], [120, 90, 60]]
DAFORMER = {
    "backbone": {
        "embed_dims": [4, 8],
        "depths": [1, 2],
        "num_heads": [1, 2],
        "sr_ratios": [4, 2],
        "mlp_ratio": 4,
    },
    "channels": 4,
    "dilations": [1, 2],
}
HUB = {
    "hidden_sizes": [4, 8, 12, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 3, 4],
    "sr_ratios": [8, 4, 2, 1],
    "decoder_hidden_size": 6,
}
IMAGE = (2, 3, 64, 96)


def shake(model):
    """Values as after training, those of norms and statistics too."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(7)
            elif tensor.dim() > 1:
                tensor.normal_(0, (1.5 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("running_var", "weight")):
                tensor.uniform_(0.5, 1.5)
            else:
                tensor.normal_(0, 0.2)


def authors_epsilons(model):
    """The authors' networks, and ours, normalise with this inside of blocks and after stages."""
    for name, module in model.named_modules():
        inside = "sequence_reduction" in name or "patch_embeddings" in name
        if isinstance(module, torch.nn.LayerNorm) and not inside:
            module.eps = 1e-6


def training(out, image):
    model = Segmentor(DAFORMER, len(CLASSES))
    shake(model)
    model.eval()
    with torch.no_grad():
        logits = model.decode_head(model.backbone(image))
    state = collections.OrderedDict()
    for name, tensor in model.state_dict().items():
        state[f"model.{name}"] = tensor
    for other in ("ema_model", "imnet_model", "mic.teacher.ema_model"):
        state[f"{other}.backbone.norm1.weight"] = torch.ones(4)
    parameter = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.AdamW([parameter], lr=6e-5)
    parameter.sum().backward()
    optimiser.step()
    meta = {
        "CLASSES": CLASSES,
        "PALETTE": PALETTE,
        "iter": 40000,
        "epoch": 1,
        "mmcv_version": "1.3.7",
        "config": "model = dict(type='EncoderDecoder')\n",
    }
    file = {"meta": meta, "state_dict": state, "optimizer": optimiser.state_dict()}
    torch.save(file, out / "training.pth")
    return logits


def hub(out, image):
    config = SegformerConfig(num_labels=len(CLASSES), **HUB)
    with tempfile.TemporaryDirectory() as folder:
        model = SegformerForSemanticSegmentation(config)
        shake(model)
        model.eval().save_pretrained(folder)
        save_file(load_file(f"{folder}/model.safetensors"), out / "hub.safetensors", {"format": "pt"})
        authors_epsilons(model)
        with torch.no_grad():
            logits = model(image).logits
    return logits


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    out = parser.parse_args().folder
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    pixels = torch.randint(0, 17, IMAGE, dtype=torch.uint8)
    image = (pixels.float() - 8) / 4
    recorded = {
        "image": pixels,
        "training.logits": training(out, image),
        "hub.logits": hub(out, image),
    }
    metadata = {
        "classes": json.dumps(CLASSES),
        "palette": json.dumps(PALETTE),
        "daformer": json.dumps(DAFORMER),
        "hub": json.dumps(HUB),
        "torch": torch.__version__,
    }
    save_file({k: v.contiguous() for k, v in recorded.items()}, out / "expected.safetensors", metadata)


if __name__ == "__main__":
    main()
