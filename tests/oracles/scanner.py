"""A scanner by hand: one image, one pixel, one neighbour at a time, in double precision."""

import hashlib
import math

from fedistill.core.seeds import rng


def reflect(at, length):
    """The pixel seen at a place beyond the edges: d c b a | a b c d | d c b a."""
    while not 0 <= at < length:
        at = -1 - at if at < 0 else 2 * length - 1 - at
    return at


def blurred(line, sigma):
    reach = math.ceil(4 * sigma)
    weights = {d: math.exp(-d * d / (2 * sigma * sigma)) for d in range(-reach, reach + 1)}
    whole = sum(weights.values())
    return [sum(w * line[reflect(i + d, len(line))] for d, w in weights.items()) / whole for i in range(len(line))]


def coarse(line, fewer):
    wide = len(line) / fewer
    means = []
    for k in range(fewer):
        overlaps = [max(0.0, min(i + 1, (k + 1) * wide) - max(i, k * wide)) for i in range(len(line))]
        means.append(sum(o * v for o, v in zip(overlaps, line, strict=True)) / wide)
    back = []
    for i in range(len(line)):
        at = min(max((i + 0.5) / wide - 0.5, 0.0), fewer - 1.0)
        left = min(int(at), fewer - 1)
        right = min(left + 1, fewer - 1)
        back.append(means[left] + (at - left) * (means[right] - means[left]))
    return back


def along_both(plane, line_by_line):
    plane = [line_by_line(row) for row in plane]
    turned = [line_by_line(list(column)) for column in zip(*plane, strict=True)]
    return [list(row) for row in zip(*turned, strict=True)]


def scan(image, scanner, seed):
    """One uint8 image (H, W, C), as nested lists of ints."""
    size, channels = image.shape[0], image.shape[2]
    random = rng(seed, "noise", hashlib.sha256(image.tobytes()).hexdigest())
    planes = []
    for c in range(channels):
        plane = [[float(v) for v in row] for row in image[:, :, c]]
        if scanner.stain is not None:
            plane = [[255 * 10 ** -(-math.log10(v / 255) + scanner.stain[c]) if v else 0.0 for v in r] for r in plane]
        if scanner.blur:
            plane = along_both(plane, lambda line: blurred(line, scanner.blur * size / 28))
        if scanner.resolution < 1:
            plane = along_both(plane, lambda line: coarse(line, max(1, round(scanner.resolution * len(line)))))
        out = []
        for row in plane:
            done = []
            for v in row:
                v *= scanner.gain
                if scanner.noise:
                    v += scanner.noise * 255 * random.standard_normal()
                v = min(max(v / 255, 0.0), 1.0) ** scanner.gamma
                v = min(max(0.5 + (v - 0.5) * scanner.contrast, 0.0), 1.0)
                done.append(math.floor(255 * v + 0.5 + 1e-7))
            out.append(done)
        planes.append(out)
    return [[[planes[c][i][j] for c in range(channels)] for j in range(image.shape[1])] for i in range(size)]
