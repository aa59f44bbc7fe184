"""Tensors that both sides compute from names alone; see testdata/record/fill.py."""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "testdata" / "record"))
from fill import fill, from_name  # noqa: E402, F401


def filled(name, dims):
    """Values as of a tensor of one dimension: of magnitude 0.1, around 0 or 1 as the name says."""
    count = int(np.prod(dims, dtype=np.int64))
    return torch.from_numpy(from_name(name, (count,)).reshape(tuple(dims)).copy())
