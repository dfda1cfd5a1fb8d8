"""Images in files: classes, decoding, and what is no image."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.dyt_images.layouts import paint
from torchvision.transforms import v2

from dyt_bench.errors import DataError
from dyt_images.folders import check_headers, class_folders, decode, open_image, train_and_val


def test_classes_are_folders_in_the_order_of_their_names(tmp_path):
    paint(tmp_path, 3)
    found = class_folders(tmp_path)
    assert found.classes == ["blue", "red"]
    assert found.targets == [0, 0, 0, 1, 1, 1]
    image, label = found[5]
    assert (image.getpixel((0, 0)), label) == ((255, 0, 0), 1)


def test_a_folder_without_classes_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "stray.png")
    for path in (tmp_path, tmp_path / "stray.png", tmp_path / "no"):
        with pytest.raises(DataError, match="put each class's images into a folder of its own"):
            class_folders(path)


def test_train_and_val_have_the_same_classes(tmp_path):
    paint(tmp_path / "train", 2)
    with pytest.raises(DataError, match="val: No such file or directory; expected CLASS/IMAGE"):
        train_and_val(tmp_path)
    paint(tmp_path / "val", 2)
    assert train_and_val(tmp_path) == (tmp_path / "train", tmp_path / "val")
    (tmp_path / "val" / "blue").rename(tmp_path / "val" / "azure")
    with pytest.raises(DataError, match="must have the same classes, and 'azure' is in one alone"):
        train_and_val(tmp_path)


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


def test_a_grey_image_has_three_equal_colours(tmp_path):
    Image.new("L", (9, 9), 7).save(tmp_path / "grey.png")
    assert (decode([str(tmp_path / "grey.png")], 4) == 7).all()


@pytest.mark.parametrize("keep", [0, 60])
def test_what_is_no_image_is_named(tmp_path, keep):
    paint(tmp_path, 1)
    broken = tmp_path / "red" / "0.png"
    broken.write_bytes(broken.read_bytes()[:keep])
    for read in (open_image, lambda file: decode([file], 4), lambda file: check_headers([file])):
        with pytest.raises(DataError, match=r"red/0\.png cannot be read as an image: .*; fix or"):
            read(str(broken))


def test_a_wrong_checksum_is_in_the_header_s_check(tmp_path):
    paint(tmp_path, 1)
    bad = tmp_path / "blue" / "0.png"
    content = bytearray(bad.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 0xFF
    bad.write_bytes(content)
    with pytest.raises(DataError, match=r"blue/0\.png cannot be read as an image"):
        check_headers([str(bad)])


def test_an_image_of_sixteen_bits_is_named(tmp_path):
    file = tmp_path / "deep.png"
    Image.fromarray(np.full((9, 9), 1000, np.uint16)).save(file)
    for read in (open_image, lambda file: check_headers([file])):
        with pytest.raises(DataError, match=r"deep\.png has more than 8 bits a colour: convert"):
            read(str(file))
