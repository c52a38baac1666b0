"""The last look at a Release before it leaves: at the images themselves, whatever was asked and whoever made them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fedistill.core.events import Event, Kind, OnEvent
from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError, PolicyError
from fedistill.methods.registry import is_private, method_named
from fedistill.privacy.policy.proximity import proximity
from fedistill.privacy.policy.rules import Policy, PolicyRequest, check_request
from fedistill.release.release import Packed, Release, unpack

PROMISE = "Differentially private: epsilon "
"""Beginning of every statement of a bound."""


def check_release(policy: Policy, release: Release, *, small: frozenset[int], apart: bool = False) -> None:
    """Refuse what breaks a rule.

    Args:
        policy: the site's rules.
        release: what would leave.
        small: classes that nothing may tell of; see `fedistill.privacy.policy.disclosure.too_small`. A private Release
            may tell of any, for its noisy counts chose them.
        apart: several draws are alternatives, as in a simulation, where one network is trained on each; else they leave
            together and count together.

    Raises:
        PolicyError: names the rule.
    """
    scheme, private = release.scheme, is_private(release.method)
    if release.real != method_named(release.method).real:
        raise _refused(scheme, "says otherwise than its method whether its images are real", "allow_real_images")
    for ipc, packed in release.sets.items():
        for name, value in packed.tensors().items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise _refused(scheme, f"holds NaN or infinity in its {name}", "finite numbers")
        counted = _counted(packed, apart=apart)
        check_request(
            policy,
            PolicyRequest(
                scheme,
                real=release.real,
                starts=_starts(release.provenance),
                per_class=None if ipc is None else max(ipc, _most(packed, counted)) * _patients(release, packed),
                private=private,
                soft=packed.soft is not None,
            ),
        )
        if not private and any(counted[c] for c in small if c < len(counted)):
            raise _refused(scheme, f"holds a class of fewer than {policy.smallest}", "min_class_size")
        if release.real and policy.share_counts != "exact" and ipc is not None and not _full(packed, ipc):
            raise _refused(scheme, "sends all images of a class, which tells how many there are", "share_counts")
    if private and not release.privacy.startswith(PROMISE):
        raise _refused(scheme, "does not say what its bound is", "non_private")


def screened(
    policy: Policy,
    sets: Mapping[int | None, Packed],
    training: ImageSet,
    held_out: ImageSet,
    on_event: OnEvent,
) -> None:
    """Hold synthetic images, as they would arrive, against the training images, by the policy's screen for copies.

    How many were found is told here alone: it follows from patients' images.

    Raises:
        PolicyError: rule proximity: one is too near, or there is nothing to compare with.
    """
    if policy.proximity == "off":
        return
    for ipc, packed in sets.items():
        try:
            # Of packed images those they hold: a patient in a quarter of one is far from it as a whole.
            synthetic = unpack(packed, ipc).shown()
            result = proximity(synthetic, training, held_out, space="pixels", quantile=policy.proximity_quantile)
        except DataError as error:
            raise PolicyError(
                f"The site's policy wants copies to be screened for (rule proximity), and cannot: {error.what}",
                mend="a larger held_out in the federation file",
            ) from error
        kind: Kind = "proximity warning" if result.too_near else "proximity"
        on_event(Event(kind, ipc=ipc, message=f"ipc {ipc}: {result}"))
        if result.too_near and policy.proximity == "refuse":
            raise PolicyError(
                "The site's policy forbids it: of its synthetic images some come nearer to a patient's image than "
                f"{100 * (1 - policy.proximity_quantile):g} % of other patients' images do (rule proximity)."
            )


def rules_kept(policy: Policy, *, unit: str, private: bool, real: bool) -> str:
    """Return what a Release's statement says about the rules applied to it; empty if only the usual ones were.

    Args:
        policy: the site's rules.
        unit: what classes are counted in, ``image`` or ``patient``.
        private: whether a bound protects the Release.
        real: whether its images are real.
    """
    words = []
    if policy.smallest > 1 and private:
        words.append(f"A class is left out unless its noisy count tells of at least {policy.smallest} {unit}s.")
    elif policy.smallest > 1:
        words.append(f"No class of fewer than {policy.smallest} {unit}s has a part in it.")
    if policy.proximity != "off" and private:
        words.append("No screen for copies was applied: its outcome depends on patients' images.")
    elif policy.proximity != "off" and not real:
        done = "keeps them in" if policy.proximity == "refuse" else "warns at the site"
        words.append(f"A screen for copies {done} (a screen, not a guarantee).")
    return "".join(f" {each}" for each in words)


def _counted(packed: Packed, *, apart: bool) -> Tensor:
    """Count the images of each class, or with each label, int64 (K,).

    If draws are shared apart, it is the maximum over draws.
    """
    labels = packed.labels
    if labels.ndim == 1:
        labels = torch.nn.functional.one_hot(labels, int(labels.max()) + 1) if len(labels) else labels[:, None]
    if not apart or packed.draw is None:
        return (labels > 0).sum(0)
    return torch.stack([(labels[packed.draw == d] > 0).sum(0) for d in packed.draw.unique()]).amax(0)


def _patients(release: Release, packed: Packed) -> int:
    """Return how many patients' images one image shows at most."""
    return packed.pack**2 if release.real or "real" in _starts(release.provenance) else 1


def _most(packed: Packed, counted: Tensor) -> int:
    """Return the images per class: the maximum over classes; for several labels, all images over all labels."""
    if packed.labels.ndim == 1:
        return int(counted.max())
    return -(-len(packed) // packed.labels.shape[1])


def _full(packed: Packed, ipc: int) -> bool:
    """Return whether every draw has the requested number of images of each class.

    For several labels: of images in all.
    """
    draws = [packed.labels] if packed.draw is None else [packed.labels[packed.draw == d] for d in packed.draw.unique()]
    for labels in draws:
        if labels.ndim == 2 and len(labels) != ipc * labels.shape[1]:
            return False
        if labels.ndim == 1 and not set(torch.bincount(labels).tolist()) <= {0, ipc}:
            return False
    return True


def _starts(provenance: Mapping[str, Any]) -> frozenset[str]:
    tables = [each for each in provenance.get("settings", {}).values() if isinstance(each, Mapping)]
    return frozenset(str(each["start"]) for each in tables if "start" in each)


def _refused(scheme: str, does: str, rule: str) -> PolicyError:
    return PolicyError(f"The site's policy forbids {scheme!r}: its Release {does} (rule {rule}).")
