"""ClientApps and server functions for the tests of the grids; imported by name in Ray workers."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedistill.core.events import Event
from fedistill.transport.backend.events import emitter

app = ClientApp()


@app.query("echo")
def echo(message: Message, context: Context) -> Message:
    """Say who and what, and count this site's messages in its state."""
    seen = int(context.state["seen"]["count"]) if "seen" in context.state else 0
    context.state["seen"] = MetricRecord({"count": seen + 1})
    said = {"partition": context.node_config["partition-id"], "pid": os.getpid(), "seen": seen + 1}
    said |= dict(message.content["ask"]) if "ask" in message.content else {}
    return Message(RecordDict({"said": ConfigRecord(said)}), reply_to=message)


@app.query("spoil")
def spoil(message: Message, context: Context) -> Message:
    """Write to everything it was given, then raise."""
    message.content["ask"]["number"] = -1
    raise ValueError("the images are\n  \x1b[31mnot\x1b[0m there")


@app.query("leave")
def leave(message: Message, context: Context) -> Message:
    sys.exit(3)


@app.query("nothing")
def nothing(message: Message, context: Context) -> Message:
    return None  # type: ignore[return-value]


@app.query("die_once")
def die_once(message: Message, context: Context) -> Message:
    """Kill the process the first time; the marker file remembers."""
    marker = Path(str(message.content["ask"]["marker"]))
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Message(RecordDict(), reply_to=message)


@app.query("die")
def die(message: Message, context: Context) -> Message:
    """Kill the process."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Message(RecordDict(), reply_to=message)


@app.query("hang")
def hang(message: Message, context: Context) -> Message:
    """Hang, in silence or telling of it."""
    emit = emitter("hang")
    while True:
        time.sleep(0.1)
        if message.content["ask"]["aloud"]:
            emit(Event("training", step=1))


@app.query("doze")
def doze_at_site(message: Message, context: Context) -> Message:
    """Take a known time."""
    doze(float(message.content["ask"]["seconds"]))
    return Message(RecordDict(), reply_to=message)


@app.query("data")
def data(message: Message, context: Context) -> Message:
    """Count the images of a file that each machine has, or has not, in a place of its own; slowly."""
    from fedistill.data import load_dataset

    images = load_dataset(os.environ["FEDISTILL_TEST_DATA"], split="train")
    time.sleep(1)
    return Message(RecordDict({"said": ConfigRecord({"images": len(images)})}), reply_to=message)


@app.query("threads")
def threads(message: Message, context: Context) -> Message:
    import torch

    emit = emitter(str(message.content["job"]["name"]))
    for step in range(1000):
        emit(Event("training", step=step))
    emit(Event("done"))
    said = {"torch": torch.get_num_threads(), "omp": os.environ.get("OMP_NUM_THREADS", "")}
    return Message(RecordDict({"said": ConfigRecord(said)}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """One "step" of training whose outcome a test can compute by hand: weights plus the site's number."""
    partition = int(context.node_config["partition-id"])
    weights = message.content["arrays"]["w"].numpy() + np.float32(partition)
    content = {
        "arrays": ArrayRecord({"w": Array(weights)}),
        "metrics": MetricRecord({"num-examples": partition + 1, "loss": float(partition)}),
    }
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1, "accuracy": 0.5})}), reply_to=message)


def total(array: np.ndarray, factor: float) -> float:
    """Server-side work."""
    emitter("total")(Event("training"))
    result = float(array.sum() * factor)
    array[:] = 0
    return result


def fail() -> None:
    raise ArithmeticError("no sum")


def process_and_gpus() -> tuple[int, str]:
    """Which process runs this, and the GPUs it may see."""
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "")


def train_in_graphs(seed: int) -> tuple[int, int, list[float]]:
    """Train a network as on a GPU: the process, the descents that were idle before, and some of the weights."""
    import torch

    from fedistill.models import build
    from fedistill.training import descent, graphs
    from fedistill.training.fit import fit
    from fedistill.training.recipe import Recipe

    assert graphs.used_on("cpu"), "see pretended.py"
    idle, network = len(descent._idle), build("convnet", channels=1, classes=2, size=8, width=4)
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    recipe = Recipe(lr=0.1, steps=4, batch=4)
    weights = fit(network, x, torch.arange(6) % 2, recipe, seed=seed, mirror=True)
    return os.getpid(), idle, torch.cat([w.flatten() for w in weights]).tolist()


def spoil_the_card() -> int:
    """Leave the process as a failed kernel does: whatever is asked of its card next fails."""
    import torch

    def broken() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    torch.cuda.is_initialized = lambda: True
    torch.cuda.synchronize = broken
    return os.getpid()


def doze(seconds: float) -> None:
    time.sleep(seconds)


def count_threads() -> int:
    import torch

    return torch.get_num_threads()
