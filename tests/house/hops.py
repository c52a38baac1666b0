"""Hops: the chain of our own functions between ``fedistill run`` and the work that it is for.

``PYTHONPATH=tests python -m house.hops`` runs a tiny study on phantoms, in this process, and prints the longest chain
to an iteration of a distillation at a site, to a training step of a global network, and to the report's writing.

A chain is followed to whoever asked, not to whoever happens to run the work: from an asyncio task to the frames that
created it, and from a queued task to those that queued it. Frames of other packages, and comprehensions, do not count.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

import torch

from fedistill.cli.main import main as command
from fedistill.transport.backend.inline import InlineBackend
from house.figures import PACKAGE

STUDY = """
networks = 1
width = 4
ipc = 1
[federation]
name = "two"
dataset = "phantom:breast"
images = 40
sites = ["a", "b"]
policy.allow_real_images = true
[recipe]
steps = 2
lr = 0.01
[scheme.full]
[scheme.dc]
iterations = 1
outer = 1
[scheme.tdm]
networks = 1
network_steps = 2
views = 1
iterations = 1
[scheme.mtt]
start = "noise"
iterations = 1
experts = 1
epochs = 2
expert_epochs = 1
max_start_epoch = 1
syn_steps = 1
"""

ITERATION, STEP, REPORT = "an iteration of a distillation", "a training step of a global network", "the report"

Hop = tuple[str, str]
"""A module, without ``fedistill.``, and a function in it."""

Chain = tuple[Hop, ...]


def hop_of(frame: FrameType) -> Hop | None:
    """Return a frame's module and function; None where it is not ours, or a comprehension's."""
    code = frame.f_code
    path = Path(code.co_filename)
    if not path.is_relative_to(PACKAGE) or code.co_name in ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"):
        return None
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts), code.co_qualname


class Tracer:
    """Records chains while a command runs.

    Attributes:
        longest: of the chains that led to each kind of work.
    """

    def __init__(self) -> None:
        self.longest: dict[str, Chain] = {}
        self._created: WeakKeyDictionary[asyncio.Task[Any], Chain] = WeakKeyDictionary()
        self._queued: WeakKeyDictionary[Any, Chain] = WeakKeyDictionary()

    def chain(self, frame: FrameType | None) -> Chain:
        """Return the hops from the command to a frame."""
        hops: list[Hop] = []
        before: Chain = ()
        while frame is not None:
            hop = hop_of(frame)
            if hop is not None:
                hops.append(hop)
            if frame.f_code is asyncio.Handle._run.__code__:
                task = asyncio.current_task()
                if task is not None:
                    before = self._created[task]
                    break
            if frame.f_code is InlineBackend.step.__code__:
                before = self._queued[frame.f_locals["task"]]
                break
            frame = frame.f_back
        return (*before, *reversed(hops))

    def note(self, frame: FrameType, kind: str | None = None) -> None:
        """Keep the chain to a frame, if it is the longest of its kind."""
        chain = self.chain(frame)
        if kind is None:
            kind = kind_of(chain)
        if kind is not None and len(chain) > len(self.longest.get(kind, ())):
            self.longest[kind] = chain

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record within the block."""
        create, submit = asyncio.BaseEventLoop.create_task, InlineBackend.submit
        grad, replace = torch.autograd.grad, os.replace

        def create_task(loop: Any, coroutine: Any, **more: Any) -> Any:
            task = create(loop, coroutine, **more)
            self._created[task] = self.chain(sys._getframe(1))
            return task

        def submit_task(backend: InlineBackend, task: Any) -> None:
            self._queued[task] = (*self.chain(sys._getframe(1)), ("transport.backend.inline", "InlineBackend.submit"))
            submit(backend, task)

        def gradients(*args: Any, **more: Any) -> Any:
            self.note(sys._getframe(1))
            return grad(*args, **more)

        def replaces(source: Any, target: Any, **more: Any) -> None:
            if Path(target).name == "report.html":
                self.note(sys._getframe(1), REPORT)
            replace(source, target, **more)

        with ExitStack() as patches:
            for owner, name, new in (
                (asyncio.BaseEventLoop, "create_task", create_task),
                (InlineBackend, "submit", submit_task),
                (torch.autograd, "grad", gradients),
                (os, "replace", replaces),
            ):
                patches.enter_context(mock.patch.object(owner, name, new))
            yield


def kind_of(chain: Chain) -> str | None:
    """Return what a gradient at the end of a chain is for; None for other work, such as experts and early networks."""
    if any(function.endswith("advance") and module.startswith("methods.") for module, function in chain):
        return ITERATION
    global_network = any(module == "schemes.server.trainer" for module, _ in chain)
    return STEP if global_network and chain[-1] == ("training.fit", "fit") else None


def trace(folder: Path) -> dict[str, Chain]:
    """Run the tiny study as the command line does; return the longest chain to each kind of work."""
    study = folder / "hops.toml"
    study.write_text(STUDY)
    words = ["fedistill", "run", str(study), "--phantom", "--engine", "inline", "--out", str(folder / "run")]
    tracer = Tracer()
    with mock.patch.object(sys, "argv", words), tracer.watching():
        try:
            command()
        except SystemExit as end:
            if end.code:
                raise
    return tracer.longest


def main() -> None:
    """Print the chains."""
    with tempfile.TemporaryDirectory() as folder:
        chains = trace(Path(folder))
    for kind, chain in chains.items():
        print(f"\n{len(chain)} hops to {kind}:")
        for number, (module, function) in enumerate(chain, 1):
            print(f"{number:4} {module}: {function}")


if __name__ == "__main__":
    main()
