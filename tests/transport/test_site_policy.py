"""A site keeps its own rules and its own book, whatever a job says."""

import hashlib

import pytest
import torch
from tiny import write_tiny

from fedistill.config import Federation, Job, load_simulation
from fedistill.core.accounting import Mechanism, PrivacyCost, sigma_for
from fedistill.core.store import Store
from fedistill.errors import LedgerError, PlanError, PolicyError, SettingError
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.policy.rules import Policy
from fedistill.release.release import Release
from fedistill.schemes.site.release import carry_out
from fedistill.training import noise
from fedistill.transport.site.context import SiteContext
from fedistill.transport.site.ledger import open_account

BREAST = {"name": "one", "dataset": "phantom:breast", "images": 60, "sites": ("a",)}
DM = {"iterations": 1, "looks": 0, "early_networks": 0, "batch_real": 8}
PRIVATE = {"epsilon": 4.0, "queries": 1, "width": 4, "iterations": 1}


def site(folder, policy=None, *, entropy="seeded", ledger=None, secret=None, **about):
    federation = Federation(**{**BREAST, **about}, policy=policy or Policy())
    return SiteContext(federation, 0, None, Store(folder / "store"), entropy, ledger=ledger, secret=secret)


def asked(scheme="dp-dm", *, seed=0, ipcs=(1, 2), draws=1, **settings):
    settings = {**{"dp-dm": PRIVATE, "dm": DM}.get(scheme, {}), **settings}
    return Job("a", scheme, seed, 0, ipcs, settings, draws, "convnet", 4, "float32", random_seed=seed)


def done(job, here, told=None):
    return carry_out(job, here, (lambda event: None) if told is None else told.append)


def release(job, here, told=None):
    return Release.from_bytes(done(job, here, told).release)


def real_site(folder, *, epsilon_max=100.0, non_private="allow", **policy):
    """A deployed site without floors: each test sets the rule it is about."""
    policy = Policy(epsilon_max=epsilon_max, non_private=non_private, **policy)
    return site(folder, policy, entropy="system", ledger=folder / "ledger.jsonl", secret=b"s" * 32)


def test_noise_is_drawn_after_its_charge_is_on_the_disk(tmp_path, monkeypatch):
    def fails(self, shape, *names):
        raise OSError("no entropy today")

    monkeypatch.setattr(noise.System, "normal", fails)
    here = real_site(tmp_path)
    for times in (1, 2):  # what was drawn the first time is lost, and will not be drawn again
        with pytest.raises(OSError, match="no entropy"):
            done(asked(), here)
        entries = Ledger(here.ledger).entries()
        assert len(entries) == times and all(entry.charge is not None for entry in entries)


def test_budgets_add_up_the_third_release_is_refused_and_a_resumed_one_spends_nothing(tmp_path):
    here = real_site(tmp_path, epsilon_max=7.0)
    made = [done(asked(seed=seed), here) for seed in (0, 1)]
    assert [entry.sha256 for entry in Ledger(here.ledger).entries() if entry.sha256] == [
        hashlib.sha256(each.release).hexdigest() for each in made
    ]
    before, told = here.ledger.read_bytes(), []
    with pytest.raises(PolicyError, match=r"rule epsilon_max[\s\S]*No noise was drawn[\s\S]*spent before"):
        done(asked(seed=2), here, told)
    assert here.ledger.read_bytes() == before and not told
    again = done(asked(seed=0), here)
    assert again.release == made[0].release and again.found == 0, "whether it was asked before is nobody's to know"
    assert here.ledger.read_bytes() == before
    (tmp_path / "store" / "synthetic").rename(tmp_path / "lost")
    assert done(asked(seed=0), here).found == 0  # fitted anew, to answers that were paid for
    assert len(Ledger(here.ledger).charges()) == 2


