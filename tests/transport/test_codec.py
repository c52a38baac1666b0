"""Requests and replies come back as they were packed; a value of another type, or out of range, is refused."""

import json

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, RecordDict

from fedistill.errors import ReleaseError, SettingError
from fedistill.models import build
from fedistill.training.dpsgd import DPSGD
from fedistill.training.metrics import Tally
from fedistill.training.recipe import Recipe
from fedistill.training.search import Grid
from fedistill.transport.protocol.messages import (
    EvalRequest,
    pack_question,
    pack_tallies,
    unpack_question,
    unpack_tallies,
)
from fedistill.transport.protocol.round_messages import RoundSettings
from fedistill.transport.protocol.training_messages import (
    LocalTrainReply,
    LocalTrainRequest,
    pack_alone,
    pack_learned,
    unpack_alone,
    unpack_learned,
)

PRIVATE = DPSGD(8.0, 1e-5, clip=0.3, rate=1.0, steps=3, lr=0.2, momentum=0.9, accountant="rdp")
GRID = Grid(Recipe(steps=4, optimiser="adamw"), (0.01, 0.03), max_steps=8)
LOCAL = LocalTrainRequest("a it", "a", "join", "mlp", 4, 0, GRID, 1, (5, 6), (b"one", b"two"), 0.5, PRIVATE)
ROUND = RoundSettings("fedprox", "mlp", 4, 0, local_epochs=2, batch=8, lr=0.05, augment=True, seed=3, mu=0.1)


def changed(content, record, key, **values):
    """Return a message with other values in its JSON."""
    text = json.dumps({**json.loads(str(content[record][key])), **values})
    return RecordDict({**content, record: ConfigRecord({**content[record], key: text})})


def test_a_request_to_train_is_read_as_it_was():
    assert unpack_alone(pack_alone(LOCAL)) == LOCAL
    config = ConfigRecord({**ROUND.config(), "proximal-mu": ROUND.mu})
    assert RoundSettings.of(RecordDict({"config": config})) == ROUND


@pytest.mark.parametrize(
    "values",
    [
        {"width": "4"},
        {"width": 0},
        {"width": 1 << 20},
        {"pilots": True},
        {"seeds": [1.5]},
        {"seeds": 5},
        {"share": 1.0},
        {"share": float("nan")},
        {"base": {"lr": "0.1"}},
        {"base": {"lr": -0.1}},
        {"base": {"optimiser": "lbfgs"}},
        {"base": []},
        {"lr": ["x"]},
        {"private": {"epsilon": 1.0}},
        {"more": 1},
    ],
)
def test_a_request_with_another_value_is_refused(values):
    with pytest.raises(SettingError, match="the request"):
        unpack_alone(changed(pack_alone(LOCAL), "request", "alone", **values))


@pytest.mark.parametrize(
    "values", [{"split": "test"}, {"members": 0}, {"width": 4.0}, {"partition": -1}, {"site": "a"}]
)
def test_a_question_with_another_value_is_refused(values):
    asked = pack_question(EvalRequest("q", "mlp", 4, 0, {"w": torch.rand(2, 3)}))
    assert torch.equal(unpack_question(asked).params["w"], unpack_question(asked).params["w"])
    about = ConfigRecord({**asked["request"], **values})
    with pytest.raises(SettingError, match="the request"):
        unpack_question(RecordDict({**asked, "request": about}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"examples": 0}, "examples is invalid"),
        ({"seconds": -1.0}, "seconds is invalid"),
        ({"recipe": {**GRID.base.with_lr(0.01).detail(), "steps": "4"}}, "recipe.steps is invalid"),
        ({"recipe": GRID.base.with_lr(0.5).detail()}, "step size was not asked for"),
        ({"params": {}}, "params"),
    ],
)
def test_a_reply_with_another_value_is_refused(values, words):
    network = build("mlp", channels=1, classes=2, size=8, width=4)
    start = network.init(torch.Generator().manual_seed(0))
    params = {name: torch.stack([value] * 2) for name, value in zip(network.names, start, strict=True)}
    reply = pack_learned("a", LocalTrainReply(params, 1.0, 60, GRID.base.with_lr(0.01)))
    assert unpack_learned(reply, LOCAL, network).recipe == GRID.base.with_lr(0.01)
    with pytest.raises(ReleaseError, match=words):
        unpack_learned(changed(reply, "learned", "about", **values), LOCAL, network)


def test_counts_that_are_no_numbers_are_refused():
    counts = np.array([1.0, 2.0])
    sent = pack_tallies("north", [Tally(counts, counts, counts, np.array([1.0, np.inf]))])
    with pytest.raises(SettingError, match=r"count\.1 is invalid\.\n  expected: a finite number"):
        unpack_tallies(sent)
