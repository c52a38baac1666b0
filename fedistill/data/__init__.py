"""Real and phantom image sets, and who holds what."""

from fedistill.data.imageset import MEAN, STD, ImageSet, concatenate

__all__ = ["MEAN", "STD", "ImageSet", "concatenate"]
