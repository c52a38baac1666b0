"""Comparability of runs: those of one kind agree in everything that affects results, except the data set.

A kind is real images or phantoms, their size, the number of sites and the partition rule, model, width, recipe, pooling
and encoding. Within it, a scheme's points have the same settings for the budget, as the simulation's file gives them (a
preset for a data set counts as the same settings). Repeats, names, seeds and machines may differ.
"""

from dataclasses import dataclass
from pathlib import Path

from fedistill.config import CommonRecipe, Simulation
from fedistill.config.sweep import word
from fedistill.data import describe, parse_source
from fedistill.data.facts import SIZES


@dataclass(frozen=True)
class Kind:
    """The properties that comparable runs share.

    Args:
        images: number of training images of phantoms, if the file gives it.
        division: the partition rule without its seed, as text.
        matched_on: the model that distillation matches on.
    """

    phantom: bool
    images: int | None
    size: int
    sites: int
    division: str
    held_out: float
    model: str
    matched_on: str
    width: int
    recipe: CommonRecipe
    pooling: str
    encoding: str

    @property
    def words(self) -> str:
        """Label for people, which names everything that differs from the defaults."""
        parts = [f"{'phantoms' if self.phantom else 'real images'} of {self.size} pixels"]
        parts += [f"{self.images} training images"] * (self.images is not None)
        parts += [f"1 site, {self.division}" if self.sites == 1 else f"{self.sites} sites, {self.division}"]
        parts += [f"{word(self.held_out)} held out"] * (self.held_out > 0)
        parts += [f"{self.model} of width {self.width}"]
        parts += [f"distilled on {self.matched_on}"] * (self.matched_on != self.model)
        usual = CommonRecipe().model_dump()
        recipe = {"steps": self.recipe.steps, **self.recipe.model_dump()}
        parts += [f"{name} {word(v)}" for name, v in recipe.items() if name == "steps" or v != usual[name]]
        parts += [f"pooling {self.pooling}"] * (self.pooling != "concat")
        parts += [f"encoding {self.encoding}"] * (self.encoding != "uint8")
        return "; ".join(parts)


def canonical_name(name: str) -> str:
    """Return the canonical name of a data set; a file's is its absolute path.

    >>> canonical_name("phantom:bloodmnist"), canonical_name("bloodmnist")
    ('phantom:blood', 'bloodmnist')
    """
    return parse_source(name).moved(Path.cwd()).name


def kind_of(simulation: Simulation, model: str) -> Kind:
    """Return the kind of a simulation whose sites divide one data set.

    Raises:
        DataError: the data set is a file that no longer exists, so that its image size is unknown.
    """
    federation = simulation.federation
    dataset = str(federation.dataset)
    size = federation.size or SIZES[0]
    source = parse_source(dataset)
    if source.one_size:
        [size] = describe(dataset).on_disk or ()
    return Kind(
        phantom=source.drawn,
        images=federation.images,
        size=size,
        sites=len(federation.sites),
        division=word(federation.partition.described()),
        held_out=federation.held_out,
        model=model,
        matched_on=simulation.models[0],
        width=simulation.width,
        recipe=simulation.recipe.model_copy(update={"strong": None}),  # of other rows than those compared
        pooling=simulation.pooling,
        encoding=simulation.encoding,
    )
