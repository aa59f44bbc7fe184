"""Records photometric distortion through OpenCV, for `mic-data/src/transform/photometric.rs`.

    python testdata/record/photometric.py testdata/recorded/photometric.json

The draws are recorded with their result: brightness, contrast, saturation, hue, contrast, each
clipped and cut to 8 bits, saturation and hue in OpenCV's 8-bit HSV.
"""

import argparse
import json

import cv2
import numpy as np


def convert(values, alpha=1.0, beta=0.0):
    return np.clip(values.astype(np.float32) * alpha + beta, 0, 255).astype(np.uint8)


def distort(image, draw):
    contrast = draw["contrast"] is not None
    if draw["brightness"] is not None:
        image = convert(image, beta=draw["brightness"])
    if contrast and draw["contrast_first"]:
        image = convert(image, alpha=draw["contrast"])
    if draw["saturation"] is not None:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        image[:, :, 1] = convert(image[:, :, 1], alpha=draw["saturation"])
        image = cv2.cvtColor(image, cv2.COLOR_HSV2BGR)
    if draw["hue"] is not None:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        image[:, :, 0] = (image[:, :, 0].astype(int) + draw["hue"]) % 180
        image = cv2.cvtColor(image, cv2.COLOR_HSV2BGR)
    if contrast and not draw["contrast_first"]:
        image = convert(image, alpha=draw["contrast"])
    return image


def picture(rng, case, shape):
    if case % 3 == 0:
        return rng.randint(0, 256, (*shape, 3)).astype(np.uint8)
    if case % 3 == 1:
        grey = rng.randint(0, 256, (*shape, 1)) + rng.randint(-3, 4, (*shape, 3))
        return grey.clip(0, 255).astype(np.uint8)
    return rng.choice([0, 1, 128, 254, 255], (*shape, 3)).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    args = parser.parse_args()
    rng = np.random.RandomState(3)
    height, width = 5, 7
    cases = []
    for case in range(12):
        rgb = picture(rng, case, (height, width))
        draw = {
            "brightness": None,
            "contrast": None,
            "contrast_first": bool(case % 2),
            "saturation": 1.0 if case == 0 else None,
            "hue": 0 if case == 1 else None,
        }
        if case > 1:
            if rng.rand() < 0.7:
                draw["brightness"] = float(np.float32(rng.uniform(-32, 32)))
            if rng.rand() < 0.7:
                draw["contrast"] = float(np.float32(rng.uniform(0.5, 1.5)))
            if rng.rand() < 0.7:
                draw["saturation"] = float(np.float32(rng.uniform(0.5, 1.5)))
            if rng.rand() < 0.7:
                draw["hue"] = int(rng.randint(-18, 18))
        out = distort(rgb[:, :, ::-1].copy(), draw)[:, :, ::-1]
        pixels = {"rgb": rgb.reshape(-1).tolist(), "out": out.reshape(-1).tolist()}
        cases.append({**draw, "width": width, "height": height, **pixels})
    with open(args.output, "w") as file:
        json.dump({"opencv": cv2.__version__, "cases": cases}, file)


if __name__ == "__main__":
    main()
