"""The attempts on a hospital: each asks as a server could, and returns what it was answered."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from flwr.app import Array, ArrayRecord

from attacks.hospital import DM, Hospital, study
from fedistill.config import Job
from fedistill.core.seeds import spawn
from fedistill.data import load_dataset
from fedistill.errors import FedistillError
from fedistill.methods import METHODS, Task, settings_for
from fedistill.models import build
from fedistill.release.release import Release, unpack
from fedistill.training.recipe import Recipe
from fedistill.training.search import Grid
from fedistill.transport.protocol.messages import (
    RELEASE,
    SCORE,
    EvalRequest,
    pack_jobs,
    pack_question,
    unpack_outcomes,
)
from fedistill.transport.protocol.named import pack_named
from fedistill.transport.protocol.round_messages import ROUND
from fedistill.transport.protocol.training_messages import ALONE, LocalTrainRequest, pack_alone


@dataclass(frozen=True)
class Attempt:
    """Something a server, or who holds its place, might try.

    Args:
        name: what is tried.
        before: what it got before there was a rule against it.
        rule: the words that refuse it, as they must stand in the answer.
        run: tries it in an empty folder; what it was answered.
    """

    name: str
    before: str
    rule: str
    run: Callable[[Path], str]


def told(folder: Path, scheme: str = "dm", policy: str = "", settings: dict | None = None, **top: object) -> str:
    """Send a study whose settings give images away; return what the hospital's rules say before it agrees."""
    try:
        hospital = Hospital(folder, policy)
        hospital.agree(study(scheme, settings, **top))
    except FedistillError as error:
        assert not any(line["entry"] == "agreed" for line in hospital.ledger)
        return str(error)
    return "AGREED"


def _asked_for(folder: Path, name: str, kind: str = RELEASE, policy: str = "", **top: object) -> str:
    """Ask a hospital that agreed to a study for something that is not in it."""
    hospital = Hospital(folder, policy)
    agreed = hospital.agree(study(**top))
    reply = hospital.ask(pack_named(agreed, [name]), kind)
    if isinstance(reply, str):
        return reply
    [outcome] = unpack_outcomes(reply.content)
    return outcome.refused or outcome.error or "RELEASED"


def _networks(count: int) -> dict[str, torch.Tensor]:
    network = build("mlp", channels=1, classes=2, size=28, width=4)
    params = network.init(torch.Generator().manual_seed(0))
    return {name: torch.stack([value] * count) for name, value in zip(network.names, params, strict=True)}


def scores(folder: Path, *, split: str, partition: int) -> str:
    """Ask for scores of hand-made networks, as who reads an image out bit by bit does."""
    hospital = Hospital(folder, more="images = 240\nheld_out = 0.2")
    hospital.agree(study())
    reply = hospital.ask(pack_question(EvalRequest("x", "mlp", 4, partition, _networks(8), split, 1)), SCORE)
    assert not hospital.lines("sent")
    return reply if isinstance(reply, str) else "SCORED"


def round_of_averaging(folder: Path) -> str:
    """Send weights made to isolate an image, and ask for them back after one step on it."""
    hospital = Hospital(folder, "allow_weights = true")
    agreed = hospital.agree(study("fedavg", {"rounds": 1}))
    reply = hospital.ask(pack_named(agreed, [ROUND_1], {"arrays": crafted()}), ROUND)
    return reply if isinstance(reply, str) else "TRAINED"


ROUND_1 = "north fedavg convnet lr 0.01 network 1 round 1"


def crafted(width: int = 32, value: float = 1.0) -> ArrayRecord:
    """Return weights of the study's network that a server made for a purpose."""
    network = build("convnet", channels=1, classes=2, size=28, width=width)
    params = network.init(torch.Generator().manual_seed(0))
    named = zip(network.names, params, strict=True)
    return ArrayRecord({name: Array(torch.full_like(each, value).numpy()) for name, each in named})


def network_alone(folder: Path) -> str:
    """Ask for a network trained on the hospital's images by a recipe of the server's."""
    hospital = Hospital(folder, "allow_weights = true")
    hospital.agree(study())
    grid = Grid(Recipe(steps=1, batch=1, lr=1.0, augment=False), (1.0,))
    reply = hospital.ask(pack_alone(LocalTrainRequest("x", "north", "local", "mlp", 4, 0, grid, 1, (0,))), ALONE)
    return reply if isinstance(reply, str) else "TRAINED"


def spelt_out(folder: Path) -> str:
    """Spell a job out, as servers did before there were agreements: any settings, any budget, any seed."""
    hospital = Hospital(folder)
    hospital.agree(study())
    job = Job("north", "dm", 0, 0, (1,), {"batch_real": 1}, 1, "convnet", 32, "float32", 7)
    reply = hospital.ask(pack_jobs([job]), RELEASE)
    return reply if isinstance(reply, str) else "RELEASED"


