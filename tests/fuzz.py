"""What tests by hypothesis have in common: the same examples everywhere and every time, and ways to spoil a thing."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

fuzzed = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63 - 1, -(2**63), 2**64, 10**30, -1]),
    st.sampled_from([0.5, -0.5, 1e308, float("inf"), float("nan")]),
)
letters = st.text("aZ0._-/\\ \0\n\x1b\u0661\U0001f600", max_size=12)  # few, or hypothesis first reads all of Unicode
words = st.one_of(letters, st.sampled_from(["", "..", "../../x", "a/b", "a\0b", "x" * 500, "\x1b[31m"]))
scalars = st.one_of(st.none(), st.booleans(), numbers, words)
values = st.recursive(
    scalars,
    lambda within: st.one_of(st.lists(within, max_size=4), st.dictionaries(words, within, max_size=4)),
    max_leaves=8,
)


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with a few of them changed, cut out, put in, or the end cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["change", "cut", "insert", "end"]))
        if kind == "change" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=16))
        elif kind == "end":
            del data[at:]
    return bytes(data)


@contextmanager
def memory_within(most: int) -> Iterator[None]:
    """Fail where Python and numpy ask for more bytes than these at any moment within the block."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= most, f"{peak:,} bytes at the peak, at most {most:,} wanted"
