"""Nothing that is read is ever run, and no name leads out of the run folder."""

import ast
from pathlib import Path

import pytest
from fuzz import fuzzed, words
from hypothesis import given
from hypothesis import strategies as st

from fedistill.config.federation import require_name
from fedistill.config.sweep import Plan, Point
from fedistill.study.folder.run_folder import RunFolder

PACKAGE = Path(__file__).parents[2] / "fedistill"
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
RUNS_PROGRAMS = {"system", "popen", "spawnl", "spawnv", "execv", "execve", "fork", "Popen"}
UNPICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
RAY_PAYLOADS = {f"transport/backend/{name}.py" for name in ("dispatch", "inline", "ray_result", "worker")}


def found(source: str) -> set[str]:
    """Names that a module uses and that could run what it reads."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names} & UNPICKLES
        elif isinstance(node, ast.ImportFrom):
            names |= {(node.module or "").partition(".")[0]} & UNPICKLES
        elif isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name):
                names |= {called.id} & RUNS_CODE
            elif isinstance(called, ast.Attribute) and called.attr in {*RUNS_PROGRAMS, "load"}:
                owner = ast.unparse(called.value)
                names |= {called.attr} & RUNS_PROGRAMS if owner in ("os", "subprocess", "pty") else set()
                names |= {f"{owner}.load"} & {"torch.load", "np.load", "numpy.load"} if called.attr == "load" else set()
            for keyword in node.keywords:
                trusted = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in ("allow_pickle", "shell") and not trusted:
                    names.add(keyword.arg)
    return names


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "eval(x)",
        "exec(x)",
        "os.system(x)",
        "subprocess.run(x, shell=True)",
        "subprocess.Popen(x)",
        "torch.load(x)",
        "np.load(x)",
        "npy.read_array(x, allow_pickle=True)",
        "npy.read_array(x, allow_pickle=maybe)",
    ],
)
def test_the_search_finds(source):
    assert found(source)


def test_nothing_that_is_read_is_run():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        allowed = {"pickle"} if name in RAY_PAYLOADS else set()
        allowed |= {"Popen"} if name.startswith("transport/") else set()  # Flower's own programs, without a shell
        assert found(path.read_text()) <= allowed, name


def within(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve()) and path.resolve() != root.resolve()


NAMES = st.one_of(words, st.text("a.-_ /\\\0:~*", max_size=8), st.from_regex(r"[\w. -]{1,70}", fullmatch=True))


@fuzzed
@given(NAMES)
def test_a_name_that_is_taken_stays_in_its_folder(name):
    try:
        require_name(name, "a site")
    except ValueError:
        return
    root = Path("/runs/x/releases")
    assert within(root / name, root) and (root / name).parent == root and len(name) <= 64


@fuzzed
@given(NAMES, NAMES)
def test_failures_and_points_stay_in_the_run_folder(tmp_path, job, value):
    root = tmp_path / "out"
    folder = RunFolder(root, Plan.of(None))
    written = folder.failure(job, "why")
    assert within(written, root / "failures") and written.is_file()
    points = Plan((Point({"federation.dataset": value}, None),), {"federation.dataset": [value]})
    assert within(root / "releases" / points.folder_of(0), root / "releases")
