"""What cannot be imported ends with exit code 2, says what was expected and found, and how to mend it."""

import sys
import zlib

import numpy as np
import pytest
from importing.folders import by_class, by_table, dicom, picture, save


def refused(typed, tmp_path, *words, mend=True):
    """Import what cannot be; return the message. Nothing was written."""
    code, text = typed("import", *words, "--out", "x.npz")
    assert code == 2 and "error:" in text and "expected:" in text and "found:" in text
    assert "fix:" in text or not mend
    assert not list(tmp_path.glob("x.*"))
    return text


def test_an_empty_folder(typed, tmp_path):
    (tmp_path / "in").mkdir()
    assert "has no image" in refused(typed, tmp_path, "in")


def test_images_outside_class_folders(typed, tmp_path):
    save(tmp_path / "in" / "a.png", picture(0))
    assert "no image in a class's folder" in refused(typed, tmp_path, "in")


def test_a_single_class(typed, tmp_path):
    save(tmp_path / "in" / "benign" / "a.png", picture(0))
    assert "single class" in refused(typed, tmp_path, "in", mend=False)


def test_a_class_in_one_split_alone(typed, tmp_path):
    source = by_class(tmp_path / "in", splits=("train", "test"))
    save(source / "train" / "rare" / "a.png", picture(900))
    text = refused(typed, tmp_path, source)
    assert "'rare' (1 images) in train" in text and "--leave-out" in text


def test_a_class_of_a_single_patient(typed, tmp_path):
    source = by_class(tmp_path / "in")
    save(source / "rare" / "a.png", picture(900))
    assert "'rare' (1 images) in train" in refused(typed, tmp_path, source)
    assert typed("import", source, "--out", "x.npz", "--leave-out", "rare")[0] == 0


def test_a_table_whose_paths_do_not_exist(typed, tmp_path):
    table = by_table(tmp_path, more=[f"gone/{k}.png,benign,P9" for k in range(7)])
    text = refused(typed, tmp_path, table)
    assert "7 of 47 files" in text and "gone/0.png, gone/1.png, gone/2.png, gone/3.png, gone/4.png ..." in text
    assert "gone/5.png" not in text and "--images" in text


def test_a_column_that_is_not_there(typed, tmp_path):
    code, text = typed("import", by_table(tmp_path), "--out", "x.npz", "--label-column", "lable")
    assert code == 2 and "did you mean 'label'" in text


def test_patients_in_two_splits_of_a_given_split(typed, tmp_path):
    table = by_table(tmp_path)
    lines = table.read_text().splitlines()
    splits = ["split", *("train" if k % 2 or k < 20 else "test" for k in range(40))]
    table.write_text("\n".join(f"{line},{split}" for line, split in zip(lines, splits, strict=True)))
    text = refused(typed, tmp_path, table)
    assert "10 patients are in two splits" in text and "images/020.png in test and images/021.png in train" in text
    assert typed("import", table, "--out", "x.npz", "--new-splits")[0] == 0


def test_a_comma_without_quotes_does_not_shift_the_columns(typed, tmp_path):
    table = by_table(tmp_path)
    table.write_text(table.read_text().replace("benign", "normal, benign"))
    assert "cannot be read as a table" in refused(typed, tmp_path, table)


def test_a_word_that_is_no_split(typed, tmp_path):
    table = by_table(tmp_path)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0] + ",split", *(f"{line},fold1" for line in lines[1:])]))
    assert "'fold1' in row 2" in refused(typed, tmp_path, table)


def test_mixed_sizes_without_a_rule(typed, tmp_path):
    source = by_class(tmp_path / "in")
    save(source / "benign" / "wide.png", picture(900, size=(64, 32)))
    text = refused(typed, tmp_path, source)
    assert "differ in size" in text and "40 of 32 x 32, 1 of 64 x 32" in text and "--fit" in text
    assert typed("import", source, "--out", "x.npz", "--fit", "pad")[0] == 0


def test_pictures_that_are_no_squares_without_a_rule(typed, tmp_path):
    assert "no squares" in refused(typed, tmp_path, by_class(tmp_path / "in", size=(40, 32)))


