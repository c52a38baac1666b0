"""Packing as it is defined, pixel by pixel, in float64."""

from itertools import pairwise

import numpy as np


def cells(size, pack):
    """The pixels (begin, end) of each cell along one side."""
    begins = [int(np.floor(i * size / pack + 0.5)) for i in range(pack + 1)]
    return list(pairwise(begins))


def unpack(image, pack):
    """(C, H, W) to (pack * pack, C, H, W): each cell magnified, its pixels taken as points at their centres."""
    _, height, width = image.shape
    found = []
    for top, bottom in cells(height, pack):
        for left, right in cells(width, pack):
            part = image[:, top:bottom, left:right]
            big = np.zeros_like(image)
            for y in range(height):
                for x in range(width):
                    big[:, y, x] = _between(part, (y + 0.5) / height, (x + 0.5) / width)
            found.append(big)
    return np.stack(found)


def _between(part, down, along):
    """The value of a picture at a place given as shares of its height and width; at its rim, that of the rim."""
    height, width = part.shape[1:]
    y, x = max(0.0, down * height - 0.5), max(0.0, along * width - 0.5)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    dy, dx = y - y0, x - x0
    above = (1 - dx) * part[:, y0, x0] + dx * part[:, y0, x1]
    below = (1 - dx) * part[:, y1, x0] + dx * part[:, y1, x1]
    return (1 - dy) * above + dy * below


def pack(images, k):
    """(k * k, C, H, W) to (C, H, W): a cell's pixel is the mean of all pixels that it covers any part of."""
    _, channels, height, width = images.shape
    packed = np.zeros((channels, height, width))
    for i, (top, bottom) in enumerate(cells(height, k)):
        for j, (left, right) in enumerate(cells(width, k)):
            tall, wide = bottom - top, right - left
            for y in range(tall):
                for x in range(wide):
                    ys = slice(y * height // tall, -(-(y + 1) * height // tall))
                    xs = slice(x * width // wide, -(-(x + 1) * width // wide))
                    packed[:, top + y, left + x] = images[i * k + j][:, ys, xs].mean((1, 2))
    return packed
