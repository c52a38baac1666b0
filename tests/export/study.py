"""A hospital's PNGs with a table of patients, drawn; and a study of a minute on what is imported from them."""

import csv

from PIL import Image

from fedistill.data import load_dataset

STUDY = """
# mine
ipc = [1, 2]
networks = 2
seeds = 2
width = 4
[federation]
name = "mine"
dataset = "{data}"
partition = {{ by = "iid", seed = 0 }}
sites = ["north", "south"]
policy = {{ allow_real_images = true, allow_weights = true, start = "real" }}
[recipe]
steps = 6
max_steps = 6
lr = [0.03]
[scheme.full]
[scheme.random]
[scheme.dc]
iterations = 2
outer = 2
inner = 1
[scheme.fedavg]
rounds = [1, 2]
[scheme.local]
[scheme.ensemble]
"""


def hospital(root, *, kind="png", images=160):
    """Write a phantom's pictures as files, with a table of their labels, patients and splits; return the table."""
    rows = [["file", "finding", "patient", "split"]]
    for number, split in enumerate(("train", "val", "test")):
        of = load_dataset("phantom:breast", split, images=images)
        for k, (image, label) in enumerate(zip(of.images, of.labels, strict=True)):
            name = f"{split}{k:04}.{kind}"
            (root / "files").mkdir(parents=True, exist_ok=True)
            patient = f"{number}-{k // 2}"
            if kind == "png":
                Image.fromarray(image[..., 0]).save(root / "files" / name)
            else:
                from importing.folders import dicom

                tags = {"WindowCenter": 127.5, "WindowWidth": 256, "VOILUTFunction": "LINEAR_EXACT"}
                dicom(root / "files" / name, image[..., 0], patient=patient, **tags)
            rows.append([f"files/{name}", of.class_names[label], patient, split])
    with (root / "findings.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root / "findings.csv"


def write_study(folder, data):
    """Write the study of a data set; return its path."""
    path = folder / "mine.toml"
    path.write_text(STUDY.format(data=data))
    return path
