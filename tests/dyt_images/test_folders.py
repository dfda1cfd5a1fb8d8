"""Images in files: classes, parts, decoding, and what is no image."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from tests.dyt_images.layouts import paint, save_images
from torchvision.transforms import v2

from dyt_bench.errors import DataError
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.notices import collected
from dyt_images import files
from dyt_images.folders import (
    Photographs,
    check_split,
    decode,
    read_folder,
    read_train_and_val,
)
from dyt_images.opener import open_image


def folder(path, *, skip=False):
    found = files.folder(path)
    return read_folder(path, found, digest_files(found, path), skip=skip)


def imagenet(path, *, skip=False):
    found = files.imagenet(path)
    return read_train_and_val(path, found, digest_files(found, path), skip=skip)


def test_classes_are_folders_in_the_order_of_their_names(tmp_path):
    paint(tmp_path, 3)
    (tmp_path / "red" / "more").mkdir()
    (tmp_path / "red" / "2.png").rename(tmp_path / "red" / "more" / "2.png")
    found = folder(tmp_path)
    assert found.classes == ["blue", "red"]
    assert found.labels == [0, 0, 0, 1, 1, 1]
    assert [name[len(str(tmp_path)) :] for name in found.files[3:]] == [
        "/red/0.png",
        "/red/1.png",
        "/red/more/2.png",
    ]
    image, label = Photographs(found, lambda image: image)[5]
    assert (image.getpixel((9, 9)), label) == ((255, 0, 0), 1)


def test_a_folder_without_classes_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "stray.png")
    for path in (tmp_path, tmp_path / "stray.png"):
        with pytest.raises(DataError, match="put each class's images into a folder of its own"):
            folder(path)


def test_a_class_without_an_image_is_named(tmp_path):
    paint(tmp_path, 2)
    (tmp_path / "green").mkdir()
    (tmp_path / "green" / "0.heic").touch()
    with pytest.raises(DataError, match=r"1 folders hold no image, 'green' first: expected \.apng"):
        folder(tmp_path)


def test_what_systems_put_beside_the_classes_is_no_class(tmp_path):
    paint(tmp_path, 2)
    for name in ("__MACOSX", "@eaDir", ".cache"):
        (tmp_path / name).mkdir()
    assert folder(tmp_path).classes == ["blue", "red"]


def test_images_beside_the_classes_are_noticed(tmp_path):
    paint(tmp_path, 2)
    Image.new("RGB", (8, 8)).save(tmp_path / "stray.png")
    (tmp_path / "notes.txt").touch()
    with collected() as notices:
        assert len(folder(tmp_path).files) == 4
    assert notices.sentences() == [
        f"{tmp_path}: files that this data set does not read are left out: 1 .txt",
        f"{tmp_path}: 1 images lie in no class's folder and are left out",
    ]


@pytest.mark.parametrize("parts", [("train", "val"), ("Training", "test"), ("train", "dev", "x")])
def test_parts_are_not_taken_for_classes(tmp_path, parts):
    for part in parts:
        paint(tmp_path / part, 2)
    with pytest.raises(DataError, match="look like the parts of a data set, not like classes: use"):
        folder(tmp_path)


def test_a_train_is_a_class_beside_a_bus(tmp_path):
    for name in ("bus", "train"):
        save_images(tmp_path / name, 2)
    assert folder(tmp_path).classes == ["bus", "train"]


def spoil(root, names):
    for name in names:
        (root / name).write_bytes(b"no image")


def test_all_bad_images_are_named_at_once_or_left_out(tmp_path):
    paint(tmp_path, 8)
    bad = [f"{colour}/{n}.png" for colour in ("blue", "red") for n in range(6)]
    spoil(tmp_path, bad)
    with pytest.raises(DataError) as raised:
        folder(tmp_path)
    said = str(raised.value)
    assert said.startswith("12 of 16 files cannot be read; fix or remove them, or leave them out")
    assert [name in said for name in bad] == [True] * 10 + [False] * 2
    for _ in range(2):  # read, and kept in the cache
        with collected() as notices:
            found = folder(tmp_path, skip=True)
        assert found.labels == [0, 0, 1, 1]
        assert len(found.contents) == 4
        assert "12 of 16 files cannot be read and are left out" in notices.sentences()[0]


def test_images_are_checked_once(tmp_path, monkeypatch):
    paint(tmp_path, 3)
    found = folder(tmp_path)
    monkeypatch.delattr("dyt_images.folders.check_image")
    assert folder(tmp_path) == found


def test_train_and_val_have_the_same_classes(tmp_path):
    paint(tmp_path / "train", 2)
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match=r"val holds no file that fits: expected train/CLASS"):
        imagenet(tmp_path)
    paint(tmp_path / "val", 2)
    train, val = imagenet(tmp_path)
    for part, found in (("train", train), ("val", val)):
        assert found.labels == [0, 0, 1, 1]
        assert all(name.startswith(f"{tmp_path}/{part}/") for name in found.files)
    (tmp_path / "val" / "blue").rename(tmp_path / "val" / "azure")
    with pytest.raises(DataError, match="must have the same classes, and 'azure' is in one alone"):
        imagenet(tmp_path)


def test_an_image_on_both_sides_is_named(tmp_path):
    paint(tmp_path / "train", 2)
    paint(tmp_path / "val", 2)
    (tmp_path / "val" / "red" / "1.bmp").write_bytes(
        (tmp_path / "train" / "red" / "0.png").read_bytes()
    )
    with pytest.raises(DataError, match=r"1 of 5 held-out images are among .*val/red/1\.bmp; rem"):
        imagenet(tmp_path)


def test_a_copy_under_another_name_is_found_in_a_split(tmp_path):
    paint(tmp_path, 3)
    (tmp_path / "red" / "copy.png").write_bytes((tmp_path / "red" / "0.png").read_bytes())
    found = folder(tmp_path)
    check_split(found, [0, 1, 4, 5], [2, 3], tmp_path)
    with pytest.raises(DataError, match=r"1 of 2 held-out images are .*red/copy\.png; remove"):
        check_split(found, [0, 1, 3], [2, 6], tmp_path)


WNIDS = ["n01440764", "n01443537", "n01484850"]
TRUTH = [2, 0, 1, 1, 2, 0]  # place in WNIDS of each image in val


@pytest.fixture
def flat(tmp_path):
    """ImageNet as it is published: the images of val lie in one folder."""
    for wnid in WNIDS:
        save_images(tmp_path / "train" / wnid, 3, (len(wnid), int(wnid[-1]), 9), "JPEG")
    save_images(tmp_path / "val", len(TRUTH), (1, 2, 3), "JPEG")
    for number in range(len(TRUTH)):
        old = tmp_path / "val" / f"{number}.JPEG"
        old.rename(tmp_path / "val" / f"ILSVRC2012_val_{number + 1:08}.JPEG")
    return tmp_path


def development_kit(root):
    """Numbers of classes as its table gives them, in another order than the names."""
    data = root / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    numbers = {wnid: 10 - place for place, wnid in enumerate(WNIDS)}
    lines = "".join(f"{numbers[WNIDS[place]]}\n" for place in TRUTH)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, wnid, "a fish", 0) for wnid, number in numbers.items()]
    savemat(data / "meta.mat", {"synsets": np.array(rows, kinds)})


def kaggle(root):
    name = "ILSVRC2012_val_{:08}"
    rows = [f"{name.format(n + 1)},{WNIDS[place]} 1 2 3 4 " for n, place in enumerate(TRUTH)]
    rows.reverse()
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))


def tensorflow(root):
    file = root / "imagenet_2012_validation_synset_labels.txt"
    file.write_text("".join(f"{WNIDS[place]}\n" for place in TRUTH))


def caffe(root):
    rows = [f"ILSVRC2012_val_{n + 1:08}.JPEG {place}\n" for n, place in enumerate(TRUTH)]
    (root / "val.txt").write_text("".join(rows))


@pytest.mark.parametrize("say", [development_kit, kaggle, tensorflow, caffe])
def test_a_flat_val_has_the_classes_that_its_ground_truth_says(flat, say):
    with pytest.raises(DataError, match="holds images without folders, and no file says which"):
        imagenet(flat)
    say(flat)
    train, val = imagenet(flat)
    assert train.classes == val.classes == WNIDS
    assert val.labels == TRUTH
    assert val.files == sorted(val.files)


def test_kaggle_s_archive_is_read_as_it_unpacks(flat):
    kaggle(flat)
    inside = flat / "ILSVRC" / "Data" / "CLS-LOC"
    inside.mkdir(parents=True)
    for part in ("train", "val"):
        (flat / part).rename(inside / part)
    save_images(inside / "test", 2)
    train, val = imagenet(flat)
    assert (len(train.files), val.labels) == (9, TRUTH)


def test_tiny_imagenet_is_read_as_it_unpacks(tmp_path):
    for wnid in WNIDS:
        save_images(tmp_path / "train" / wnid / "images", 2, (1, int(wnid[-1]), 9), "JPEG")
    save_images(tmp_path / "val" / "images", len(TRUTH), (5, 5, 5), "JPEG")
    rows = [f"{n}.JPEG\t{WNIDS[place]}\t0\t0\t9\t9\n" for n, place in enumerate(TRUTH)]
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(rows))
    train, val = imagenet(tmp_path)
    assert (train.labels, val.labels) == ([0, 0, 1, 1, 2, 2], TRUTH)


def test_a_ground_truth_of_other_images_is_named(flat):
    tensorflow(flat)
    file = flat / "imagenet_2012_validation_synset_labels.txt"
    file.write_text(file.read_text() + f"{WNIDS[0]}\n")
    with pytest.raises(
        DataError, match=r"labels\.txt does not say .*: it has 7 lines for 6 images"
    ):
        imagenet(flat)
    file.unlink()
    caffe(flat)
    truth = flat / "val.txt"
    truth.write_text(truth.read_text().replace("00000004", "00000009"))
    with pytest.raises(DataError, match=r"val\.txt does not say which class .*00000004\.JPEG has"):
        imagenet(flat)


def test_images_are_resized_and_cropped(tmp_path):
    """As torchvision's transforms do it, by way of floats or not."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (decoded,) = decode([str(tmp_path / "a.png")], 16)
    assert decoded.shape == (3, 16, 16)
    as_floats = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(16, antialias=True),
            v2.CenterCrop(16),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    other = ((as_floats(open_image(tmp_path / "a.png")) + 1) * 127.5).round().byte()
    assert np.array_equal(decoded, other.numpy())


@pytest.mark.parametrize("keep", [0, 60])
def test_what_is_no_image_is_named(tmp_path, keep):
    paint(tmp_path, 1)
    broken = tmp_path / "red" / "0.png"
    broken.write_bytes(broken.read_bytes()[:keep])
    for read in (open_image, lambda file: decode([file], 4), lambda file: folder(tmp_path)):
        with pytest.raises(DataError, match=r"red/0\.png cannot be read as an image: .*; fix or"):
            read(str(broken))


def test_a_wrong_checksum_is_found(tmp_path):
    paint(tmp_path, 1)
    bad = tmp_path / "blue" / "0.png"
    content = bytearray(bad.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 0xFF
    bad.write_bytes(content)
    with pytest.raises(DataError, match=r"blue/0\.png cannot be read as an image"):
        folder(tmp_path)
