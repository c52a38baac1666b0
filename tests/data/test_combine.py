"""Sets combined in one label space: which class gets which label, from which set, in what colours."""

from dataclasses import replace

import numpy as np
import pytest

from fedistill.data import concatenate, load_dataset
from fedistill.data.combine import alike, into, label_space, parts_of, with_set
from fedistill.data.facts import FACTS
from fedistill.errors import DataError

ORGANS = ["organamnist", "organcmnist", "organsmnist"]


@pytest.fixture
def own(save):
    """A hospital's file: grey, 8 pixels, two classes and patients."""

    def write(name="own.npz", classes=("well", "ill"), **changes):
        numbers = {"train": np.arange(6) // 2 + 40, "val": np.arange(2) + 50, "test": np.arange(3) + 60}
        groups = {f"{split}_groups": each for split, each in numbers.items()}
        return str(save(name, class_names=np.array(classes), **(groups | changes)))

    return write


def test_labels_follow_the_list():
    space = label_space(["octmnist:normal", "pneumoniamnist", "octmnist:drusen"], by_name=False)
    assert space.names == ("oct: normal", "pneumonia: normal", "pneumonia: pneumonia", "oct: drusen")
    assert space.labels == {"octmnist": {"normal": 0, "drusen": 3}, "pneumoniamnist": {"normal": 1, "pneumonia": 2}}
    shared = label_space(["octmnist:normal", "pneumoniamnist", "octmnist:drusen"], by_name=True)
    assert shared.names == ("normal", "pneumonia", "drusen")
    assert shared.labels == {"octmnist": {"normal": 0, "drusen": 2}, "pneumoniamnist": {"normal": 0, "pneumonia": 1}}
    assert shared.task == "multi-class"
    assert label_space(["octmnist:normal", "pneumoniamnist:normal"], by_name=False).task == "binary-class"


def test_the_views_share_their_organs_by_name():
    space = label_space(ORGANS, by_name=True)
    assert space.names == FACTS["organamnist"].class_names and space.sets == ORGANS
    assert len(label_space(ORGANS, by_name=False).names) == 33
    assert label_space([f"{name}:*" for name in ORGANS], by_name=True) == space


def test_phantoms_have_the_names_of_their_sets():
    real = label_space(["bloodmnist:platelet", "tissuemnist"], by_name=False)
    drawn = label_space(["phantom:blood:platelet", "phantom:tissuemnist"], by_name=False)
    assert drawn.names == real.names and drawn.sets == ["phantom:blood", "phantom:tissue"]


def test_every_image_of_a_listed_class_comes_with_its_joint_label():
    space = label_space(["phantom:oct:drusen", "phantom:blood:platelet", "phantom:oct:normal"], by_name=False)
    oct_images, blood = (load_dataset(f"phantom:{name}", images=80) for name in ("oct", "blood"))
    parts = [into(space, "phantom:oct", oct_images), into(space, "phantom:blood", blood)]
    names = np.array(oct_images.class_names)[oct_images.labels]
    kept = np.isin(names, ["drusen", "normal"])
    assert 0 < kept.sum() < len(oct_images)
    assert np.array_equal(parts[0].images, oct_images.images[kept])  # still grey, in their order
    assert np.array_equal(parts[0].labels, np.where(names[kept] == "drusen", 0, 2))
    assert np.array_equal(parts[1].images, blood.images[blood.labels == 7]) and set(parts[1].labels) == {1}

    joined = concatenate(alike(parts))
    assert joined.class_names == space.names and joined.task == "multi-class"
    assert joined.counts().tolist() == [(names == "drusen").sum(), (blood.labels == 7).sum(), (names == "normal").sum()]
    grey, colour = joined.images[: len(parts[0])], joined.images[len(parts[0]) :]
    assert grey.shape[-1] == 3 and all(np.array_equal(grey[..., c], parts[0].images[..., 0]) for c in range(3))
    assert np.array_equal(colour, parts[1].images)


def test_a_part_of_a_set_has_a_name_of_its_own_and_a_whole_set_has_not():
    # Settings that were measured for a set are found by its name.
    space = label_space(["phantom:oct:drusen", "phantom:pneumonia"], by_name=False)
    part = into(space, "phantom:oct", load_dataset("phantom:oct", images=20))
    whole = into(space, "phantom:pneumonia", load_dataset("phantom:pneumonia", images=20))
    assert part.name == "phantom:oct (1 of 4 classes)" and "1 of 4 classes" in part.source
    assert whole.name == "phantom:pneumonia" and whole.n_classes == 3


def test_licences_join_and_mirroring_needs_everybodys_consent():
    space = label_space(["phantom:organa:liver", "phantom:derma:melanoma"], by_name=False)
    parts = alike([into(space, name, load_dataset(name, images=60)) for name in space.sets])
    parts[1] = replace(parts[1], licence="CC BY-NC 4.0")
    joined = concatenate(parts)
    assert [part.mirror for part in parts] == [False, True] and not joined.mirror
    assert joined.licence == "none needed (drawn), CC BY-NC 4.0"


def test_patients_stay_together_where_other_sets_know_of_none(own):
    path = own()
    space = label_space([f"{path}:ill", f"{path}:well", "phantom:breast"], by_name=False)
    assert space.names == ("own: ill", "own: well", "breast: malignant", "breast: normal, benign")
    breast = load_dataset("phantom:breast", size=8, images=10)
    joined = concatenate(alike([into(space, path, load_dataset(path)), into(space, "phantom:breast", breast)]))
    assert joined.groups.tolist() == [0, 0, 1, 1, 2, 2, *range(3, 13)]
    assert joined.labels[:6].tolist() == [1, 0] * 3


def test_sizes_must_agree(own):
    path = own()
    space = label_space([path, "phantom:breast"], by_name=False)
    parts = [into(space, name, load_dataset(name)) for name in space.sets]
    with pytest.raises(DataError, match=r"differ in size[\s\S]*8 pixels, as own.npz[\s\S]*28 pixels, phantom:breast"):
        alike(parts)


def test_entries():
    assert parts_of("pathmnist: adipose ") == ("pathmnist", "adipose")
    assert parts_of("/data/a:b/own.npz") == ("/data/a:b/own.npz", "*")
    assert parts_of("/data/a:b/own.npz:stage: two") == ("/data/a:b/own.npz", "stage: two")
    assert parts_of("phantom:bloodmnist:platelet") == ("phantom:blood", "platelet")
    assert with_set("a.npz:x", lambda name: f"/d/{name}") == "/d/a.npz:x"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["pathmnst:adipose"], "no data set 'pathmnst'.\n  fix: did you mean 'pathmnist'"),
        (["pathmnist:adipos"], "pathmnist has no class 'adipos'.\n  fix: did you mean 'adipose'"),
        (["phantom:blod"], "no phantom 'phantom:blod'"),
        (["retinamnist:5", "octmnist"], "retinamnist has no class '5'"),
        (["octmnist", "octmnist:drusen"], "'drusen' of octmnist is listed twice"),
        (["octmnist:drusen", "octmnist:drusen"], "listed twice"),
        (["phantom:oct", "phantom:octmnist"], "listed twice"),
        (["octmnist:normal", "octmnist:*"], "listed twice"),
        (["chestmnist:mass", "octmnist"], "chestmnist cannot be combined"),
        (["octmnist:drusen"], "nothing to tell apart"),
        ([], "nothing to tell apart"),
        (["octmnist:"], "octmnist has no class ''"),
    ],
)
@pytest.mark.parametrize("by_name", [False, True])
def test_a_list_that_cannot_be_says_so(entries, message, by_name):
    with pytest.raises(DataError) as raised:
        label_space(entries, by_name=by_name)
    assert message in str(raised.value)


def test_two_files_of_one_name_cannot_be_told_apart(own, tmp_path):
    first = own()
    (tmp_path / "other").mkdir()
    second = own("other/own.npz")
    with pytest.raises(DataError, match="would be called 'own: well'"):
        label_space([first, second], by_name=False)
    assert label_space([first, second], by_name=True).names == ("well", "ill")


def test_a_hospitals_own_findings_are_refused(own):
    findings = {f"{split}_labels": np.ones((n, 2), np.uint8) for split, n in (("train", 6), ("val", 2), ("test", 3))}
    path = own(**findings)
    with pytest.raises(DataError, match="several findings"):
        label_space([path, "octmnist"], by_name=False)
