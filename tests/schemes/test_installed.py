"""A whole scheme from another package: one file and an entry point, run, forecast and refused like our own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCHEME = '''
"""``largest``: every site uses the networks of the site that says it holds the most images."""

from fedistill.schemes.local import SiteNetworks, training_at
from fedistill.schemes.server.condition import Result, Transfer
from fedistill.transport.protocol.release_sizes import network_sizes


class Largest(SiteNetworks):
    def label(self, budget):
        return "The largest site's networks, for everyone"

    async def run(self, condition, ctx):
        requests = [self.request_for(ctx, condition, site, scheme=self.name) for site in ctx.sites]
        replies = [(request, await self.trained(ctx, request)) for request in requests]
        learned = [(request, reply) for request, reply in replies if not isinstance(reply, str)]
        ctx.require_sites(len(learned), len(ctx.sites), self.name, {})
        request, largest = max(learned, key=lambda pair: pair[1].examples)
        up, down = network_sizes(request, largest)
        return await self.result(ctx, condition, largest, Transfer((request.site,), up=up, down=down, release_bytes=up))

    def work(self, condition, forecast):
        for site in forecast.simulation.federation.sites:
            yield (self.name, site, condition.seed), training_at(condition, site, None, forecast)


LARGEST = Largest("largest", "the largest site's networks, for everyone")
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("largest")
    (folder / "largest.py").write_text(SCHEME)
    info = folder / "largest-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: largest\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fedistill.schemes]\nlargest = largest:LARGEST\nnonsense = largest:SCHEME\n"
    )
    return folder


def fedistill(folder: Path, *words: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "fedistill.cli", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


SMALL = ["width=4", "ipc=[1]", "networks=1", "recipe.steps=2", "recipe.max_steps=2", "federation.images=60"]


def words(scheme: str) -> list[str]:
    changes = [*SMALL, f"scheme={scheme}", "federation.policy.allow_weights=true"]
    return [word for change in changes for word in ("--set", change)]


def test_a_package_brings_its_scheme_to_a_simulation(package):
    done = fedistill(
        package, "run", "quickstart", "--engine", "inline", "--out", "out", *words("{largest={}, local={}}")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    compared = (package / "out" / "comparison.csv").read_text()
    assert "largest" in compared
    assert "The largest site" in (package / "out" / "report.html").read_text()


def test_a_package_that_offers_nonsense_is_named(package):
    done = fedistill(package, "run", "quickstart", "--engine", "inline", "--out", "no", *words("{nonsense={}}"))
    assert done.returncode == 2 and "largest offers a scheme 'nonsense'" in done.stdout + done.stderr
