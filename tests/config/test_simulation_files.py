"""TOML files: what is shipped loads, and every mistake is one clear message before any work."""

import pytest

from fedistill.config import holdings, job, load_federation, load_plan, load_simulation
from fedistill.config.find import names
from fedistill.errors import DataError, PlanError, UserError


def written(folder, text, name="mine.toml"):
    path = folder / name
    path.write_text(text)
    return str(path)


MINE = """
federation = {{ name = "two", dataset = "phantom:breast", images = 40, sites = {sites}, {more} }}
ipc = {ipc}
[scheme.{scheme}]
{settings}
"""


def mine(folder, *, sites='["a", "b"]', more="", ipc="[1]", scheme="dc", settings=""):
    text = MINE.format(sites=sites, more=more or "held_out = 0.0", ipc=ipc, scheme=scheme, settings=settings)
    return written(folder, text)


@pytest.mark.parametrize("name", sorted(names("simulations")))
def test_what_is_shipped_loads(name, monkeypatch, tmp_path):
    monkeypatch.setenv("FEDISTILL_REAL", str(tmp_path))  # where files of `worth` would lie
    assert {point.simulation.name for point in load_plan(name).points} == {name}
    for point in load_plan(name, phantom=True).points:
        assert all(name.startswith("phantom:") for name in point.simulation.federation.datasets())


@pytest.mark.parametrize("name", sorted(names("sites")))
def test_federations_shipped_divide_their_phantom(name):
    federation = load_federation(name, phantom=True)
    held = holdings(federation, 0, None)
    assert len(held.shares) == len(federation.sites)
    assert all(len(share.train) for share in held.shares)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("scheme.dcc.x=1", "no scheme 'dcc': did you mean 'dc'"),
        ("scheme.dc.iteratons=1", "no setting 'iteratons'"),
        ("scheme.dc.iterations=-1", "iterations is invalid"),
        ("widht=3", "did you mean 'width'"),
        ("ipc=[0]", "at least 1"),
        ("ipc=[1, 1]", "twice"),
        ("ipc=[]", "at least one"),
        ("networks=0", "networks"),
        ("gpus=2", "at most 1"),
        ("models=['convnett']", "no model 'convnett'"),
        ("min_sites=9", "more than the 4 sites"),
        ("recipe.lr=[]", "at least one step size"),
        ("recipe.max_steps=1", "at least steps"),
        ("federation.sites=['a', 'a']", "a name of its own"),
        ("federation.sites=['a', 'A']", "a name of its own"),
        ("federation.sites=['../a']", "cannot name a site"),
        ("federation.sites=['a/b']", "cannot name a site"),
        ("federation.sites=['']", "cannot name a site"),
        ("name='../../elsewhere'", "cannot name a simulation"),
        ("federation.sites=[]", "at least one site"),
        ("federation.site.norht.cpus=2", "none of the sites"),
        ("federation.site.north.cpus=0", "above 0"),
        ("federation.policy.allow_real_images=false", "sends real images, which the policy"),
        ("scheme.tdm.start='gaussian' federation.policy.start='noise'", "fitted to real images, which the policy"),
        ("federation.policy.allow=true", "allow_real_images"),
        ("federation.held_out=1.0", "held_out"),
        ("scheme=3", "scheme"),
        ("nonsense", "changes nothing"),
        ("name.x=3", "is a value, not a table"),
    ],
)
def test_a_mistake_says_what_it_is(change, message):
    with pytest.raises(UserError, match=r"(?s).*") as raised:
        load_simulation("quickstart", changes=change.split(" ") if "scheme.tdm" in change else [change])
    assert message in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("federation.dataset='phantom:blod'", "phantom:blood"),
        ("federation.dataset='nowhere.npz'", "nowhere.npz"),
    ],
)
def test_a_rule_that_does_not_fit_the_data_says_so(change, message):
    simulation = load_simulation("quickstart", changes=[change])
    with pytest.raises(DataError) as raised:
        holdings(simulation.federation, 0, None)
    assert message in str(raised.value)


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(PlanError, match="did you mean 'quickstart'"):
        load_simulation("quickstrat")
    with pytest.raises(PlanError, match="did you mean 'four'"):
        load_federation("fuor")


