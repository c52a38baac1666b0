"""A model as ONNX, for programs without PyTorch; held against PyTorch where onnxruntime is installed."""

import io
import json
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedistill.core.seeds import generator
from fedistill.data.imageset import MEAN, STD
from fedistill.errors import RunError
from fedistill.export.network.model_file import ModelFile
from fedistill.importing.extras import optional

TOLERANCE = 1e-4
"""Largest difference of a probability from PyTorch's."""

OPSET = 17


class _Averaged(torch.nn.Module):
    """Pixels 0..255, float32 (N, C, S, S), to the mean probability of all networks (N, K)."""

    def __init__(self, content: ModelFile) -> None:
        super().__init__()
        self._network, self._multilabel = content.architecture.build(), content.multilabel
        self._members: list[list[torch.nn.ParameterList]] = []
        for i, group in enumerate(content.groups):
            lists = [torch.nn.ParameterList([p.clone() for p in params]) for params in group]
            for j, each in enumerate(lists):
                self.add_module(f"network_{i}_{j}", each)
            self._members.append(lists)

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels / 255 - MEAN) / STD
        groups = []
        for lists in self._members:
            logits = [self._network(tuple(each), x) for each in lists]
            parts = [each.sigmoid() if self._multilabel else each.softmax(1) for each in logits]
            groups.append(torch.stack(parts).mean(0))
        return torch.stack(groups).mean(0)


def to_onnx(content: ModelFile) -> tuple[bytes, float | None]:
    """Return a model as ONNX, and its largest difference from PyTorch; None where onnxruntime is not installed.

    Its input ``pixels`` is float32 (N, C, S, S), 0 to 255, prepared as its metadata say; its output ``probabilities``
    is float32 (N, K).

    Raises:
        DataError: the package onnx is not installed.
        RunError: it differs from PyTorch by more than 1e-4.
    """
    optional("onnx", extra="onnx", purpose="Writing ONNX")
    built = content.architecture
    module = _Averaged(content).eval()
    shape = (3, built.channels, built.size, built.size)
    pixels = torch.rand(shape, generator=generator(0, "onnx", "pixels")) * 255
    written = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            module,
            (pixels,),
            written,  # type: ignore[arg-type]
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_axes={"pixels": {0: "images"}, "probabilities": {0: "images"}},
            opset_version=OPSET,
            dynamo=False,  # the other exporter needs a package more
        )
        expected = module(pixels).numpy()
    data = _described(written.getvalue(), content)
    return data, _difference(data, pixels.numpy(), expected)


def _described(data: bytes, content: ModelFile) -> bytes:
    onnx: Any = optional("onnx", extra="onnx", purpose="Writing ONNX")
    model = onnx.load_model_from_string(data)
    about = {
        "class_names": json.dumps(list(content.class_names)),
        "preprocessing": "" if content.preprocessing is None else content.preprocessing.to_json(),
        "card": json.dumps(content.card, sort_keys=True),
    }
    for name, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _difference(data: bytes, pixels: np.ndarray, expected: np.ndarray) -> float | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    worst = 0.0
    for part in (slice(None), slice(0, 1)):  # any number of images
        [found] = session.run(None, {"pixels": pixels[part]})
        worst = max(worst, float(np.abs(found - expected[part]).max()))
    if not worst <= TOLERANCE:
        raise RunError("The ONNX model differs from PyTorch.", expected=f"at most {TOLERANCE:g}", found=f"{worst:.3g}")
    return worst
