"""Selection of what to export: one Release file, one site's Release of a run, or a run's whole pool."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedistill import __version__
from fedistill.config import Plan, load_plan
from fedistill.config.scheme import scheme_named
from fedistill.errors import DataError, FedistillError, RunFolderError, nearest
from fedistill.export.attackers import NOT_ATTACKED, findings
from fedistill.release.release import Release, unpack


@dataclass(frozen=True, eq=False)
class SyntheticPool:
    """Synthetic images to be exported, with what is known of them.

    Args:
        images: float32 (N, C, H, W), network input: real pixels lie in -1..1.
        labels: int64 (N,), or float32 (N, L) of 0 and 1.
        sites: name of each image's site.
        class_names: one per class (multi-label: per label).
        card: what they are, who made them, by what, under which guarantee, and what an attacker found.
    """

    images: Tensor
    labels: Tensor
    sites: tuple[str, ...]
    class_names: tuple[str, ...]
    card: dict[str, Any]

    @property
    def multilabel(self) -> bool:
        """Return whether an image may have several labels, or none."""
        return self.labels.ndim == 2


def select_pool(
    source: Path,
    *,
    scheme: str | None = None,
    ipc: int | None = None,
    seed: int = 0,
    site: str | None = None,
    partition: int = 0,
    point: int = 0,
) -> SyntheticPool:
    """Read the images of a Release file, or of a run folder.

    Args:
        source: a Release file, or a run folder.
        scheme: of a run; may be left out where it shares images by one scheme.
        ipc: the budget; may be left out where there is one.
        seed: the repeat.
        site: whose Release alone; default all sites', in the federation's order.
        partition: the redraw of who holds what.
        point: number of a sweep's point.

    Raises:
        RunFolderError: the run has no such Release, or keeps it as a hash alone.
        DataError: the file cannot be read, or a choice is missing or wrong.
        ReleaseError: a file is no Release.
    """
    if source.is_dir():
        return _of_run(source, scheme, ipc, seed, site, partition, point)
    for name, value in (("--scheme", scheme), ("--site", site)):
        if value is not None:
            raise DataError(f"{name} chooses from a run folder.", found=f"the file {source}", mend="leave it out")
    return _joined([_read(source)], ipc, [NOT_ATTACKED], {})


def _of_run(
    folder: Path, scheme: str | None, ipc: int | None, seed: int, site: str | None, partition: int, point: int
) -> SyntheticPool:
    if not (folder / "simulation.toml").is_file():
        raise RunFolderError(
            f"{folder} is no run of FeDistill.", expected="a folder with simulation.toml", mend="name a run folder"
        )
    plan = load_plan(str(folder / "simulation.toml"))
    if not 0 <= point < len(plan.points):
        raise DataError("There is no such point.", expected=f"0 to {len(plan.points) - 1}", found=point)
    simulation = plan.points[point].simulation
    sharing = [name for name in simulation.scheme if scheme_named(name).pools_releases]
    if scheme is None and len(sharing) == 1:
        [scheme] = sharing
    if scheme not in sharing:
        raise DataError(
            "Name a scheme whose sites share images." if scheme is None else f"{scheme!r} shares no images here.",
            expected="--scheme with one of those below",
            found=scheme or "none",
            mend=nearest(scheme or "", sharing) if sharing else "this run has none",
        )
    places = _places(folder, plan, point, scheme, seed, partition)
    if site is not None and site not in places:
        raise DataError(f"There is no site {site!r}.", mend=nearest(site, places))
    releases, missing = [], {}
    for name, path in places.items():
        if site is not None and name != site:
            continue
        if path.is_file():
            releases.append(_read(path))
        elif path.with_suffix(".sha256").is_file():
            raise RunFolderError(
                f"{folder} keeps the Releases of {scheme!r} as hashes alone: they are real patients' images.",
                expected="a Release of synthetic images",
                found=path.with_suffix(".sha256").name,
                mend="export a scheme that distils; or run with keep_real_images = true where the images may be kept",
            )
        else:
            missing[name] = "sent no Release"
    if not releases:
        raise RunFolderError(
            f"{folder} has no Release of {scheme!r}, seed {seed}, partition {partition}.",
            expected=str(next(iter(places.values()))),
            mend="choose another --seed, or run the simulation to its end",
        )
    chosen = _budget(releases[0], ipc)
    lines = findings(folder, scheme, chosen)
    about = {"run": plan.name, "pooling": simulation.pooling, "missing": missing}
    return _joined(releases, chosen, lines, about)


def _places(folder: Path, plan: Plan, point: int, scheme: str, seed: int, partition: int) -> dict[str, Path]:
    """Return where every site's Release would stand."""
    redraw = f"-partition{partition}" if partition else ""
    below = folder / "releases" / (plan.folder_of(point) if plan.sweep else "")
    sites = plan.points[point].simulation.federation.sites
    return {site: below / site / f"{scheme}-seed{seed}{redraw}.safetensors" for site in sites}


