"""Where nothing can be written is said before any work, and finding it out leaves nothing behind."""

import pytest
from tiny import write_tiny

from fedistill.core.files import require_folder, require_new_file
from fedistill.errors import RunFolderError

LONG = "x" * 300


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def typed(typed, tmp_path):
    """Type a command in a folder that has a file called f, and nothing else."""
    (tmp_path / "f").touch()
    return typed


PLACES = ["f/x", "f", f"runs/{LONG}", f"{LONG}/x", "no text \udcff"]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ascii(place[:10]))
def test_no_folder_can_be_made_there(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").touch()
    with pytest.raises(RunFolderError, match=r"--out .* cannot be written"):
        require_folder(tmp_path / place, "--out")
    assert names(tmp_path) == ["f"], "nothing is left behind"


def test_a_folder_that_can_be_made_is_not_made_yet(tmp_path):
    require_folder(tmp_path / "a" / "b", "--out")
    require_new_file(tmp_path / "c" / "d.safetensors", "--out")
    assert names(tmp_path) == []


def test_of_a_folder_that_is_there_nothing_changes(tmp_path):
    (tmp_path / "a").mkdir()
    require_folder(tmp_path / "a", "--out")
    assert names(tmp_path / "a") == [] and names(tmp_path) == ["a"]


@pytest.mark.parametrize("words", [("run", "--engine", "inline"), ("audit",)], ids=" ".join)
@pytest.mark.parametrize("option", ["--out", "--cache"])
def test_a_run_says_so_before_any_work(typed, tmp_path, words, option):
    code, text = typed(words[0], write_tiny(tmp_path), *words[1:], option, "f/x")
    assert code == 2 and f"{option} f/x cannot be written" in text and "a file where a folder should be" in text
    assert names(tmp_path) == ["f", "tiny.toml"]


@pytest.mark.parametrize("place", ["f/x.safetensors", f"{LONG}.safetensors", "x" * 253], ids=lambda place: place[:10])
def test_distilling_says_so_before_any_work(typed, tmp_path, monkeypatch, place):
    monkeypatch.setattr("fedistill.api.distill_file.load_dataset", None)
    code, text = typed("distill", "phantom:breast", "--method", "random", "--ipc", "1", "--out", place)
    assert code == 2 and "--out" in text and "cannot be written" in text
    assert names(tmp_path) == ["f"]


def test_keys_and_comparisons_say_so(typed, tmp_path):
    code, text = typed("keys", "f/x", "--sites", "a")
    assert code == 2 and "DIR f/x cannot be written" in text
    code, text = typed("report", "a", "b", "--out", "f/x.html")
    assert code == 2 and "--out f/x.html cannot be written" in text


def test_what_the_disk_refuses_later_is_one_message(typed, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "/data/[red]")

    monkeypatch.setattr("fedistill.config.load_plan", refuse)
    code, text = typed("run", "quickstart")
    assert code == 2 and "/data/[red] cannot be read or written: Permission denied" in text and "Traceback" not in text
