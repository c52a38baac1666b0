"""Floors: the least that a policy asks of a method's settings before the method may look at patients' images.

A Release is made by settings that somebody else chose. A mean over one image is that image, and two Releases of one
step that differ in the size of that step give the mean away (``README.md`` beside this file, "How small may settings
be?"). So a site bounds a method's settings, whatever the method is: by the names that settings have everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedistill.methods.engine.settings import pack_of

if TYPE_CHECKING:
    from fedistill.privacy.policy.rules import Policy

BATCHES = ("batch_real", "batch_expert")
"""Settings that say how many real images are averaged over. One left to the method (None) keeps the method's least."""


@dataclass(frozen=True)
class MethodSettings:
    """The settings of a request that floors apply to, each the least over the request's budgets.

    Args:
        batch: real images in a mean or a batch; None where no setting says.
        cluster: real images in a cluster; None where classes stay whole.
        iterations: steps; None where the method takes none.
        model, width, encoding: as the request has them.
    """

    batch: int | None = None
    cluster: int | None = None
    iterations: int | None = None
    model: str = ""
    width: int = 0
    encoding: str = "uint8"


def method_settings(chosen: Sequence[Any], *, model: str, width: int, encoding: str) -> MethodSettings:
    """Return what settings (one for each budget) tell a method.

    >>> from fedistill.methods.registry import settings_for
    >>> method_settings([settings_for("dm", {"batch_real": 1}, ipc=1)], model="mlp", width=8, encoding="uint8").batch
    1
    """
    batches = [value for each in chosen for name in BATCHES if (value := getattr(each, name, None)) is not None]
    clusters = [each.smallest_cluster for each in chosen if getattr(each, "clusters", 1) > 1]
    steps = [each.iterations for each in chosen if hasattr(each, "iterations")]
    return MethodSettings(
        min(batches, default=None), min(clusters, default=None), min(steps, default=None), model, width, encoding
    )


def patients_per_image(settings: Any, *, real: bool) -> int:
    """Return how many patients' images one image of a Release shows at most.

    They are those packed in it, where they are real or a synthetic one starts from real ones; else 1, for a synthetic
    image counts as one.

    >>> from fedistill.methods.registry import settings_for
    >>> packed = {"pack": 2}
    >>> patients_per_image(settings_for("random", packed, ipc=1), real=True)
    4
    >>> patients_per_image(settings_for("dm", packed, ipc=1), real=False)
    1
    >>> patients_per_image(settings_for("dm", {**packed, "start": "real"}, ipc=1), real=False)
    4
    """
    shows = real or getattr(settings, "start", "noise") == "real"
    return pack_of(settings) ** 2 if shows else 1


def below_floor(policy: "Policy", settings: MethodSettings, *, bounded: bool) -> tuple[str, str, str] | None:
    """Return the first floor that a request is below: (rule, what the request does, how to fix it); None where none.

    Args:
        policy: the site's rules.
        settings: of the request.
        bounded: whether a privacy budget bounds what leaves, whatever the method is told: then only the network's shape
            is looked at.
    """
    if policy.models and settings.model not in policy.models:
        return (
            "models",
            f"matches on a {settings.model!r}, not on one of {', '.join(policy.models)}",
            "take one of these",
        )
    if policy.widths and settings.width not in policy.widths:
        allowed = ", ".join(map(str, policy.widths))
        return "widths", f"matches on a network of width {settings.width}, not of {allowed}", "take one of these widths"
    if bounded:
        return None
    if policy.encoding == "uint8" and settings.encoding != "uint8":
        return (
            "encoding",
            f"sends images as {settings.encoding}, which tell more than uint8 does",
            'set encoding = "uint8"',
        )
    floors = (
        ("smallest_batch", settings.batch, policy.smallest_batch, "averages over {} real images", "raise batch_real"),
        ("smallest_cluster", settings.cluster, policy.smallest_cluster, "cuts clusters of {} images", "raise it"),
        ("fewest_iterations", settings.iterations, policy.fewest_iterations, "takes {} iterations", "raise iterations"),
    )
    for rule, value, least, does, mend in floors:
        if value is not None and value < least:
            return rule, f"{does.format(value)}, fewer than {least}", mend
    return None
