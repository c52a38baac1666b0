"""Keys: a server's certificate holds for its hosts and for nobody else's root, secrets are their owner's alone, and a
site can be added without a change to the others."""

import socket
import ssl
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from fedistill.errors import SettingError
from fedistill.transport.deploy.keys import make_keys
from fedistill.transport.deploy.site_node import require_server


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    make_keys(folder, ["north", "east"], ["fedistill.example", "10.0.0.7"])
    return folder


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_secrets_are_their_owners_alone_and_pairs_belong_together(made):
    secrets = {"root.key", "server.key", "site.key"}
    for path in made.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o777 == 0o600 or path.name not in secrets, path
    private = load_ssh_private_key((made / "site-north" / "site.key").read_bytes(), None)
    public = load_ssh_public_key((made / "server" / "sites" / "north.pub").read_bytes())
    assert isinstance(private.curve, ec.SECP384R1) and private.public_key() == public
    assert public != load_ssh_public_key((made / "server" / "sites" / "east.pub").read_bytes())
    for path in (made / "authority", made / "server", made / "site-north"):
        assert path.stat().st_mode & 0o777 == 0o700, path
    assert not (made / "root.key").exists() and (made / "authority" / "root.key").exists()
    handed = {path.name for path in (made / "site-north").iterdir()}
    assert handed == {"ca.crt", "site.key"}, "a hospital is handed nothing of the server's or of another's"


def test_a_site_is_added_and_nothing_else_changes(made):
    before = contents(made)
    assert make_keys(made, ["north", "east"]) == []
    added = make_keys(made, ["north", "south"])
    assert {path.name for path in added} == {"site.key", "ca.crt", "south.pub"}
    after = contents(made)
    assert {path: after[path] for path in before} == before


def test_other_hosts_need_another_certificate_and_sites_keep_what_they_have(made):
    make_keys(made, ["north"], ["10.0.0.7"])
    with pytest.raises(SettingError, match=r"does not name 10\.0\.0\.8[\s\S]*delete server\.crt"):
        make_keys(made, ["north"], ["10.0.0.8"])
    before = contents(made / "site-north")
    (made / "server" / "server.crt").unlink()
    assert {path.name for path in make_keys(made, ["north"], ["10.0.0.8"])} == {"server.key", "server.crt"}
    assert contents(made / "site-north") == before
    assert accepts(made, made / "site-north" / "ca.crt")


def test_a_root_key_that_was_moved_away_is_not_made_anew(tmp_path):
    make_keys(tmp_path, ["north"])
    root = tmp_path / "authority" / "root.key"
    root.rename(tmp_path / "away")
    before = contents(tmp_path)
    assert {path.name for path in make_keys(tmp_path, ["south"])} == {"site.key", "ca.crt", "south.pub"}
    after = contents(tmp_path)
    assert {path: after[path] for path in before} == before and not root.exists()
    (tmp_path / "server" / "server.crt").unlink()
    with pytest.raises(SettingError, match=r"signed by the root key, which is not here[\s\S]*bring it back"):
        make_keys(tmp_path, ["north"])
    (tmp_path / "away").rename(root)
    make_keys(tmp_path, ["north"])
    assert accepts(tmp_path, tmp_path / "site-south" / "ca.crt")


def test_a_root_key_beside_the_server_is_put_apart(tmp_path):
    make_keys(tmp_path, ["north"])
    root, old = tmp_path / "authority" / "root.key", tmp_path / "root.key"
    root.rename(old)
    root.parent.rmdir()
    assert make_keys(tmp_path, ["north"]) == [root]
    assert not old.exists() and (root.stat().st_mode & 0o777, root.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    old.write_text("another")
    with pytest.raises(SettingError, match="two root keys"):
        make_keys(tmp_path, ["north"])


@pytest.mark.parametrize("name", ["", "../up", "a/b"])
def test_names_that_are_no_sites(tmp_path, name):
    with pytest.raises(SettingError, match="cannot name a site"):
        make_keys(tmp_path, [name])
    assert not list(tmp_path.iterdir())


def accepts(made, root, host="localhost"):
    """Whether a site that trusts this root takes the server for the right one: a handshake on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made / "server" / "server.crt", made / "server" / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve():
            connection, _ = listener.accept()
            with connection:
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except (ssl.SSLError, OSError):
                    return  # the other side has hung up

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            require_server(f"{host}:{port}", root)
        finally:
            thread.join(10)
    return True


def test_a_site_takes_its_own_server_and_no_other(made, tmp_path):
    assert accepts(made, made / "site-north" / "ca.crt")
    assert accepts(made, made / "site-north" / "ca.crt", host="127.0.0.1")
    make_keys(tmp_path, ["north"])
    with pytest.raises(SettingError, match=r"does not show a certificate that this site trusts[\s\S]*ask the coord"):
        accepts(made, tmp_path / "site-north" / "ca.crt")


def test_a_server_that_is_not_up_is_no_mistake(made):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    require_server(f"127.0.0.1:{port}", made / "site-north" / "ca.crt")
