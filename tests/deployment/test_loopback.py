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
from typer.testing import CliRunner

from fedistill.app import run_simulation
from fedistill.cli.main import cli
from fedistill.consent.study import canonical, hash_of, load_study
from fedistill.transport.deploy.control import Control
from fedistill.transport.deploy.keys import make_keys
from fedistill.transport.deploy.subprocesses import quiet

SITES = ["north", "east", "south"]
UP = 600  # seconds to wait for a process, however busy the machine is; where it is not, they take a few

THREE = """
dataset = "phantom:breast"
images = 600
sites = ["north", "east", "south"]
policy = { allow_real_images = true, allow_weights = true, share_counts = "rounded", min_class_size = 48 }
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
secret = "{secret}"
agreements = "{name}/agreements"
[policy]
max_releases = 4
allow_weights = true
review = false
"""

WEIGHTS = ["scheme={fedavg={rounds=2}, local={}}", "networks=1", "recipe.lr=0.01"]
"""A study whose sites send networks: rounds, and networks of their own."""

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
        records = {"job": ConfigRecord({"name": name})} if name else {}
        content = RecordDict({**records, "request": ConfigRecord(request)})
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
    # A rehearsal has no secret, so that its results are those of the simulation to the last bit.
    secret = "" if name in SITES else f"{name}/site.secret"
    trust, key = trust or f"{own}/ca.crt", key or f"{own}/site.key"
    text = SITE.format(name=name, port=port, holds=holds, trust=trust, key=key, secret=secret)
    (folder / f"{name}.toml").write_text(text)
    return f"{name}.toml"


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def untimed(path):
    """Rows without timings and the bytes of requests: a real site is sent names, a simulated one all settings."""
    left_out = ("_seconds", "bytes_down")
    return [{key: value for key, value in row.items() if not key.endswith(left_out)} for row in rows(path)]


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

    def agree(self, *changes, sites=tuple(SITES), more=()):
        """Each site's data office agrees to the study with these changes, as scripts do."""
        words = [word for change in changes for word in ("--set", change)]
        for name in sites:
            file = site_file(self.folder, name, self.port)
            done = CliRunner().invoke(
                cli,
                ["agree", str(self.folder / "study.toml"), "--site", str(self.folder / file), "--yes", *words, *more],
            )
            assert done.exit_code == 0, (done.output, done.exception)

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
    deployment.agree()
    deployment.agree(*WEIGHTS, sites=("north", "south"))
    deployment.agree(*WEIGHTS, sites=("east",), more=("--without", "local"))
    nodes = {name: deployment.node(name) for name in SITES}
    misled(deployment)
    stranger = unknown(deployment)
    for node in nodes.values():
        node.until(": connected", UP)
    seconds = the_study_runs(deployment)
    what_was_not_agreed_is_not_begun(deployment)
    networks_go_back_and_forth(deployment)
    what_they_keep_is_theirs_alone(deployment.folder)
    assert stranger.wait(UP) == 1 and "does not know this site's key" in stranger.said, stranger.said
    assert ": connected" not in stranger.said
    south = a_node_dies_and_comes_back(deployment, nodes["south"], seconds)
    the_server_is_started_again(deployment, server, south)


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
    assert real == simulated != [], "results are the simulation's but for timings"
    assert not rows(root / "holdings.csv"), "what sites hold is not the coordinator's to know"
    asked = [event for event in events(folder, "south") if event.get("message") == "query.release"]
    assert len(asked) == 1, "all jobs of a site go in one message"
    sent = [line for line in ledger(folder, "south") if line["entry"] == "sent"]
    assert [line["item"] for line in sent] == ["south dc seed 0", "south dm seed 0"]
    return seconds


def ledger(folder, site):
    return [json.loads(line) for line in (folder / site / "ledger.jsonl").read_text().splitlines()]


def what_was_not_agreed_is_not_begun(deployment):
    """A study with one setting changed: no site has agreed to it, and the run says in what theirs differ."""
    refused = deployment.study("refused", "scheme.dm.batch_real=48")
    assert refused.wait(UP) == 2 and "0 of the connected sites have agreed to this study" in refused.said, refused.said
    assert "scheme.dm.ipc.2.batch_real: 48 here, 32 there" in " ".join(refused.said.split())
    assert not (deployment.folder / "runs" / "refused" / "results.csv").exists()


