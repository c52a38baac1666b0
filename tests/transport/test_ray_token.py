"""The token of a Ray started here: which one it is, and that what the user has set is left alone. Starts no Ray."""

import os

import pytest

from fedistill.transport.backend.runtime import AUTH, _own_token

TOKEN, PATH, MODE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in AUTH:
        monkeypatch.delenv(name, raising=False)


def now():
    return {name: os.environ[name] for name in AUTH if name in os.environ}


def test_each_run_has_another():
    seen = []
    for _ in range(2):
        with _own_token():
            assert now()[MODE] == "token" and PATH not in now()
            seen.append(now()[TOKEN])
        assert now() == {}
    assert seen[0] != seen[1] and all(len(token) == 64 for token in seen)


def test_ray_sees_it():
    from ray._private.authentication.authentication_utils import is_token_auth_enabled, validate_request_token

    with _own_token():
        first = now()[TOKEN]
        assert is_token_auth_enabled() and validate_request_token(f"Bearer {first}")
    with _own_token():
        assert not validate_request_token(f"Bearer {first}") and validate_request_token(f"Bearer {now()[TOKEN]}")
    assert not is_token_auth_enabled()


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({MODE: "disabled"}, {MODE: "disabled"}),
        ({MODE: "token", TOKEN: "mine"}, {MODE: "token", TOKEN: "mine"}),
        ({MODE: "token"}, {MODE: "token"}),  # Ray takes ~/.ray/auth_token then
        ({TOKEN: "mine"}, {MODE: "token", TOKEN: "mine"}),
        ({PATH: "mine"}, {MODE: "token", PATH: "mine"}),
    ],
)
def test_what_the_user_has_set_is_left(monkeypatch, given, used):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with _own_token():
        assert now() == used
    assert now() == given


def test_it_is_gone_after_an_error():
    with pytest.raises(RuntimeError), _own_token():
        raise RuntimeError
    assert now() == {}
