"""The facts about the twelve 2D MedMNIST sets, known without a download.

Yang et al., *MedMNIST v2*, Scientific Data 10:41 (2023). Names, tasks, channels, split sizes and licences are those of
``medmnist.INFO`` 3.0 (a test compares them). The class counts are for phantoms: exact for BreastMNIST and
PneumoniaMNIST; for the others written down without the files at hand, and to be taken as **approximate**.
"""

from dataclasses import dataclass

from fedistill.errors import DataError, nearest

SIZES = (28, 64, 128, 224)
SPLITS = ("train", "val", "test")
LEAST_SIZE = 8
"""Pixels; of less no network here makes anything."""
CITATION = "MedMNIST v2"


@dataclass(frozen=True)
class Facts:
    """The facts about one set.

    Args:
        name: as the medmnist package spells it, ``bloodmnist``.
        task: MedMNIST's word, see `ImageSet`.
        channels: 1 or 3.
        class_names: one per class (multi-label: per label).
        images: number of images of train, val and test.
        counts: training images per class (multi-label: positives per label).
        test_counts: the same for the test split where its mix differs from the training split's; else None.
        licence: of the data.
        mirror: whether a horizontal flip keeps the labels true.
    """

    name: str
    task: str
    channels: int
    class_names: tuple[str, ...]
    images: tuple[int, int, int]
    counts: tuple[int, ...]
    test_counts: tuple[int, ...] | None = None
    licence: str = "CC BY 4.0"
    mirror: bool = True

    @property
    def phantom(self) -> str:
        """Return the word of the set's phantom.

        >>> FACTS["bloodmnist"].phantom
        'phantom:blood'
        """
        return f"phantom:{self.name.removesuffix('mnist')}"

    @property
    def multilabel(self) -> bool:
        """Return whether an image may have several labels, or none."""
        return self.task.startswith("multi-label")


def facts(name: str) -> Facts:
    """Return the facts about the set of this name.

    Raises:
        DataError: there is none.
    """
    if name not in FACTS:
        raise DataError(f"There is no data set {name!r}.", mend=nearest(name, FACTS))
    return FACTS[name]


_MULTI, _BINARY = "multi-class", "binary-class"
_ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right"),
    *("liver", "lung-left", "lung-right", "pancreas", "spleen"),
)
_PATH = (
    *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa"),
    *("cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
)
_CHEST = (
    *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax"),
    *("consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia"),
)
_DERMA = (
    *("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions"),
    *("dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions"),
)
_OCT = ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal")
_BLOOD = (
    *("basophil", "eosinophil", "erythroblast"),
    "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
    *("lymphocyte", "monocyte", "neutrophil", "platelet"),
)
_TISSUE = (
    *("Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells"),
    *("Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments", "Thick Ascending Limb"),
)

# The mix of OrganC's and OrganS's test splits is not at hand: their phantoms repeat the training mix there.
_ALL = (
    Facts(
        *("pathmnist", _MULTI, 3, _PATH, (89996, 10004, 7180)),
        (9366, 9509, 10360, 10401, 8006, 12182, 7886, 9401, 12885),
        (1338, 847, 339, 634, 1035, 592, 741, 421, 1233),
    ),
    Facts(
        *("chestmnist", "multi-label, binary-class", 1, _CHEST, (78468, 11219, 22433)),
        (7996, 1950, 9261, 13914, 3988, 4375, 978, 3705, 3263, 1690, 1799, 1158, 2279, 144),
    ),
    Facts(
        *("dermamnist", _MULTI, 3, _DERMA, (7007, 1003, 2005)),
        (228, 359, 769, 80, 779, 4693, 99),
        licence="CC BY-NC 4.0",
    ),
    Facts("octmnist", _MULTI, 1, _OCT, (97477, 10832, 1000), (33484, 10213, 7754, 46026), (250, 250, 250, 250)),
    Facts("pneumoniamnist", _BINARY, 1, ("normal", "pneumonia"), (4708, 524, 624), (1214, 3494), (234, 390)),
    Facts(
        *("retinamnist", "ordinal-regression", 3, ("0", "1", "2", "3", "4"), (1080, 120, 400)),
        (486, 128, 206, 194, 66),
    ),
    Facts("breastmnist", _BINARY, 1, ("malignant", "normal, benign"), (546, 78, 156), (147, 399)),
    Facts(
        *("bloodmnist", _MULTI, 3, _BLOOD, (11959, 1712, 3421)),
        (852, 2181, 1085, 2026, 849, 993, 2330, 1643),
    ),
    Facts(
        *("tissuemnist", _MULTI, 1, _TISSUE, (165466, 23640, 47280)),
        (53075, 7814, 5866, 15406, 11789, 7705, 39203, 24608),
    ),
    Facts(
        *("organamnist", _MULTI, 1, _ORGANS, (34561, 6491, 17778)),
        (1956, 1390, 1357, 1474, 3963, 3817, 6164, 3919, 3929, 3031, 3561),
        (1036, 784, 793, 785, 2064, 1965, 3285, 1747, 1813, 1622, 1884),
        mirror=False,
    ),
    Facts(
        *("organcmnist", _MULTI, 1, _ORGANS, (12975, 2392, 8216)),
        (1148, 619, 600, 600, 1088, 1170, 2986, 1002, 1022, 1173, 1567),
        mirror=False,
    ),
    Facts(
        *("organsmnist", _MULTI, 1, _ORGANS, (13932, 2452, 8827)),
        (1148, 637, 615, 721, 1132, 1119, 3464, 741, 803, 2004, 1556),
        mirror=False,
    ),
)
FACTS = {entry.name: entry for entry in _ALL}
