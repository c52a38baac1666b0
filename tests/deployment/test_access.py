"""Who may ask the server for what, without a server: where a request comes from, its token, and what a run brings."""

import asyncio
import base64
import datetime as dt
import io
import os
import zipfile
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.supercore.fab import Fab
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message

from fedistill.errors import SettingError, UserError
from fedistill.transport.deploy.access import ASKED, Doors, OnlySettings, is_known, require_settings_alone
from fedistill.transport.deploy.control import COMPONENTS, Control, bundle
from fedistill.transport.deploy.control_token import HEADER, made_token, read_token
from fedistill.transport.deploy.flower_child import TASK_TOKEN, app_command

HERE, ELSEWHERE = ("127.0.0.1", 4), ("203.0.113.9", 4)
TOKEN = "ab" * 32


def asked(app, path, client=HERE, headers=(), body=b"", kind="http"):
    """What the app saw, and the status and text of an answer in its place."""
    reached, sent = [], []

    async def inner(scope, receive, send):
        reached.append(scope["path"])
        reached.append((await receive()).get("body"))

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "path": path, "client": client, "method": "POST"}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers]
    asyncio.run(app(inner)(scope, receive, send))
    if not sent:
        return reached, None, ""
    return reached, sent[0].get("status"), b"".join(part.get("body", b"") for part in sent).decode()


def doors(inner):
    return Doors(inner, TOKEN)


@pytest.mark.parametrize(
    ("path", "client", "token", "status"),
    [
        ("/v1/fleet/pull-messages", ELSEWHERE, None, None),
        ("/v1/control/start-run", HERE, TOKEN, None),
        ("/v1/control/unregister-node", HERE, TOKEN, None),
        ("/v1/runtime/acquire-task", HERE, None, None),  # by Flower's own secret: see test_server.py
        ("/v1/control/start-run", HERE, None, 401),
        ("/v1/control/start-run", HERE, "ab" * 31, 401),
        ("/v1/control/start-run", HERE, "", 401),
        ("/v1/control/start-run", ELSEWHERE, TOKEN, 403),
        ("/v1/control/register-node", ELSEWHERE, TOKEN, 403),
        ("/v1/runtime/acquire-task", ELSEWHERE, TOKEN, 403),
        ("/v1/runtime/acquire-task", None, TOKEN, 403),
        ("/v1/control/start-automation", HERE, TOKEN, 403),
        ("/v1/control/add-app", HERE, TOKEN, 403),
        ("/docs", HERE, None, 401),
        ("/docs", HERE, TOKEN, 403),
        ("/docs", ELSEWHERE, TOKEN, 403),
        ("//v1/fleet/../control/start-run", ELSEWHERE, TOKEN, 403),
        ("/v1/fleet", HERE, None, 401),
    ],
)
def test_who_may_ask_for_what(path, client, token, status):
    reached, found, words = asked(doors, path, client, [] if token is None else [(HEADER, token)])
    assert (found, bool(reached)) == (status, status is None), words
    if status == 401:
        assert "token of the server's folder" in words


def test_a_token_is_given_once():
    _, status, _ = asked(doors, "/v1/control/list-runs", headers=[(HEADER, TOKEN), (HEADER, TOKEN)])
    assert status == 401


def test_nothing_comes_by_websocket():
    reached, _, _ = asked(doors, "/v1/fleet/pull-messages", kind="websocket")
    assert not reached


def test_all_that_control_asks_is_let_in():
    import inspect
    import re

    source = inspect.getsource(Control)
    names = re.findall(r'_asked\("[^"]+", "([A-Za-z]+)"', source) + re.findall(r"_client\.([A-Z]\w+)\(", source)
    asked_for = {"/v1/control/" + re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower() for name in names}
    assert len(names) > 4 and asked_for <= ASKED and ASKED - asked_for <= {"/v1/control/list-nodes"}


def start(content, **more):
    return StartRunRequest(fab=fab_to_proto(Fab("0" * 64, content, {})), **more).SerializeToString()


GOOD = bundle({"simulation": "quickstart", "phantom": True})


def rogue(*, project=None, components=COMPONENTS, files=None, more=""):
    """A bundle that Flower would run."""
    listed = ", ".join(f'{name} = "{value}"' for name, value in components.items())
    text = project or (
        '[project]\nname = "fedistill"\nversion = "0.1.0"\nlicense = "Apache-2.0"\n'
        f'[tool.flwr.app]\npublisher = "fedistill"\ncomponents = {{ {listed} }}\nconfig = {{ a = "b" }}\n{more}'
    )
    return build_fab_from_files({"pyproject.toml": text.encode(), **(files or {})})[0]


def with_file(content, name, data=b""):
    made = io.BytesIO(content)
    with zipfile.ZipFile(made, "a") as packed:
        packed.writestr(name, data)
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (rogue(components={"serverapp": "rogue:app", "clientapp": "fedistill.app:client"}), "server has installed"),
        (rogue(components={"serverapp": "fedistill.app:server", "clientapp": "rogue:app"}), "server has installed"),
        (rogue(files={"rogue.py": b"import os"}), r"carries no code[\s\S]*rogue\.py"),
        (rogue(files={"fedistill/app.py": b"server = client = None"}), r"carries no code[\s\S]*fedistill/app\.py"),
        (with_file(GOOD, "sitecustomize.py"), r"carries no code[\s\S]*sitecustomize"),
        (with_file(GOOD, "pyproject.toml"), "carries no code"),
        (rogue(more='[tool.flwr.federations]\ndefault = "x"\n'), "not what `fedistill run` makes"),
        (GOOD + b"\0", "no bundle|not what"),
        (b"PK\x03\x04", "no bundle of a run"),
        (b"", "settings and nothing else"),
    ],
)
def test_a_run_brings_its_settings_and_nothing_else(content, message):
    with pytest.raises(UserError, match=message):
        require_settings_alone(start(content))


