"""Keys in the server's `sites/` as the SuperLink knows them: they come, go, change and fail, and nothing else does."""

import pytest

from fedistill.errors import RunError, SettingError
from fedistill.transport.deploy.superlink import Keys, run_server


class Control:
    """A SuperLink that remembers what it was asked."""

    def __init__(self):
        self.asked, self.nodes, self.fails = [], 0, False

    def register(self, key, name):
        if b"bad" in key or self.fails:
            raise RunError(f"{name}.pub is no public key of a site.")
        self.nodes += 1
        self.asked.append(("in", name, key))
        return self.nodes

    def unregister(self, node):
        if self.fails:
            raise RunError("not now")
        self.asked.append(("out", node))


@pytest.fixture
def watched(tmp_path):
    control, told, clock = Control(), [], [0.0]
    keys = Keys(tmp_path, control, told.append, clock=lambda: clock[0])

    def look(**files):
        for path in tmp_path.glob("*.pub"):
            path.unlink()
        for name, content in files.items():
            (tmp_path / f"{name}.pub").write_bytes(content)
        del control.asked[:], told[:]
        keys.look()
        return list(control.asked), list(told)

    look.control, look.clock = control, clock
    return look


def test_they_come_and_go(watched):
    assert watched(north=b"n", east=b"e")[0] == [("in", "east", b"e"), ("in", "north", b"n")]
    assert watched(north=b"n", east=b"e") == ([], []), "said once"
    asked, told = watched(north=b"n")
    assert asked == [("out", 1)] and told == ["server: east may not connect any more"]


def test_another_under_the_name_takes_its_place(watched):
    watched(north=b"old")
    asked, told = watched(north=b"new")
    assert asked == [("out", 1), ("in", "north", b"new")]
    assert told == ["server: north may not connect any more", "server: north may connect"]
    asked, told = watched(north=b"old")
    assert asked == [("out", 2)] and "this key was taken out, and stays out" in told[1]


def test_a_faulty_one_keeps_nobody_else_out(watched):
    asked, told = watched(east=b"bad", north=b"n")
    assert asked == [("in", "north", b"n")] and "east is not let in: east.pub is no public key" in told[0]
    assert watched(east=b"bad", north=b"n") == ([], []), "said once, and not tried at every look"
    assert watched(east=b"mended", north=b"n")[0] == [("in", "east", b"mended")]


def test_what_failed_is_tried_again(watched):
    watched.control.fails = True
    assert "not let in" in watched(north=b"n")[1][0]
    watched.control.fails = False
    assert watched(north=b"n") == ([], [])
    watched.clock[0] = 61.0
    assert watched(north=b"n")[0] == [("in", "north", b"n")]
    watched.control.fails = True
    assert "could not be put out, and is tried again" in watched(other=b"bad")[1][0]
    watched.control.fails = False
    assert watched(other=b"bad")[0] == [("out", 1)]


@pytest.mark.parametrize("where", ["server", "."])
def test_a_root_key_beside_the_server_is_refused(tmp_path, where):
    (tmp_path / "server").mkdir()
    (tmp_path / where / "root.key").write_text("x")
    for insecure in (False, True):
        with pytest.raises(SettingError, match=r"root\.key lies beside[\s\S]*mkdir -m 700") as caught:
            run_server(tmp_path / "server", insecure=insecure, tell=print)
        assert caught.value.exit_code == 2
    assert [path.name for path in (tmp_path / "server").iterdir()] in ([], ["root.key"])
