"""PyTorch's side of `cargo xtask bench data`: reads questions and writes answers, a JSON line each.

    python peer_data.py WORKERS

It starts with {"version": ..., "packages": {...}}, or {"missing": package}. Then

- {"data": case} builds a data set with its transforms and answers with weighted means of what it
  makes of the first image;
- {"run": ...} takes batches from a new DataLoader and answers with the seconds for an image, once
  it has run for some batches.

Segmentation is done with OpenCV and NumPy in the order of mmseg's training pipeline: decode,
resize, crop with a bound on the largest class, mirror, normalise, pad, transpose. With rare class
sampling a file is read again for every crop that holds too little of the drawn class, as in
DAFormer. Classification is done with Pillow and torchvision.
"""

import importlib.util
import io
import json
import math
import os
import random
import sys
import time

from peer import version

ANSWERS, sys.stdout = sys.stdout, sys.stderr

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class Segmentation:
    """Frames with labels; an index above the number of files begins anew."""

    def __init__(self, case):
        self.case = case
        self.names = sorted(os.listdir(case["images"]))
        self.rare = self.statistics() if case["rare"] else None

    def __len__(self):
        return 1_000_000

    def statistics(self):
        import numpy as np

        counts = [np.bincount(self.label(n).ravel(), minlength=256)[:255] for n in self.names]
        counts = np.stack(counts)
        totals = counts.sum(0)
        classes = [int(c) for c in np.argsort(totals, kind="stable") if totals[c] > 0]
        share = totals[classes] / totals.sum()
        logits = (1 - share) / self.case["rare"]["class_temp"]
        weights = np.exp(logits - logits.max())
        least = self.case["rare"]["min_pixels"]
        files = {c: [n for n, row in zip(self.names, counts) if row[c] > least] for c in classes}
        return classes, weights / weights.sum(), files

    def label(self, name):
        import numpy as np
        from PIL import Image

        with open(os.path.join(self.case["labels"], name), "rb") as file:
            return np.array(Image.open(io.BytesIO(file.read()))).squeeze().astype(np.uint8)

    def read(self, name):
        import cv2
        import numpy as np

        with open(os.path.join(self.case["images"], name), "rb") as file:
            data = np.frombuffer(file.read(), np.uint8)
        image, label = cv2.imdecode(data, cv2.IMREAD_COLOR), self.label(name)
        height, width = label.shape
        bounds = self.case["resize"]
        factor = min(max(bounds) / max(height, width), min(bounds) / min(height, width))
        size = int(width * factor + 0.5), int(height * factor + 0.5)
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        return image, cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)

    def box(self, label):
        side = self.case["crop"]
        y = random.randrange(max(label.shape[0] - side, 0) + 1)
        x = random.randrange(max(label.shape[1] - side, 0) + 1)
        return x, y, side, side

    def varied_box(self, label):
        import numpy as np

        x, y, w, h = self.box(label)
        for _ in range(10):
            ids, counts = np.unique(label[y : y + h, x : x + w], return_counts=True)
            counts = counts[ids != 255]
            if len(counts) > 1 and counts.max() / counts.sum() < self.case["cat_max_ratio"]:
                break
            x, y, w, h = self.box(label)
        return x, y, w, h

    def augment(self, image, label, box, mirror):
        import cv2
        import numpy as np
        import torch

        x, y, w, h = box
        image, label = image[y : y + h, x : x + w], label[y : y + h, x : x + w]
        if mirror:
            image, label = np.flip(image, axis=1), np.flip(label, axis=1).copy()
        image = image.copy().astype(np.float32)
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, image)
        cv2.subtract(image, np.float64([MEAN]), image)
        cv2.multiply(image, 1 / np.float64([STD]), image)
        below, right = h - image.shape[0], w - image.shape[1]
        border = (0, below, 0, right, cv2.BORDER_CONSTANT)
        image = cv2.copyMakeBorder(image, *border, value=0)
        label = cv2.copyMakeBorder(label, *border, value=255)
        image = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return image, torch.from_numpy(label[None].astype(np.int64))

    def sample(self, name):
        image, label = self.read(name)
        return self.augment(image, label, self.varied_box(label), random.random() < 0.5)

    def __getitem__(self, index):
        if self.rare is None:
            return self.sample(self.names[index % len(self.names)])
        classes, weights, files = self.rare
        drawn = random.choices(classes, weights)[0]
        name = random.choice(files[drawn])
        image, label = self.sample(name)
        rare = self.case["rare"]
        for _ in range(10):
            if (label == drawn).sum() > rare["min_pixels"] * rare["min_crop_ratio"]:
                break
            image, label = self.sample(name)
        return image, label

    def check(self):
        return self.augment(*self.read(self.names[0]), self.case["compared"], True)


