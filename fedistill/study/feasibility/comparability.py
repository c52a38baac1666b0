"""Which runs may stand in one line: those of one kind, alike in all that moves results but for the data set.

A kind is real images or phantoms, their pixels, how many sites there are and how the data are divided among them,
model, width, recipe, pooling and encoding. Within it, a scheme's points have the same settings for the budget, as the
simulation's file gives them (a preset that knows a data set is that set's own). What may differ is how often things
were repeated, names, seeds, and what machines there were.
"""

from dataclasses import dataclass
from pathlib import Path

from fedistill.config import CommonRecipe, Simulation
from fedistill.config.sweep import word
from fedistill.data import describe, parse_source
from fedistill.data.facts import SIZES


@dataclass(frozen=True)
class Kind:
    """What runs that stand in one line have in common.

    Args:
        images: training images of phantoms, where the file gives a number.
        division: the partition's rule without its seed, in words.
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
        """For people; everything that is not as usual is named."""
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


def set_named(name: str) -> str:
    """The one name of a data set, however it was written: a file's is its whole path.

    >>> set_named("phantom:bloodmnist"), set_named("bloodmnist")
    ('phantom:blood', 'bloodmnist')
    """
    return parse_source(name).moved(Path.cwd()).name


def kind_of(simulation: Simulation, model: str) -> Kind:
    """The kind of a simulation whose sites divide one data set.

    Raises:
        DataError: that set is a file that is not there any more: nobody knows its pixels.
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
        recipe=simulation.recipe,
        pooling=simulation.pooling,
        encoding=simulation.encoding,
    )
