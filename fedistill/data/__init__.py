"""Real and phantom image sets, and who holds what. Importing this costs NumPy and nothing else."""

from fedistill.data.deal import follow, hold_out
from fedistill.data.imageset import MEAN, STD, ImageSet, concatenate
from fedistill.data.load import catalogue, describe, load_dataset, parse_source, to_phantom
from fedistill.data.partition import Partition, partition
from fedistill.data.scanner import Scanner, acquire
from fedistill.data.sources.base import DatasetCard, DataSource

__all__ = [
    "MEAN",
    "STD",
    "DataSource",
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
    "parse_source",
    "partition",
    "to_phantom",
]
