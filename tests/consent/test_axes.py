"""Soft labels, packed images, starts and variants of methods: written out in a study, and said before the yes."""

import pytest
import tomli_w
from attacks.hospital import ANYTHING, DM, Hospital, study

from fedistill.api.consent import prepare
from fedistill.config.jobs import job
from fedistill.consent.items import items_of
from fedistill.consent.study import canonical, load_study, study_of
from fedistill.errors import PolicyError
from fedistill.methods import labels_for, settings_for
from fedistill.schemes.server.choice import compared, question_name
from fedistill.schemes.server.condition import Condition

EVERYTHING = {"policy": {**ANYTHING, "allow_soft_labels": True}}
SOFT = {"labels": "soft", "temperature": 3.0, "label_networks": 1, "label_steps": 2}


def loaded(folder, *args, **top):
    path = folder / "study.toml"
    path.write_text(tomli_w.dumps(study(*args, federation=EVERYTHING, **top)))
    return load_study(str(path))


def offered(hospital, *args, **top):
    path = hospital.folder / "study.toml"
    path.write_text(tomli_w.dumps(study(*args, federation=EVERYTHING, **top)))
    return prepare(hospital.site, str(path))


def test_a_written_study_keeps_labels_and_the_method_of_a_variant(tmp_path):
    """A variant with hard labels stands beside its method with soft ones: it takes none of their settings."""
    more = {"dm-hard": {"method": "dm", "labels": "hard", "pack": 2}, "random-soft": {"method": "random", **SOFT}}
    ours = loaded(tmp_path, "dm", {**DM, **SOFT}, schemes=more, ipc=[1, 2])
    theirs = study_of(canonical(ours))
    assert canonical(theirs) == canonical(ours) and items_of(theirs, "north") == items_of(ours, "north")
    for scheme, method, soft in (("dm", "dm", True), ("dm-hard", "dm", False), ("random-soft", "random", True)):
        asked = job(theirs, "north", scheme, 0, 0)
        labels = labels_for(asked.method, asked.settings)
        assert asked.method == method and labels.soft == soft and labels.temperature == (3.0 if soft else 2.0)
    packs = [settings_for("dm", job(theirs, "north", name, 0, 0).settings, ipc=2).pack for name in ("dm", "dm-hard")]
    assert packs == [1, 2] and set(ours.scheme["dm"]) >= set(SOFT)
    assert ours.scheme["dm-hard"]["labels"] == "hard" and ours.scheme["dm-hard"]["method"] == "dm"


def test_soft_labels_are_refused_by_default_and_said_in_plain_words_where_they_are_not(tmp_path):
    schemes = {"dm-soft": {"method": "dm", **DM, **SOFT}}
    careful = Hospital(tmp_path / "careful")
    offer = offered(careful, schemes=schemes)
    assert set(offer.refused) == {"dm-soft"} and "(rule allow_soft_labels)" in offer.refused["dm-soft"]
    assert not any("Soft labels" in line for line in offer.lines)
    offer = offered(Hospital(tmp_path / "other", "allow_soft_labels = true"), schemes=schemes)
    assert not offer.refused
    [line] = [line for line in offer.lines if "Soft labels" in line]
    assert "probabilities that 1 network trained on patients' images here gave" in line


def test_patients_in_a_packed_image_count_each_before_the_yes_and_when_they_leave(tmp_path):
    with pytest.raises(PolicyError, match=r"sends up to 8 images of a class, more than 7 \(rule max_ipc\)"):
        offered(Hospital(tmp_path / "few", "allow_real_images = true\nmax_ipc = 7"), "random", {"pack": 2}, ipc=[2])
    hospital = Hospital(tmp_path / "enough", "allow_real_images = true\nmax_ipc = 8")
    offer = offered(hospital, "random", {"pack": 2}, ipc=[2])
    assert "random: 1 Release of real images of patients, each with 8 images of each class (ipc 2)." in offer.lines
    assert "  One image may hold 2 x 2 patients' images, and each of these counts as one." in offer.lines
    agreed = hospital.agree(study("random", {"pack": 2}, ipc=[2], federation=EVERYTHING))
    assert hospital.release(agreed, "north random seed 0").release
    assert [line["per_class"] for line in hospital.lines("released")] == [8]


@pytest.mark.parametrize(
    ("start", "words"), [("mean", "means of patients' images"), ("gaussian", "draws fitted to patients' images")]
)
def test_a_start_that_tells_of_patients_is_held_against_the_rule_and_said(tmp_path, start, words):
    settings = {**DM, "start": start}
    with pytest.raises(PolicyError, match=r"\(rule start\)"):
        offered(Hospital(tmp_path / "noise"), "dm", settings)
    offer = offered(Hospital(tmp_path / "mean", 'start = "mean"'), "dm", settings)
    assert f"  The synthetic images start from {words}." in offer.lines


def test_scores_that_choose_the_strong_recipe_are_items_as_well(tmp_path):
    """All questions share one epsilon and one count of networks, whatever each of them scores."""
    strong = {"sgd": 0.01, "adamw": 0.001, "mix": ["none", "mixup"]}
    recipe = {"lr": [0.01, 0.03], "chosen_on": "sites", "pilots": 1, "strong": strong}
    ours = loaded(tmp_path, recipe=recipe, recipes=["common", "strong"], scores_epsilon=4.0)
    questions = {name: item for name, item in items_of(ours, "north").items() if item.kind == "scores"}
    assert [item.networks for item in questions.values()] == [2, 4]
    for name, candidates in compared(ours).items():
        condition = Condition(0, "dm", 1, 0, "convnet", name)
        assert f"north {question_name(condition, [each.steps for each in candidates])}" in questions
    assert {item.sends.networks for item in questions.values()} == {6}
    assert {item.build(None).noise.scored for item in questions.values()} == {6}
    assert {item.build(None).noise.questions for item in questions.values()} == {2}
