"""Every method by the name that files, tables and the command line use. A new one is a line here and a file beside."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fedistill.data.imageset import ImageSet
from fedistill.errors import SettingError, nearest
from fedistill.methods import experts
from fedistill.methods.dc import DCSettings, dc, dsa
from fedistill.methods.dm import DMSettings, dm
from fedistill.methods.engine import soft_labels
from fedistill.methods.engine.method import Method
from fedistill.methods.engine.settings import read
from fedistill.methods.mtt import mtt
from fedistill.methods.mtt_settings import MTTSettings
from fedistill.methods.patches import PatchSettings, patches
from fedistill.methods.presets import DEFAULT, preset
from fedistill.methods.private.dp_dc import DPDCSettings, dp_dc
from fedistill.methods.private.dp_dm import DPDMSettings, dp_dm
from fedistill.methods.private.dp_mean import DPMeanSettings, dp_mean
from fedistill.methods.private.queries import VERSION as DP_VERSION
from fedistill.methods.private.queries import PrivateSettings
from fedistill.methods.private.statement import statement
from fedistill.methods.subset import EmbeddingSettings, NoSettings, RandomSettings, full, herding, kcenter, random
from fedistill.methods.tdm import VERSION as TDM_VERSION
from fedistill.methods.tdm import TDMSettings, tdm
from fedistill.training.recipe import Recipe

METHODS: dict[str, Method] = {
    "full": Method(full, NoSettings, "all real images", real=True, budget=False),
    "random": Method(random, RandomSettings, "real images drawn at random", real=True, drawn=True),
    "herding": Method(herding, EmbeddingSettings, "real images nearest to their class's mean embedding", real=True),
    "kcenter": Method(kcenter, EmbeddingSettings, "real images that leave no other far away", real=True),
    "patches": Method(
        patches,
        PatchSettings,
        "crops of real images that a network is surest of, packed (after arXiv 2312.03526)",
        real=True,
        multilabel=False,
    ),
    "dc": Method(
        dc,
        DCSettings,
        "gradient matching (arXiv 2006.05929)",
        native=Recipe("native", lr=0.01, steps=None, epochs=300, batch=256, augment=False),
    ),
    "dsa": Method(
        dsa,
        DCSettings,
        "gradient matching through augmentations (arXiv 2102.08259)",
        native=Recipe("native", lr=0.01, steps=None, epochs=1000, batch=256, augment=True),
    ),
    "dm": Method(
        dm,
        DMSettings,
        "distribution matching (arXiv 2110.04181)",
        native=Recipe("native", lr=0.01, steps=None, epochs=1000, batch=256, augment=True),
    ),
    "tdm": Method(
        tdm,
        TDMSettings,
        "distribution matching under trained networks (after arXiv 2110.04181, 2406.01063)",
        guided=True,
        version=TDM_VERSION,
    ),
    "mtt": Method(
        mtt,
        MTTSettings,
        "trajectory matching (arXiv 2203.11932)",
        version=experts.VERSION,
        # Its step size is the learned one that comes with the images.
        native=Recipe("native", lr=0.01, steps=None, epochs=1000, batch=256, augment=True),
    ),
    "dp-dc": Method(
        dp_dc,
        DPDCSettings,
        "gradient matching, differentially private (after arXiv 2211.04446)",
        multilabel=False,
        version=DP_VERSION,
    ),
    "dp-dm": Method(
        dp_dm,
        DPDMSettings,
        "distribution matching, differentially private: few questions, used many times",
        multilabel=False,
        version=DP_VERSION,
    ),
    "dp-mean": Method(
        dp_mean,
        DPMeanSettings,
        "class means in a public space of few coordinates, differentially private: one question",
        multilabel=False,
        version=DP_VERSION,
    ),
}


AXES = ("method", *soft_labels.NAMES)
"""Keys of a scheme's table that are no settings of its method."""

VARIANT = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
"""What follows a method's name and a hyphen in the name of a scheme of that method: ``soft`` in ``random-soft``."""


