"""The house's rules: who may import what, and what runs on a bare machine."""

import ast
import subprocess
import sys
from collections import Counter

import pytest

from house.figures import PACKAGE, RIDDLES, arrows, docstrings, floor, modules, upward


@pytest.fixture(scope="module")
def trees():
    return modules()


def test_lower_rooms_import_no_higher_ones(trees):
    assert not upward(trees)


def test_every_module_has_a_floor(trees):
    assert not [name for name in trees if name and floor(name) is None]


def test_a_class_s_name_has_one_meaning(trees):
    classes = Counter(node.name for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef))
    assert not [name for name, times in classes.items() if times > 1]


def test_no_folder_holds_more_than_twenty_modules():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    full = {folder: len([p for p in folder.glob("*.py") if p.name != "__init__.py"]) for folder in folders}
    assert max(full.values()) <= 20, full


@pytest.mark.parametrize("room", ["study", "transport", "report"])
def test_closets_of_a_room_hang_together_by_few_arrows(trees, room):
    between = arrows(room, trees)
    assert len(between) <= 30, sorted(between)


def test_docstrings_name_a_thing_or_begin_with_a_verb(trees):
    assert not [text for text in docstrings(trees) if text.split()[0] in RIDDLES]


def imports(tree):
    """Yield the packages that a module imports, others' and our own, with what stands inside functions."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from (name.partition(".")[0] for name in names)


def test_only_transport_imports_flower_and_ray_and_unpickles(trees):
    """It unpickles between our own processes on Ray."""
    of_transport = {"flwr", "ray", "pickle"}
    for module, tree in trees.items():
        nowhere = {"torchvision", "torchmetrics"} | (set() if module.startswith("transport") else of_transport)
        assert nowhere.isdisjoint(imports(tree)), module


BARE = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked!r}:
            raise ImportError('blocked: ' + name)
sys.meta_path.insert(0, Wall())
"""


def run_bare(blocked, code):
    script = BARE.format(blocked=blocked) + code
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_distillation_needs_torch_numpy_and_pydantic_alone():
    blocked = {"flwr", "ray", "medmnist", "flwr_datasets", "datasets", "pandas", "sklearn", "typer"}
    blocked |= {"rich", "pooch", "safetensors", "pyarrow", "matplotlib", "scipy"}
    run_bare(
        blocked,
        "import fedistill.models, fedistill.training, fedistill.data\n"
        "import fedistill as fd\n"
        "x = fd.load_dataset('phantom:breast', images=20)\n"
        "made = fd.distill(x, method='dc', ipc=1, width=4, settings={'iterations': 1})\n"
        "assert len(made) == 2\n",
    )


def test_what_runs_on_a_borrowed_gpu_needs_torch_and_numpy_alone():
    """`make bench-gpu`: methods whose settings are built, not read, ask for no pydantic."""
    blocked = {"flwr", "ray", "medmnist", "pandas", "sklearn", "typer", "rich", "pydantic", "pydantic_core", "scipy"}
    run_bare(
        blocked,
        f"sys.path.insert(0, {str(PACKAGE.parent / 'tests')!r})\n"
        "import torch\n"
        "import benchmarks.gpu.check, benchmarks.gpu.work, benchmarks.gpu.quality\n"
        "import fedistill.data, fedistill.methods\n"
        "from fedistill.models import build\n"
        "from fedistill.training.fit import fit\n"
        "from fedistill.training.recipe import Recipe\n"
        "net = build('convnet', channels=1, classes=2, size=8, width=4)\n"
        "fit(net, torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), Recipe(steps=1), seed=0, mirror=True)\n",
    )


def test_help_imports_neither_torch_nor_ray():
    run_bare(
        {"torch", "ray", "flwr", "pandas", "numpy"},
        "import sys; sys.argv = ['fedistill', 'run', '--help']\n"
        "from fedistill.cli.main import main\n"
        "try: main()\nexcept SystemExit as e: assert not e.code\n",
    )
