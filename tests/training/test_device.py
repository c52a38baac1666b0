"""The device of a job, without a GPU at hand."""

import pytest
import torch

from fedistill.errors import PlanError
from fedistill.training.device import computing_in, device_for, full_precision


def test_a_gpu_only_where_one_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for(0) == torch.device("cpu") and device_for(0.25) == torch.device("cuda")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PlanError, match=r"gpus = 0\.5") as raised:
        device_for(0.5)
    assert raised.value.exit_code == 2
    assert device_for(0) == torch.device("cpu")


def test_full_precision_on_a_gpu_and_then_as_before():
    def flags():
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        return cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.enabled

    before = flags()
    with pytest.raises(ZeroDivisionError), full_precision(torch.device("cuda")):
        assert flags() == (False, False, True, True)
        raise ZeroDivisionError
    assert flags() == before
    for precision in ("tf32", "bfloat16"):
        with computing_in(precision, torch.device("cuda")):
            assert flags() == (True, True, True, True)
        assert flags() == before
    with full_precision(torch.device("cpu")):
        assert flags() == before
