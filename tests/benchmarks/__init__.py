"""The yardstick: FeDistill against plain textbook versions of the same work, in turn and on the same threads.

    make bench ARGS="--data-root DIR"

`plain` holds the textbook versions and `cases` the pairs that do equal work (``test_benchmarks.py`` shows that
they give the same numbers); `in_turn` measures time, `memory` peaks, `quality` the time to images of the same quality,
for which `curve` runs the plain loop first. Benchmarks, never timed tests: nothing fails for being slow.
"""
