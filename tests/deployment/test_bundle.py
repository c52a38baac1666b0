"""What is shipped: of the checkout the app and nothing else; of a run on a server nothing but its settings."""

import io
import tomllib
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

from fedistill.errors import SettingError
from fedistill.transport.deploy.access import is_here
from fedistill.transport.deploy.control import bundle, connection
from fedistill.transport.deploy.control_token import made_token
from fedistill.transport.deploy.subprocesses import quiet

ROOT = Path(__file__).parents[2]


def unpacked(content):
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def test_the_bundle_of_a_checkout_holds_the_app_alone():
    content = build_fab_from_disk(ROOT)
    names = set(unpacked(content)) - {"pyproject.toml", ".info/CONTENT"}
    assert "fedistill/app.py" in names and "fedistill/transport/site/app.py" in names
    tops = {Path(name).parts[0] for name in names}
    assert tops <= {"fedistill", "sites", "simulations", "LICENSE", "README.md"}, tops
    assert {Path(name).suffix for name in names} <= {".py", ".toml", "", ".md"}, "no data, no pictures, no caches"
    assert len(content) < 2_500_000, "its sources, which Flower does not compress, and no more"


def test_a_runs_bundle_holds_its_settings_alone():
    content = bundle({"simulation": "quickstart", "phantom": True})
    files = unpacked(content)
    assert set(files) == {"pyproject.toml", ".info/CONTENT"} and len(content) < 2_000
    app = tomllib.loads(files["pyproject.toml"].decode())["tool"]["flwr"]["app"]
    assert app["config"] == {"simulation": "quickstart", "phantom": True}
    assert app["components"]["serverapp"] == "fedistill.app:server"


def test_this_machine_by_any_address():
    assert is_here(("::ffff:127.0.0.1", 1)) and not is_here(("::ffff:203.0.113.9", 1)) and not is_here(("host", 1))


def test_a_server_is_found_by_its_folder_or_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))
    with pytest.raises(SettingError, match="no server 'study'"):
        connection("study")
    (tmp_path / "home" / "config.toml").write_text('[superlink.study]\naddress = "127.0.0.1:9"\n')
    with pytest.raises(SettingError, match="neither root-certificates nor insecure"):
        connection("study")
    (tmp_path / "home" / "config.toml").write_text('[superlink.study]\naddress = "127.0.0.1:9"\ninsecure = true\n')
    assert connection("study").address == "127.0.0.1:9"
    (tmp_path / "home" / "config.toml").write_text('[superlink.study]\naddress = "h:9"\nroot-certificates = "no.crt"\n')
    with pytest.raises(SettingError, match="is not there"):
        connection("study")
    own = tmp_path / "server" / "flower"
    own.mkdir(parents=True)
    (own / "config.toml").write_text('[superlink]\ndefault = "s"\n[superlink.s]\naddress = "h:8"\ninsecure = true\n')
    with pytest.raises(SettingError, match="no token of a server"):
        connection(str(tmp_path / "server"))
    made_token(tmp_path / "server")
    assert connection(str(tmp_path / "server")).address == "h:8"


def test_flowers_commands_are_quiet_and_keep_to_our_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("FLWR_TELEMETRY_ENABLED", raising=False)
    environment = quiet(tmp_path / "flower")
    assert environment["FLWR_HOME"] == str(tmp_path / "flower") and environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["FLWR_DISABLE_UPDATE_CHECK"] == "1"
