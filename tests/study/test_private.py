"""Private schemes through a simulation's file and a site's app."""

from pathlib import Path

import pytest
from tiny import write_tiny

from fedistill.api.distill_file import distill_to_file
from fedistill.config import job, load_simulation
from fedistill.core.store import Store
from fedistill.errors import PlanError
from fedistill.release.release import Release
from fedistill.schemes.site.release import carry_out
from fedistill.transport.site.context import SiteContext

SCHEME = """
[scheme.dp-dm]
epsilon = 5.0
queries = 2
width = 4
iterations = 2
[scheme.dp-dm.ipc.2]
iterations = 3
"""


def simulation(folder, *changes):
    path = Path(write_tiny(folder))
    path.write_text(path.read_text() + SCHEME)
    return load_simulation(str(path), changes=changes)


def carried_out(folder, *, entropy):
    plan, told = simulation(folder), []
    site = SiteContext(plan.federation, 0, None, Store(folder / "store"), entropy)
    outcome = carry_out(job(plan, "a", "dp-dm", 0, 0), site, told.append)
    return outcome, sum((event.kind, event.method) == ("noise", "dp-dm") for event in told)


@pytest.mark.parametrize("entropy", ["seeded", "system"])
def test_a_site_spends_once_and_says_what_it_spent(tmp_path, entropy):
    (first, spent), (second, again) = (carried_out(tmp_path, entropy=entropy) for _ in range(2))
    assert (spent, again) == (1, 0)  # once for both budgets, and for asking twice
    assert second.found == 2 and second.release == first.release
    release = Release.from_bytes(first.release)
    assert list(release.sets) == [1, 2] and not release.real
    assert "epsilon 5 at delta 1e-05 for every single image" in release.privacy
    assert ("SIMULATED" in release.privacy) == (entropy == "seeded")


def test_unseeded_noise_is_the_site_s_to_choose(tmp_path):
    seeded, system, other = (
        carried_out(tmp_path / name, entropy=entropy)[0].release
        for name, entropy in [("a", "seeded"), ("b", "system"), ("c", "system")]
        if not (tmp_path / name).mkdir()
    )
    assert len({seeded, system, other}) == 3


def test_one_hospital_alone_has_noise_that_nobody_can_repeat(tmp_path):
    made = []
    for name in ("x", "y"):
        distill_to_file(
            "phantom:breast",
            tmp_path / name,
            method="dp-dm",
            ipc=1,
            seed=0,
            width=4,
            size=None,
            data_root=None,
            phantom=False,
            settings={"queries": 1, "width": 4, "iterations": 1},
            precision="float32",
            device="cpu",
            encoding="uint8",
            on_event=lambda event: None,
        )
        made.append(Release.from_bytes((tmp_path / name).read_bytes()))
    assert not (made[0].sets[1].images == made[1].sets[1].images).all()
    assert all("SIMULATED" not in release.privacy and "epsilon 10 at" in release.privacy for release in made)


def test_a_plan_with_a_multilabel_set_is_refused(tmp_path):
    with pytest.raises(PlanError, match="dp-dm does not work on multi-label sets"):
        simulation(tmp_path, "federation.dataset='phantom:chest'")


@pytest.mark.parametrize(("key", "value"), [("epsilon", "0.0"), ("delta", "1.0"), ("looks", "3")])
def test_a_plan_with_impossible_settings_is_refused(tmp_path, key, value):
    with pytest.raises(PlanError, match=f"{key}|validation images"):
        simulation(tmp_path, f"scheme.dp-dm.{key}={value}")
