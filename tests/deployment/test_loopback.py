"""A server and three hospitals on loopback, over TLS, on phantoms: what a deployment promises, tried.

One test of many steps, for every process that starts costs seconds. The commands are those of
fedistill/transport/README.md.
"""

import csv
import hashlib
import json
import math
import subprocess
import sys
import time

import pytest
import tomli_w
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from deployment.procs import Process, free_port
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.supercore.fab import Fab

from fedistill.app import run_simulation
from fedistill.transport.deploy.control import Control
from fedistill.transport.deploy.keys import make_keys
from fedistill.transport.deploy.subprocesses import quiet

SITES = ["north", "east", "south"]
UP = 600  # seconds to wait for a process, however busy the machine is; where it is not, they take a few

THREE = """
dataset = "phantom:breast"
images = 600
sites = ["north", "east", "south"]
policy = { allow_real_images = true }
"""

STUDY = """
federation = "three.toml"
networks = 2
width = 32
ipc = 2
min_sites = 2
deadline_s = 300
recipe = { steps = 4, max_steps = 8, lr = [0.01, 0.03], pilots = 1 }
[scheme.dc]
iterations = 20
batch_real = 32
[scheme.dm]
iterations = 20
batch_real = 32
early_networks = 0
"""

SITE = """
name = "{name}"
server = "127.0.0.1:{port}"
{holds}
root_certificate = "{trust}"
key = "{key}"
store = "{name}/store"
ledger = "{name}/ledger.jsonl"
secret = "{name}/site.secret"
[policy]
max_releases = 4
"""

PROJECT = {
    "project": {"name": "rogue", "version": "1.0.0", "license": "Apache-2.0"},
    "tool": {
        "flwr": {
            "app": {
                "publisher": "rogue",
                "components": {"serverapp": "rogue_server:app", "clientapp": "rogue_client:app"},
            }
        }
    },
}
ROGUE = {
    # A site that ran this would answer any request, whatever its policy.
    "rogue_client.py": b"""
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()
@app.query("release")
def release(message, context):
    open(str(context.run_config["touched"]), "w").close()
    return Message(RecordDict({"stolen": ConfigRecord({"policy": "none"})}), reply_to=message)
""",
    "rogue_server.py": b"""
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp
import json
app = ServerApp()
@app.main()
def main(grid, context):
    config, said = context.run_config, []
    for kind, name, request in json.loads(str(config["asks"])):
        if "jobs" in request:
            jobs = request["jobs"]
            if "times" in request:
                jobs = [{**jobs[0], "seed": i, "random_seed": i} for i in range(request["times"])]
            request = {"jobs": json.dumps(jobs)}
        content = RecordDict({"job": ConfigRecord({"name": name}), "request": ConfigRecord(request)})
        for node in grid.get_node_ids():
            for reply in grid.send_and_receive([Message(content, node, kind)], timeout=500):
                if reply.has_error():
                    said.append([reply.error.reason])
                    continue
                told = [dict(record) for record in reply.content.config_records.values()]
                said.append([each.get("refused") or each.get("error") or "RELEASED" for each in told])
    with open(str(config["out"]), "w") as file:
        file.write(json.dumps(said))
""",
}


def site_file(folder, name, port, *, trust=None, key=None):
    """A hospital's file. What is none of the federation's trusts and holds what it is told; the rest rehearse."""
    holds = 'federation = "three.toml"' if name in SITES else 'data = "phantom:breast"'
    own = f"keys/site-{name}"
    text = SITE.format(name=name, port=port, holds=holds, trust=trust or f"{own}/ca.crt", key=key or f"{own}/site.key")
    (folder / f"{name}.toml").write_text(text)
    return f"{name}.toml"


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def untimed(path):
    return [{key: value for key, value in row.items() if not key.endswith("_seconds")} for row in rows(path)]


def events(folder, site):
    """What a site's own log says."""
    path = folder / site / "store" / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def await_event(folder, site, wanted):
    end = time.monotonic() + UP
    while not any(wanted(event) for event in events(folder, site)):
        assert time.monotonic() < end, events(folder, site)[-3:]
        time.sleep(0.1)


class Deployment:
    """A server and the hospitals' nodes, in a folder."""

    def __init__(self, folder):
        self.folder, self.port, self._made = folder, free_port(), []
        make_keys(folder / "keys", SITES)
        (folder / "three.toml").write_text(THREE)
        (folder / "study.toml").write_text(STUDY)

    def start(self, log, *words):
        self._made.append(Process(self.folder / f"{log}.log", *words))
        return self._made[-1]

    def node(self, name, **more):
        return self.start(name, "site", site_file(self.folder, name, self.port, **more))

    def study(self, log, *changes):
        words = [word for change in changes for word in ("--set", change)]
        return self.start(log, "run", "study.toml", "--engine", "superlink:keys/server", "--out", f"runs/{log}", *words)

    def end(self):
        for process in reversed(self._made):
            process.end()


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path)
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.deployment
def test_three_hospitals(deployment):
    server = deployment.start("server", "server", "keys/server", "--host", "127.0.0.1", "--port", deployment.port)
    server.until("south may connect", UP)
    nodes = {name: deployment.node(name) for name in SITES}
    misled(deployment)
    stranger = unknown(deployment)
    for node in nodes.values():
        node.until(": connected", UP)
    seconds = the_study_runs(deployment)
    what_they_keep_is_theirs_alone(deployment.folder)
    assert stranger.wait(UP) == 1 and "does not know this site's key" in stranger.said, stranger.said
    assert ": connected" not in stranger.said
    a_node_dies_and_comes_back(deployment, nodes["south"], seconds)


