"""A simulation that runs in seconds, for tests of everything around it; and how tables are held against each other."""

import pandas as pd

TINY = """
# {title}
federation = {{ name = "two", dataset = "phantom:breast", images = 60, sites = ["a", "b"], {federation} }}
networks = 2
width = 4
ipc = [1, 2]
{more}
[recipe]
steps = 4
max_steps = 8
lr = [0.01, 0.03]
pilots = 1
[scheme.full]
[scheme.random]
[scheme.dc]
iterations = 2
outer = 2
inner = 1
[scheme.mtt]
iterations = 1
experts = 1
epochs = 2
expert_epochs = 1
max_start_epoch = 1
syn_steps = 2
"""


def write_tiny(
    folder, *, name="tiny", title="tiny", federation="policy = { allow_real_images = true, start = 'real' }", more=""
):
    path = folder / f"{name}.toml"
    path.write_text(TINY.format(title=title, federation=federation, more=more))
    return str(path)


def timeless(frame):
    """A table without its timings: what the same command gives again."""
    return frame[[name for name in frame.columns if not name.endswith("_seconds")]]


def same(one, other):
    """Assert that two tables are equal to the last bit but for timings."""
    pd.testing.assert_frame_equal(timeless(one), timeless(other), check_exact=True)
