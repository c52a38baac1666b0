"""What a process keeps of a GPU between jobs has a bound, and a card that a job has broken is noticed."""

from types import SimpleNamespace

import pytest
import torch

from fedistill.models import build
from fedistill.training import descent, graphs
from fedistill.training.card import SHARE, settle
from fedistill.training.descent import Rule, borrowed

NETWORK = build("convnet", channels=1, classes=3, size=8, width=4)
WHOLE = 1000


class PretendedCard:
    """Counts the memory of a card of `WHOLE` bytes: what is cached, and what graphs hold while any is kept."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.cached, self.of_graphs, self.fails = 0, 0, False
        patch.setattr(torch.cuda, "is_initialized", lambda: True)
        patch.setattr(torch.cuda, "synchronize", self.synchronize)
        patch.setattr(torch.cuda, "empty_cache", self.empty_cache)
        patch.setattr(torch.cuda, "current_device", lambda: 0)
        patch.setattr(torch.cuda, "memory_reserved", lambda device: self.cached + self.of_graphs)
        patch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=WHOLE))
        patch.setattr(descent, "_idle", type(descent._idle)())

    def synchronize(self):
        if self.fails:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def empty_cache(self):
        self.cached = 0
        if not descent._idle:
            self.of_graphs = 0


@pytest.fixture
def card(monkeypatch):
    return PretendedCard(monkeypatch)


def train():
    """Leave a descent with its graphs behind, as a job does."""
    with borrowed(NETWORK, [NETWORK.init(torch.Generator())], rule=Rule(), precision="float32"):
        pass


def test_nothing_is_asked_of_a_card_that_is_not_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", None)
    assert settle()


def test_what_makes_the_next_job_s_start_short_is_kept(card):
    train()
    card.cached, card.of_graphs = 300, 150
    assert settle() and (card.cached, card.of_graphs) == (300, 150) and descent._idle


def test_cached_memory_goes_before_graphs_do(card):
    train()
    card.cached, card.of_graphs = 600, 400
    assert settle() and (card.cached, card.of_graphs) == (0, 400) and descent._idle


def test_graphs_never_keep_more_than_their_share(card, monkeypatch):
    forgotten = []
    monkeypatch.setattr(graphs, "_first", SimpleNamespace(cache_clear=lambda: forgotten.append(True)))
    for _ in range(20):
        train()
        card.of_graphs += 90
        assert settle() and card.of_graphs <= SHARE * WHOLE
    assert len(forgotten) == 3 and descent._idle


def test_a_broken_card_is_noticed(card):
    card.fails = True
    assert not settle()
