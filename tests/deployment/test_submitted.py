"""`fedistill run --engine superlink:NAME`: follows the run, ends as it does, and stops it when nobody follows it."""

import json

import pytest
from tiny import write_tiny
from typer.testing import CliRunner

from fedistill.cli.main import cli
from fedistill.config import load_plan
from fedistill.core.events import Event
from fedistill.errors import PlanError, RunError, SettingError, UserError
from fedistill.study import submitted
from fedistill.study.submitted import Tail, run_submitted
from fedistill.transport.deploy.control import Ended, ServerAwayError

DEPLOYABLE = ("deadline_s=9", "scheme={dc={iterations=1}}")


class Server:
    """A SuperLink that a test tells what becomes of the run."""

    address = "here:1"

    def __init__(self, *states):
        self.states, self.config, self.stopped, self.started = list(states), None, [], 0

    def start(self, config):
        self.config = config
        self.started += 1
        return 6 + self.started

    def is_up(self):
        return True

    def ended(self, run_id):
        state = self.states.pop(0)
        if isinstance(state, BaseException):
            raise state
        return state() if callable(state) else state

    def stop(self, run_id):
        self.stopped.append(run_id)


@pytest.fixture
def follow(tmp_path, monkeypatch):
    monkeypatch.setattr(submitted, "LOOK_SECONDS", 0)

    def run(server, changes=DEPLOYABLE, heard=None):
        monkeypatch.setattr(submitted, "connection", lambda where: server)
        path, told = write_tiny(tmp_path), []
        plan = load_plan(path, changes=changes)
        done = run_submitted(
            plan,
            path,
            "x",
            out=tmp_path / "run",
            data_root=None,
            phantom=False,
            changes=changes,
            on_event=(heard if heard is not None else []).append,
            tell=told.append,
        )
        return done, told

    return run


def leaves(folder, *events):
    """What a run does in its folder before it is asked about."""

    def state():
        folder.mkdir(exist_ok=True)
        with (folder / "events.jsonl").open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)
        rows = ["partition,site,scheme,ipc,seed,status,why"]
        rows += ["0,a,dc,1,0,shared,", "0,b,dc,1,0,failed,no answer within 9 s"]
        (folder / "sites.csv").write_text("\n".join(rows) + "\n")

    return state


def test_it_follows_to_the_end_and_names_who_is_missing(tmp_path, follow):
    events = [{"kind": "planned", "job": None}, {"kind": "done", "job": "a dc seed 0", "site": "a", "step": None}]
    server, heard = Server(None, leaves(tmp_path / "run", *events), Ended(True)), []
    done, told = follow(server, heard=heard)
    assert done.missing == ("b gave no dc (seed 0): no answer within 9 s",) and done.root == tmp_path / "run"
    assert heard == [Event("done", job="a dc seed 0", site="a")] and "run folder" in told[0]
    assert json.loads(server.config["changes"]) == list(DEPLOYABLE) and server.config["deployed"] is True
    assert not server.stopped


@pytest.mark.parametrize(("status", "kind"), [(1, RunError), (2, UserError)])
def test_it_ends_as_the_run_does(follow, status, kind):
    words = f"ServerApp failed with exception: fedistill exit status {status}: too few"
    with pytest.raises(kind, match=r"^too few$") as caught:
        follow(Server(Ended(False, words)))
    assert caught.value.exit_code == status


def test_a_run_that_nobody_follows_is_stopped(follow):
    server = Server(None, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        follow(server)
    assert server.stopped == [7]


def test_a_server_that_was_started_again_is_given_the_run_again(tmp_path, follow):
    """A restarted server knows no runs: the run goes on under another number, with what sites and folder have."""
    server = Server(None, ServerAwayError("gone"), None, leaves(tmp_path / "run"), Ended(True))
    done, told = follow(server)
    assert server.started == 2 and not server.stopped and "goes on as run 8" in told[-1]
    assert server.config["resumed"] is True, "so that the run waits for nodes on their way back"
    assert done.missing == ("b gave no dc (seed 0): no answer within 9 s",)


def test_what_cannot_be_is_said_before_anything_is_submitted(follow):
    server = Server()
    with pytest.raises(PlanError, match="no deadline_s"):
        follow(server, changes=("scheme={random={}}",))
    assert server.config is None


def test_what_the_command_refuses(tmp_path, monkeypatch):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))
    path = write_tiny(tmp_path)
    changes = [word for change in DEPLOYABLE for word in ("--set", change)]
    for words, match in (
        (["--workers", "2"], "--workers has no effect"),
        (["--fresh"], "--fresh has no effect"),
        ([], "no server 'nowhere'"),
    ):
        done = CliRunner().invoke(cli, ["run", path, "--engine", "superlink:nowhere", *changes, *words])
        assert isinstance(done.exception, SettingError) and match in str(done.exception), done.output


def test_half_a_line_waits_for_its_other_half(tmp_path):
    path, heard = tmp_path / "events.jsonl", []
    path.write_text('{"kind": "note"}\n')
    tail = Tail(path)
    with path.open("a") as file:
        file.write('{"kind": "started"}\n{"kind": "d')
        file.flush()
        tail.hand_on(heard.append)
        assert heard == [Event("started")]
        file.write('one"}\n')
    tail.hand_on(heard.append)
    assert heard[1:] == [Event("done")]
    path.write_text("")
    tail.hand_on(heard.append)
    path.write_text('{"kind": "scored"}\n')
    tail.hand_on(heard.append)
    assert heard[2:] == [Event("scored")]


def test_keys_by_the_command(tmp_path):
    done = CliRunner().invoke(cli, ["keys", str(tmp_path / "k"), "--sites", "north, east", "--host", "h.example"])
    assert done.exit_code == 0 and (tmp_path / "k" / "site-east" / "site.key").exists()
    assert "Move authority/root.key off this machine" in done.output
    again = CliRunner().invoke(cli, ["keys", str(tmp_path / "k"), "--sites", "north,east"])
    assert "Nothing was missing" in again.output
    assert isinstance(CliRunner().invoke(cli, ["keys", str(tmp_path / "k")]).exception, SettingError)