def _read(path: Path) -> Release:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read.", expected="a Release file or a run folder", found=error.strerror
        ) from error
    try:
        return Release.from_bytes(data)
    except FedistillError as error:
        raise DataError(
            f"{path} is no Release.", expected="a file that FeDistill wrote, or a run folder", found=error.what
        ) from error


def _budget(release: Release, ipc: int | None) -> int | None:
    """Return the budget: the one asked for, else the only one."""
    budgets = list(release.sets)
    if ipc is None and len(budgets) == 1:
        return budgets[0]
    if ipc not in budgets:
        raise DataError(
            "There are several budgets: choose one." if ipc is None else f"There is no budget of {ipc}.",
            expected="--ipc " + ", ".join("(none)" if each is None else str(each) for each in budgets),
            found="none" if ipc is None else ipc,
        )
    return ipc


def _settings(release: Release, ipc: int | None) -> dict[str, Any]:
    """Return the method's settings for a budget: a site's Release has them for each, `fedistill distill` has one."""
    settings = release.provenance.get("settings", {})
    own = settings.get(str(ipc), settings) if isinstance(settings, dict) else {}
    return dict(own) if isinstance(own, dict) else {}


def _joined(
    releases: Sequence[Release], ipc: int | None, attackers: Sequence[str], about: dict[str, Any]
) -> SyntheticPool:
    chosen = _budget(releases[0], ipc)
    # For a single network a site sends one draw of a random subset; the others serve the comparison.
    alone = [release.only(chosen, draw=0) for release in releases]
    sets = [unpack(release.sets[chosen], chosen) for release in alone]
    first = releases[0]
    count = first.provenance.get("class_names")
    classes = sets[0].labels.shape[1] if sets[0].labels.ndim == 2 else int(max(s.labels.max() for s in sets)) + 1
    named = isinstance(count, list) and len(count) >= classes and all(isinstance(each, str) for each in count)
    names = tuple(count) if named and isinstance(count, list) else tuple(f"class {k}" for k in range(classes))
    images = torch.cat([s.images for s in sets])
    card = {
        "what": ("real patients' images" if first.real else "synthetic images")
        + f": {len(images)} of {len(names)} classes, {'x'.join(map(str, images.shape[1:]))}",
        "made by": [release.site for release in releases],
        "scheme": first.scheme,
        "ipc": chosen,
        "seed": first.seed,
        "partition": first.partition,
        "settings": _settings(first, chosen),
        "source": first.provenance.get("source", ""),
        "licence": first.provenance.get("licence", ""),
        "guarantee": first.privacy,
        "attackers": list(attackers),
        "step sizes": [s.lr for s in sets if s.lr is not None],
        "software": f"fedistill {__version__}",
        **about,
    }
    sites = tuple(release.site for release, s in zip(releases, sets, strict=True) for _ in range(len(s.images)))
    return SyntheticPool(images, torch.cat([s.labels for s in sets]), sites, names, card)
