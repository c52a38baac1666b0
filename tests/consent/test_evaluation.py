"""Networks scored on the images that hospitals set aside: counts with noise, paid for, asked once, and no more."""

import numpy as np
import pytest
import tomli_w
import torch
from attacks.hospital import Hospital, study
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, RecordDict
from in_process import DM, agree, ran, small_study, table, write_site

from fedistill.api.consent import book_of, prepare
from fedistill.app import run_simulation
from fedistill.consent.items import items_of
from fedistill.consent.study import canonical, load_study, study_of
from fedistill.models import build
from fedistill.privacy.accounting.budget import spent
from fedistill.privacy.policy.noisy_scores import BINS
from fedistill.study.orchestrator import conditions
from fedistill.training.fit import predict, probabilities
from fedistill.training.metrics import tally
from fedistill.training.noise import source_for
from fedistill.transport.deploy import deadline_grid
from fedistill.transport.protocol.messages import SCORE, EvalRequest, pack_question, unpack_tallies
from fedistill.transport.protocol.named import pack_named
from fedistill.transport.site import scoring
from fedistill.transport.site.context import read_context

SITES = ("a", "b", "c")
RULES = {"allow_weights": True, "share_counts": "exact"}
THREE = {"name": "three", "dataset": "phantom:breast", "images": 240, "held_out": 0.3, "sites": list(SITES)}
SCHEMES = {"dm": DM, "fedavg": {"rounds": 2}, "local": {}, "ensemble": {}}
STUDY = small_study({**THREE, "policy": RULES}, SCHEMES, steps=10, max_steps=10, lr=0.1)
PAYS = {"scores": 4, "epsilon_max": 2000.0, "non_private": "allow"}


def hospitals(folder, epsilon, **rules):
    """Write the study and the three hospitals' files; each allows scores but where its rules say otherwise."""
    (folder / "three.toml").write_text(tomli_w.dumps({**THREE, "policy": RULES}))
    (folder / "study.toml").write_text(tomli_w.dumps({**STUDY, "evaluation_epsilon": epsilon}))
    for name in SITES:
        write_site(folder, name, "three.toml", **{"share_counts": "exact", **PAYS, **rules.get(name, {})})
    return {name: agree(folder, name) for name in SITES}


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(deadline_grid, "EVERY_SECONDS", 0.0)


def scored(root):
    """Return the rows of sites.csv with a score, by site and scheme."""
    return {(row["site"], row["scheme"]): row for row in table(root, "sites") if row["test_auc"]}


def in_bins(probabilities):
    """Return probabilities of two classes as far as noisy counts tell them: in ten bins of the second's."""
    second = np.floor(probabilities[:, 1] * BINS) / BINS
    return np.stack([1 - second, second], 1)


def costs(own):
    return [entry.charge.cost for entry in book_of(own).entries() if entry.charge is not None]


def test_with_hardly_any_noise_hospitals_tell_what_a_simulations_sites_do(tmp_path, at_once, monkeypatch):
    """Images, averaged weights, each site's own networks, and an ensemble, whose predictions are averaged there.

    The simulation's exact counts are of probabilities in ten bins here, as the noisy ones are; and the noise is of a
    seed, so that the figures are the same every time.
    """
    monkeypatch.setattr(scoring, "source_for", lambda entropy, seed, *names: source_for("seeded", seed, *names))
    owns = hospitals(tmp_path, 1000.0)
    ran(tmp_path, SITES)
    monkeypatch.setattr(scoring, "tally", lambda labels, each: tally(labels, in_bins(each)))
    run_simulation(str(tmp_path / "study.toml"), out=tmp_path / "simulated", engine="inline")
    real, simulated = scored(tmp_path / "deployed"), scored(tmp_path / "simulated")
    assert set(real) == set(simulated) and len(real) == len(SITES) * len(SCHEMES)
    assert {key: float(row["test_auc"]) for key, row in real.items()} == pytest.approx(
        {key: float(row["test_auc"]) for key, row in simulated.items()}, abs=0.04
    )
    assert len({row["test_auc"] for row in real.values()}) > len(SITES), "the networks differ"
    assert not any(row["test_images"] or row["test_accuracy"] for row in real.values()), "an AUC, and nothing else"
    assert all(bool(row["gain_auc"]) == (scheme != "local") for (_, scheme), row in real.items())
    first = {
        name: [entry.about["sha256"] for entry in book_of(own).entries() if entry.kind == "sent"]
        for name, own in owns.items()
    }
    for own in owns.values():
        assert len(costs(own)) == len(SCHEMES), "one question a condition, and none about others' own networks"
    ran(tmp_path, SITES, "again")
    assert {key: row["test_auc"] for key, row in scored(tmp_path / "again").items()} == {
        key: row["test_auc"] for key, row in real.items()
    }
    for name, own in owns.items():
        after = [entry.about["sha256"] for entry in book_of(own).entries() if entry.kind == "sent"]
        assert sorted(after) == sorted(2 * first[name]) and len(costs(own)) == len(SCHEMES), (
            "asked again, nothing is spent"
        )


