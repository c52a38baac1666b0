"""What a site says of itself is held against what it was asked; each rule by the Release that breaks it."""

from dataclasses import asdict, dataclass, replace

import pytest

from fedistill.config import Job
from fedistill.core.settings import checked
from fedistill.errors import ReleaseError, SettingError
from fedistill.methods import METHODS, privacy_statement, settings_for
from fedistill.release.release import Release
from fedistill.schemes.server.pooling import cap_counts
from fedistill.transport.protocol.claims import LONGEST_SECONDS, MOST_EXAMPLES, require_as_asked
from fedistill.transport.protocol.codec import Examples, Seconds
from fedistill.transport.protocol.messages import Outcome, pack_outcomes, unpack_outcomes

JOB = Job("north", "dc", 0, 0, (1, 10), {"iterations": 7}, 1, "convnet", 8, "float32", 1)
PRIVATE = replace(JOB, scheme="dp-dm", settings={"epsilon": 2.0})


def release(job=JOB, *, words="", groups=False, entropy="system", **said):
    """What an honest site sends for a job, its images apart."""
    chosen = {ipc: settings_for(job.scheme, job.settings, ipc=ipc) for ipc in job.budgets}
    about = {"settings": {str(ipc): asdict(each) for ipc, each in chosen.items()}}
    about |= {"model": job.model, "width": job.width, "precision": job.precision, **said}
    privacy = privacy_statement(job.scheme, list(chosen.values()), groups=groups, entropy=entropy) + words
    return Release(job.site, job.scheme, 0, METHODS[job.scheme].real, {}, provenance=about, privacy=privacy)


def changed(made, ipc, **settings):
    """The Release with other settings of one budget."""
    old = made.provenance["settings"]
    return replace(made, provenance={**made.provenance, "settings": {**old, ipc: {**old[ipc], **settings}}})


@pytest.mark.parametrize("scheme", [name for name in METHODS if name != "dp-dc"])
@pytest.mark.parametrize("sent", [True, False])
def test_what_an_honest_site_says_is_taken(scheme, sent):
    ipcs = (1, 10) if METHODS[scheme].budget else ()
    job = replace(JOB, scheme=scheme, settings={}, ipcs=ipcs)
    made = release(job, groups=sent, entropy="system" if sent else "seeded")
    kept = " No class of fewer than 10 images has a part in it. A screen for copies warns (a screen, not a guarantee)."
    for words in ("", kept):
        require_as_asked(replace(made, privacy=made.privacy + words), job)
    read_back = Release.from_bytes(replace(made, sets={}).to_bytes())
    require_as_asked(read_back, job)


@pytest.mark.parametrize("said", ["tf32", "float32", "bfloat16", None])
def test_where_tf32_is_asked_for_a_site_says_what_it_computed_in(said):
    job = replace(JOB, precision="tf32")
    if said in ("tf32", "float32"):
        require_as_asked(release(job, precision=said), job)
        return
    with pytest.raises(ReleaseError, match="tf32 or float32"):
        require_as_asked(release(job, precision=said), job)
    with pytest.raises(ReleaseError, match="another network"):
        require_as_asked(release(precision="tf32"), JOB)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"model": "mlp"}, "another network"),
        ({"width": 9}, "another network"),
        ({"width": True}, "another network"),
        ({"precision": "bfloat16"}, "another network"),
        ({"model": None}, "another network"),
        ({"settings": {}}, "does not say its settings"),
        ({"settings": None}, "does not say its settings"),
        ({"settings": {"1": {}, "10": {}}}, "Invalid settings of ipc 1"),
        ({"settings": {"1": [], "10": []}}, "Invalid settings of ipc 1"),
    ],
)
def test_made_for_something_else(said, message):
    with pytest.raises(ReleaseError, match=message):
        require_as_asked(release(**said), JOB)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 8}, r"settings of ipc 10 are not those asked for[\s\S]*7[\s\S]*8"),
        ({"iterations": "7"}, "Invalid settings of ipc 10"),
        ({"iterations": -1}, "Invalid settings of ipc 10"),
        ({"copies": True}, "Invalid settings of ipc 10"),
    ],
)
def test_settings_other_than_it_was_told(settings, message):
    with pytest.raises(ReleaseError, match=message):
        require_as_asked(changed(release(), "10", **settings), JOB)


def test_settings_of_one_budget():
    job = replace(JOB, settings={"iterations": 7, "ipc": {"10": {"iterations": 9}}})
    require_as_asked(release(job), job)
    with pytest.raises(ReleaseError, match="ipc 10 are not those"):
        require_as_asked(release(), job)


