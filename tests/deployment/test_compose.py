"""The containers and the service that are shipped: they can be read, and nothing has more than it needs."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fedistill.config import load_plan
from fedistill.config.site_file import load_site
from fedistill.consent.items import items_of
from fedistill.consent.study import load_study
from fedistill.consent.terms import forbidden
from fedistill.transport.deploy.deployed import require_deployable


def docker_runs():
    found = shutil.which("docker")
    return found is not None and subprocess.run([found, "info"], capture_output=True).returncode == 0


HERE = Path(__file__).parents[2] / "sites" / "deployment"
SERVICES = yaml.safe_load((HERE / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_has_more_than_it_needs(name):
    service = SERVICES[name]
    assert service["user"] == "10001:10001" and service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
    assert service["mem_limit"] and service["cpus"] and service["pids_limit"] and "ports" not in service
    mounts = [each.split(":") for each in service["volumes"]]
    assert all(each[2:] == ["ro"] for each in mounts if each[0].startswith(".")), "files of the checkout are read alone"
    others = {"north", "east", "south", "server"} - {name}
    if name in ("north", "east", "south"):
        assert not others & {each[0] for each in mounts}, "a hospital has no volume of anybody else"


def test_a_hospital_of_the_containers_can_agree_to_their_study(tmp_path):
    study = str(HERE / "study.toml")
    require_deployable(load_plan(study))
    path = tmp_path / "site.toml"
    path.write_text((HERE / "hospital.toml").read_text().replace("NAME", "north"))
    own, items = load_site(str(path)), items_of(load_study(study), "north")
    policy = own.federation.policy
    assert not policy.review and not forbidden(items, policy, held_out=False)
    assert len(items) <= policy.max_releases and sum(item.per_class for item in items.values()) <= policy.max_ipc


def test_the_service_runs_the_node_and_little_else():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string((HERE / "fedistill-site.service").read_text())
    service = unit["Service"]
    assert re.fullmatch(r"\S+/fedistill site \S+\.toml", service["ExecStart"]) and service["Restart"] == "always"
    assert service["User"] == "fedistill" and service["ProtectSystem"] == "strict" and service["MemoryMax"]


@pytest.mark.slow
@pytest.mark.deployment
@pytest.mark.skipif(not docker_runs(), reason="no Docker runs here")
def test_docker_compose_up_runs_the_study_end_to_end():
    words = ["docker", "compose", "-f", str(HERE / "compose.yaml")]
    up = [*words, "up", "--build", "--abort-on-container-exit", "--exit-code-from", "coordinator"]
    try:
        done = subprocess.run(up, capture_output=True, text=True, timeout=3600)
        assert done.returncode == 0 and "report:" in done.stdout, done.stdout[-4000:] + done.stderr[-4000:]
    finally:
        subprocess.run([*words, "down", "--volumes"], capture_output=True, timeout=600)