class Classification:
    """Photos with a class; an index above the number of files begins anew."""

    def __init__(self, case):
        from torchvision import transforms as T

        self.case = case
        self.names = sorted(os.listdir(case["images"]))
        self.squash = T.Resize(case["resize"][::-1], T.InterpolationMode.BICUBIC)
        self.to_tensor = T.Compose(
            [T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
        )
        train = [self.squash, T.RandomResizedCrop(case["crop"]), T.RandomHorizontalFlip()]
        self.train = T.Compose(train + [self.to_tensor])

    def __len__(self):
        return 1_000_000

    def read(self, name):
        from PIL import Image

        with open(os.path.join(self.case["images"], name), "rb") as file:
            return Image.open(file).convert("RGB")

    def __getitem__(self, index):
        return self.train(self.read(self.names[index % len(self.names)])), index % 12

    def check(self):
        from torchvision.transforms import functional as F

        x, y, w, h = self.case["compared"]
        image = self.squash(self.read(self.names[0]))
        side = self.case["crop"]
        image = F.resized_crop(image, y, x, h, w, [side, side])
        return self.to_tensor(F.hflip(image)), None


def weighted(values):
    """Mean of the values, each times a weight that depends on its place."""
    import torch

    if values is None:
        return 0.0
    values = values.double().ravel()
    weights = (torch.arange(len(values)) * 7919 % 1000) / 1000.0
    return float((values * weights).mean())


def start_worker(_):
    # Each worker process is one thread: there are as many processes as processors.
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(0)


class Peer:
    def __init__(self):
        self.data = None

    def answer(self, question):
        if "data" in question:
            case = question["data"]
            kinds = {"segmentation": Segmentation, "classification": Classification}
            self.data = kinds[case["kind"]](case)
            image, label = self.data.check()
            return {"image": weighted(image), "label": weighted(label)}
        return {"seconds": self.run()}

    def run(self):
        from torch.utils.data import DataLoader

        case = self.data.case
        loader = DataLoader(
            self.data,
            batch_size=case["batch"],
            shuffle=True,
            drop_last=True,
            num_workers=case["workers"],
            prefetch_factor=max(1, math.ceil(case["ahead"] / case["workers"])),
            worker_init_fn=start_worker,
        )
        batches = iter(loader)
        for _ in range(case["warm"]):
            next(batches)
        start = time.perf_counter()
        for _ in range(case["batches"]):
            next(batches)
        seconds = time.perf_counter() - start
        # Ends the workers, so that they do not disturb the other side.
        del batches
        return seconds / (case["batches"] * case["batch"])


def say(answer):
    print(json.dumps(answer), file=ANSWERS, flush=True)


def main():
    for package in ("numpy", "torch"):
        if version(package) is None:
            return say({"missing": package})
    import torch

    torch.set_num_threads(int(sys.argv[1]))
    names = {"torchvision": "torchvision", "opencv-python-headless": "cv2", "pillow": "PIL"}
    packages = {name: installed(name, module) for name, module in names.items()}
    say({"version": torch.__version__, "packages": packages})
    peer = Peer()
    for line in sys.stdin:
        try:
            answer = peer.answer(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        say(answer)


def installed(package, module):
    """The version of a package; any package that has the module will do."""
    import importlib.metadata

    if importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    main()
