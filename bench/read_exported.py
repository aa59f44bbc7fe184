"""What PyTorch makes of exported checkpoints, for mic-seg/tests/foreign_weights.rs.

    python read_exported.py FOLDER

Reads published.pth, teacher.pt and plain.safetensors with PyTorch's own loaders, compares their
tensors, loads them into bench/peer_segmentor.py's network of shape.json, strictly, and writes its
logits on image.safetensors to logits.safetensors. Exit code 3: a package is missing.
"""

import json
import sys
from pathlib import Path

try:
    import torch
    from safetensors.torch import load_file, save_file
except ImportError:
    sys.exit(3)

from peer_segmentor import Segmentor


def main(folder):
    published = torch.load(folder / "published.pth", weights_only=True)
    assert set(published) == {"meta", "state_dict"}, list(published)
    meta = published["meta"]
    assert isinstance(meta["CLASSES"], tuple) and len(meta["CLASSES"]) == len(meta["PALETTE"])
    assert all(len(colour) == 3 for colour in meta["PALETTE"])
    # The older loader, which executes pickles, as well.
    old = torch.load(folder / "published.pth", weights_only=False)["state_dict"]
    state = published["state_dict"]
    assert list(old) == list(state)
    student = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    assert len(student) == len(state) and all(name.startswith("model.") for name in state)
    plain = load_file(folder / "plain.safetensors")
    teacher = torch.load(folder / "teacher.pt", weights_only=True)["state_dict"]
    assert set(teacher) == set(state) | {f"ema_model.{name}" for name in student}
    for name, tensor in student.items():
        assert torch.equal(tensor, plain[name]), name
        assert torch.equal(tensor, teacher[f"model.{name}"]), name
        assert tensor.dtype == plain[name].dtype, name
    shape = json.loads((folder / "shape.json").read_text())
    net = Segmentor(shape, len(meta["CLASSES"]))
    net.load_state_dict(student, strict=True)
    net.eval()
    image = load_file(folder / "image.safetensors")["image"]
    with torch.no_grad():
        logits = net.decode_head(net.backbone(image))
    save_file({"logits": logits.contiguous()}, folder / "logits.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
