"""A hospital's file: what it may say, and that what is not said is refused rather than let out."""

import re
from pathlib import Path

import pytest

from fedistill.config import Federation, load_plan
from fedistill.config.site_file import load_site
from fedistill.consent.items import items_of
from fedistill.consent.study import load_study
from fedistill.core.store import Store
from fedistill.errors import DataError, PlanError, SettingError
from fedistill.transport.deploy.deployed import require_deployable
from fedistill.transport.deploy.site_node import run_site
from fedistill.transport.site.context import SiteContext

OWN = """
name = "north"
server = "fedistill.example:9092"
data = "phantom:breast"
images = 30
"""
PLAIN = {"insecure": True, "tell": print}
SHARE = """
name = "b"
federation = "two.toml"
[policy]
max_ipc = 3
"""
TWO = """
dataset = "phantom:breast"
images = 60
sites = ["a", "b"]
[policy]
allow_real_images = true
"""


def site(folder, text):
    (folder / "two.toml").write_text(TWO)
    path = folder / "site.toml"
    path.write_text(text)
    return load_site(str(path))


def test_what_is_not_said_is_refused(tmp_path):
    own = site(tmp_path, OWN)
    config = own.node_config()
    assert config["entropy"] == "system" and not own.federation.policy.allow_real_images
    assert config["store"] == str(tmp_path / "store") and config["ledger"] == str(tmp_path / "ledger.jsonl")
    assert Federation.model_validate_json(config["federation"], strict=False) == own.federation
    here = SiteContext(own.federation, 0, None, Store(tmp_path / "store"), entropy="system")
    assert here.name == "north" and len(here.whole(0).train) == 30
    assert here.share(0).train.fingerprint() == here.share(4).train.fingerprint(), "a hospital holds what it holds"


def test_a_rehearsals_site_holds_its_share_by_its_own_rules(tmp_path):
    own = site(tmp_path, SHARE)
    assert own.node_config()["partition-id"] == 1
    rules = own.federation.policy
    assert rules.max_ipc == 3 and not rules.allow_real_images, "the federation file's policy is the simulation's"
    whole = Federation.model_validate({"name": "two", "dataset": "phantom:breast", "images": 60, "sites": ["a", "b"]})
    mine, theirs = (SiteContext(f, 1, None, Store(tmp_path / "s")).whole(0) for f in (own.federation, whole))
    assert mine.train.fingerprint() == theirs.train.fingerprint()


def test_the_readmes_files_can_be_read(tmp_path):
    readme = (Path(__file__).parents[2] / "fedistill" / "transport" / "README.md").read_text(encoding="utf-8")
    for name in ("north", "study"):
        [text] = re.findall(rf"```toml\n(# {name}\.toml\n.*?)```", readme, re.DOTALL)
        (tmp_path / f"{name}.toml").write_text(text)
    own = load_site(str(tmp_path / "north.toml"))
    assert own.federation.datasets() == [str(tmp_path / "north.npz")] and own.federation.policy.max_ipc == 22
    plan = load_plan(str(tmp_path / "study.toml"))
    require_deployable(plan)
    assert own.file.name in plan.first.federation.sites
    items = items_of(load_study(str(tmp_path / "study.toml")), own.file.name)
    assert [item.kind for item in items.values()] == ["release", "release"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (OWN + "federation = 'four'", "one of the two"),
        ("name = 'north'", "one of the two"),
        (OWN.replace("fedistill.example:9092", "https://x"), "HOST:PORT"),
        (OWN + "key = 'a'", "belong together"),
        (OWN.replace("phantom:breast", "x.npz").replace("images = 30", "secret = ''"), "needs a secret"),
        (OWN + "entropi = 'system'", "did you mean 'entropy'"),
        (OWN + "[policy]\nallow_everything = true", "no setting 'policy.allow_everything'"),
        (SHARE.replace("'b'", "'z'").replace('"b"', '"z"'), "no site 'z'"),
        (SHARE.replace("[policy]", "held_out = 0.1\n[policy]"), "held_out is the federation's to say"),
    ],
)
def test_a_file_that_cannot_be_says_so(tmp_path, text, words):
    with pytest.raises(PlanError, match=words):
        site(tmp_path, text)


@pytest.mark.parametrize(
    ("more", "insecure", "words"),
    [
        ("", False, "names no root_certificate and key"),
        ("root_certificate = 'ca.crt'\nkey = 'site.key'", False, "no file 'ca.crt'"),
        ("root_certificate = 'ca.crt'\nkey = 'site.key'", True, "--insecure connects without keys"),
    ],
)
def test_keys_are_not_left_out_by_oversight(tmp_path, more, insecure, words):
    with pytest.raises(SettingError, match=words):
        run_site(site(tmp_path, OWN + more), insecure=insecure, tell=print)
    assert not (tmp_path / "store").exists(), "nothing was begun"


def test_images_that_cannot_be_read_are_said_before_anybody_waits_for_them(tmp_path):
    with pytest.raises(DataError, match="no\\.npz"):
        run_site(site(tmp_path, OWN.replace("phantom:breast", "no.npz").replace("images = 30", "")), **PLAIN)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("deadline_s=60", None),
        ("partitions=1", "has no deadline_s[\\s\\S]*--set deadline_s=3600"),
        ("partitions=2", "divides the data 2 times"),
        ("scheme={full={}, central-dm={}}", "central-dm cannot run"),
        ("recipe.lr=[0.01, 0.03]", "fedavg would choose a step size by the sites' scores"),
        ("sweep={width=[4, 8]}", "sweeps over width"),
        ('recipe.chosen_on="sites"', "hospitals tell none but with"),
    ],
)
def test_what_real_sites_cannot_be_asked_for(change, words):
    changes = [
        "scheme={random={}, fedavg={}}" if "lr" in change else "scheme={random={}}",
        *([] if change.startswith("part") and "1" in change else ["deadline_s=60"]),
        change,
    ]
    plan = load_plan("quickstart", changes=list(dict.fromkeys(changes)))
    if words is None:
        require_deployable(plan)
        return
    with pytest.raises(PlanError, match=words):
        require_deployable(plan)
