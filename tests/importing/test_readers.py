"""Every kind of file, against what its pixels are known to be."""

import numpy as np
import pytest
from importing.folders import dicom, picture, save
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from fedistill.importing.decode import decode
from fedistill.importing.preprocessing import Preprocessing
from fedistill.importing.readers.raster import RasterReader

FULL = Preprocessing(intensity="full")


def one(path, how=FULL):
    """The single image of a file, (S, S) or (S, S, 3)."""
    read = decode(path, how)
    assert not read.why, read.why
    assert len(read.images) == 1
    image = read.images[0]
    return image[..., 0] if image.shape[-1] == 1 else image


def ramp(top, dtype, size=28):
    """Values from 0 to top along the rows."""
    return np.tile(np.linspace(0, top, size), (size, 1)).astype(dtype)


LEVELS = ramp(255, np.uint8)


def test_sixteen_bits_and_floats_use_all_levels(tmp_path):
    wide = ramp(65535, np.uint16)
    for ending in ("png", "tif"):
        assert abs(one(save(tmp_path / f"a.{ending}", wide)).astype(int) - LEVELS).max() <= 1
    assert abs(one(save(tmp_path / "f.tif", ramp(1, np.float32))).astype(int) - LEVELS).max() <= 1
    narrow = ramp(1000, np.uint16)
    assert one(save(tmp_path / "n.png", narrow)).max() == 4
    auto = one(save(tmp_path / "n.png", narrow), Preprocessing())
    assert auto.min() == 0 and auto.max() == 255, "by percentiles, unless all the depth is asked for"


def test_floats_that_are_no_numbers(tmp_path):
    values = ramp(1, np.float32)
    values[0, 0] = np.nan
    assert one(save(tmp_path / "a.tif", values), Preprocessing())[0, 0] == 0
    assert "no pixel is a number" in decode(save(tmp_path / "b.tif", values * np.nan), Preprocessing()).why
    assert "floats outside 0..1" in decode(save(tmp_path / "c.tif", 7 * ramp(1, np.float32)), FULL).why


def test_transparency_is_laid_over_black(tmp_path):
    rgb = np.dstack([LEVELS, LEVELS // 2, 255 - LEVELS])
    clear = np.dstack([rgb, np.full((28, 28), 255, np.uint8)])
    clear[:14, :, 3] = 0
    read = one(save(tmp_path / "a.png", clear))
    assert not read[:14].any() and (read[14:] == rgb[14:]).all()
    grey = one(save(tmp_path / "la.png", clear[..., [0, 3]]))
    assert grey.ndim == 2 and not grey[:14].any() and (grey[14:] == LEVELS[14:]).all()


def test_palettes_become_the_colours_they_stand_for(tmp_path):
    image = Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28) % 3, "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "a.png")
    assert one(tmp_path / "a.png")[0, :3].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_a_picture_is_turned_as_its_exif_tag_says(tmp_path):
    image = Image.fromarray(LEVELS)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "a.png", exif=exif)
    assert (one(tmp_path / "a.png") == np.rot90(LEVELS, -1)).all()


def chunks(data):
    """The chunks of a PNG, whole."""
    at = 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield data[at:end]
        at = end


def test_a_png_s_header_is_read_without_its_pixels_wherever_its_exif_stands(tmp_path, monkeypatch):
    wide = ramp(255, np.uint8)[:14]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(wide).save(tmp_path / "plain.png")
    Image.fromarray(wide).save(tmp_path / "before.png", exif=exif)
    data = (tmp_path / "before.png").read_bytes()
    parts = list(chunks(data))
    [tag] = [part for part in parts if part[4:8] == b"eXIf"]
    behind = [part for part in parts if part is not tag]
    (tmp_path / "behind.png").write_bytes(data[:8] + b"".join([*behind[:-1], tag, behind[-1]]))
    crop = Preprocessing(fit="crop")
    for name, size in (("plain", (28, 14)), ("before", (14, 28)), ("behind", (14, 28))):
        facts = RasterReader().facts(tmp_path / f"{name}.png")
        assert (facts.width, facts.height) == size, name
    assert (one(tmp_path / "before.png", crop) == one(tmp_path / "behind.png", crop)).all()

    def load(image):
        raise AssertionError("pixels are decoded")

    monkeypatch.setattr(PngImageFile, "load", load)
    for name in ("plain", "before"):
        assert RasterReader().facts(tmp_path / f"{name}.png").height