@pytest.mark.parametrize("more", [{"app_spec": "@somebody/app"}, {"user_prompt": "x"}, {"federation": "other"}])
def test_a_run_asks_for_nothing_beside(more):
    with pytest.raises(UserError, match=f"settings and nothing else[\\s\\S]*{next(iter(more))}"):
        require_settings_alone(start(GOOD, **more))


def test_settings_that_unpack_to_gigabytes():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("pyproject.toml", b"#" * (50 << 20))
        packed.writestr(".info/CONTENT", b"")
    with pytest.raises(UserError, match="too large"):
        require_settings_alone(start(made.getvalue()))


def test_an_honest_run_goes_through_whole():
    body = start(GOOD)
    reached, status, _ = asked(OnlySettings, "/v1/control/start-run", body=body)
    assert status is None and reached[1] == body
    reached, status, words = asked(OnlySettings, "/v1/control/start-run", body=start(rogue(files={"a.py": b""})))
    assert (reached, status) == ([], 403) and "carries no code" in words
    assert asked(OnlySettings, "/v1/control/list-runs", body=b"x")[0][1] == b"x"


def test_a_token_is_made_once_and_is_its_owners_alone(tmp_path):
    path = made_token(tmp_path)
    token = read_token(path)
    assert path.stat().st_mode & 0o777 == 0o600 and len(token) == 64
    assert read_token(made_token(tmp_path)) == token


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602])
def test_a_token_that_others_may_know(tmp_path, mode):
    made_token(tmp_path).chmod(mode)
    with pytest.raises(SettingError, match=rf"not its owner's alone[\s\S]*mode {mode:04o}[\s\S]*delete it") as caught:
        made_token(tmp_path)
    assert caught.value.exit_code == 2


def test_what_is_no_token(tmp_path):
    path = made_token(tmp_path)
    for content in ("", "ab" * 31, "zz" * 32, "ab" * 600):
        path.write_text(content)
        with pytest.raises(SettingError, match="There is no token"):
            read_token(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingError, match="cannot be read"):
        made_token(tmp_path)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(SettingError, match="not its owner's alone"):
        made_token(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_token_that_cannot_be_read(tmp_path):
    made_token(tmp_path).chmod(0)
    with pytest.raises(SettingError, match="cannot be read"):
        made_token(tmp_path)


def test_a_runs_process_has_its_token_where_others_do_not_see_it():
    class Spec:
        insecure, root_certificates_path, runtime_api_address, token = False, "ca.crt", "127.0.0.1:9", "a secret"

    command, environment = app_command(Spec())
    assert "a secret" not in " ".join(command) and environment[TASK_TOKEN] == "a secret"
    assert command[-2:] == ["--root-certificates", "ca.crt"]


class State:
    """What the server knows."""

    def __init__(self, *, task=None, key=None):
        self.task, self.key = task, key

    def get_task_by_token(self, token):
        return object() if token == self.task else None

    def get_node_id_by_public_key(self, key):
        return 7 if key == self.key else None


def known(path, state, **headers):
    listed = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    app = SimpleNamespace(state=SimpleNamespace(linkstate_factory=SimpleNamespace(state=lambda: state)))
    return is_known({"type": "http", "path": path, "headers": listed, "app": app})


def test_a_runs_own_process_is_known_by_its_token():
    state = State(task="good")
    assert known("/v1/runtime/push-object", state, flwr_task_token="good")
    assert not known("/v1/runtime/push-object", state, flwr_task_token="bad")
    assert not known("/v1/runtime/push-object", state, flwr_task_token="")
    assert not known("/v1/runtime/push-object", state)
    assert not known("/v1/fleet/push-object", state, flwr_task_token="good"), "a token is for its own paths"


def test_a_node_is_known_by_a_registered_key_and_a_fresh_signature():
    mine, other = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    public = public_key_to_bytes(mine.public_key())

    def headers(signer=mine, key=public, age=0.0):
        said = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age)).isoformat()
        encoded = {"flwr_public_key": key, "flwr_signature": sign_message(signer, said.encode())}
        return {TIMESTAMP_HEADER: said, **{n: base64.b64encode(v).decode() for n, v in encoded.items()}}

    path, state = "/v1/fleet/push-object", State(key=public)
    assert known(path, state, **headers())
    assert not known(path, State(), **headers()), "not registered, or not any more"
    assert not known(path, state, **headers(signer=other))
    assert not known(path, state, **headers(age=3600)) and not known(path, state, **headers(age=-3600))
    assert not known(path, state, **{**headers(), "flwr_signature": "no base64!"})
    assert not known(path, state, **{**headers(), TIMESTAMP_HEADER: "yesterday"})
    assert not known(path, state, **{**headers(), TIMESTAMP_HEADER: "2026-01-01T00:00:00"}), "a time of no place"
    assert not known(path, state)
