"""The colours of pages: told apart by everybody, readable on their paper."""

from itertools import combinations

import numpy as np
import pytest

from fedistill.report.figures.palette import SERIES, THEMES, as_variable
from fedistill.report.html.render import style

# Machado, Oliveira and Fernandes, IEEE TVCG 2009: full deuteranopia and protanopia, on linear RGB.
SEEN_BY = {
    "all cones": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def linear(colour):
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 0.008856))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", THEMES)
def test_words_and_marks_stand_out_from_the_paper(theme):
    colours = THEMES[theme]
    assert contrast(colours["ink"], colours["paper"]) > 12
    for name in ("muted", "accent"):
        assert contrast(colours[name], colours["paper"]) > 4.5
        assert contrast(colours[name], colours["card"]) > 4.5
    for number in range(7):
        assert contrast(colours[f"s{number}"], colours["paper"]) > 3


@pytest.mark.parametrize("eyes", SEEN_BY)
@pytest.mark.parametrize("theme", THEMES)
def test_no_two_schemes_look_alike(theme, eyes):
    colours = THEMES[theme]
    seen = {n: lab(SEEN_BY[eyes] @ linear(colours[n])) for n in ("ink", "muted", *(f"s{i}" for i in range(7)))}
    gaps = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(seen, 2)}
    assert min(gaps.values()) > 15, sorted(gaps.items(), key=lambda item: item[1])[:4]


def test_a_pages_style_has_every_colour_of_every_theme():
    text = style()
    assert (
        text.index(THEMES["light"]["ink"])
        < text.index("prefers-color-scheme: dark")
        < text.index(THEMES["dark"]["ink"])
    )
    for theme, colours in THEMES.items():
        for name, colour in colours.items():
            assert f"--{name}: {colour}" in text, (theme, name)
    assert "--palette" not in text


def test_every_colour_that_figures_are_drawn_in_is_a_variable_of_the_page():
    assert [as_variable(colour) for colour in SERIES] == [f"var(--s{number})" for number in range(7)]
    assert len(set(THEMES["light"].values())) == len(THEMES["light"]), "or one would become another"
    assert all(set(colours) == set(THEMES["light"]) for colours in THEMES.values())