def test_toml_syntax_names_file_and_line(tmp_path):
    path = written(tmp_path, "federation = 'four'\nipc = [1,\n[scheme.dc]\n")
    with pytest.raises(PlanError, match=r"mine\.toml is not TOML[\s\S]*line \d"):
        load_simulation(path)


def test_a_simulation_without_federation_says_so(tmp_path):
    with pytest.raises(PlanError, match="no federation"):
        load_simulation(written(tmp_path, "[scheme.dc]\n"))


def test_paths_in_a_file_are_relative_to_it(tmp_path):
    (tmp_path / "sites").mkdir()
    written(tmp_path / "sites", 'dataset = "../data/a.npz"\nsites = 2\n', "own.toml")
    path = written(tmp_path, 'federation = "sites/own.toml"\n[scheme.dc]\n')
    federation = load_simulation(path).federation
    assert federation.dataset == str(tmp_path / "data" / "a.npz")
    assert federation.sites == ("site-1", "site-2")


def test_a_custom_file_has_no_phantom(tmp_path):
    path = written(tmp_path, 'federation = { name = "x", dataset = "a.npz", sites = 2 }\n[scheme.dc]\n')
    with pytest.raises(DataError, match="your own file"):
        load_simulation(path, phantom=True)


def test_sites_with_data_of_their_own(tmp_path):
    text = """
federation = { name = "own", images = 200, sites = ["a", "b"], site = { a = { dataset = "phantom:organc" }, b = {%s} } }
[scheme.dc]
"""
    both = load_simulation(written(tmp_path, text % 'dataset = "phantom:organs"'))
    held = holdings(both.federation, 0, None)
    assert [len(share.train) for share in held.shares] == [200, 200]
    with pytest.raises(PlanError, match="no data for \\['b'\\]"):
        load_simulation(written(tmp_path, text % ""))
    with pytest.raises(PlanError, match="two sites bring the same"):
        load_simulation(written(tmp_path, text % 'dataset = "phantom:organc"'))
    unlike = load_simulation(written(tmp_path, text % 'dataset = "phantom:breast"'))
    with pytest.raises(DataError, match="cannot be joined"):
        holdings(unlike.federation, 0, None)


def test_redraws_differ_and_repeat(tmp_path):
    federation = load_simulation("quickstart", changes=["federation.images=200"]).federation
    prints = [[s.train.fingerprint() for s in holdings(federation, redraw, None).shares] for redraw in (0, 1, 0)]
    assert prints[0] == prints[2] != prints[1]


def test_held_out_images_are_not_trained_on(tmp_path):
    path = mine(tmp_path, more="held_out = 0.25")
    for share in holdings(load_simulation(path).federation, 0, None).shares:
        assert len(share.held_out) and len(share.train) > len(share.held_out)
        kept = {image.tobytes() for image in share.train.images}
        assert not kept & {image.tobytes() for image in share.held_out.images}


def test_jobs_have_seeds_of_their_own():
    simulation = load_simulation("quickstart")
    jobs = [job(simulation, site, scheme, seed, 0) for site in "ab" for scheme in ("dc", "mtt") for seed in (0, 1)]
    assert len({each.random_seed for each in jobs}) == len(jobs)
    assert jobs[0].ipcs == (1, 10) and job(simulation, "a", "full", 0, 0).ipcs == ()
    assert job(simulation, "a", "random", 0, 0).draws == simulation.networks


def test_settings_of_one_budget(tmp_path):
    from fedistill.methods import settings_for

    path = mine(tmp_path, ipc="[1, 10]", settings="iterations = 7\n[scheme.dc.ipc.10]\niterations = 3")
    settings = load_simulation(path).settings("dc")
    assert settings_for("dc", settings, ipc=1).iterations == 7
    assert settings_for("dc", settings, ipc=10).iterations == 3


def test_more_sites_than_images(tmp_path):
    with pytest.raises(DataError, match="among so many sites"):
        holdings(load_simulation(mine(tmp_path, sites="50")).federation, 0, None)
