"""Images in rounds: as many in all as in one round, every byte counted, guided by the server's network, resumable."""

from dataclasses import asdict, replace

import pandas as pd
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from tiny import same

from fedistill.config import Federation, holdings, load_plan, load_simulation
from fedistill.config.scheme import scheme_named
from fedistill.consent.study import load_study
from fedistill.core.store import Store
from fedistill.errors import PlanError, PolicyError, ReleaseError, RunError, SettingError
from fedistill.methods.engine import guide as guides
from fedistill.models import build
from fedistill.privacy.policy.rules import Policy
from fedistill.release.release import Release
from fedistill.schemes.image_rounds import TDM_ROUNDS, ImageRounds, parts_of
from fedistill.schemes.server.work import Forecast
from fedistill.study import run
from fedistill.study.forecast.estimate import cost
from fedistill.study.orchestrator import conditions
from fedistill.transport.deploy.deployed import require_deployable
from fedistill.transport.flower_internals import become_server
from fedistill.transport.protocol.guided import GUIDED, GuidedRequest, pack_guided, unpack_guided
from fedistill.transport.server.coordinator import Coordinator
from fedistill.transport.site import app
from fedistill.transport.site.context import SiteContext

STUDY = """
networks = 2
width = 4
ipc = [2, 4]
[federation]
name = "two"
dataset = "phantom:breast"
images = 60
sites = ["a", "b"]
{policy}
[recipe]
steps = 4
max_steps = 4
lr = [0.01, 0.03]
pilots = 1
[scheme.tdm]
iterations = 3
networks = 1
network_steps = 3
views = 4
[scheme.tdm-rounds]
rounds = 2
"""
MORE_OF_A_MESSAGE = 200  # bytes: digits of seconds, and of a site's name


def written(folder, *, policy="", name="rounds", more=""):
    path = folder / f"{name}.toml"
    path.write_text(STUDY.format(policy=policy) + more)
    return str(path)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return load_simulation(written(tmp_path_factory.mktemp("file")))


@pytest.fixture(scope="module")
def whole(study, tmp_path_factory):
    return run(study, out=tmp_path_factory.mktemp("run") / "whole", engine="inline")


def release(finished, name):
    return Release.from_bytes((finished.root / "releases" / name).read_bytes())


def network_bytes(study):
    net = build("convnet", channels=1, classes=2, size=28, width=study.width)
    return sum(p.numel() * 4 for p in net.init(torch.Generator()))


def test_as_many_images_in_all_as_in_one_round(whole):
    rows = whole.rows.set_index(["scheme", "ipc", "network"])
    for ipc in (2, 4):
        for column in ("images_shared", "pool_ipc", "n_sites"):
            assert rows.loc["tdm-rounds", ipc][column].tolist() == rows.loc["tdm", ipc][column].tolist()
    assert set(whole.rows[whole.rows["scheme"] == "tdm-rounds"]["rounds"]) == {2}
    sites = pd.read_csv(whole.root / "sites.csv").set_index(["scheme", "ipc", "site"]).sort_index()
    assert sites.loc["tdm-rounds", 4]["images_shared"].tolist() == sites.loc["tdm", 4]["images_shared"].tolist()


def test_the_first_rounds_images_are_those_of_the_method_and_the_second_rounds_are_others(whole):
    alone = release(whole, "a/tdm-seed0.safetensors").sets[2]
    first, second = (release(whole, f"a/tdm-rounds-ipc4-round{i}-seed0.safetensors").sets[2] for i in (1, 2))
    assert torch.equal(alone.images, first.images) and torch.equal(alone.labels, first.labels)
    assert not torch.equal(first.images, second.images)


def test_bytes_are_counted_both_ways(whole, study):
    rows = whole.rows[whole.rows["network"] == 0].set_index(["scheme", "ipc"])
    traffic = pd.read_csv(whole.root / "traffic.csv").set_index(["purpose", "direction"])["bytes"]
    for column, direction in (("bytes_up", "up"), ("bytes_down", "down")):
        counted = rows.loc["tdm-rounds"][column].sum()
        sent = traffic["tdm-rounds", direction].sum()
        assert abs(counted - sent) < MORE_OF_A_MESSAGE * 2 * 2 * 2  # sites, rounds, budgets
    down = rows["bytes_down"]
    assert down["tdm-rounds", 4] - down["tdm", 4] > 2 * network_bytes(study)  # one to each site
    files = [
        (whole.root / "releases" / site / f"tdm-rounds-ipc4-round{i}-seed0.safetensors")
        for site in "ab"
        for i in (1, 2)
    ]
    assert rows["bytes_shared"]["tdm-rounds", 4] == sum(file.stat().st_size for file in files)


