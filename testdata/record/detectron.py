"""Records a small backbone file as Detectron (Caffe2, Python 2) wrote them.

    python testdata/record/detectron.py testdata/recorded/detectron

The ResNet has stages of 1, 2, 1 and 1 bottlenecks. Element i of the n-th tensor, by name, is
((7 i + 13 n) mod 101 - 50) / 64.
"""

import pathlib
import sys

import numpy as np

from weights import python2

BLOCKS = (1, 2, 1, 1)
STEM, WIDTH = 2, 1


def shapes():
    yield "conv1_w", (STEM, 3, 7, 7)
    yield "conv1_b", (STEM,)
    yield "res_conv1_bn_s", (STEM,)
    yield "res_conv1_bn_b", (STEM,)
    inputs = STEM
    for stage, blocks in enumerate(BLOCKS):
        width = WIDTH * 2**stage
        for block in range(blocks):
            name = f"res{stage + 2}_{block}_branch"
            for branch, shape in (("2a", (width, inputs, 1, 1)), ("2b", (width, width, 3, 3)),
                                  ("2c", (4 * width, width, 1, 1))):
                yield f"{name}{branch}_w", shape
                yield f"{name}{branch}_bn_s", shape[:1]
                yield f"{name}{branch}_bn_b", shape[:1]
            if block == 0:
                yield f"{name}1_w", (4 * width, inputs, 1, 1)
                yield f"{name}1_bn_s", (4 * width,)
                yield f"{name}1_bn_b", (4 * width,)
            inputs = 4 * width
    yield "fc1000_w", (3, inputs)
    yield "fc1000_b", (3,)


def main(folder):
    tensors = {}
    for n, (name, shape) in enumerate(sorted(shapes())):
        values = (7 * np.arange(np.prod(shape)) + 13 * n) % 101 - 50
        tensors[name] = (values / 64).astype(np.float32).reshape(shape)
    tensors["conv1_w_momentum"] = np.zeros_like(tensors["conv1_w"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small.pkl").write_bytes(python2({"blobs": tensors, "cfg": "MODEL: {}\n"}, 2))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
