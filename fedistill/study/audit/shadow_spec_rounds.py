"""What the shadows of an audit are made by where sites send networks round after round: who takes part in which rounds,
by which recipe; and its key.

The line attacked is that of the largest number of rounds: what an epsilon of private averaging is for.
"""

from dataclasses import asdict, replace
from typing import Any

from fedistill.config import Share
from fedistill.config.scheme_settings import scheme_named
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.errors import SettingError
from fedistill.privacy.attacks.shadow_rounds import VERSION as ROUNDS_VERSION
from fedistill.privacy.attacks.shadow_rounds import Turns
from fedistill.privacy.attacks.shadows import VERSION
from fedistill.privacy.policy.disclosure import too_small, without
from fedistill.study.arms.condition import Arm
from fedistill.study.arms.context import Desk
from fedistill.study.arms.rounds import Federated
from fedistill.study.audit.shadow_spec import Dealt, Line, Made, common, shape_of
from fedistill.training.dpsgd import VERSION as DPSGD_VERSION
from fedistill.training.fit import VERSION as FIT_VERSION


def require_turns(desk: Desk, federated: Federated, line: Line, site: str) -> None:
    """Raise SettingError where the site takes part in no round, and would send nothing; before any work."""
    if not any(site in sites for drawn in _turns(desk, federated, line, site).drawn for sites in drawn):
        raise SettingError(
            f"There is nothing to attack: {site!r} takes part in none of the rounds of {line.name!r}.",
            expected="a site that is drawn at least once",
            found=f"fraction = {desk.simulation.settings(line.scheme).get('fraction')}",
            mend=f"attack another site (audit.site), raise fraction or rounds of [scheme.{line.scheme}], or leave it "
            "out of audit.schemes",
        )


async def rounds_mechanism(desk: Desk, federated: Federated, line: Line, site: str, dealt: Dealt) -> Made:
    """How a line's shadows are made, once the step size of the line's own arm is chosen, in the first repeat."""
    simulation = desk.simulation
    arm = _arm(desk, line)
    asked = federated.asked(federated.course(arm, 0, await federated.step_size(arm)))
    settings: Any = scheme_named(line.scheme).read(simulation.settings(line.scheme))
    turns = replace(_turns(desk, federated, line, site), mu=asked.mu)
    shape = shape_of(desk, line, None, settings, asked.recipe)
    shape = replace(shape, private=asked.private, turns=turns, seeds=shape.seeds[: len(turns.drawn)])
    shares = dict(zip(desk.sites, desk.holdings[0].shares, strict=True))
    others = {
        name: share.train if asked.private else _without_small(desk, name, share)
        for name, share in shares.items()
        if name != site
    }
    held = [[name, images.fingerprint()] for name, images in others.items()]
    about = {
        **common(simulation, shape, dealt),
        "turns": asdict(turns),
        "others": held,
        "private": None if shape.private is None else asdict(shape.private),
        "version": [ROUNDS_VERSION, DPSGD_VERSION if shape.private else 0, FIT_VERSION, VERSION],
    }
    return Made(shape, others, about, key_of({"sites beside": held}))


def _arm(desk: Desk, line: Line) -> Arm:
    return Arm(0, line.scheme, None, 0, desk.simulation.models[0], "common", rounds=line.rounds)


def _turns(desk: Desk, federated: Federated, line: Line, site: str) -> Turns:
    """Who takes part: the sites that the server draws for the line's own arm. Of private training, in one network."""
    simulation, arm = desk.simulation, _arm(desk, line)
    assert simulation.audit is not None and line.rounds is not None
    networks = 1 if scheme_named(line.scheme).private else simulation.audit.networks
    courses = [federated.course(arm, index, lr=0.0) for index in range(networks)]  # no draw looks at the step size
    numbers = range(1, line.rounds + 1)
    drawn = tuple(tuple(tuple(federated.drawn(course, n)) for n in numbers) for course in courses)
    return Turns(site, drawn, {name: simulation.federation.policy_of(name).share_counts for name in desk.sites})


def _without_small(desk: Desk, site: str, share: Share) -> ImageSet:
    """What a site trains on in the open: classes that are too small by its policy stay out."""
    least = desk.simulation.federation.policy_of(site).min_class_size
    return without(share.train, too_small(share.train, least))