def test_a_dicom_syntax_without_a_decoder_names_the_package(typed, tmp_path, monkeypatch):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.pixels import get_decoder

    syntax = pydicom.uid.JPEGLSLossless
    monkeypatch.setattr(type(get_decoder(syntax)), "is_available", False)
    values = picture(0).astype(np.uint16)
    for k in range(4):
        path = dicom(tmp_path / "in" / f"class{k % 2}" / f"{k}.dcm", values)
        data = pydicom.dcmread(path)
        data.PixelData = pydicom.encaps.encapsulate([values.tobytes()])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        data.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(path, data, enforce_file_format=True)
    text = refused(typed, tmp_path, "in")
    assert "JPEG-LS Lossless" in text and "pyjpegls" in text


def test_dicom_without_pydicom_asks_for_the_extra_by_name(typed, tmp_path, monkeypatch):
    pytest.importorskip("pydicom")
    from fedistill.importing import readers

    dicom(tmp_path / "in" / "benign" / "a.dcm", picture(0).astype(np.uint16))
    dicom(tmp_path / "in" / "malignant" / "a.dcm", picture(1).astype(np.uint16))
    readers.reader.cache_clear()
    for name in ("pydicom", "pydicom.pixels"):
        monkeypatch.setitem(sys.modules, name, None)
    text = refused(typed, tmp_path, "in")
    assert "pip install 'fedistill[dicom]'" in text
    readers.reader.cache_clear()


def test_more_than_one_percent_unreadable_files_without_skip(typed, tmp_path):
    source = by_class(tmp_path / "in", each=30)
    for k in range(2):
        path = source / "benign" / f"{k:03}.png"
        path.write_bytes(path.read_bytes()[:200])
    (source / "benign" / "099.png").write_bytes(b"none")
    text = refused(typed, tmp_path, source)
    assert "More than 0.01 of 61 files" in text and "benign/" in text and "--skip" in text
    code, text = typed("import", source, "--out", "x.npz", "--skip", "0.05")
    assert code == 0 and "skipped: 3" in text
    assert "benign/001.png" in (tmp_path / "x.card.md").read_text()


def test_few_unreadable_files_are_named_and_not_fatal(typed, tmp_path):
    source = by_class(tmp_path / "in", each=60)
    (source / "benign" / "000.png").write_bytes(b"none")
    code, text = typed("import", source, "--out", "x.npz")
    assert code == 0 and "skipped: 1" in text
    assert (
        "## Skipped: no picture, or of a kind that is not read\n\n- benign/000.png"
        in (tmp_path / "x.card.md").read_text()
    )


def bomb(side):
    """A PNG of side x side black pixels: a few kilobytes that unpack to side ** 2 bytes."""
    import struct

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # which can be repeated as it is
    rows = start + block * (side * (side + 1) >> 20) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_100, 20_000])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(typed, tmp_path, side):
    source = by_class(tmp_path / "in")
    (source / "benign" / "bomb.png").write_bytes(bomb(side))
    assert (source / "benign" / "bomb.png").stat().st_size < 1_000_000
    assert "decompression bomb" in refused(typed, tmp_path, source, "--fit", "crop")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "30"], "one of 28, 64, 128, 224, not 30"),
        (["--fit", "corp"], "did you mean 'crop'"),
        (["--colour", "gray"], "did you mean 'grey'"),
        (["--intensity", "percentiles"], "did you mean 'percentile'"),
        (["--intensity", "window"], "CENTRE,WIDTH"),
        (["--window", "40"], "CENTRE,WIDTH"),
        (["--frames", "some"], "choose one of: all, middle"),
        (["--split", "70-30"], "TRAIN/VAL/TEST"),
        (["--skip", "2"], "skip is invalid.\n  expected: below 1"),
        (["--leave-out", "benin"], "did you mean 'benign'"),
    ],
)
def test_a_mistyped_option(typed, tmp_path, words, message):
    code, text = typed("import", by_class(tmp_path / "in", each=4), "--out", "x.npz", *words)
    assert code == 2 and message in text and not list(tmp_path.glob("x.*"))


def test_a_source_that_is_nothing(typed, tmp_path):
    assert "no folder or table" in refused(typed, tmp_path, "nowhere")
    (tmp_path / "a.docx").write_text("x")
    code, text = typed("import", "a.docx", "--out", "x.npz")
    assert code == 2 and "neither a folder nor a table" in text
    code, text = typed("import", by_class(tmp_path / "in"), "--out", "x.png")
    assert code == 2 and "ends in .npz" in text