def test_the_epsilon_is_charged_and_who_refuses_is_named(tmp_path, at_once):
    owns = hospitals(tmp_path, 1.0, b={"scores": 0}, c={"scores": 3})
    results = ran(tmp_path, SITES)
    assert {row["scheme"] for row in results} == set(SCHEMES)
    assert spent(costs(owns["a"]), delta=1e-5) == pytest.approx(1.0, rel=1e-3)
    assert not costs(owns["b"]) and not costs(owns["c"]), "3 networks may be scored, and the study asks for 4"
    assert {site for site, _ in scored(tmp_path / "deployed")} == {"a"}
    why = {(row["site"], row["test_why"]) for row in table(tmp_path / "deployed", "sites") if row["test_why"]}
    assert {site for site, _ in why} == {"b", "c"} and all("(rule scores)" in words for _, words in why)
    assert any("(rule scores)" in str(entry.about.get("why")) for entry in book_of(owns["b"]).entries())


# ---------------------------------------------------------------------- at one hospital

HELD = "images = 240\nheld_out = 0.3"
ALLOWS = 'scores = 3\nepsilon_max = 2000.0\nnon_private = "allow"\nallow_weights = true'
NAME = "north evaluation dm ipc 1 seed 0 convnet common"
TOGETHER = "north evaluation ensemble seed 0 convnet common"


def networks(count, width=32):
    """Return networks of the study's shape whose probabilities are spread over 0..1."""
    network = build("convnet", channels=1, classes=2, size=28, width=width)
    inits = [network.init(torch.Generator().manual_seed(i + 4)) for i in range(count)]  # whose AUCs differ
    params = {name: torch.stack(each) for name, each in zip(network.names, zip(*inits, strict=True), strict=True)}
    last = [name for name in network.names if params[name].shape[1] == 2]
    return network, {name: value * (20 if name in last else 1) for name, value in params.items()}


def arrays(count, **more):
    return {"networks": ArrayRecord({name: Array(value.numpy()) for name, value in networks(count, **more)[1].items()})}


def evaluated(folder, policy=ALLOWS, held=HELD, **more):
    hospital = Hospital(folder, policy, more=held)
    asked = study(schemes={"ensemble": {}}, evaluation_epsilon=1000.0, **more)
    return hospital, hospital.agree(asked)


def exact(hospital, count):
    """Return the AUC of the mean prediction of these networks on the images set aside, in ten bins, and one's alone."""
    network, params = networks(count)
    own = dict(hospital.site.node_config())
    site = read_context(Context(run_id=0, node_id=0, node_config=own, state=RecordDict(), run_config={}))
    images = site.whole(0).held_out
    singles = [
        probabilities(
            predict(network, tuple(params[name][i] for name in network.names), images.pixels()), multilabel=False
        )
        for i in range(count)
    ]
    aucs = []
    for each in (torch.stack(singles).mean(0), singles[0]):
        aucs.append(tally(images.labels, in_bins(each.numpy())).auc)
    return aucs