def method_of(scheme: str) -> str:
    """Return the method that a scheme's name says: the name itself, or for ``METHOD-WORD`` what it begins with.

    One method can so stand in a study twice, with other settings or labels. Of several methods the longest is meant.

    Raises:
        SettingError: the name begins with no method's.

    >>> method_of("random"), method_of("random-soft"), method_of("dp-dm-loose")
    ('random', 'random', 'dp-dm')
    """
    if scheme in METHODS:
        return scheme
    known = [name for name in METHODS if scheme.startswith(f"{name}-") and VARIANT.fullmatch(scheme[len(name) + 1 :])]
    if not known:
        raise SettingError(f"There is no method {scheme!r}.", mend=nearest(scheme, METHODS))
    return max(known, key=len)


def method_named(name: str) -> Method:
    """Return the method of this name.

    Raises:
        SettingError: there is none.
    """
    if name not in METHODS:
        raise SettingError(f"There is no method {name!r}.", mend=nearest(name, METHODS))
    return METHODS[name]


def is_private(name: str) -> bool:
    """Return whether a method's images come with a differential-privacy bound."""
    return issubclass(method_named(name).settings, PrivateSettings)


def labels_for(name: str, values: Mapping[str, Any] | None = None) -> soft_labels.LabelSettings:
    """Return the settings of the labels of a method's images, from a scheme's table.

    Raises:
        SettingError: a value that cannot be, or soft labels of a private method: networks trained on the images without
            noise would break its bound.
    """
    settings = soft_labels.label_settings(values or {}, where=name)
    if settings.soft and is_private(name):
        raise SettingError(
            f"{name}: soft labels come from networks that are trained on patients' images without noise: they would "
            "break the privacy bound.",
            mend='set labels = "hard"',
        )
    return settings


def settings_for(name: str, values: Mapping[str, Any] | None = None, *, ipc: int | None = None) -> Any:
    """Build a method's settings: those of a preset, these values over them, and over both those for this budget.

    Args:
        name: of the method.
        values: as a simulation's file gives them; ``preset`` names the preset (``measured`` unless given, or
            ``published``), the sub-table ``ipc`` holds values for one budget, by its number.
        ipc: the budget.

    Raises:
        SettingError: no such method, preset or setting, or a value of the wrong type or out of range.

    >>> settings_for("dc", {"iterations": 300, "ipc": {"10": {"iterations": 40}}}, ipc=10).iterations
    40
    >>> settings_for("dc", {"preset": "published"}, ipc=10).batch_real
    256
    """
    labels_for(name, values)
    values = {key: value for key, value in (values or {}).items() if key not in AXES}
    under = preset(values.pop("preset", DEFAULT), method_named(name).settings, name, ipc=ipc)
    return read(method_named(name).settings, values, ipc=ipc, where=name, under=under)


def provenance(
    name: str,
    settings: Mapping[str, Any],
    *,
    model: str,
    width: int,
    precision: str,
    images: ImageSet,
    labels: soft_labels.LabelSettings | None = None,
) -> dict[str, Any]:
    """Return a Release's account of how it was made: what it takes to repeat it, and the data's source and licence."""
    return {
        "settings": dict(settings),
        "version": method_named(name).version,
        "model": model,
        "width": width,
        "precision": precision,
        "source": images.source,
        "licence": images.licence,
        "class_names": list(images.class_names),
        **({} if labels is None else labels.detail()),
    }


def privacy_statement(name: str, settings: Sequence[Any] = (), *, groups: bool = False, entropy: str = "seeded") -> str:
    """Return a Release's account of what protects the patients.

    Args:
        name: of the method.
        settings: of each budget; only a private method's statement depends on them, and on the two below.
        groups: whether the images say which patient they are of.
        entropy: of the task.
    """
    method = method_named(name)
    if method.real:
        return "These are real patients' images."
    if is_private(name):
        return statement(settings, groups=groups, entropy=entropy)
    return "Synthetic images without a differential-privacy bound; what they leak must be measured by attack."
