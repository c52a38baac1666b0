"""The coordinator's server as a process: what strangers, and other accounts of its machine, can and cannot do to it."""

import base64
import datetime as dt
import hashlib
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from deployment.procs import Process, free_port
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.fab import Fab
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

from fedistill.errors import RunError
from fedistill.transport.deploy.control import Control, connection
from fedistill.transport.deploy.keys import make_keys
from fedistill.transport.deploy.request_bodies import SMALL

UP = 600
PROTOBUF = {"content-type": "application/protobuf"}
LARGE = 700 << 20
ALLOWED_GROWTH = 40 << 20
"""Bytes that the server may grow by, whatever twenty strangers send: their connections, and 64 kB of each body."""


class Server:
    """A server with TLS and keys for two sites."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        make_keys(folder / "keys", ["north", "east"])
        self.home = folder / "keys" / "server"
        self.process = self.start("server")
        self.process.until("north may connect", UP)
        self.url = f"https://127.0.0.1:{self.port}"
        self.trust = ssl.create_default_context(cafile=str(self.home / "ca.crt"))

    def start(self, log):
        words = ("server", self.home, "--host", "127.0.0.1", "--port", self.port)
        return Process(self.folder / f"{log}.log", *words)

    def post(self, path, content=b"", **headers):
        with httpx.Client(verify=self.trust, timeout=60) as client:
            return client.post(self.url + path, content=content, headers={**PROTOBUF, **headers})

    def commands(self):
        """Arguments of its processes, by process."""
        found, waiting = {}, [self.process._process.pid]
        while waiting:
            pid = waiting.pop()
            with suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def memory(self):
        """The SuperLink's bytes in memory now, and the most it has had."""
        [pid] = [pid for pid, words in self.commands().items() if " superlink " in words]
        said = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return tuple(int(said[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM"))


@pytest.mark.slow
@pytest.mark.deployment
def test_what_strangers_can_do_to_a_server(tmp_path):
    server = Server(tmp_path)
    try:
        control_is_by_token(server)
        work_is_by_flowers_own_secrets(server)
        a_run_that_brings_code_is_refused(server)
        bodies_of_strangers_leave_the_memory_as_it_is(server)
        a_large_body_is_of_who_is_registered(server)
        keys_come_and_go(server)
    finally:
        server.process.end()
    a_server_that_is_not_safe_does_not_start(server)


def control_is_by_token(server):
    token = (server.home / "control.token").read_text().strip()
    bare = Control(f"127.0.0.1:{server.port}", server.home / "ca.crt")
    with pytest.raises(RunError, match=r"did not start the run[\s\S]*401[\s\S]*token of the server's folder"):
        bare.start({"simulation": "quickstart"})
    for method, path in PROTOBUF_REQUEST_TYPES:
        if method == "POST" and path.startswith("/v1/control/"):
            assert server.post(path).status_code == 401, path
            assert server.post(path, **{"x-fedistill-token": "0" * 64}).status_code == 401, path
    for path in ("/docs", "/openapi.json", "/health"):
        assert server.post(path).status_code == 401
    assert connection(str(server.home)).is_up()
    assert not any(token in words for words in server.commands().values())


def work_is_by_flowers_own_secrets(server):
    """What a run's own processes ask for: nobody gets it without a secret that the server alone has given out."""
    paths = [path for method, path in PROTOBUF_REQUEST_TYPES if method == "POST" and path.startswith("/v1/runtime/")]
    assert "/v1/runtime/acquire-task" in paths and len(paths) > 10
    metadata = {"flwr-package-name": "flwr", "flwr-package-version": "1.42.0", "flwr-component-name": "SuperExec"}
    for path in [*paths, "/v1/runtime/responses"]:
        for headers in ({}, metadata, {**metadata, "flwr-task-token": "0" * 64, "authorization": "Bearer 0"}):
            answer = server.post(path, **headers)
            assert answer.status_code in (401, 403), f"{path}: {answer.status_code} {answer.text}"


def a_run_that_brings_code_is_refused(server):
    """Even of who has the token."""
    touched = server.folder / "touched"
    project = """
[project]
name = "rogue"
version = "1.0.0"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "rogue"
[tool.flwr.app.components]
serverapp = "rogue:server"
clientapp = "fedistill.app:client"
"""
    code = f"open({str(touched)!r}, 'w').close()\n".encode()
    content = build_fab_from_files({"pyproject.toml": project.encode(), "rogue.py": code})[0]
    request = StartRunRequest(fab=fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {})))
    control = connection(str(server.home))
    with pytest.raises(RunError, match=r"did not start the run[\s\S]*403: A run carries no code[\s\S]*rogue\.py"):
        control._asked("start the run", "StartRun", request)
    assert not touched.exists()


def bodies_of_strangers_leave_the_memory_as_it_is(server):
    """Twenty at once of 700 MB each: half say how long they are, half do not; what they got rid of, and the memory."""
    before, _ = server.memory()
    given = [0] * 20

    def send(number):
        said = b"transfer-encoding: chunked" if number % 2 else b"content-length: %d" % LARGE
        head = (
            b"POST /v1/fleet/push-object HTTP/1.1\r\nhost: x\r\ncontent-type: application/protobuf\r\n%s\r\n\r\n" % said
        )
        part = bytes(1 << 16)
        framed = b"%x\r\n%s\r\n" % (len(part), part) if number % 2 else part
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
            plain.settimeout(20)
            with server.trust.wrap_socket(plain, server_hostname="127.0.0.1") as line:
                line.sendall(head)
                while given[number] < LARGE:
                    line.sendall(framed)
                    given[number] += len(part)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    during = before
    while any(thread.is_alive() for thread in threads):
        during = max(during, server.memory()[0])
        threads[0].join(0.1)
    after, most = server.memory()
    figures = {"before": before, "during": during, "most": most, "after": after, "given": sum(given)}
    print("bodies of strangers, MB:", {name: round(value / 1e6, 1) for name, value in figures.items()})
    assert most - before < ALLOWED_GROWTH and after - before < ALLOWED_GROWTH, figures
    assert connection(str(server.home)).is_up()


def signed(key):
    """Headers by which a node knows itself."""
    now = dt.datetime.now(dt.UTC).isoformat()
    public, signature = public_key_to_bytes(key.public_key()), sign_message(key, now.encode())
    encoded = {FLEET_HTTP_PUBLIC_KEY_HEADER: public, FLEET_HTTP_SIGNATURE_HEADER: signature}
    return {TIMESTAMP_HEADER: now, **{name: base64.b64encode(value).decode() for name, value in encoded.items()}}


def a_large_body_is_of_who_is_registered(server):
    large = bytes(SMALL + 1)
    stranger, site = ec.generate_private_key(ec.SECP384R1()), server.folder / "keys" / "site-north" / "site.key"
    refused = server.post("/v1/fleet/push-object", large, **signed(stranger))
    assert refused.status_code == 413 and f"at most {SMALL} bytes" in refused.text
    own = signed(load_ssh_private_key(site.read_bytes(), None))
    assert server.post("/v1/fleet/push-object", large, **own).status_code != 413, "read, and judged by Flower"
    forged = {**own, FLEET_HTTP_SIGNATURE_HEADER: signed(stranger)[FLEET_HTTP_SIGNATURE_HEADER]}
    assert server.post("/v1/fleet/push-object", large, **forged).status_code == 413
    old = {**own, TIMESTAMP_HEADER: "2020-01-01T00:00:00+00:00"}
    assert server.post("/v1/fleet/push-object", large, **old).status_code == 413


def keys_come_and_go(server):
    """One that is taken out is out within seconds, and another under its name takes its place."""
    path = server.home / "sites" / "north.pub"
    old = path.read_bytes()
    key = load_ssh_private_key((server.folder / "keys" / "site-north" / "site.key").read_bytes(), None)
    large = bytes(SMALL + 1)
    path.unlink()
    server.process.until("north may not connect any more", 30)
    assert server.post("/v1/fleet/push-object", large, **signed(key)).status_code == 413, "it is a stranger now"
    new = ec.generate_private_key(ec.SECP384R1())
    path.write_bytes(new.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    end = server.process.said.count("north may connect") + 1
    server.process.until_count("north may connect", end, 30)
    assert server.post("/v1/fleet/push-object", large, **signed(new)).status_code != 413
    path.write_bytes(old)
    server.process.until("north is not let in: this key was taken out", 30)
    path.write_bytes(b"no key at all")
    server.process.until("north is not let in: north.pub is no public key", 30)
    assert server.process._process.poll() is None, "a faulty file of one site ends nobody's server"


def a_server_that_is_not_safe_does_not_start(server):
    """Exit 2, before anything is started."""
    token, root = server.home / "control.token", server.folder / "keys" / "authority" / "root.key"
    logs = {path.name: path.stat().st_mtime_ns for path in server.home.glob("*.log")}
    token.chmod(0o644)
    process = server.start("token")
    assert process.wait(UP) == 2 and "token is not its owner's alone" in process.said, process.said
    token.chmod(0o600)
    for place in (server.home, server.home.parent):
        beside = place / "root.key"
        root.rename(beside)
        process = server.start("root")
        assert process.wait(UP) == 2 and "root.key lies beside what the server runs" in process.said, process.said
        assert "mkdir -m 700" in process.said
        beside.rename(root)
    assert {path.name: path.stat().st_mtime_ns for path in server.home.glob("*.log")} == logs
    others = [path for path in server.home.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert {path.suffix for path in others} <= {".pub", ".crt"} and server.home.stat().st_mode & 0o777 == 0o700