def misled(deployment):
    """A node that trusts another root than the server's does not connect."""
    make_keys(deployment.folder / "others", ["north"])
    others = "others/site-north"
    node = deployment.node("misled", trust=f"{others}/ca.crt", key=f"{others}/site.key")
    assert node.wait(UP) == 2 and "certificate that this site trusts" in node.said, node.said


def unknown(deployment):
    """A node with a key that nobody has registered."""
    own = ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (deployment.folder / "own.key").write_bytes(own)
    return deployment.node("stranger", trust="keys/site-north/ca.crt", key="own.key")


def the_study_runs(deployment):
    """To the rows of a simulation of it; real images are refused by the sites' own rules. Its seconds."""
    folder, began = deployment.folder, time.monotonic()
    first = deployment.study("first")
    assert first.wait(UP) == 0, first.said
    seconds = time.monotonic() - began
    root = folder / "runs" / "first"
    assert "run folder: runs/first" in first.said and (root / "report.html").exists()
    assert [(row["site"], row["scheme"], row["status"]) for row in rows(root / "sites.csv")] == [
        (site, scheme, status) for scheme, status in (("dc", "shared"), ("dm", "shared")) for site in SITES
    ]
    run_simulation(str(folder / "study.toml"), out=folder / "simulated", engine="inline")
    real, simulated = (untimed(path / "results.csv") for path in (root, folder / "simulated"))
    same = ("scheme", "ipc", "model", "network", "n_sites", "images_shared")
    assert [[row[name] for name in same] for row in real] == [[row[name] for name in same] for row in simulated] != []
    assert real != simulated, "a secret of each site is in its seeds: nobody else can make the same images"
    assert not rows(root / "holdings.csv"), "what sites hold is not the coordinator's to know"
    asked = [event for event in events(folder, "south") if event.get("message") == "query.release"]
    assert len(asked) == 1, "all jobs of a site go in one message"

    refused = deployment.study("refused", "scheme={random={}}")
    assert refused.wait(UP) == 1 and "Too few sites answered" in refused.said, refused.said
    assert "forbids 'random'" in refused.said and "allow_real_images" in refused.said
    return seconds


def what_they_keep_is_theirs_alone(folder):
    """Stores, logs, events and ledgers of sites, the server's folder, and the run's."""
    for name in ("north/store", "east/store", "keys/server", "runs/first"):
        assert (folder / name).stat().st_mode & 0o077 == 0, name
    kept = [folder / site / name for site in SITES for name in ("ledger.jsonl", "store")]
    kept += [folder / "keys" / "server", folder / "runs"]
    paths = [path for top in kept for path in (top.rglob("*") if top.is_dir() else [top]) if path.exists()]
    open_to_others = [path for path in paths if path.is_file() and path.stat().st_mode & 0o077]
    assert {path.suffix for path in open_to_others} <= {".crt", ".pub"}, open_to_others
    assert {path.name for path in paths} >= {
        "events.jsonl",
        "node.log",
        "superlink.log",
        "superexec.log",
        "report.html",
    }


def a_node_dies_and_comes_back(deployment, south, seconds):
    """Killed in mid-work it is named, and the run ends with the others; back, it does not redo its finished work."""
    folder, deadline = deployment.folder, math.ceil(max(10, seconds))
    change = [f"deadline_s={deadline}", "scheme.dm.iterations=700"]  # its dc is what the first study asked for
    run = deployment.study("mortal", *change)
    await_event(folder, "south", lambda event: event["job"] == "south dm seed 0" and event.get("steps") == 700)
    south.kill()
    assert run.wait(UP) == 0, run.said
    missing = [line for line in run.said.splitlines() if line.startswith("missing: ")]
    assert [line.split(": ")[1] for line in missing] == ["south gave no dc (seed 0)", "south gave no dm (seed 0)"]
    # Whichever comes first: our deadline, or Flower's minute without a sign of life.
    assert all("the site is silent" in line or "Node Unavailable" in line for line in missing), missing

    deployment.node("south").until(": connected", UP)
    again = deployment.study("mortal", *change)
    assert again.wait(UP) == 0 and "missing" not in again.said, again.said
    first, mortal = (rows(folder / "runs" / name / "sites.csv") for name in ("first", "mortal"))
    assert [row["status"] for row in mortal] == ["shared"] * 6
    seconds = [[row["distill_seconds"] for row in listed if row["scheme"] == "dc"] for listed in (first, mortal)]
    assert seconds[0] == seconds[1], "what took that long once was found: anew it would have taken another time"


