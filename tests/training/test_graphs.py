"""Work done again and again: as it is on a processor; on a GPU recorded, or as it is with a warning that says why."""

import pytest
import torch

from fedistill.training import graphs
from fedistill.training.graphs import abreast, buffer, repeated

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_a_processor_is_given_the_body_itself():
    def body():
        raise AssertionError

    assert repeated(body, device=CPU, precision="float32") is body
    assert not graphs.used_on("cpu") and graphs.used_on("cuda")


@pytest.fixture
def no_card(monkeypatch):
    """The parts that need a card do nothing."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def test_what_a_recording_changes_is_put_back(no_card, monkeypatch):
    count, done = torch.zeros(2), []

    def recorded(body):
        body()  # as warming up does
        return lambda: done.append("replayed")

    monkeypatch.setattr(graphs, "_recorded", recorded)
    run = repeated(lambda: count.add_(1), device=GPU, precision="tf32", changes=[count])
    assert not count.any()
    run()
    assert done == ["replayed"] and not count.any()


def test_where_nothing_can_be_recorded_it_is_said_and_done_plainly(no_card, monkeypatch):
    count = torch.zeros(2)

    def refused(body):
        body()
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "_recorded", refused)
    with pytest.warns(UserWarning, match="without a CUDA graph.*not permitted"):
        run = repeated(lambda: count.add_(1), device=GPU, precision="tf32", changes=[count])
    assert not count.any()
    run()
    assert count.tolist() == [1, 1]


def test_bodies_are_all_done():
    done = []
    abreast([lambda: done.append(1), lambda: done.append(2)], device=CPU)()
    assert done == [1, 2]


def test_a_buffer_is_a_copy():
    x = torch.arange(8.0).view(1, 2, 2, 2).requires_grad_()
    kept = buffer(x, channels_last=True)
    assert torch.equal(kept, x) and not kept.requires_grad and kept.is_contiguous()
    kept.zero_()
    assert x.any()
