"""report.html: it needs nothing, hides nothing, and nothing that it shows can do harm."""

import re
import shutil
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hostile import CLASSES, FILE
from tiny import write_tiny

from fedistill.config import load_plan
from fedistill.core.events import Event
from fedistill.errors import RunFolderError
from fedistill.report.html.missing import failures, gaps, incidents
from fedistill.report.html.page import page, rebuild
from fedistill.report.html.render import template
from fedistill.report.html.summary import answers
from fedistill.report.run_data import read_run
from fedistill.report.tables import privacy
from fedistill.study.folder.event_log import EventLog

SCRIPT = template("page.js")


class Parsed(HTMLParser):
    """Every element with its attributes, and all text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.scripts, self._in = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in = tag

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in == "script":
            self.scripts.append(data)
        elif self._in != "style":
            self.text.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def parsed(made):
    return Parsed(made)


def test_nothing_is_fetched_and_nothing_but_its_own_script_runs(parsed):
    for tag, attributes in parsed.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            if name in attributes:
                assert attributes[name].startswith(("#", "data:image/png;base64,")), (tag, attributes)
    assert {tag for tag, _ in parsed.elements}.isdisjoint({"link", "iframe", "object", "embed", "form", "base"})
    assert parsed.scripts == [SCRIPT]


def test_its_policy_lets_browsers_run_that_script_alone(parsed):
    [policy] = [a["content"] for a in parsed.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    digest = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy and "http" not in policy


def test_style_asks_for_nothing(made):
    style = made.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_names_stay_names(made, parsed):
    text = "".join(parsed.text)
    for name in (*CLASSES, FILE):
        assert name in text
    assert "<script>alert" not in made and "<img src=x" not in made


def test_words_of_figures_are_escaped_as_well(recorded):
    # Sites and schemes cannot have such names; should that ever change, figures hold.
    evil = "</text><script>alert(1)</script>$\\frac{"
    federation = recorded.plan.first.federation.model_copy(update={"sites": ("a", evil)})
    point = replace(
        recorded.plan.points[0], simulation=recorded.plan.first.model_copy(update={"federation": federation})
    )
    names = {"St Mary": evil}
    tables = {name: getattr(recorded, name).replace({"site": names}) for name in ("by_site", "holdings")}
    log = EventLog(tuple(replace(event, site=names.get(event.site, event.site)) for event in recorded.events))
    text = page(replace(recorded, plan=replace(recorded.plan, points=(point,)), log=log, **tables))
    drawn = "".join(re.findall(r'<svg class="plot".*?</svg>', text, re.DOTALL))
    assert "&lt;/text&gt;&lt;script" in drawn and "<script" not in drawn
    assert text.count("<script") == 1


def test_every_figure_says_what_it_shows(parsed):
    plots = [a for a in parsed.named("svg") if a["class"] == "plot"]
    assert len(plots) >= 3 + 3 + 1 + 6 + 2, "ipc, bytes, difference, gains, curves"
    for attributes in plots:
        assert attributes["role"] == "img" and re.search(r"\d", attributes["aria-label"])
    assert all(attributes["alt"] for attributes in parsed.named("img")) and parsed.named("img")


def test_names_within_the_page_are_its_own(made, parsed):
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for _, a in parsed.elements if a.get("href", "").startswith("#")}
    targets |= set(re.findall(r"url\(#([\w.-]+)\)", made))
    assert targets <= set(ids)


def test_rows_have_a_cell_for_every_column(made):
    tables = re.findall(r"<table.*?</table>", made, re.DOTALL)
    assert len(tables) >= 5
    for table in tables:
        rows = [len(re.findall(r"<t[hd]\b", row)) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)]
        assert len(rows) > 1 and len(set(rows)) == 1


def test_numbers_are_those_of_the_tables(recorded, made):
    line = recorded.compared[(recorded.compared["scheme"] == "dm") & (recorded.compared["ipc"] == 2)].iloc[0]
    [first, central] = answers(recorded)
    assert f"reached AUC {100 * line['auc']:.1f}\xa0%" in first.text and "2 distilled images per class" in first.text
    assert f"{100 * line['auc_vs_random_low']:+.1f}".replace("-", "−") in first.text
    assert first.text.replace("'", "&#39;") in made and central.scheme == "central-dm"
    held = recorded.holdings[recorded.holdings["split"] == "train"]
    assert f'data-key="{held["images"].iloc[0]}">{held["images"].iloc[0]:.0f}</td>' in made


@pytest.mark.parametrize(
    ("low", "high", "verdict", "words"),
    [
        (-0.01, 0.02, "open", "includes zero, so no gain is proven"),
        (0.0, 0.02, "open", "includes zero"),
        (0.01, 0.02, "gain", "+1.0 to +2.0\xa0points: more than random images give"),
        (-0.02, -0.01, "loss", "less than random images give"),
        (np.nan, np.nan, "unknown", "what distilling adds is open"),
    ],
)
def test_the_interval_alone_says_who_is_better(recorded, low, high, verdict, words):
    frame = recorded.compared.assign(auc_vs_random_low=low, auc_vs_random_high=high)
    answer = answers(replace(recorded, compared=frame))[0]
    assert answer.verdict == verdict and words in answer.text


def test_a_scheme_is_not_chosen_by_its_result(recorded):
    frame = recorded.compared.copy()
    frame.loc[(frame["scheme"] == "dm") & (frame["ipc"] == 1), "auc"] = 0.999
    assert "2 distilled images" in answers(replace(recorded, compared=frame))[0].text


def test_real_images_of_somebodys_own_file_are_not_shown(made, parsed):
    assert "Real images are not shown: they come from a file of somebody" in made
    assert not any("random real" in attributes["alt"] for attributes in parsed.named("img"))
    assert "started from real images" not in made, "dm starts from noise here"


def test_what_failed_and_what_was_not_measured_is_said(recorded, made):
    assert "Nothing failed" in made and "no attack was tried" in made
    by_site = recorded.by_site.copy()
    at = by_site.index[(by_site["scheme"] == "dm") & (by_site["site"] == "a")]
    by_site.loc[at, ["status", "why"]] = ["failed", "the disk is full"]
    rows = recorded.rows.copy()
    rows.loc[rows["scheme"] == "fedavg", ["auc", "accuracy"]] = np.nan
    assert failures(replace(recorded, by_site=by_site, rows=rows)) == [
        "a gave no dm (seed 0): the disk is full",
        "4 networks of fedavg diverged; means that they belong to are blank.",
    ]


def test_what_went_wrong_and_was_made_good_is_said(recorded, made):
    assert "Went wrong" not in made
    again = Event("cancelled", job="a dm seed 0", site="a", message="<b>no event</b>")
    events = (
        again,
        Event("done", job="b dm seed 0", site="b", bytes=3000),
        again,
        Event("machine", job="cluster", message="node-b is gone"),
        Event("damaged file", message="network/1 was damaged"),
    )
    wrong = replace(recorded, log=EventLog(recorded.events + events))
    assert incidents(wrong) == [
        "a dm seed 0: <b>no event</b> (2 times)",
        "cluster: node-b is gone",
        "server: network/1 was damaged",
    ]
    text = page(wrong)
    assert "Went wrong" in text and "&lt;b&gt;no event" in text and "<b>no event" not in text


def test_it_is_built_from_the_folder_alone_and_always_alike(hostile, made, tmp_path):
    moved = tmp_path / hostile.name
    shutil.copytree(hostile, moved, ignore=shutil.ignore_patterns("work"))
    assert rebuild(moved).read_text() == made and len(made.encode()) < 3_000_000
    assert {"comparison.png", "communication.png"} <= {path.name for path in moved.iterdir()}


def test_what_an_older_run_has_not_its_page_has_not(hostile, tmp_path):
    names = ("simulation.toml", "results.csv", "comparison.csv", "sites.csv")
    for name in names:
        shutil.copy(hostile / name, tmp_path / name)
    text = page(read_run(tmp_path))
    assert "The answer" in text and 'id="who"' not in text and 'id="images"' not in text and 'id="curves"' not in text


def test_privacy_is_shown_where_it_was_measured(recorded):
    line = {"scheme": "dm", "ipc": 2, "epsilon": np.nan, "delta": np.nan, "start": "noise", "attack": "lira"}
    line |= {"auc": 0.61, "auc_low": 0.55, "auc_high": 0.67, "tpr_at_1": 0.02, "tpr_low": 0.0, "tpr_high": 0.04}
    audited = replace(recorded, privacy=pd.DataFrame([{**line, "members": 200, "shadows": 16}]))
    words = [cell.text for cell in privacy(audited.privacy).rows[0].cells]
    assert words == ["dm", "2", "", "noise", "lira", "61.0 (55.0 to 67.0)", "2.0 (0.0 to 4.0)", "200"]
    assert privacy(recorded.privacy) is None
    assert "no attack" in gaps(recorded)[0] and "no attack" not in gaps(audited)[0]


def test_a_simulation_says_that_its_seeds_are_known_and_hospitals_are_not(recorded):
    deployed = replace(recorded, environment={**recorded.environment, "engine": "superlink"})
    assert any("seeds are known" in each for each in gaps(recorded))
    assert not any("seeds are known" in each for each in gaps(deployed))


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(RunFolderError, match="no run of FeDistill"):
        rebuild(tmp_path)
    shutil.copy(write_tiny(tmp_path), tmp_path / "simulation.toml")
    with pytest.raises(RunFolderError, match="no finished run"):
        rebuild(tmp_path)


def test_phantoms_are_called_so_everywhere(recorded, made):
    assert "Phantoms" not in made.split("<h2>What left")[0]
    points = load_plan(write_tiny(recorded.folder.parent, name="drawn"), changes=["name='hostile'"]).points
    federation = points[0].simulation.federation.model_copy(update={"sites": recorded.sites})
    simulation = recorded.plan.first.model_copy(update={"federation": federation})
    plan = replace(recorded.plan, points=(replace(recorded.plan.points[0], simulation=simulation),))
    text = page(replace(recorded, plan=plan))
    assert '<p class="banner" role="note">Phantoms: drawn images.' in text
    captions = re.findall(
        r"<figcaption>([^\n]*?|<strong>.*?)</figcaption>\s*(?:<ul|<div class=.panels)", text, re.DOTALL
    )
    assert len(captions) >= 5 and all(caption.startswith("<strong>Phantoms.</strong>") for caption in captions)