def test_a_stopped_run_goes_on_to_the_same_rows(whole, study, tmp_path, monkeypatch):
    ask = Coordinator.guided_release

    async def stopped(self, request):
        if request.job.number == 2:
            raise RunError("stopped")
        return await ask(self, request)

    monkeypatch.setattr(Coordinator, "guided_release", stopped)
    with pytest.raises(RunError, match="stopped"):
        run(study, out=tmp_path / "run", engine="inline")
    monkeypatch.undo()
    resumed = run(study, out=tmp_path / "run", engine="inline")
    assert resumed.found > 0
    same(resumed.rows, whole.rows)


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_the_rows_are_the_same(whole, study, tmp_path):
    same(run(study, out=tmp_path / "run", engine="local", workers=2).rows, whole.rows)


def test_a_site_that_fails_in_a_round_is_named_and_its_first_images_stay(study, whole, tmp_path, monkeypatch):
    ask = Coordinator.guided_release

    async def missing(self, request):
        outcome = await ask(self, request)
        late = request.job.number == 2 and request.job.site == "b"
        return replace(outcome, release=None, error="lost") if late else outcome

    monkeypatch.setattr(Coordinator, "guided_release", missing)
    few = study.model_copy(update={"min_sites": 1, "ipc": (2,)})
    finished = run(few, out=tmp_path / "run", engine="inline", cache=whole.root / "work")
    rows = finished.rows.set_index("scheme").loc["tdm-rounds"]
    assert set(rows["images_shared"]) == {2 * 2 + 2} and set(rows["n_sites"]) == {2}
    sites = finished.sites.set_index(["scheme", "site"])
    assert sites.loc[("tdm-rounds", "b"), "why"] == "round 2: lost"


def test_the_forecast_counts_every_round_and_the_networks_that_go_down(study):
    names = [job.name for job in TDM_ROUNDS.jobs(study)]
    assert len(names) == len(set(names)) == 2 * 2 * 2
    assert names[0] == "a tdm-rounds ipc 2 seed 0 round 1"
    [condition] = [each for each in _conditions(study) if each.ipc == 4]
    work = dict(TDM_ROUNDS.work(condition, Forecast(study, holdings(study.federation, 0, None), 10)))
    between = [each for key, each in work.items() if key != condition]
    assert [(each.sent, each.tasks, each.images) for each in between] == [(1.0, 1, 2 * 2 * 2)]


def _conditions(study):
    return [each for each in conditions(study) if each.scheme == "tdm-rounds"]