def test_one_job_whose_budgets_ask_apart_spends_both_and_is_refused_before_either(tmp_path):
    job = asked(ipc={"2": {"epsilon": 5.0}})
    here = real_site(tmp_path, epsilon_max=5.5)
    with pytest.raises(PolicyError, match=r"spends more than epsilon 5\.5"):
        done(job, here)
    assert not here.ledger.exists()
    done(job, real_site(tmp_path, epsilon_max=9.0))
    assert [charge.cost.epsilon for charge in Ledger(here.ledger).charges()] == [4.0, 5.0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"epsilon": 500.0}, PolicyError, "rule epsilon_max"),
        ({"delta": 0.5, "epsilon": 4.5}, PolicyError, "rule epsilon_max"),  # a large delta hides a large epsilon
        ({"policy": {"epsilon_max": 900.0}}, SettingError, "no setting 'policy'"),
        ({"epsilon_max": 900.0}, SettingError, "no setting 'epsilon_max'"),
        ({"entropy": "seeded"}, SettingError, "no setting 'entropy'"),
    ],
)
def test_the_server_cannot_talk_a_site_out_of_its_budget(tmp_path, change, error, words):
    here = real_site(tmp_path, epsilon_max=5.0)
    with pytest.raises(error, match=words):
        done(asked(**change), here)
    assert not here.ledger.exists()


@pytest.mark.parametrize(
    ("policy", "job", "rule"),
    [
        ({}, asked("full", ipcs=()), "allow_real_images"),
        ({"allow_real_images": True, "max_ipc": 2}, asked("full", ipcs=()), "max_ipc"),
        ({"allow_real_images": True, "max_ipc": 2}, asked("random", ipcs=(2,), draws=9), "max_ipc"),
        ({"max_ipc": 2}, asked("dm", ipcs=(1, 3)), "max_ipc"),
        ({}, asked("dc", start="real"), "start"),
        ({"epsilon_max": 9.0, "non_private": None}, asked("dm"), "epsilon_max"),
        ({"proximity": "refuse"}, asked("dm"), "proximity"),
        ({"min_class_size": 1000}, asked("dm"), "min_class_size"),
        ({"allow_real_images": True, "share_counts": "none"}, asked("random", ipcs=(40,)), "share_counts"),
    ],
)
def test_a_job_that_breaks_a_rule_is_refused_by_its_name(tmp_path, policy, job, rule):
    with pytest.raises(PolicyError, match=rf"\(rule\s+{rule}\)"):
        done(job, real_site(tmp_path, **policy))


def test_seeded_noise_keeps_to_no_budget(tmp_path):
    with pytest.raises(PolicyError, match=r"can be subtracted[\s\S]*entropy = \"system\""):
        done(asked(), site(tmp_path, Policy(epsilon_max=9.0), ledger=tmp_path / "ledger.jsonl"))


def test_a_ledger_that_is_not_as_written_is_a_refusal(tmp_path):
    here = real_site(tmp_path)
    done(asked(), here)
    here.ledger.write_bytes(here.ledger.read_bytes().replace(b'"steps": 1', b'"steps": 0'))
    for job in (asked(), asked(seed=1), asked("dm")):  # even what spends nothing
        with pytest.raises(LedgerError, match="damaged"):
            done(job, here)


def test_every_release_of_a_real_site_is_entered_and_of_a_simulation_s_the_private_ones(tmp_path):
    here = real_site(tmp_path)
    for job in (asked("dm"), asked()):
        done(job, here)
    assert [entry.occasion.scheme for entry in Ledger(here.ledger).entries()] == ["dm", "dp-dm", "dp-dm"]
    simulated = site(tmp_path / "simulated")
    done(asked("dm"), simulated)
    assert not simulated.ledger_path.exists()
    done(asked(), simulated)
    assert len(Ledger(simulated.ledger_path).entries()) == 2