def test_an_ensembles_predictions_are_averaged_before_they_are_counted(tmp_path):
    hospital, agreed = evaluated(tmp_path)
    reply = hospital.ask(pack_named(agreed, [TOGETHER], arrays(2)), SCORE)
    [told] = unpack_tallies(reply.content)
    mean, single = exact(hospital, 2)
    assert told.auc == pytest.approx(mean, abs=0.02) and abs(mean - single) > 0.03
    again = hospital.ask(pack_named(agreed, [TOGETHER], arrays(2)), SCORE)
    assert again.content["tallies"] == reply.content["tallies"] and len(hospital.lines("charged")) == 1


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda h: pack_named(h, [NAME.replace("ipc 1", "ipc 2")], arrays(1)), "(rule agreement)"),
        (lambda h: pack_named(h, [NAME.replace("seed 0", "seed 1")], arrays(1)), "(rule agreement)"),
        (
            lambda h: pack_named(h, ["north evaluation local seed 0 at east convnet common"], arrays(1)),
            "(rule agreement)",
        ),
        (lambda h: pack_named(h, [NAME.replace("evaluation", "validation")], arrays(1)), "(rule agreement)"),
        (lambda h: pack_named(h, [NAME], arrays(2)), "not as many as it has (rule agreement)"),
        (lambda h: pack_named(h, [TOGETHER], arrays(3)), "not as many as it has (rule agreement)"),
        (lambda h: pack_named(h, [NAME], arrays(1, width=64)), "not the study's networks"),
        (lambda h: pack_named(h, [NAME]), "not the study's networks"),
        (lambda h: pack_question(EvalRequest(NAME, "convnet", 32, 0, networks(1)[1], "val")), "(rule agreement)"),
        (
            lambda h: RecordDict({"request": ConfigRecord({"study": h, "items": [NAME], "split": "val"}), **arrays(1)}),
            "(rule agreement)",
        ),
    ],
)
def test_what_the_study_does_not_ask_is_refused_and_logged(tmp_path, ask, words):
    """A condition that there is not, another hospital's, more networks, other ones, another split."""
    hospital, agreed = evaluated(tmp_path)
    said = hospital.ask(ask(agreed), SCORE)
    assert isinstance(said, str) and words in said
    assert any(words in line["why"] for line in hospital.lines("refused"))
    assert not hospital.lines("charged") and not hospital.lines("sent")


def test_without_images_set_aside_the_question_is_not_agreed_to_nor_answered(tmp_path):
    hospital, agreed = evaluated(tmp_path, held="images = 240")
    offer = prepare(hospital.site, str(hospital.folder / "study.toml"))
    assert any("2 questions for scores on images set aside: not answered" in line for line in offer.lines)
    assert not any("epsilon 1000" in line for line in offer.lines)
    said = hospital.ask(pack_named(agreed, [NAME], arrays(1)), SCORE)
    assert "no images set aside (held_out) to score networks on (rule scores)" in said
    assert hospital.lines("refused") and not hospital.lines("charged")


def test_before_the_yes_it_says_how_many_networks_are_scored_and_for_how_much(tmp_path):
    hospital, _ = evaluated(tmp_path)
    lines = prepare(hospital.site, str(hospital.folder / "study.toml")).lines
    [line] = [line for line in lines if line.startswith("scores:")]
    assert "2 networks that the server sends are scored on the images that this hospital has set aside" in line
    assert "  Private: epsilon 1000 in all, at delta 1e-05, of this hospital's budget." in lines


def test_one_count_of_networks_for_all_scores_of_a_study(tmp_path):
    """Step sizes and evaluation each have an epsilon; ``scores`` of the policy is about the networks of both."""
    recipe = {"lr": [0.01, 0.03], "chosen_on": "sites", "pilots": 1}
    asked = study(recipe=recipe, networks=2, scores_epsilon=2.0, evaluation_epsilon=1.0)
    (tmp_path / "study.toml").write_text(tomli_w.dumps(asked))
    scores = [
        each for each in items_of(load_study(str(tmp_path / "study.toml")), "north").values() if each.kind == "scores"
    ]
    assert [(each.split, each.networks, each.sends.networks) for each in scores] == [("val", 2, 4), ("held_out", 2, 4)]
    noises = [each.build(None).noise for each in scores]
    assert [(each.epsilon, each.questions) for each in noises] == [(2.0, 1), (1.0, 1)]


def test_items_are_what_the_server_asks_and_a_study_without_them_keeps_its_text(tmp_path):
    schemes = {"dc": {"clusters": 1}, "fedavg": {"rounds": [1, 2]}, "local": {}, "ensemble": {}, "join": {"of": "dm"}}
    more = {"schemes": schemes, "ipc": [1, 2], "seeds": 2, "leave_out": ["dm"], "recipes": ["common", "strong"]}
    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps(study(evaluation_epsilon=2.0, **more)))
    ours = load_study(str(path))
    names = {name for name, item in items_of(study_of(canonical(ours)), "north").items() if item.kind == "scores"}
    every = [each for each in conditions(ours) if each.site in ("", "north")]
    assert names == {f"north evaluation {each.name}" for each in every} and len(names) == len(every) > 20
    path.write_text(tomli_w.dumps(study(**more)))
    plain = load_study(str(path))
    assert "evaluation_epsilon" not in canonical(plain) and '"evaluation_epsilon":2.0' in canonical(ours)
    assert not [item for item in items_of(plain, "north").values() if item.kind == "scores"]
