"""A finished run as the report reads it, and its page, for all tests of this folder; drawing a page takes seconds."""

import pytest

from fedistill.report.html.page import page
from fedistill.report.run_data import read_run


@pytest.fixture(scope="session")
def recorded(hostile):
    return read_run(hostile)


@pytest.fixture(scope="session")
def made(recorded):
    """The page of the run as it is."""
    return page(recorded)
