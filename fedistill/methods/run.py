"""From images to synthetic sets in one call: the function people use, and the one a site's job uses."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, overload

from fedistill.core.events import OnEvent, ignore
from fedistill.core.precision import resolve
from fedistill.data.imageset import ImageSet
from fedistill.errors import SettingError
from fedistill.methods.engine.method import (
    Checkpoints,
    Remember,
    SyntheticSet,
    Task,
    forget,
    in_memory,
    unkept,
)
from fedistill.methods.engine.soft_labels import require_one_label, soft_labels
from fedistill.methods.registry import labels_for, method_named, settings_for


def distill_budgets(
    task: Task, method: str, ipcs: Sequence[int], settings: Mapping[str, Any] | None = None
) -> dict[int | None, SyntheticSet]:
    """Distil several budgets by one method, with what they share (experts) made once.

    Args:
        task: all but the budget.
        method: its name.
        ipcs: budgets in images per class; not looked at for a method without one, whose only key is None.
        settings: as a simulation's file gives them.

    Raises:
        SettingError: an unknown method or setting; before any work, whichever budget it is of.
    """
    entry = method_named(method)
    task = replace(task, remember=in_memory(task.remember))
    budgets: list[int | None] = list(ipcs) if entry.budget else [None]
    jobs = [(replace(task, ipc=ipc), settings_for(method, settings, ipc=ipc)) for ipc in budgets]
    labels = labels_for(method, settings)
    if not labels.soft:
        return {job.ipc: entry.run(job, chosen) for job, chosen in jobs}
    require_one_label(task.images)
    results = {job.ipc: (job, entry.run(job, chosen)) for job, chosen in jobs}
    return {ipc: replace(each, soft=soft_labels(job, each, labels)) for ipc, (job, each) in results.items()}


@overload
def distill(
    images: ImageSet,
    *,
    method: str = ...,
    ipc: int = ...,
    seed: int = ...,
    model: str = ...,
    width: int = ...,
    settings: Mapping[str, Any] | None = ...,
    val: ImageSet | None = ...,
    precision: str = ...,
    device: str = ...,
    entropy: str = ...,
    on_event: OnEvent = ...,
    remember: Remember = ...,
    checkpoints: Checkpoints = ...,
) -> SyntheticSet: ...
@overload
def distill(
    images: ImageSet,
    *,
    method: str = ...,
    ipc: Sequence[int],
    seed: int = ...,
    model: str = ...,
    width: int = ...,
    settings: Mapping[str, Any] | None = ...,
    val: ImageSet | None = ...,
    precision: str = ...,
    device: str = ...,
    entropy: str = ...,
    on_event: OnEvent = ...,
    remember: Remember = ...,
    checkpoints: Checkpoints = ...,
) -> dict[int, SyntheticSet]: ...
def distill(
    images: ImageSet,
    *,
    method: str = "tdm",
    ipc: int | Sequence[int] = 10,
    seed: int = 0,
    model: str = "convnet",
    width: int = 128,
    settings: Mapping[str, Any] | None = None,
    val: ImageSet | None = None,
    precision: str = "auto",
    device: str = "cpu",
    entropy: str = "seeded",
    on_event: OnEvent = ignore,
    remember: Remember = forget,
    checkpoints: Checkpoints = unkept,
) -> SyntheticSet | dict[int, SyntheticSet]:
    """Distil a few images per class that stand for many.

    Args:
        images: the real images.
        method: one of `METHODS`.
        ipc: images per class; or several such budgets. Not looked at by ``full``.
        seed: the same seed gives the same images on one type of machine with the same number of threads.
        model: name of the network to match on.
        width: of that network.
        settings: of the method, by their published names; for one budget under ``"ipc"``, by its number; and
            ``preset``, ``measured`` (unless given) or ``published``, whose numbers stand where none are given.
        val: your validation images, if distillation may stop and choose by them; never your test images.
        precision: ``auto``, ``float32``, ``tf32`` or ``bfloat16``.
        device: ``cpu`` or ``cuda``.
        entropy: of the noise of private methods: ``seeded``, to simulate; ``system`` for images that are to be shared.
        on_event: called with each `Event` of progress.
        remember: keeps experts between calls.
        checkpoints: keeps how far it has come, to go on after a stop.

    Returns:
        one SyntheticSet for one budget, or one for each of several.

    Raises:
        SettingError: a method, setting or budget that cannot be.
        DataError: no images.

    >>> import numpy as np
    >>> x = ImageSet(np.zeros((6, 8, 8, 1), np.uint8), np.array([0, 0, 0, 1, 1, 1]), ("no", "yes"))
    >>> len(distill(x, method="random", ipc=2))
    4
    """
    single = not isinstance(ipc, Sequence)
    ipcs: list[Any] = list(ipc) if isinstance(ipc, Sequence) else [ipc]
    for value in ipcs:
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise SettingError(
                "ipc counts images per class.", expected="a whole number, at least 1, or several", found=repr(value)
            )
    if not ipcs:
        raise SettingError("There is no budget to distil for.", expected="at least one ipc", found="none")
    task = Task(
        images,
        None,
        seed=seed,
        model=model,
        width=width,
        val=val,
        precision=resolve(precision, width=width, device=device),
        device=device,
        entropy=entropy,
        on_event=on_event,
        remember=remember,
        checkpoints=checkpoints,
    )
    sets = distill_budgets(task, method, [int(value) for value in ipcs], settings)
    if single or None in sets:
        return next(iter(sets.values()))
    return {k: v for k, v in sets.items() if k is not None}