@pytest.mark.slow
@pytest.mark.deployment
def test_a_server_that_runs_anything(deployment):
    """Flower's own server takes a run whose app would answer everything, no policy asked: a site does not run it."""
    folder, keys = deployment.folder, deployment.folder / "keys" / "server"
    trust = ["--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.crt", "--ssl-keyfile", "server.key"]
    words = ["--host", "127.0.0.1", "--port", str(deployment.port), *trust, "--enable-supernode-auth"]
    words.append("--disable-runtime-dependency-installation")
    run = "from flwr.superlink.cli.flower_superlink import flower_superlink; flower_superlink()"
    with (folder / "others.log").open("wb") as log:
        flowers = subprocess.Popen(
            [sys.executable, "-c", run, *words], cwd=keys, env=quiet(folder / "flower"), stdout=log, stderr=log
        )
    try:
        control = Control(f"127.0.0.1:{deployment.port}", keys / "ca.crt")
        end = time.monotonic() + UP
        while not control.is_up():
            assert flowers.poll() is None and time.monotonic() < end, (folder / "others.log").read_text()
            time.sleep(0.5)
        control.register((keys / "sites" / "north.pub").read_bytes(), "north")
        deployment.node("north").until(": connected", UP)
        the_installed_code_answers(folder, control)
    finally:
        flowers.terminate()
        flowers.wait(60)


FORGED = "north 2 jobs: answered (5 s)\nrun 1, query.release, north: refused\x1b[2J\x1b[31m"
PLAIN = {"site": "north", "scheme": "dm", "seed": 0, "partition": 0, "ipcs": [1], "draws": 1, "model": "convnet"}
PLAIN |= {"width": 32, "precision": "float32", "random_seed": 1, "encoding": "uint8"}
PLAIN |= {"settings": {"iterations": 20, "batch_real": 32, "looks": 0, "early_networks": 0}}
COPIER = {"iterations": 1, "batch_real": 1, "lr_img": 1000.0, "looks": 0, "early_networks": 0}
THOUSAND = 1000


def the_installed_code_answers(folder, control):
    """Whatever a server asks for, it is the hospital's own code and rules that answer, and all of it is logged."""
    told = folder / "told.json"
    asks = [
        ("query.release", FORGED, {"jobs": [{**PLAIN, "scheme": "full", "ipcs": [], "settings": {}}]}),
        ("query.release", "x", {"jobs": [{**PLAIN, "settings": COPIER}]}),
        ("query.release", "x", {"jobs": [{**PLAIN, "partition": 3}]}),
        ("evaluate.score", "x", {"model": "mlp", "width": 4, "partition": 0, "split": "val", "members": 1}),
        ("query.release", "x", {"jobs": [PLAIN], "times": THOUSAND}),
    ]
    config = {"out": str(told), "asks": json.dumps(asks), "touched": str(folder / "touched")}
    app = {**PROJECT, "tool": {"flwr": {"app": {**PROJECT["tool"]["flwr"]["app"], "config": config}}}}
    content = build_fab_from_files({**ROGUE, "pyproject.toml": tomli_w.dumps(app).encode()})[0]
    fab = Fab(hashlib.sha256(content).hexdigest(), content, {})
    run = control._client.StartRun(StartRunRequest(fab=fab_to_proto(fab))).run_id
    end = time.monotonic() + UP
    while (ended := control.ended(run)) is None and time.monotonic() < end:
        time.sleep(0.5)
    assert ended is not None and ended.well, ended
    real, copier, redraw, scores, thousand = json.loads(told.read_text())
    assert "(rule allow_real_images)" in real[0] and "(rule smallest_batch)" in copier[0], (real, copier)
    assert "(rule partition)" in redraw[0] and "(rule scores)" in scores[0], (redraw, scores)
    may = 4  # max_releases of its file
    assert thousand[:may] == ["RELEASED"] * may and len(thousand) == THOUSAND
    assert all("(rule max_releases)" in each for each in thousand[may:])
    assert not (folder / "touched").exists(), "the app that came with the run was loaded at a site"
    assert len((folder / "north" / "ledger.jsonl").read_text().splitlines()) == may
    all_of_it_is_logged(folder, run)


def all_of_it_is_logged(folder, run):
    lines = events(folder, "north")
    asked = [json.loads(event["message"]) for event in lines if event["kind"] == "asked"]
    assert all(event["run"] == int(run) for event in lines if event["kind"] == "asked")
    assert sum("scheme" in each for each in asked) == 3 + THOUSAND, "settings and budgets of every job"
    assert {each.get("scheme") for each in asked} == {None, "full", "dm"} and COPIER in [
        each.get("settings") for each in asked
    ]
    assert [each["kind"] for each in asked if "kind" in each].count("evaluate.score") == 1
    refused = [event["message"] for event in lines if event["kind"] == "refused"]
    for rule in ("allow_real_images", "smallest_batch", "partition", "scores", "max_releases"):
        assert any(f"(rule {rule})" in each for each in refused), rule
    said = (folder / "north.log").read_text()
    assert "\x1b" not in said and sum(line.startswith("run ") for line in said.splitlines()) == 5, said
