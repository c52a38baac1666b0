"""The house's rules: who may import what, and what runs on a bare machine."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fedistill"
ROWS = [
    ["cli"],
    ["cli_running", "cli_showing", "cli_deployed"],
    ["cli_words"],
    ["cli_screen"],
    ["app"],
    ["report"],
    ["study"],
    ["federation"],
    ["plan"],
    ["store", "privacy"],
    ["distill"],
    ["training"],
    ["models", "data"],
    ["errors", "seeds", "files", "memory", "nesting", "accounting", "lines", "text"],
]
FLOOR = {name: len(ROWS) - row for row, names in enumerate(ROWS) for name in names}


def floor(module):
    """The row of a module's room; None where it has none."""
    return FLOOR.get(module.partition(".")[0])


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_lower_rooms_import_no_higher_ones(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    room, here = parts[0], floor(".".join(parts))
    for name in imports(path):
        top, _, rest = name.partition(".")
        assert top not in ("torchvision", "torchmetrics"), name
        assert top not in ("flwr", "ray") or room == "federation", name
        assert top != "pickle" or room == "federation", "pickle only between our own processes on Ray"
        there = floor(rest)
        if top == "fedistill" and there is not None and here is not None:
            assert there <= here, f"{'.'.join(parts)} imports {rest}, of a higher room"


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


def test_distillation_needs_torch_and_numpy_alone():
    blocked = {"flwr", "ray", "medmnist", "flwr_datasets", "datasets", "pandas", "sklearn", "pydantic", "typer"}
    blocked |= {"rich", "pooch", "safetensors", "pyarrow", "matplotlib", "scipy"}
    run_bare(
        blocked,
        "import fedistill.models, fedistill.training, fedistill.data\n"
        "import fedistill as fd\n"
        "x = fd.load_dataset('phantom:breast', images=20)\n"
        "made = fd.distill(x, method='dc', ipc=1, width=4, settings={'iterations': 1})\n"
        "assert len(made) == 2\n",
    )


def test_help_imports_neither_torch_nor_ray():
    run_bare(
        {"torch", "ray", "flwr", "pandas", "numpy"},
        "import sys; sys.argv = ['fedistill', 'run', '--help']\n"
        "from fedistill.cli import main\n"
        "try: main()\nexcept SystemExit as e: assert not e.code\n",
    )
