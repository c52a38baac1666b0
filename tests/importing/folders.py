"""Folders and tables of small drawn pictures, as a hospital has them."""

import numpy as np
from PIL import Image

CLASSES = ("benign", "malignant")


def picture(number, *, size=(32, 32), label=0):
    """A picture that no other is alike: noise around the class's own brightness, uint8 (H, W)."""
    rng = np.random.default_rng(number)
    return (rng.integers(100, size=size[::-1]) + 120 * label).astype(np.uint8)


def save(path, array, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **how)
    return path


def by_class(root, *, each=20, size=(32, 32), splits=()):
    """Folders by class, with splits above them where there are some."""
    number = 0
    for split in splits or ("",):
        for label, name in enumerate(CLASSES):
            for _ in range(each):
                save(root / split / name / f"{number:03}.png", picture(number, size=size, label=label))
                number += 1
    return root


def by_table(root, *, patients=20, each=2, more=()):
    """PNGs in one folder, and a CSV of their labels and patients; `more` are lines to append."""
    lines = ["image,label,patient"]
    for number in range(patients * each):
        patient = number // each
        save(root / "images" / f"{number:03}.png", picture(number, label=patient % 2))
        lines.append(f"images/{number:03}.png,{CLASSES[patient % 2]},P{patient:03}")
    table = root / "labels.csv"
    table.write_text("\n".join([*lines, *more]) + "\n")
    return table


def dicom(path, values, *, patient="P1", syntax=None, **tags):
    """A DICOM file of one or several frames, uint16 or uint8 (H, W), (F, H, W) or (H, W, 3)."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data.PatientID, data.PatientName, data.Modality = patient, "Roe^Jane", "CT"
    colour = values.ndim == 3 and values.shape[-1] == 3
    frames = values.shape[0] if values.ndim == 3 and not colour else 1
    data.Rows, data.Columns = (values.shape[:2] if colour or frames == 1 else values.shape[1:])[:2]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    if frames > 1:
        data.NumberOfFrames = frames
    data.BitsAllocated = data.BitsStored = values.dtype.itemsize * 8
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(values.dtype.kind == "i")
    data.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path
