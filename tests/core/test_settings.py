"""One check for models and dataclasses: what is wrong with a table is said in one way, by the key's whole path."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import Field

from fedistill.core.ranges import AS_TABLE, AS_TUPLE, ONE_OR_MORE, QUIET, Count, detail, known
from fedistill.core.settings import Frozen, checked
from fedistill.errors import DataError, SettingError


@dataclass(frozen=True)
class Lens:
    width: Count
    blur: Annotated[float, Field(ge=0, le=1)] = 0.0
    kind: Literal["wide", "long"] = "wide"
    centre: Annotated[tuple[int, int], AS_TUPLE] | None = None
    coat: Annotated[str, QUIET] = "none"


@dataclass(frozen=True)
class Camera:
    lens: Annotated[Lens, AS_TABLE]
    model: Annotated[str, known("model", ("x1", "x2"))] = "x1"


class Rig(Frozen):
    lens: Annotated[Lens, AS_TABLE]
    model: Annotated[str, known("model", ("x1", "x2"))] = "x1"
    seeds: Annotated[tuple[int, ...], ONE_OR_MORE] = ()


WHOLE = {"lens": {"width": 3, "blur": 1, "centre": [1, 2]}, "model": "x2"}


@pytest.mark.parametrize("kind", [Camera, Rig])
def test_a_table_becomes_what_it_says(kind):
    made = checked(kind, WHOLE, "cam.toml")
    assert (made.lens, made.model) == (Lens(3, 1.0, centre=(1, 2)), "x2") and type(made.lens.blur) is float
    assert checked(kind, {"lens": made.lens}, "cam.toml").lens == made.lens


@pytest.mark.parametrize("kind", [Camera, Rig])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lens": {}}, "cam.toml: 'lens.width' is missing."),
        ({"lens": 3}, "cam.toml: lens is invalid.\n  expected: a table\n  found: 3"),
        ({"lens": {"width": 0}}, "cam.toml: lens.width is invalid.\n  expected: at least 1\n  found: 0"),
        ({"lens": {"width": True}}, "expected: a whole number\n  found: True"),
        ({"lens": {"width": 1, "blur": 1.5}}, "expected: at most 1"),
        ({"lens": {"width": 1, "blur": float("nan")}}, "lens.blur is invalid.\n  expected: a finite number"),
        ({"lens": {"width": 1, "kind": "wied"}}, "expected: 'wide' or 'long'"),
        ({"lens": {"width": 1, "centre": [1, "2"]}}, "lens.centre.1 is invalid"),
        ({"lens": {"wdith": 1}}, "there is no setting 'lens.wdith'.\n  fix: did you mean 'width'"),
        ({"model": "x3\x1b"}, "model: there is no model 'x3\\x1b': choose one of"),
        ({"modle": "x1"}, "there is no setting 'modle'.\n  fix: did you mean 'model'"),
    ],
)
def test_a_table_that_cannot_be_says_where_and_why(kind, change, words):
    with pytest.raises(DataError) as raised:
        checked(kind, {**WHOLE, **change}, "cam.toml", error=DataError)
    assert words in str(raised.value) and str(raised.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("values", [None, 3, [], "lens"])
def test_what_is_no_table_is_refused(values):
    with pytest.raises(SettingError, match=r"cam is invalid.\n  expected: a table"):
        checked(Camera, values, "cam")


def test_fields_that_came_later_are_told_of_only_where_they_are_set():
    assert "coat" not in detail(Lens(1)) and detail(Lens(1, coat="blue"))["coat"] == "blue"
    assert detail(Camera(Lens(1)), without=("model",)) == {"lens": detail(Lens(1))}
    assert Rig(lens=Lens(2)).model_dump(exclude_none=True)["lens"] == {
        "width": 2,
        "blur": 0.0,
        "kind": "wide",
        "coat": "none",
    }


def test_one_value_stands_for_a_list_of_one():
    assert checked(Rig, {**WHOLE, "seeds": 4}, "rig").seeds == (4,)
