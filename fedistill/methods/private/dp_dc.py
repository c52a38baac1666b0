"""dp-dc: gradient matching under differential privacy, with questions asked beforehand.

After PSG (Chen, Kerkouche & Fritz, *Private Set Generation with Discriminative Information*, NeurIPS 2022, arXiv
2211.04446).

As in PSG, a question goes to a Poisson sample of all classes' images, each image's gradient is clipped, and noise is
added to the sum. Two things are different, for the size of a hospital. The sum is kept apart by class, which costs no
privacy (one image is of one class), so that each class's images are matched as DC matches them (Zhao et al., ICLR
2021, arXiv 2006.05929). And networks are fresh ones, not trained on the images on their way: so all questions are
asked first, their number does not depend on how the matching goes, and each answer is used for many steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.ranges import Count, PositiveFloat, Range
from fedistill.methods.engine import sgd
from fedistill.methods.engine.loop import Advance, State, steadily
from fedistill.methods.engine.matching import match, matched
from fedistill.methods.engine.method import SyntheticSet, Task
from fedistill.methods.private.noise import counted
from fedistill.methods.private.queries import PrivateSettings, ask, begin
from fedistill.models import Network, Params, build
from fedistill.training.clipping import gradients_of_each

NAME = "dp-dc"


@dataclass(frozen=True)
class DPDCSettings(PrivateSettings):
    """Settings of dp-dc; beside them those of `PrivateSettings`.

    Args:
        clip: norm that an image's gradient, and with groups a patient's, is scaled down to.
        rate: chance of an image (or a patient) to be in a question's sample; 1: all are in all.
        iterations: steps of the matching, each on one answer drawn at random.
        lr_img, momentum_img: of the SGD on the images.
    """

    clip: PositiveFloat = 0.1
    queries: Count = 4
    rate: Annotated[float, Range(gt=0, le=1)] = 0.5
    iterations: Count = 100
    lr_img: PositiveFloat = 5.0
    momentum_img: Annotated[float, Range(ge=0, lt=1)] = 0.5


def dp_dc(task: Task, settings: DPDCSettings) -> SyntheticSet:
    """Distil images whose gradients point where the noisy ones of the real images do.

    Raises:
        SettingError: a multi-label set.
        RunError: the images do not stay finite numbers.
    """
    x = task.images
    net = build(task.model, channels=x.channels, classes=x.n_classes, size=x.size, width=settings.width)
    fresh = [net.init(seeds.generator(task.seed, NAME, "network", q)) for q in range(settings.queries)]
    networks = [sgd.fresh([p.to(task.device) for p in params]) for params in fresh]
    real, targets = x.pixels(), x.targets()

    def rows(query: int) -> Callable[[Tensor], Tensor]:
        gradients = per_image(net, networks[query])
        return lambda at: counted(gradients(real[at].to(task.device), targets[at].to(task.device)), settings.clip)

    answers = ask(task, settings, NAME, rows, net=net, each=settings.clip)
    fitting, images, labels = begin(task, NAME, answers)
    classes, weights = answers.classes(), matched(networks[0])
    wanted = answers.sums.to(task.device)

    def advance(state: State, pace: float, generator: torch.Generator) -> Advance:
        query = int(torch.randint(settings.queries, (1,), generator=generator))
        total, gradient = torch.zeros((), device=images.device), torch.empty_like(images)
        for place, c in enumerate(classes):
            of_class = slice(place * task.budget, (place + 1) * task.budget)
            answer = sgd.unflatten(wanted[query, c], weights)
            away, gradient[of_class] = match(net, networks[query], state.images[of_class], labels[of_class], answer)
            total = total + away
        velocity = settings.momentum_img * state.velocity + gradient
        loss = float(total) / len(classes)
        moved = State(state.images - pace * settings.lr_img * velocity, velocity)
        return Advance(moved, loss, f"matching loss {loss:.2f}")

    return steadily(fitting, NAME, settings, labels, State(images, torch.zeros_like(images)), advance)


def per_image(net: Network, params: Params) -> Callable[[Tensor, Tensor], Tensor]:
    """Return ``gradients(x, y)``, the flat gradient of each image's own loss: (N, C, H, W), (N,) -> (N, P).

    P counts the weights that are compared (`fedistill.methods.engine.matching.matched`), biases left out: nobody asks
    for them, so no noise is spent on them.
    """
    return gradients_of_each(net, params, [i for i, p in enumerate(params) if p.ndim > 1])
