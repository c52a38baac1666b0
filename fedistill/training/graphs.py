"""Work that is done again and again with the same shapes: on a GPU one CUDA graph, on a processor plain calls.

Starting an operation costs a GPU's processor some microseconds, and one small network's step is some sixty operations
of a few microseconds each: most of the time goes in starting them. A CUDA graph is such a step recorded once and
started as a whole. Its operations read and write the same addresses each time: so what changes from call to call
stands in buffers, which the caller fills before and reads after.
"""

import gc
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cache

import torch
from torch import Tensor

from fedistill.training.device import computing_in

WARM_UP = 3
"""Plain calls before the recording: cuDNN chooses its algorithms then, and Triton compiles its kernels."""


def used_on(device: torch.device | str) -> bool:
    """Return whether networks on this device take their steps in buffers and graphs: on a GPU.

    (Everywhere else too where this is replaced: so tests, and `make bench-gpu` without a card, compare the two forms.)
    """
    return torch.device(device).type == "cuda"


def repeated(
    body: Callable[[], None], *, device: torch.device, precision: str, changes: Iterable[Tensor] = ()
) -> Callable[[], None]:
    """Return what does `body` each time it is called: its CUDA graph on a GPU, `body` itself elsewhere.

    Args:
        body: reads and writes tensors that outlive it, in place; it asks for no result on the processor.
        device: of all of these.
        precision: what a GPU computes in, see `computing_in`; elsewhere the caller sees to it.
        changes: what body both reads and writes: it is put back as it was after the recording, which calls body.

    Where a graph cannot be recorded a warning says why, and body is called as it is: the same numbers, more slowly.
    """
    if device.type != "cuda":
        return body
    kept = [(t, t.detach().clone()) for t in changes]
    try:
        with computing_in(precision, device):
            return _recorded(body)
    except RuntimeError as error:
        warnings.warn(f"A step is computed without a CUDA graph, several times slower: {error}", stacklevel=2)
        torch.cuda.synchronize()
        return body
    finally:
        with torch.no_grad():
            for tensor, value in kept:
                tensor.copy_(value)


def _recorded(body: Callable[[], None]) -> Callable[[], None]:
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            body()
    torch.cuda.current_stream().wait_stream(aside)
    torch.cuda.synchronize()
    pool, graph = _first().pool(), torch.cuda.CUDAGraph()
    collecting = gc.isenabled()
    gc.disable()  # were an older graph freed meanwhile, it would break the recording
    try:
        with torch.cuda.graph(graph, pool=pool):
            body()
    finally:
        if collecting:
            gc.enable()
    return graph.replay


@cache
def _first() -> torch.cuda.CUDAGraph:
    """Record a graph that does nothing much and stays, for the memory that it holds.

    All graphs of this process work in that memory. They may share it: none leaves anything there, since their results
    stand in buffers, and they run one after another. It is given up with the last graph that holds it.
    """
    some, graph = torch.zeros(1, device="cuda"), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        some + 1
    return graph


def forget() -> None:
    """Give up this process's hold on the memory that its graphs work in; it is free once the last of them is gone."""
    _first.cache_clear()


def abreast(bodies: Sequence[Callable[[], None]], *, device: torch.device, most: int = 8) -> Callable[[], None]:
    """Return a function that calls these independent ones; recorded, a GPU runs several at a time.

    A small network's operations are too small to fill a card. As branches of one graph each has its own workspace of
    cuBLAS: graphs on several streams share the one of the stream they were recorded on, spoil each other's and hang.

    Args:
        bodies: the functions.
        device: where they compute.
        most: streams, and so bodies at one time.
    """
    if device.type != "cuda" or len(bodies) == 1:

        def in_turn() -> None:
            for body in bodies:
                body()

        return in_turn
    streams = [torch.cuda.Stream() for _ in range(min(most, len(bodies)))]

    def together() -> None:
        here = torch.cuda.current_stream()
        for stream in streams:
            stream.wait_stream(here)
        for number, body in enumerate(bodies):
            with torch.cuda.stream(streams[number % len(streams)]):
                body()
        for stream in streams:
            here.wait_stream(stream)

    return together


def buffer(like: Tensor, *, channels_last: bool = False) -> Tensor:
    """Return a copy of a tensor that a graph may keep, its channels last in memory on a GPU where that is wanted."""
    last = channels_last and like.ndim == 4 and like.device.type == "cuda"
    return like.detach().clone(memory_format=torch.channels_last if last else torch.contiguous_format)