def networks_go_back_and_forth(deployment):
    """Rounds and own networks, where policy and agreement say so; one site takes no part in a scheme."""
    folder = deployment.folder
    run = deployment.study("weights", *WEIGHTS)
    assert run.wait(UP) == 0, run.said
    run_simulation(str(folder / "study.toml"), out=folder / "weights", engine="inline", changes=WEIGHTS)
    real, simulated = (untimed(path / "results.csv") for path in (folder / "runs" / "weights", folder / "weights"))
    quality = ("scheme", "rounds", "site", "accuracy", "auc", "balanced_accuracy", "f1_macro")
    theirs, ours = ([[row.get(name) for name in quality] for row in each] for each in (real, simulated))
    assert theirs == [row for row in ours if not (row[0] == "local" and "east" in row)], (theirs, ours)
    said = [line.get("why", "") for line in ledger(folder, "east") if line["entry"] == "refused"]
    assert len(said) == 1 and "takes no part in 'local'" in said[0], said


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
    deployment.agree(*change)
    run = deployment.study("mortal", *change)
    await_event(folder, "south", lambda event: event["job"] == "south dm seed 0" and event.get("steps") == 700)
    south.kill()
    assert run.wait(UP) == 0, run.said
    missing = [line for line in run.said.splitlines() if line.startswith("missing: ")]
    assert [line.split(": ")[1] for line in missing] == ["south gave no dc (seed 0)", "south gave no dm (seed 0)"]
    # Whichever comes first: our deadline, or Flower's minute without a sign of life.
    assert all("the site is silent" in line or "Node Unavailable" in line for line in missing), missing

    back = deployment.node("south")
    back.until(": connected", UP)
    again = deployment.study("mortal", *change)
    assert again.wait(UP) == 0 and "missing" not in again.said, again.said
    first, mortal = (rows(folder / "runs" / name / "sites.csv") for name in ("first", "mortal"))
    assert [row["status"] for row in mortal] == ["shared"] * 6
    seconds = [[row["distill_seconds"] for row in listed if row["scheme"] == "dc"] for listed in (first, mortal)]
    assert seconds[0] == seconds[1], "what took that long once was found: anew it would have taken another time"
    return back


def the_server_is_started_again(deployment, server, south):
    """In the middle of a run, with a node killed as well: the run goes on, and nodes come back by themselves."""
    folder, change = deployment.folder, "scheme.dm.iterations=300"
    deployment.agree(change)
    run = deployment.study("restarted", change)
    await_event(folder, "south", lambda event: event["job"] == "south dm seed 0" and event.get("steps") == 300)
    server.kill()
    south.kill()
    run.until("waiting for it", UP)
    again = deployment.start("server-2", "server", "keys/server", "--host", "127.0.0.1", "--port", deployment.port)
    again.until("south may connect", UP)
    deployment.node("south").until(": connected", UP)
    assert run.wait(UP) == 0 and "the run goes on as run" in run.said and "missing" not in run.said, run.said
    assert [row["status"] for row in rows(folder / "runs" / "restarted" / "sites.csv")] == ["shared"] * 6


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
        deployment.agree(sites=["north"])
        agreed = hash_of(canonical(load_study(str(folder / "study.toml"))))
        deployment.node("north").until(": connected", UP)
        the_installed_code_answers(folder, control, agreed)
    finally:
        flowers.terminate()
        flowers.wait(60)


FORGED = "north 2 jobs: answered (5 s)\nrun 1, query.release, north: refused\x1b[2J\x1b[31m"
PLAIN = {"site": "north", "scheme": "full", "seed": 0, "partition": 0, "ipcs": [], "draws": 1, "model": "convnet"}
PLAIN |= {"width": 32, "precision": "float32", "random_seed": 1, "encoding": "uint8", "settings": {}}


def the_installed_code_answers(folder, control, agreed):
    """Whatever a server asks for, it is the hospital's own code and rules that answer, and all of it is logged."""
    told = folder / "told.json"
    item = {"study": agreed, "items": ["north dm seed 0"]}
    asks = [
        ("query.release", FORGED, {"jobs": json.dumps([PLAIN])}),
        ("query.release", "", {**item, "items": ["north dm seed 1"]}),
        ("query.release", "", {**item, "settings": "{}"}),
        ("evaluate.score", "x", {"model": "mlp", "width": 4, "partition": 0, "split": "val", "members": 1}),
        ("query.release", "", item),
        ("query.release", "", item),
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
    *refused, first, again = json.loads(told.read_text())
    assert len(refused) == 4 and all("(rule agreement)" in each[0] for each in refused), refused
    assert first == again == ["RELEASED"]
    assert not (folder / "touched").exists(), "the app that came with the run was loaded at a site"
    all_of_it_is_logged(folder, run)


def all_of_it_is_logged(folder, run):
    lines = ledger(folder, "north")
    asked = [line for line in lines if line["entry"] == "asked"]
    assert len(asked) == 6 and all(line["to"] == f"run {run}" for line in asked)
    assert [line["entry"] for line in lines].count("released") == 1, "asked again, the same bytes"
    assert [line["entry"] for line in lines].count("sent") == 2
    refused = [line["why"] for line in lines if line["entry"] == "refused"]
    assert len(refused) == 4 and all("(rule agreement)" in why for why in refused)
    said = (folder / "north.log").read_text()
    assert "\x1b" not in said and sum(line.startswith("run ") for line in said.splitlines()) == 6, said
