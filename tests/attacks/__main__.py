"""Tries every attack, and prints for each what it got before and what refuses it now.

`python -m attacks [NAME]`: those whose name has the word in it. Ends with 1 where one got through.
"""

import sys
import tempfile
import time
from pathlib import Path

from attacks import unfriendly
from attacks.attempts import ATTEMPTS


def main(words: list[str]) -> int:
    """Try them; 1 where any got through."""
    through, start = 0, time.monotonic()
    for attempt in ATTEMPTS:
        if words and not any(word in attempt.name for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            answer = attempt.run(Path(folder) / "hospital")
        refused = attempt.rule in answer
        through += not refused
        end = f"refused: {attempt.rule.strip('()')}" if refused else f"GOT THROUGH: {answer}"
        print(f"{attempt.name:48}  before: {attempt.before:66}  {end}", flush=True)
    print("an unfriendly server, and a hospital that agreed to a study")
    for one in unfriendly.ATTEMPTS:
        if words and not any(word in one.name for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            answer = unfriendly.tried(one, Path(folder) / "hospital")
        refused = one.rule in answer
        through += not refused
        kept = "and logged" if one.logged else ""
        print(f"{one.name:48}  {'refused: ' + one.rule.strip('()') if refused else 'GOT THROUGH: ' + answer}  {kept}")
    print(f"{through} got through, {time.monotonic() - start:.0f} s")
    return int(through > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
