"""Real and phantom image sets, and who holds what. Importing this costs NumPy and nothing else."""

from fedistill.data.deal import follow, hold_out
from fedistill.data.imageset import MEAN, STD, ImageSet, concatenate
from fedistill.data.load import DatasetCard, catalogue, describe, load_dataset, to_phantom
from fedistill.data.partition import Partition, partition
from fedistill.data.scanner import Scanner, acquire

__all__ = [
    "MEAN",
    "STD",
    "DatasetCard",
    "ImageSet",
    "Partition",
    "Scanner",
    "acquire",
    "catalogue",
    "concatenate",
    "describe",
    "follow",
    "hold_out",
    "load_dataset",
    "partition",
    "to_phantom",
]