def test_networks_that_leave_a_real_site_are_entered_by_their_numbers(tmp_path):
    params = (torch.arange(3.0), torch.ones(2, 2))
    for here, entered in ((real_site(tmp_path), 1), (site(tmp_path), 0)):
        open_account(here, "fedavg", "a fedavg", here.whole(0).train).leaves(params)
        assert len(Ledger(here.ledger_path).entries()) == entered
    [entry] = Ledger(real_site(tmp_path).ledger).entries()
    assert entry.sha256 == hashlib.sha256(b"".join(each.numpy().tobytes() for each in params)).hexdigest()


def test_all_rounds_and_networks_of_a_real_site_add_up_and_a_simulation_s_networks_do_not(tmp_path):
    cost = PrivacyCost(Mechanism(sigma_for(epsilon=3.0, delta=1e-5)), 3.0, 1e-5)
    policy = Policy(allow_weights=True, epsilon_max=4.0)
    real = site(tmp_path, policy, entropy="system", ledger=tmp_path / "ledger.jsonl")
    for here, apart in ((real, True), (site(tmp_path, policy), False)):
        mine = open_account(here, "dpsgd-local", "it", here.whole(0).train, each_apart=apart)
        mine.charge({"images": "x", "seed": 1}, cost)
        with pytest.raises(PolicyError, match="epsilon_max"):
            mine.charge({"images": "x", "seed": 2}, cost)
    mine = open_account(site(tmp_path, policy), "dpsgd-local", "other", real.whole(0).train, each_apart=True)
    for seed in (1, 2):
        mine.charge({"images": "x", "seed": seed}, cost)
    assert len(Ledger(site(tmp_path).ledger_path).charges()) == 3


def test_a_simulation_s_repeats_are_alternatives_whatever_comes_first(tmp_path):
    here = site(tmp_path, Policy(epsilon_max=4.0))
    for seed in (1, 0, 1):
        done(asked(seed=seed), here)
    charges = Ledger(here.ledger_path).charges()
    assert len(charges) == 2 == len({charge.account for charge in charges})


def blood(folder, **policy):
    return site(folder, Policy(**policy), dataset="phantom:blood", images=60, held_out=0.2)


def test_a_class_too_small_has_no_part_in_anything(tmp_path):
    here = blood(tmp_path, min_class_size=7)
    whole = here.whole(0).train.counts()
    small = {c for c, n in enumerate(whole) if n < 7}
    assert 0 < len(small) < 8
    job = asked("dm", ipcs=(1,))
    made = release(job, here)
    assert set(made.sets[1].labels.tolist()) == set(range(8)) - small
    assert "No class of fewer than 7 images" in made.privacy
    outcome = done(job, here)
    assert outcome.examples == sum(n for n in whole if n >= 7)
    share = here.share(0)
    for images in (share.train, share.val, share.held_out, here.scored(0, "val"), here.scored(0, "held_out")):
        assert not images.counts()[sorted(small)].any()
    assert all(n == 0 or n >= 7 for n in here.scored(0, "held_out").counts())
    assert len(release(job, blood(tmp_path)).sets[1]) == 8


def test_a_private_release_goes_by_its_noisy_counts_alone(tmp_path):
    """Which classes an exact count would leave out depends on single patients: no bound would hold."""
    loose, strict = (
        release(asked(ipcs=(1,), epsilon=1000.0), blood(tmp_path / str(least), min_class_size=least))
        for least in (1, 7)
        if not (tmp_path / str(least)).mkdir()
    )
    whole = blood(tmp_path, min_class_size=7).whole(0).train.counts()
    assert len(loose.sets[1]) == 8 and whole.min() < 6
    held = set(strict.sets[1].labels.tolist())
    assert {c for c, n in enumerate(whole) if n > 8} <= held
    assert not held & {c for c, n in enumerate(whole) if n < 6}  # with hardly any noise
    assert "noisy count" in strict.privacy