def bound_of_nothing(folder: Path) -> str:
    """Write a policy that wants a bound and sets none."""
    try:
        Hospital(folder, 'non_private = "refuse"')
    except FedistillError as error:
        assert error.exit_code == 2
        return str(error)
    return "TAKEN"


def epsilon_1000(folder: Path) -> str:
    """Ask a hospital without a budget for a private Release that bounds nothing."""
    return told(folder, "dp-dm", settings={"epsilon": 1000.0, "queries": 1})


def _few(folder: Path) -> Hospital:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, labels in (("train", [1, 1, 1, 1, 0]), ("val", [0, 1]), ("test", [0, 1])):
        arrays[f"{split}_images"] = rng.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.array(labels)
    np.savez(folder / "few.npz", **arrays)
    return Hospital(folder, 'min_class_size = 5\nepsilon_max = 2000.0\nnon_private = "allow"', data="few.npz", more="")


def few_patients(folder: Path, scheme: str) -> str:
    """Ask a hospital of four patients and one, whose classes are all too small."""
    hospital = _few(folder)
    agreed = hospital.agree(study(scheme, {"epsilon": 1000.0, "queries": 1} if scheme == "dp-dm" else {}))
    outcome = hospital.release(agreed, f"north {scheme} seed 0")
    return outcome.refused or outcome.error or "RELEASED"


def known_seed(folder: Path) -> str:
    """Repeat the hospital's distillation by the seed that the server chose, and look for what it started from."""
    hospital = Hospital(folder, "max_ipc = 30\nmax_releases = 3")
    sent = []
    for other in (0, 1, 2):
        agreed = hospital.agree(study("dm", {"lr_img": 1.0 + other / 100}, ipc=[10], seed=7))
        outcome = hospital.release(agreed)
        assert outcome.release is not None, outcome
        sent.append(unpack(Release.from_bytes(outcome.release).sets[10], 10).images)
    theirs = sent[0]
    images = load_dataset("phantom:breast", images=240)  # the attacker even has the patients' images
    alike = [_alike(theirs, other) for other in sent[1:]]
    settings = settings_for("dm", {**DM, "lr_img": 1.0}, ipc=10)
    seed = spawn(7, "north", "dm", 0, 0)
    mine = METHODS["dm"].run(Task(images, 10, seed=seed, width=32), settings).images
    alike.append(_alike(theirs, mine))
    most = max(abs(each) for each in alike)
    return f"nothing shared with the seed's own (correlation at most {most:.2f})" if most < 0.3 else f"ALIKE {most:.2f}"


def _alike(a: torch.Tensor, b: torch.Tensor) -> float:
    """How alike what differs within a class is, of one Release and another: the correlation of the images' noise."""
    a, b = (each.flatten(1).double() for each in (a, b))
    a, b = (each - each.reshape(2, -1, each.shape[1]).mean(1).repeat_interleave(10, 0) for each in (a, b))
    return float((a * b).sum() / (a.norm() * b.norm()))


