"""The runs that faults are put into."""

from pathlib import Path

SMALL = """
federation = { name = "two", dataset = "phantom:breast", images = 60, sites = ["a", "b"], policy = { allow_real_images = true } }
networks = 1
width = 4
ipc = [1]
min_sites = 1
[recipe]
steps = 2
max_steps = 2
lr = [0.01]
[scheme.dm]
preset = "published"
iterations = 2
looks = 0
"""  # noqa: E501 - a table of TOML is a line

LONG = """
federation = { name = "four", dataset = "phantom:breast", images = 400, sites = 4, policy = { allow_real_images = true } }
networks = 3
width = 16
ipc = [1, 5]
seeds = 2
[recipe]
steps = 60
max_steps = 60
lr = [0.01, 0.03]
[scheme.full]
[scheme.random]
[scheme.dm]
preset = "published"
iterations = 200
looks = 0
batch_real = 32
"""  # noqa: E501


def written(folder: Path, name: str, text: str) -> str:
    """The path of a simulation's file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)
