"""Records the features of transformers' SegformerModel into segformer.safetensors.

Weights and the image come from names (fill.py): the names of the published files (nvidia/mit-b0),
which is what the library writes. Metadata `keys`: names and shapes of such a file; `image`: its
shape. Keys: `stage.<s>`, every `stride`-th element of a stage's features.
"""

import argparse
import json
import pathlib
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import SegformerConfig, SegformerModel

from fill import from_name

STRIDE = 7
IMAGE = (2, 3, 64, 96)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # The defaults are those of nvidia/mit-b0.
        SegformerModel(SegformerConfig()).save_pretrained(folder)
        path = pathlib.Path(folder) / "model.safetensors"
        shapes = {key: list(tensor.shape) for key, tensor in load_file(path).items()}
        values = {key: torch.from_numpy(from_name(key, shape)) for key, shape in shapes.items()}
        save_file(values, path, metadata={"format": "pt"})
        model = SegformerModel.from_pretrained(folder).double().eval()
    # The authors' networks, and ours, normalise with this inside of blocks and after stages.
    for name, module in model.named_modules():
        inside = "sequence_reduction" in name or "patch_embeddings" in name
        if isinstance(module, torch.nn.LayerNorm) and not inside:
            module.eps = 1e-6
    scale = (3 * IMAGE[2] * IMAGE[3]) ** 0.5
    image = torch.from_numpy(from_name("image", IMAGE)).double() * scale
    with torch.no_grad():
        states = model(image, output_hidden_states=True).hidden_states
    out = {f"stage.{s}": x.flatten()[::STRIDE].clone() for s, x in enumerate(states[-4:])}
    metadata = {
        "keys": json.dumps(shapes),
        "image": json.dumps(IMAGE),
        "stride": json.dumps(STRIDE),
        "versions": json.dumps(
            {"torch": torch.__version__, "transformers": transformers.__version__}
        ),
    }
    print([tuple(x.shape) for x in states])
    save_file(out, args.output, metadata=metadata)


if __name__ == "__main__":
    main()
