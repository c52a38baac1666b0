"""Fixtures for every room."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# The same examples everywhere and every time.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")

LONGEST = ("study", "report", "cli", "schemes", "consent", "export", "deployment", "attacks", "transport", "methods")
"""Folders of tests whose files take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first, and leave each whole: at the end, processes then wait for each other's short ones."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def medmnist_root() -> Path:
    """The folder of real MedMNIST files; a test that needs them is skipped where they are not."""
    named = os.environ.get("MEDMNIST_ROOT")
    root = Path(named) if named else Path(__file__).parents[2] / "shared" / "medmnist"
    if not root.is_dir():
        pytest.skip("no folder of real MedMNIST files: set MEDMNIST_ROOT")
    return root


@pytest.fixture(scope="session")
def hostile(tmp_path_factory) -> Path:
    """The folder of a finished run of every kind of scheme, on a file whose name and classes are hostile."""
    from hostile import run_hostile

    return run_hostile(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def typed(monkeypatch, capsys, tmp_path):
    """Type a command in an empty folder; (exit code, what was printed)."""
    from rich.console import Console

    from fedistill.cli import options
    from fedistill.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*words, width=300):
        monkeypatch.setattr(options, "console", Console(width=width, highlight=False))
        monkeypatch.setattr(options, "errors", Console(width=width, stderr=True, highlight=False))
        monkeypatch.setattr("sys.argv", ["fedistill", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out = capsys.readouterr()
        return ended.value.code or 0, out.out + out.err

    return run
