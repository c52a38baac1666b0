"""What is measured, and how: the small form, the full size, and the pieces that each of them divides into."""

import ast
import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from house.figures import imported, modules

from fedistill.core.store import key_of
from fedistill.methods import METHODS, method_named, settings_for
from fedistill.training.recipe import Recipe

BASELINES = ("random", "herding", "full")
REPEATS = {"random": 2, "herding": 2, "full": 1}
"""Subsets drawn anew; of `random` each network has a draw of its own besides."""


@dataclass(frozen=True)
class Form:
    """The size of a measurement.

    Args:
        most: training images of a set, at most; None for all of them.
        scored: images that networks are scored on, at most; None for all.
        split: whose images these are: ``val``, to choose settings by, or ``test``, to report.
        looks: whether a method may look at the validation images, as it does at a hospital. Scored on ``val`` it would
            choose by the images that it is scored on.
        ipc: images per class; width: of all networks; networks: trained on each set of images.
        seeds: distillations by each method.
        steps, full_steps: of training a network, on few images and on all of them; lr: its step size.
    """

    most: int | None = 2000
    scored: int | None = 1000
    split: str = "val"
    looks: bool = False
    ipc: int = 10
    width: int = 32
    networks: int = 3
    seeds: int = 1
    steps: int = 300
    full_steps: int = 1000
    lr: float = 0.01

    def recipe(self, scheme: str) -> Recipe:
        """Return the common recipe, with more steps on all images."""
        return Recipe(steps=self.full_steps if scheme == "full" else self.steps, lr=self.lr)


@dataclass(frozen=True)
class Piece:
    """One set of images and the networks trained on it; the unit of work and of what is kept.

    Args:
        dataset: the set's name; word: for `load_dataset`.
        scheme: the method's name, or ``METHOD@LABEL`` for one of several with other settings.
        settings: as ``--set`` gives them.
        seed: of the repeat.
    """

    dataset: str
    word: str
    scheme: str
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)
    seed: int = 0

    @property
    def method(self) -> str:
        """Return the method's name in the registry."""
        return method_of(self.scheme)

    @property
    def name(self) -> str:
        """Return the piece in words."""
        return f"{self.dataset} {self.scheme} seed {self.seed}"


def method_of(scheme: str) -> str:
    """Return the method of a scheme's name.

    >>> method_of("dm@long"), method_of("dm")
    ('dm', 'dm')
    """
    return scheme.partition("@")[0]


def pieces(sets: Mapping[str, str], schemes: Mapping[str, Mapping[str, Any]], form: Form) -> list[Piece]:
    """Return all pieces of a measurement, set by set; baselines first.

    Raises:
        SettingError: there is no such method or setting; before any work.
    """
    for scheme, settings in schemes.items():
        method_named(method_of(scheme))
        settings_for(method_of(scheme), settings, ipc=form.ipc)
    wanted = {**{name: {} for name in BASELINES}, **schemes}
    return [
        Piece(name, word, scheme, settings, seed)
        for name, word in sets.items()
        for scheme, settings in wanted.items()
        for seed in range(REPEATS.get(scheme, form.seeds))
    ]


def key(piece: Piece, form: Form, *, train: str, val: str, scored: str) -> str:
    """Return the key of a piece's result: everything that it depends on, the code that makes it among it.

    Args:
        train, val, scored: fingerprints of the training images, of those the method may look at, and of those that
            networks are scored on.
    """
    chosen = settings_for(piece.method, piece.settings, ipc=form.ipc)
    about = {
        "method": piece.method,
        "settings": asdict(chosen),
        "seed": piece.seed,
        "recipe": form.recipe(piece.scheme).detail(),
        "form": {name: getattr(form, name) for name in ("ipc", "width", "networks")},
        "images": [train, val, scored],
        "code": code_of(piece.method),
    }
    if not METHODS[piece.method].budget:
        about["form"] = {**about["form"], "ipc": None}
    return key_of(about)


@cache
def code_of(method: str) -> str:
    """Return the SHA-256 of the code behind a method's images and their networks, comments and docstrings aside.

    A method under development changes while its version does not; what was measured of its former self must not stand
    for it. A method of another package counts by its own file alone.
    """
    path = inspect.getsourcefile(inspect.unwrap(_plain(METHODS[method].run)))
    trees = _modules()
    module = _module_of(str(path))
    waiting, seen = {module, "training.fit", "training.augment", "models.convnet"}, set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name in trees:
            rooms = ("methods", "training", "models")
            waiting |= {each for each in imported(trees[name], trees) if each.split(".")[0] in rooms} - seen
    # The registry names every method: it, and the presets, whose values are in the key, belong to none.
    passed = {"methods", "methods.registry", "methods.presets", "methods.run", "methods.installed"}
    digest = hashlib.sha256()
    for name in sorted(seen - passed):
        tree = trees.get(name)
        digest.update(name.encode())
        digest.update(b"" if tree is None else _bare(tree).encode())
    if module not in trees:
        digest.update(Path(str(path)).read_bytes())
    return digest.hexdigest()


def _plain(function: Any) -> Any:
    return getattr(function, "func", function)  # of a partial


@cache
def _modules() -> dict[str, ast.Module]:
    return modules()


def _module_of(path: str) -> str:
    """Return a file's module without the package's name, or its whole path where it lies elsewhere."""
    _, inside, rest = path.rpartition("/fedistill/")
    return rest.removesuffix(".py").replace("/", ".") if inside else path


def _bare(tree: ast.Module) -> str:
    """Return a module's code without comments and docstrings."""
    copy = ast.parse(ast.unparse(tree))
    for node in ast.walk(copy):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                body[:1] = [] if body[1:] else [ast.Pass()]
    return ast.dump(copy)
