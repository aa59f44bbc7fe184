"""Records polygons as Pillow fills them, for `mic-data/src/prepare/polygon_fill.rs`.

    python testdata/record/polygons.py testdata/recorded/polygons.json --count 60 --seed 1

More of them, for a wider comparison, are read from the file in MIC_POLYGONS.
"""

import argparse
import json
import math
import random

import PIL
from PIL import Image, ImageDraw


def outline(case, width, height):
    count = random.choice([2, 3, 3, 4, 5, 6, 8, 12])
    if case % 4 == 1 and count > 3:
        angles = [2 * math.pi * k / count for k in range(count)]
        radii = [min(width, height) / 2 * random.uniform(0.5, 1.1) for _ in angles]
        return [
            [int(width / 2 + r * math.cos(a)), int(height / 2 + r * math.sin(a))]
            for r, a in zip(radii, angles)
        ]
    beyond = 4 if case % 3 == 0 else 0
    return [
        [
            random.randint(-beyond, width - 1 + beyond),
            random.randint(-beyond, height - 1 + beyond),
        ]
        for _ in range(count)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    random.seed(args.seed)
    cases = []
    for case in range(args.count):
        width, height = random.randint(6, 26), random.randint(6, 22)
        points = outline(case, width, height)
        image = Image.new("L", (width, height))
        ImageDraw.Draw(image).polygon([tuple(p) for p in points], fill=1)
        rows = [
            "".join("#" if image.getpixel((x, y)) else "." for x in range(width))
            for y in range(height)
        ]
        cases.append({"points": points, "rows": rows})
    with open(args.output, "w") as file:
        json.dump({"pillow": PIL.__version__, "cases": cases}, file)


if __name__ == "__main__":
    main()
