"""Mistakes that people of other software have made, and what they are told."""

import unicodedata

import pytest

from fedistill.config import holdings, load_federation, load_plan
from fedistill.config.site_file import load_site
from fedistill.errors import DataError, PlanError, UserError
from fedistill.transport.backend import runtime

SMALL = """
federation = { dataset = "phantom:breast", images = 40, sites = ["a", "b"] }
[scheme.dc]
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_a_mark_that_editors_put_first_is_read_over(small):
    small.write_text(SMALL.lstrip(), encoding="utf-8-sig")
    assert small.read_bytes().startswith(b"\xef\xbb\xbf") and load_plan(str(small)).name == "small"


def test_a_folder_is_called_one(small):
    for load in (load_plan, load_federation, load_site):
        with pytest.raises(PlanError, match="is a folder"):
            load(str(small.parent))


def test_a_simulation_in_the_place_of_a_federation(small):
    with pytest.raises(PlanError, match="is a simulation; a federation is needed here"):
        load_federation(str(small))
    small.write_text("federation = 'four'\n[scheme.dc]\n")
    with pytest.raises(PlanError, match="name its federation, 'four'"):
        load_federation(str(small))


def test_a_federation_in_the_place_of_a_simulation(small):
    small.write_text("dataset = 'phantom:breast'\nsites = 2\n")
    with pytest.raises(PlanError, match="is a federation; a simulation is needed here"):
        load_plan(str(small))


def test_a_name_in_decomposed_letters_is_told_from_a_wrong_one(small):
    name = unicodedata.normalize("NFD", "Köln")
    with pytest.raises(PlanError, match="Write it anew, as 'Köln'"):
        load_plan(str(small), changes=[f"federation.sites=['{name}', 'b']"])
    assert load_plan(str(small), changes=["federation.sites=['Köln', 'b']"]).first.federation.sites == ("Köln", "b")


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb", "", "x" * 301], ids=repr)
def test_a_federation_is_called_by_one_printable_line(small, name):
    with pytest.raises(PlanError, match="cannot name a federation"):
        load_plan(str(small), changes=[f"federation.name={name!r}".replace("\\x1b", "\\u001b").replace("'", '"')])


def test_what_is_set_aside_leaves_something(small):
    federation = load_plan(str(small), changes=["federation.held_out=0.999"]).first.federation
    with pytest.raises(DataError, match=r"held_out = 0\.999 leaves 'a' nothing to train on[\s\S]*lower held_out"):
        holdings(federation, 0, None)


def test_a_long_temporary_folder_is_told_from_a_lack_of_memory(monkeypatch):
    ray = pytest.importorskip("ray")

    def start(**options):
        raise OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /a/long/path")

    monkeypatch.setattr(ray, "init", start)
    with pytest.raises(UserError, match="at most 107 bytes") as raised, runtime._ray("local", 1):
        pass
    assert "TMPDIR=/tmp" in str(raised.value) and "memory" not in str(raised.value)
