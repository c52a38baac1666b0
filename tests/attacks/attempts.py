"""The attempts on a hospital: each asks as a server could, and returns what it was answered."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from attacks.hospital import Hospital, job
from fedistill.data import load_dataset
from fedistill.errors import FedistillError
from fedistill.methods import METHODS, Task, settings_for
from fedistill.models import build
from fedistill.release.release import Release, unpack
from fedistill.training.recipe import Recipe
from fedistill.training.search import Grid
from fedistill.transport.protocol.messages import SCORE, EvalRequest, pack_question
from fedistill.transport.protocol.training_messages import ALONE, ROUND, LocalTrainRequest, RoundSettings, pack_alone


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


def _words(hospital: Hospital, scheme: str = "dm", **changes: object) -> str:
    """What a hospital says to one job: its refusal, or that it sent a Release."""
    outcome = hospital.release(scheme, **changes)
    return outcome.refused or outcome.error or "RELEASED"


def _networks(count: int) -> dict[str, torch.Tensor]:
    network = build("mlp", channels=1, classes=2, size=28, width=4)
    params = network.init(torch.Generator().manual_seed(0))
    return {name: torch.stack([value] * count) for name, value in zip(network.names, params, strict=True)}


def scores(folder: Path, *, split: str, partition: int) -> str:
    """Ask for scores of hand-made networks, as who reads an image out bit by bit does."""
    hospital = Hospital(folder, more="images = 240\nheld_out = 0.2")
    reply = hospital.ask(pack_question(EvalRequest("x", "mlp", 4, partition, _networks(8), split, 1)), SCORE)
    assert not hospital.ledger
    return reply if isinstance(reply, str) else "SCORED"


def round_of_averaging(folder: Path) -> str:
    """Send weights made to isolate an image, and ask for them back after one step on it."""
    hospital = Hospital(folder, "allow_weights = true")
    asked = RoundSettings("fedavg", "mlp", 4, 0, local_epochs=1, batch=1, lr=1.0, augment=False, seed=0)
    one = {name: Array(value[0].numpy()) for name, value in _networks(1).items()}
    content = RecordDict(
        {"arrays": ArrayRecord(one), "config": asked.config(), "job": ConfigRecord({"name": "x round 1"})}
    )
    reply = hospital.ask(content, ROUND)
    return reply if isinstance(reply, str) else "TRAINED"


def round_in_a_method_s_name(folder: Path, scheme: str) -> str:
    """Ask for a round of averaging in the name of a scheme that has none."""
    hospital = Hospital(folder, "allow_weights = true")
    asked = RoundSettings(scheme, "convnet", 32, 0, local_epochs=1, batch=32, lr=0.1, augment=False, seed=0)
    records = {"arrays": ArrayRecord(), "config": asked.config(), "job": ConfigRecord({"name": "x round 1"})}
    reply = hospital.ask(RecordDict(dict(records)), ROUND)
    return reply if isinstance(reply, str) else "TRAINED"


def network_alone(folder: Path) -> str:
    """Ask for a network trained on the hospital's images by a recipe of the server's."""
    hospital = Hospital(folder, "allow_weights = true")
    grid = Grid(Recipe(steps=1, batch=1, lr=1.0, augment=False), (1.0,))
    reply = hospital.ask(pack_alone(LocalTrainRequest("x", "north", "local", "mlp", 4, 0, grid, 1, (0,))), ALONE)
    return reply if isinstance(reply, str) else "TRAINED"


def told(folder: Path, scheme: str = "dm", policy: str = "", **changes: object) -> str:
    """Ask for a Release by settings that give images away."""
    return _words(Hospital(folder, policy), scheme, **changes)


def many_budgets(folder: Path) -> str:
    """Ask for every budget up to the largest allowed, in one Release."""
    hospital = Hospital(folder, "allow_real_images = true\nmax_ipc = 10")
    return _words(hospital, "random", ipcs=list(range(1, 11)))


def many_draws(folder: Path) -> str:
    """Ask for one random subset after another, until all images have been drawn."""
    hospital = Hospital(folder, "allow_real_images = true\nmax_ipc = 40\nmax_releases = 100")
    answers = [_words(hospital, "random", ipcs=[10], random_seed=seed) for seed in range(30)]
    assert answers.count("RELEASED") == 4 == len(hospital.ledger), "40 images of a class, in all"
    return answers[-1]


def a_thousand_releases(folder: Path) -> str:
    """Ask a thousand times, in one request, under other seeds."""
    hospital = Hospital(folder, "max_releases = 2")
    outcomes = hospital.releases([job(random_seed=seed, seed=seed) for seed in range(1000)])
    assert sum(outcome.release is not None for outcome in outcomes) == 2 == len(hospital.ledger)
    again = hospital.release(random_seed=0, seed=0)
    assert again.release == outcomes[0].release and again.found == 0, "asked again, the same bytes, and no more"
    return outcomes[-1].refused


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
    return _words(Hospital(folder), "dp-dm", settings={"epsilon": 1000.0, "queries": 1})


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
    return _words(_few(folder), scheme, settings={"epsilon": 1000.0, "queries": 1} if scheme == "dp-dm" else {})


def odd(folder: Path, **changes: object) -> str:
    """Ask for what cannot be."""
    return _words(Hospital(folder), **changes)


def known_seed(folder: Path) -> str:
    """Repeat the hospital's distillation by the seed that the server chose, and look for what it started from."""
    hospital = Hospital(folder, "max_ipc = 30\nmax_releases = 3")
    outcome = hospital.release(ipcs=[10])
    assert outcome.release is not None, outcome
    theirs = unpack(Release.from_bytes(outcome.release).sets[10], 10).images
    settings = settings_for("dm", job()["settings"], ipc=10)
    images = load_dataset("phantom:breast", images=240)  # the attacker even has the patients' images
    alike = []
    for other in (1, 2):
        again = hospital.release(ipcs=[10], settings={"lr_img": 1.0 + other / 100})
        assert again.release is not None
        alike.append(_alike(theirs, unpack(Release.from_bytes(again.release).sets[10], 10).images))
    mine = METHODS["dm"].run(Task(images, 10, seed=7, width=32), settings).images
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
    outcome = hospital.release(ipcs=[10])
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
        "(rule scores)",
        lambda folder: scores(folder, split="val", partition=0),
    ),
    Attempt(
        "pixels from scores on redrawn held-out images",
        "training images, every pixel exact",
        "(rule scores)",
        lambda folder: scores(folder, split="held_out", partition=3),
    ),
    Attempt(
        "a Release of another redraw",
        "another fifth of the images at each",
        "(rule partition)",
        lambda folder: told(folder, partition=1),
    ),
    Attempt(
        "a round of averaging from weights made for it",
        "a gradient of one image",
        "(rule allow_weights)",
        round_of_averaging,
    ),
    Attempt(
        "a round of averaging in the name of dc",
        "a network, under the rules of another scheme",
        "answers no such request",
        lambda folder: round_in_a_method_s_name(folder, "dc"),
    ),
    Attempt("a network trained on one image", "a network of one step", "(rule allow_weights)", network_alone),
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
        lambda folder: told(folder, ipcs=[10], settings={"clusters": 5, "smallest_cluster": 2}),
    ),
    Attempt(
        "a network made to be inverted",
        "an embedding larger than the image",
        "(rule models)",
        lambda folder: told(folder, model="mlp"),
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
    Attempt("budgets 1 to 10 in one Release", "47 real images of a class where 10 may", "(rule max_ipc)", many_budgets),
    Attempt("thirty random subsets", "131 of 147 real images", "(rule max_ipc)", many_draws),
    Attempt("a thousand Releases", "a thousand Releases", "(rule max_releases)", a_thousand_releases),
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
    Attempt("in another site's name", "a Release as site east", "(rule name)", lambda folder: odd(folder, site="east")),
    *(
        Attempt(
            f"a job of {name}",
            "Python's error, or a Release",
            "Invalid",
            lambda to, c=change: odd(to, **c),
        )
        for name, change in {
            "draws 0": {"draws": 0},
            "a billion draws": {"draws": 10**9},
            "ipc 1.5": {"ipcs": [1.5]},
            "ipc true": {"ipcs": [True]},
            "ipc -1": {"ipcs": [-1]},
            "no budget": {"ipcs": []},
            "partition ../../x": {"partition": "../../x"},
            "a seed of thirty digits": {"random_seed": 10**30},
            "encoding pickle": {"encoding": "pickle"},
            "model os.system": {"model": "os.system"},
            "width 0": {"width": 0},
        }.items()
    ),
    Attempt(
        "a preset by path",
        "an error of Python's",
        "no preset",
        lambda folder: odd(folder, settings={"preset": "../../etc/passwd"}),
    ),
)