def test_counts_are_told_as_the_policy_has_it(tmp_path):
    job = asked("dm", ipcs=(1,))
    exact, rounded, none = (
        done(job, site(tmp_path, Policy(share_counts=how), images=57)).examples for how in ("exact", "rounded", "none")
    )
    assert (exact, rounded, none) == (57, 60, 1)


def test_copies_are_kept_in(tmp_path):
    copies = asked("dc", ipcs=(2,), start="real", iterations=1, lr_img=1e-9, looks=0)
    drawn = asked("dm", ipcs=(2,))

    def at(rule, job):
        told = []
        here = site(tmp_path, Policy(start="real", proximity=rule), held_out=0.3)
        return done(job, here, told), [event for event in told if "proximity" in event.stage]

    with pytest.raises(PolicyError, match="rule proximity") as raised:
        at("refuse", copies)
    assert not any(word.isdecimal() for word in str(raised.value).split() if word != "99")  # how many, it does not say
    _, [warned] = at("warn", copies)
    assert warned.kind == "proximity warning" and "screen, not a guarantee" in warned.message
    passed, [said] = at("refuse", drawn)
    assert said.kind == "proximity" and "a screen, not a guarantee" in Release.from_bytes(passed.release).privacy
    assert not at("off", copies)[1]


def test_a_private_release_is_not_screened(tmp_path):
    here, told = site(tmp_path, Policy(proximity="refuse", epsilon_max=5.0)), []  # and nothing was set aside for it
    assert "No screen for copies was applied" in release(asked(), here, told).privacy
    assert not any("proximity" in event.stage for event in told)


def test_a_site_s_own_rules_go_over_the_federation_s(tmp_path):
    changes = ["federation.site.b.policy.max_ipc=1", "min_sites=1"]
    simulation = load_simulation(write_tiny(tmp_path), changes=changes)
    federation = simulation.federation
    assert (federation.policy_of("a").max_ipc, federation.policy_of("b").max_ipc) == (None, 1)
    assert federation.policy_of("b").allow_real_images  # not given: the federation's
    again = Federation.model_validate_json(federation.model_dump_json(), strict=False)
    assert again.policy_of("b") == federation.policy_of("b") and again == federation
    with pytest.raises(PlanError, match=r"the policy of b forbids, and 2 sites are needed \(rule max_ipc\)"):
        load_simulation(write_tiny(tmp_path), changes=changes[:1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["federation.policy.max_ipc=1"], "more than 1, which the policy of the sites forbids (rule max_ipc)"),
        (["federation.policy.epsilon_max=8.0"], "no differential-privacy bound, which the policy of the sites"),
        (["federation.policy.non_private='refuse'"], 'non_private = "refuse" needs an epsilon_max'),
        (
            ["federation.policy={allow_real_images=true, epsilon_max=8.0, non_private='refuse'}"],
            'non_private = "allow"',
        ),
        (["federation.policy.share_counts='rounded'"], "'full' sends as many images as there are"),
        (["federation.policy.proximity='warn'"], "held_out = 0.2"),
        (["federation.policy.proximity_quantile=0.7"], "0.5"),
        (["federation.policy.min_class_size=-1"], "min_class_size"),
        (["federation.policy.epsilon_maxx=1.0"], "did you mean 'epsilon_max'"),
        (["federation.site.b.policy.max_ipcs=1"], "did you mean 'max_ipc'"),
        (
            ["federation.policy={epsilon_max=8.0}", "scheme={dp-dm={epsilon=9.0, queries=1, width=4}}"],
            "spends more than epsilon 8 at delta 1e-05",
        ),
        (
            ["federation.site.b.policy.share_counts='none'", "pooling='weighted'", "min_sites=1"],
            'b tells no counts (share_counts = "none") and other sites do',
        ),
    ],
)
def test_what_every_site_would_refuse_is_said_before_any_work(tmp_path, changes, words):
    with pytest.raises(PlanError) as raised:
        load_simulation(write_tiny(tmp_path), changes=changes)
    assert words in str(raised.value) and raised.value.exit_code == 2
