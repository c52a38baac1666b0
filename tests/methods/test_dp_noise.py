"""What an image tells a private method: a vector no longer than the clip, and a constant beside it."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedistill.methods.private.noise import COUNT, ROOM, counted


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_what_an_image_tells_is_no_longer_than_the_clip(seed, clip):
    rng = np.random.default_rng(seed)
    vectors = torch.from_numpy(rng.normal(size=(6, 3)) * 10.0 ** rng.uniform(-6, 6, (6, 1))).float()
    rows = counted(vectors, clip)
    assert (rows.norm(dim=1) <= clip * (1 + 1e-5)).all()
    assert torch.allclose(rows[:, -1], torch.tensor(COUNT * clip))
    short = vectors.norm(dim=1) <= clip
    assert torch.allclose(rows[short, :-1], ROOM * vectors[short], rtol=1e-5)


def test_a_gradient_that_is_no_number_says_nothing():
    rows = counted(torch.tensor([[math.nan, 1.0], [math.inf, 0.0], [3.0, 4.0]]), 1.0)
    assert torch.isfinite(rows).all() and (rows[:2, :-1] == 0).all() and rows[2, :-1].norm() > 0.9
