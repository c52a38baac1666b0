"""A value's way from the command line to the work is short, and every hop of it is known."""

import pytest

from house.hops import ITERATION, REPORT, STEP, trace

pytestmark = pytest.mark.slow  # a study with its report, some fifteen seconds

MOST = 55


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    return trace(tmp_path_factory.mktemp("hops"))


def modules(chain):
    return [module for module, _ in chain]


def test_no_chain_is_longer_than_55_hops(chains):
    lengths = {kind: len(chain) for kind, chain in chains.items()}
    assert set(lengths) == {ITERATION, STEP, REPORT}
    assert max(lengths.values()) <= MOST, lengths


def test_every_chain_begins_at_the_command(chains):
    assert {chain[0] for chain in chains.values()} == {("cli.main", "main")}


def test_an_iteration_is_followed_from_the_study_over_the_wire_to_the_site(chains):
    way = ["study.orchestrator", "transport.server.coordinator", "transport.site.app", "methods.engine.loop"]
    hops = iter(modules(chains[ITERATION]))
    assert all(module in hops for module in way)  # in this order, since `in` moves the iterator on


def test_a_step_of_a_global_network_is_the_servers_work(chains):
    assert modules(chains[STEP])[-1] == "training.fit"
    assert "transport.site.app" not in modules(chains[STEP])