def test_one_bit_and_cmyk(tmp_path):
    Image.fromarray(LEVELS > 127).save(tmp_path / "a.png")
    assert set(np.unique(one(tmp_path / "a.png"))) == {0, 255}
    Image.new("CMYK", (28, 28), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    assert one(tmp_path / "a.jpg").shape == (28, 28, 3) and one(tmp_path / "a.jpg")[0, 0, 0] > 200


def test_crop_takes_the_middle_and_pad_puts_black_beside(tmp_path):
    values = np.zeros((28, 56), np.uint8)
    values[:, 14:42] = 200
    path = save(tmp_path / "a.png", values)
    assert (one(path, Preprocessing(fit="crop")) == 200).all()
    padded = one(save(tmp_path / "b.png", np.full((28, 56), 200, np.uint8)), Preprocessing(fit="pad"))
    assert not padded[:5].any() and not padded[-5:].any() and (padded[10:18] == 200).all()


def test_a_colour_image_in_grey_is_its_luma(tmp_path):
    path = save(tmp_path / "a.png", np.full((28, 28, 3), (200, 100, 50), np.uint8))
    assert one(path, Preprocessing(channels=1))[0, 0] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


def test_pages_of_a_tiff(tmp_path):
    pages = [Image.fromarray(np.full((28, 28), 10 * k, np.uint8)) for k in range(5)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert one(tmp_path / "a.tif")[0, 0] == 20
    every = decode(tmp_path / "a.tif", Preprocessing(frames="all"))
    assert every.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40] and every.frames == (0, 1, 2, 3, 4)


# ---------------------------------------------------------------------- DICOM


@pytest.fixture
def pydicom():
    return pytest.importorskip("pydicom")


def test_dicom_is_rescaled_and_windowed_as_its_tags_say(tmp_path, pydicom):
    stored = ramp(2000, np.uint16)
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 1000, "WindowWidth": 2001}
    path = dicom(tmp_path / "a.dcm", stored, **tags)
    x = stored * 2.0 - 1000
    wanted = np.rint(np.clip((x - 999.5) / 2000 + 0.5, 0, 1) * 255)
    assert (one(path, Preprocessing()) == wanted).all()
    own = one(path, Preprocessing(intensity="window", window=(0.0, 1001.0)))
    assert (own == np.rint(np.clip((x + 0.5) / 1000 + 0.5, 0, 1) * 255)).all()


def test_dicom_without_a_window_and_inverted(tmp_path, pydicom):
    stored = ramp(2000, np.uint16)
    plain = one(dicom(tmp_path / "a.dcm", stored), Preprocessing())
    turned = one(dicom(tmp_path / "b.dcm", stored, PhotometricInterpretation="MONOCHROME1"), Preprocessing())
    assert plain[0, 0] == 0 and plain[0, -1] == 255 and (turned == 255 - plain).all()
    twelve = dicom(tmp_path / "c.dcm", stored, BitsStored=12, HighBit=11)
    assert abs(one(twelve).astype(float) - stored / 4095 * 255).max() <= 0.51


def test_a_sigmoid_window(tmp_path, pydicom):
    stored = ramp(2000, np.uint16)
    path = dicom(tmp_path / "a.dcm", stored, WindowCenter=1000, WindowWidth=500, VOILUTFunction="SIGMOID")
    assert abs(one(path, Preprocessing()) - 255 / (1 + np.exp(-4 * (stored - 1000.0) / 500))).max() <= 0.51