def test_a_plan_is_made(tmp_path):
    both = cost(load_plan(written(tmp_path)))
    alone = cost(load_plan(written(tmp_path, name="one", more="\n"), changes=["scheme.tdm-rounds.rounds=1"]))
    assert both.up > 0 and both.down > alone.down


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("scheme.tdm-rounds.rounds=3", "3 rounds do not divide 2 images a class"),
        ("scheme.tdm-rounds.rounds=0", "rounds is invalid"),
        ("scheme.tdm-rounds.rounds=true", "rounds is invalid"),
        ("scheme.tdm-rounds.iteration=3", "iteration"),
        ("audit={schemes=['tdm-rounds']}", "several rounds, which no attack here repeats"),
        ("federation.policy={max_releases=1}", r"rule max_releases\): lower rounds"),
        ("federation.policy={max_ipc=3}", "max_ipc"),
        ("leave_out=['tdm-rounds']", "leave_out"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(tmp_path, change, words):
    with pytest.raises(PlanError, match=words):
        load_simulation(written(tmp_path), changes=[change])


def test_hospitals_cannot_agree_to_it_and_connected_sites_are_not_asked(tmp_path):
    path = written(tmp_path)
    with pytest.raises(PlanError, match="Hospitals cannot agree to tdm-rounds"):
        load_study(path)
    with pytest.raises(PlanError, match="Hospitals cannot agree"):
        TDM_ROUNDS.items(load_simulation(path), "a")
    with pytest.raises(PlanError, match="tdm-rounds cannot run on connected sites"):
        require_deployable(load_plan(path, changes=["deadline_s=60"]))


def test_a_deployed_site_refuses_the_message_whatever_it_says(study, tmp_path, monkeypatch):
    federation = Federation(name="one", dataset="phantom:breast", images=60, sites=("a",))
    own = SiteContext(federation, 0, None, Store(tmp_path / "store"), ledger=tmp_path / "ledger.jsonl")
    monkeypatch.setattr(app, "read_context", lambda context: own)
    become_server(1)
    content = RecordDict({"job": ConfigRecord({"name": "x"})})
    with pytest.raises(PolicyError, match="whoever chooses the network chooses"):
        app.guided(Message(content, 1, GUIDED), None)
    assert "refused" in (tmp_path / "ledger.jsonl").read_text()


def request(study, number=2, params=None):
    return GuidedRequest(TDM_ROUNDS.round_job(study, "a", 0, 0, 4, number), params or {})


def site(folder, **policy):
    rules = Policy(**policy)
    federation = Federation(name="one", dataset="phantom:breast", images=60, sites=("a",), policy=rules)
    return SiteContext(federation, 0, None, Store(folder / "store"))


def test_a_site_counts_all_rounds_together(study, tmp_path):
    with pytest.raises(PolicyError, match="max_ipc"):
        TDM_ROUNDS.answer(request(study, 1), site(tmp_path, max_ipc=3))
    with pytest.raises(PolicyError, match="max_releases"):
        TDM_ROUNDS.answer(request(study, 1), site(tmp_path, max_releases=1))


def test_a_network_guides_every_round_but_the_first(study, tmp_path):
    with pytest.raises(ReleaseError, match="every round but the first"):
        TDM_ROUNDS.answer(request(study), site(tmp_path))
    with pytest.raises(ReleaseError, match="not the network's parameters"):
        TDM_ROUNDS.answer(request(study, params={"theta": torch.zeros(2)}), site(tmp_path))


def test_a_sites_smallest_batch_is_the_least_of_every_draw(study, tmp_path, monkeypatch):
    leasts = []
    look = guides.guide_by
    monkeypatch.setattr(
        "fedistill.schemes.image_rounds.guide_by", lambda *a, least: leasts.append(least) or look(*a, least=least)
    )
    net = build("convnet", channels=1, classes=2, size=28, width=study.width)
    params = dict(zip(net.names, net.init(torch.Generator()), strict=True))
    outcome = TDM_ROUNDS.answer(request(study, params=params), site(tmp_path, smallest_batch=5))
    assert leasts == [5] and outcome.release is not None
    assert outcome.job == "a tdm-rounds ipc 4 seed 0 round 2"


def test_requests_travel_and_hostile_ones_are_refused(study):
    sent = request(study, params={"theta": torch.arange(3.0)})
    back = unpack_guided(pack_guided(sent))
    assert back.job == sent.job and torch.equal(back.params["theta"], sent.params["theta"])
    assert unpack_guided(pack_guided(request(study, 1))).params == {}
    for change in ({"number": 3}, {"number": 0}, {"rounds": "2"}, {"whole_ipc": True}, {"width": -1}, {"ipcs": []}):
        with pytest.raises(SettingError):
            unpack_guided(pack_guided(replace(sent, job=replace(sent.job, **change))))
    with pytest.raises(SettingError):
        unpack_guided(RecordDict({"request": ConfigRecord({"round": "[]"})}))
    assert set(asdict(sent.job)) > {"whole_ipc", "rounds", "number"}


def test_parts_are_as_equal_as_can_be():
    for ipc in range(1, 12):
        for rounds in range(1, ipc + 1):
            parts = parts_of(ipc, rounds)
            assert sum(parts) == ipc and len(parts) == rounds and max(parts) - min(parts) <= 1


def test_a_method_that_looks_at_no_guide_has_no_rounds():
    with pytest.raises(SettingError, match="dm looks at no guide"):
        ImageRounds("dm-rounds", "dm", "")
    assert scheme_named("tdm-rounds") is TDM_ROUNDS