@pytest.mark.parametrize("preset", ["measured", "published"])
def test_settings_that_nobody_gave_are_the_preset_s_and_no_others(preset):
    asked = replace(JOB, settings={"preset": preset, "iterations": 7})
    require_as_asked(release(asked), asked)
    with pytest.raises(ReleaseError, match=r"not those asked for[\s\S]*lr_img"):
        require_as_asked(changed(release(asked), "10", lr_img=9.0), asked)


def test_a_private_release_says_what_was_asked():
    require_as_asked(release(PRIVATE), PRIVATE)
    weaker = replace(PRIVATE, settings={"epsilon": 9.0})
    with pytest.raises(ReleaseError, match=r"not those asked for[\s\S]*epsilon"):
        require_as_asked(release(weaker), PRIVATE)
    lies = replace(release(PRIVATE), privacy=release(weaker).privacy)
    with pytest.raises(ReleaseError, match=r"does not say the guarantee[\s\S]*epsilon 2 at delta 1e-05"):
        require_as_asked(lies, PRIVATE)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "Private.",
        "Differentially private: epsilon nan at delta 1e-05 for every single image. (epsilon 2 at delta 1e-05)",
        "Differentially private: epsilon 0 at delta 1e-05 for every single image. (epsilon 2 at delta 1e-05)",
        "Differentially private: epsilon x at delta 1e-05 for every single image. (epsilon 2 at delta 1e-05)",
        "Differentially private: epsilon 2 at delta 0.1 for every single image. (epsilon 2 at delta 1e-05)",
        "Differentially private: epsilon 2 at delta 1e-05 for every single image.",
        "Synthetic images without a differential-privacy bound; what they leak must be measured by attack.",
    ],
)
def test_statements_that_say_another_guarantee(words):
    with pytest.raises(ReleaseError, match="does not say the guarantee"):
        require_as_asked(replace(release(PRIVATE), privacy=words), PRIVATE)


@pytest.mark.parametrize("words", [" Differential privacy: yes.", " EPSILON 1.", " At delta 0.1.", "\nepsilon = 1"])
def test_a_release_without_a_bound_claims_none(words):
    with pytest.raises(ReleaseError, match="has no bound, and the statement of privacy claims one"):
        require_as_asked(release(words=words), JOB)


def test_other_statements_of_a_release_without_a_bound():
    for words in ("", "Nothing leaks.", release(PRIVATE).privacy):
        with pytest.raises(ReleaseError, match="not that of the scheme"):
            require_as_asked(replace(release(), privacy=words), JOB)
    with pytest.raises(ReleaseError, match="too long"):
        require_as_asked(release(words=" x" * 4000), JOB)


@pytest.mark.parametrize(
    ("seconds", "examples"),
    [
        *[(-1.0, 1), (float("nan"), 1), (float("inf"), 1), (LONGEST_SECONDS * 1.01, 1), ("1", 1), (True, 1)],
        *[(1.0, -1), (1.0, MOST_EXAMPLES + 1), (1.0, 10**9), (1.0, True), (1.0, 1.5)],
    ],
)
def test_figures_that_cannot_be(seconds, examples):
    @dataclass(frozen=True)
    class Figures:
        seconds: Seconds
        examples: Examples

    with pytest.raises(SettingError, match="is invalid"):
        checked(Figures, {"seconds": seconds, "examples": examples}, "a reply")
    for figures in ((LONGEST_SECONDS, MOST_EXAMPLES), (0, 0)):
        assert checked(Figures, dict(zip(("seconds", "examples"), figures, strict=True)), "a reply") == Figures(
            *figures
        )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"examples": 10**9}, "examples is invalid"),
        ({"seconds": (1.0, 1e12)}, "seconds.1 is invalid"),
        ({"found": 3}, "3 of 2 budgets"),
        ({"found": -1}, "-1 of 2 budgets"),
    ],
)
def test_an_outcome_with_such_figures_is_not_read(more, message):
    good = Outcome("north dc seed 0", "north", b"x", (1.0, 2.0), 546, 1)
    assert unpack_outcomes(pack_outcomes([good])) == [good]
    with pytest.raises(ValueError, match=message):
        unpack_outcomes(pack_outcomes([replace(good, **more)]))


def test_nobody_that_cannot_be_checked_takes_the_pool():
    honest = [546, 300, 273]
    assert cap_counts(honest) == honest
    for lie in (10**4, 10**7, 10**9):
        counted = cap_counts([*honest, lie])
        assert counted[:3] == honest and counted[3] == sum(honest)
    assert cap_counts([1, 10**7]) == [1, 1] and cap_counts([0, 5]) == [0, 0] and cap_counts([]) == []
