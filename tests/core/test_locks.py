"""The one lock that store, ledger and run folders share."""

from fedistill.core.locks import try_lock


def test_an_exclusive_lock_keeps_others_out_until_its_file_is_closed(tmp_path):
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        assert try_lock(first.fileno())
        assert not try_lock(second.fileno()) and not try_lock(second.fileno(), shared=True)
        first.close()
        assert try_lock(second.fileno())


def test_shared_locks_let_each_other_in_and_keep_an_exclusive_one_out(tmp_path):
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second, path.open("w") as third:
        assert try_lock(first.fileno(), shared=True) and try_lock(second.fileno(), shared=True)
        assert not try_lock(third.fileno())