def labels_of_patients(folder: Path) -> str:
    """Ask a hospital with several findings an image for the label vectors that its patients have."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, n in (("train", 300), ("val", 50), ("test", 50)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (rng.random((n, 14)) < 0.15).astype(np.int64)
    np.savez(folder / "several.npz", **arrays)
    hospital = Hospital(folder, data="several.npz", more="")
    agreed = hospital.agree(study("dm", ipc=[10], federation={"dataset": "phantom:chest"}))
    outcome = hospital.release(agreed)
    assert outcome.release is not None, outcome
    sent = Release.from_bytes(outcome.release).sets[10].labels.numpy().astype(int)
    held, counts = np.unique(arrays["train_labels"], axis=0, return_counts=True)
    rare = {tuple(vector) for vector, n in zip(held, counts, strict=True) if n < 48 and vector.sum() > 3}
    taken = sum(tuple(vector) in rare for vector in sent)
    of = f"{taken} of {len(sent)} vectors are rare patients'"
    return f"drawn anew: {of}" if taken <= len(sent) // 50 else f"TAKEN: {of}"


ATTEMPTS = (
    Attempt(
        "pixels from scores on validation images",
        "a patient's image, every pixel exact, in 3 s",
        "(rule agreement)",
        lambda folder: scores(folder, split="val", partition=0),
    ),
    Attempt(
        "pixels from scores on redrawn held-out images",
        "training images, every pixel exact",
        "(rule agreement)",
        lambda folder: scores(folder, split="held_out", partition=3),
    ),
    Attempt(
        "a Release of another redraw",
        "another fifth of the images at each",
        "(rule agreement)",
        lambda folder: _asked_for(folder, "north dm seed 0 partition 1"),
    ),
    Attempt(
        "a round of averaging from weights made for it",
        "a gradient of one image",
        "(rule start)",
        round_of_averaging,
    ),
    Attempt(
        "a round of averaging in the name of dm",
        "a network, under the rules of another scheme",
        "(rule agreement)",
        lambda folder: _asked_for(folder, "north dm seed 0", ROUND),
    ),
    Attempt("a network trained on one image", "a network of one step", "(rule agreement)", network_alone),
    Attempt(
        "dm, one real image a batch",
        "an image of each class, every pixel exact",
        "(rule smallest_batch)",
        lambda folder: told(folder, settings={"batch_real": 1}),
    ),
    Attempt(
        "dc, one real image a batch",
        "its gradient",
        "(rule smallest_batch)",
        lambda folder: told(folder, "dc", settings={"batch_real": 1}),
    ),
    Attempt(
        "dsa, eight real images a batch",
        "their mean gradient",
        "(rule smallest_batch)",
        lambda folder: told(folder, "dsa", settings={"batch_real": 8}),
    ),
    Attempt(
        "mtt, experts trained on single images",
        "an expert's steps",
        "(rule smallest_batch)",
        lambda folder: told(folder, "mtt", settings={"batch_expert": 1, "start": "noise"}),
    ),
    Attempt(
        "mtt from real images",
        "the images, a few steps away",
        "(rule start)",
        lambda folder: told(folder, "mtt"),
    ),
    Attempt(
        "dm, one iteration",
        "the one step that was taken",
        "(rule fewest_iterations)",
        lambda folder: told(folder, settings={"iterations": 1}),
    ),
    Attempt(
        "clusters of two images",
        "the mean of two",
        "(rule smallest_cluster)",
        lambda folder: told(folder, ipc=[10], settings={"clusters": 5, "smallest_cluster": 2}),
    ),
    Attempt(
        "a network made to be inverted",
        "an embedding larger than the image",
        "(rule models)",
        lambda folder: told(folder, models=["mlp"]),
    ),
    Attempt(
        "a network wider than the image",
        "likewise",
        "(rule widths)",
        lambda folder: told(folder, width=2560),
    ),
    Attempt(
        "images in float32",
        "digits that uint8 does not have",
        "(rule encoding)",
        lambda folder: told(folder, encoding="float32"),
    ),
    Attempt(
        "the seed is the server's",
        "the same networks, starts and batches; 63 to 66 % of members told",
        "nothing shared with the seed's own",
        known_seed,
    ),
    Attempt(
        "budgets 1 to 10 in one Release",
        "47 real images of a class where 10 may",
        "(rule max_ipc)",
        lambda folder: told(folder, "random", "allow_real_images = true\nmax_ipc = 10", ipc=list(range(1, 11))),
    ),
    Attempt(
        "thirty random subsets",
        "131 of 147 real images",
        "(rule max_ipc)",
        lambda folder: told(
            folder, "random", "allow_real_images = true\nmax_ipc = 40\nmax_releases = 100", ipc=[10], seeds=30
        ),
    ),
    Attempt(
        "a thousand Releases",
        "a thousand Releases",
        "(rule max_releases)",
        lambda folder: told(folder, policy="max_releases = 2", seeds=1000),
    ),
    Attempt("a policy that bounds nothing", "epsilon 1000", "needs an epsilon_max", bound_of_nothing),
    Attempt("a private scheme without a budget", "epsilon 1000", "(rule epsilon_max)", epsilon_1000),
    Attempt(
        "dm of a hospital with five patients",
        "both classes' means",
        "(rule smallest_batch)",
        lambda folder: few_patients(folder, "dm"),
    ),
    Attempt(
        "dp-dm of a hospital with five patients",
        "two images like the patients'",
        "(rule min_class_size)",
        lambda folder: few_patients(folder, "dp-dm"),
    ),
    Attempt("label vectors of patients", "140 of 140 are real patients'", "drawn anew", labels_of_patients),
    Attempt(
        "in another site's name",
        "a Release as site east",
        "(rule agreement)",
        lambda folder: _asked_for(folder, "east dm seed 0"),
    ),
    Attempt("a job spelt out, with any settings", "what it asked for", "(rule agreement)", spelt_out),
    Attempt(
        "a preset by path",
        "an error of Python's",
        "no preset",
        lambda folder: told(folder, settings={"preset": "../../etc/passwd"}),
    ),
)
