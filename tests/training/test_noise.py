"""Where noise comes from: from a seed by name, and from the operating system, never the same again."""

import math

import pytest
import torch

from fedistill.errors import SettingError
from fedistill.training.noise import AT_ONCE, Seeded, System, source_for


def test_noise_of_the_operating_system_is_never_the_same_again():
    source = System()
    one, two = (source.normal((AT_ONCE + 3,), "same", "names") for _ in range(2))
    assert torch.isfinite(one).all() and len(set(one.tolist())) == len(one) and not torch.equal(one, two)
    fourth = float(one.pow(4).mean())  # 3 for a normal number
    assert fourth == pytest.approx(3, abs=5 * math.sqrt(96 / len(one)))
    chances = source.uniform(10_000, "sample")
    assert (
        chances.min() >= 0
        and chances.max() < 1
        and float((chances < 0.3).double().mean()) == pytest.approx(0.3, abs=0.03)
    )
    assert source.generator("start").initial_seed() != source.generator("start").initial_seed()


def test_seeded_noise_is_drawn_by_name():
    draw = [Seeded(s, "m").normal((5,), *names) for s, names in [(0, (1,)), (0, (1,)), (0, (2,)), (1, (1,))]]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2]) and not torch.equal(draw[0], draw[3])


def test_entropies():
    assert isinstance(source_for("system", 0), System)
    one, same, other = (source_for("seeded", seed, "m").normal((3,)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    with pytest.raises(SettingError, match="no entropy 'dice'"):
        source_for("dice", 0)