def test_signed_and_coloured_dicom(tmp_path, pydicom):
    signed = (ramp(2000, np.int16) - 1000).astype(np.int16)
    read = one(dicom(tmp_path / "a.dcm", signed, WindowCenter=0, WindowWidth=2001), Preprocessing())
    assert read[0, 0] == 0 and read[0, -1] == 255
    rgb = np.dstack([LEVELS, LEVELS // 2, 255 - LEVELS])
    assert (one(dicom(tmp_path / "b.dcm", rgb), Preprocessing()) == rgb).all()


def test_frames_of_dicom(tmp_path, pydicom):
    frames = np.stack([np.full((28, 28), 40 * k, np.uint8) for k in range(5)])
    path = dicom(tmp_path / "a.dcm", frames)
    assert one(path)[0, 0] == 80
    assert decode(path, Preprocessing(intensity="full", frames=2)).images[:, 0, 0, 0].tolist() == [40, 120]


def test_compressed_dicom_is_read_where_a_decoder_is_installed(tmp_path, pydicom):
    values = ramp(4000, np.uint16)
    path = dicom(tmp_path / "a.dcm", values)
    data = pydicom.dcmread(path)
    data.compress(pydicom.uid.RLELossless)
    pydicom.dcmwrite(tmp_path / "rle.dcm", data, enforce_file_format=True)
    assert (one(tmp_path / "rle.dcm", Preprocessing()) == one(path, Preprocessing())).all()


def test_dicom_is_known_by_its_first_bytes_and_damage_is_told(tmp_path, pydicom):
    path = dicom(tmp_path / "IM0001", ramp(2000, np.uint16))
    assert one(path, Preprocessing()).max() == 255
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:-300])
    assert "cannot be decoded" in decode(tmp_path / "cut.dcm", Preprocessing()).why
    (tmp_path / "none.dcm").write_bytes(b"x" * 500)
    assert "no DICOM file" in decode(tmp_path / "none.dcm", Preprocessing()).why


def test_a_dicom_header_that_claims_too_much_and_one_that_is_deflated(tmp_path, pydicom):
    path = dicom(tmp_path / "a.dcm", ramp(2000, np.uint16))
    data = pydicom.dcmread(path)
    data.Rows, data.Columns = 60000, 60000
    pydicom.dcmwrite(tmp_path / "big.dcm", data)
    assert "decompression bomb" in decode(tmp_path / "big.dcm", Preprocessing()).why
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "deflated.dcm", data)
    assert "deflated" in decode(tmp_path / "deflated.dcm", Preprocessing()).why


def test_nothing_of_the_tags_goes_into_the_data_set(tmp_path, pydicom, monkeypatch):
    from fedistill.data import load_dataset
    from fedistill.importing.run_import import import_images

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    for k in range(40):
        tags = {"StudyDescription": "Knee of the mayor", "BurnedInAnnotation": "YES" if k < 3 else "NO"}
        values = picture(k, label=k % 2).astype(np.uint16)
        dicom(tmp_path / "in" / f"class{k % 2}" / f"{k}.dcm", values, patient=f"ID-4711-{k // 4}", **tags)
    [card] = import_images(tmp_path / "in", tmp_path / "x.npz")
    train, test = load_dataset(tmp_path / "x.npz"), load_dataset(tmp_path / "x.npz", "test")
    assert len(np.unique(train.groups)) + len(np.unique(test.groups)) + card.patients["val"] == 10
    assert any(warning.startswith("3 files with text burned into the pixels") for warning in card.warnings)
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        whole = b"".join(archive.read(name) for name in archive.namelist())
    for word in ("4711", "Roe", "Jane", "Knee", "mayor"):
        for encoding in ("utf-8", "utf-32-le"):
            assert word.encode(encoding) not in whole


# ---------------------------------------------------------------------- NIfTI


def test_slices_of_a_volume_face_the_same_way_whatever_the_order_on_disk(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    canonical = np.random.default_rng(0).integers(255, size=(28, 28, 6)).astype(np.int16)  # right, anterior, superior
    image = nibabel.Nifti1Image(canonical, np.eye(4))
    nibabel.save(image, tmp_path / "ras.nii.gz")
    for codes in ("LPS", "ASR", "IRP"):
        wanted = nibabel.orientations.axcodes2ornt(codes)
        moved = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(np.eye(4)), wanted))
        nibabel.save(moved, tmp_path / f"{codes}.nii")
    how = Preprocessing(intensity="window", window=(127.5, 256.0), frames="all")
    first = decode(tmp_path / "ras.nii.gz", how).images
    assert len(first) == 6
    for codes in ("LPS", "ASR", "IRP"):
        assert (decode(tmp_path / f"{codes}.nii", how).images == first).all()
    # Top row: the most anterior; left column: the patient's right.
    assert first[2, 0, 0, 0] == np.rint((canonical[27, 27, 2] - 127) / 255 * 255 + 127.5).clip(0, 255)


def test_nifti_that_is_no_volume_of_numbers(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 4, 3), np.int16), np.eye(4)), tmp_path / "a.nii")
    assert "of shape (8, 8, 4, 3)" in decode(tmp_path / "a.nii", Preprocessing()).why
    (tmp_path / "b.nii.gz").write_bytes(b"none")
    assert "no NIfTI file" in decode(tmp_path / "b.nii.gz", Preprocessing()).why
