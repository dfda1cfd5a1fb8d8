"""One image: upright, in 8-bit RGB, compared with what was written; or named in one error."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, features
from tests.dyt_images.layouts import save_images

from dyt_bench.errors import DataError
from dyt_bench.plugin.notices import collected
from dyt_images import opener
from dyt_images.files import IMAGE_SUFFIXES
from dyt_images.opener import check_image, checking, open_image

# What Pillow opens with other programs or other packages, or that holds no picture by itself.
_NOT_BY_ITSELF = {".bufr", ".emf", ".eps", ".grib", ".h5", ".hdf", ".iim", ".mpeg", ".mpg", ".ps"}
# Textures and icons of games and desktops, video, telescopes: no one's photographs.
_OTHER_TRADES = {".blp", ".cur", ".fit", ".fits", ".flc", ".fli", ".ftc", ".ftu", ".gbr", ".icns"}
_OTHER_TRADES |= {".ico", ".im", ".msp", ".pcd", ".pxr", ".wmf"}


def test_the_suffixes_are_pillow_s():
    Image.init()
    opened = {
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN
    }
    assert opened - _NOT_BY_ITSELF - _OTHER_TRADES == IMAGE_SUFFIXES


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "gif", "webp", "qoi", "tga", "jp2"])
def test_what_was_written_without_loss_is_read(tmp_path, suffix):
    pixels = noise(20, 30, 3) // 64 * 64  # few enough colours for a palette
    options = {"lossless": True} if suffix == "webp" else {}
    if suffix == "gif":
        options["dither"] = Image.Dither.NONE
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", **options)
    assert np.array_equal(np.asarray(open_image(tmp_path / f"a.{suffix}")), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_exif_data_say(tmp_path, orientation):
    pixels = noise(20, 30, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    # By the standard: where the first row and the first column of the file lie in the scene.
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: pixels[::-1].transpose(1, 0, 2),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: pixels[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.png")), turned)


def test_a_drawing_on_transparent_ground_is_on_white_and_noticed(tmp_path):
    drawing = Image.new("RGBA", (40, 40))
    drawing.paste((0, 0, 0, 255), (10, 10, 30, 30))
    drawing.save(tmp_path / "a.png")
    drawing.convert("LA").save(tmp_path / "grey.png")
    drawing.quantize(4).save(tmp_path / "palette.png")
    expected = np.full((40, 40, 3), 255)
    expected[10:30, 10:30] = 0
    with collected() as notices:
        for name in ("a.png", "grey.png", "palette.png"):
            assert np.array_equal(np.asarray(open_image(tmp_path / name)), expected), name
            check_image(tmp_path / name)
    (said,) = notices.sentences()
    assert said.startswith("images with transparent parts, shown on white: 3, first in ")


def test_half_transparent_pixels_are_mixed_with_white(tmp_path):
    Image.new("RGBA", (4, 4), (100, 0, 0, 51)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").getpixel((1, 1)) == (224, 204, 204)


def test_what_is_opaque_is_not_noticed(tmp_path):
    Image.new("RGBA", (4, 4), (100, 0, 0, 255)).save(tmp_path / "a.png")
    with collected() as notices:
        check_image(tmp_path / "a.png")
    assert notices.sentences() == []


def test_frames_but_the_first_and_colours_without_a_profile_are_noticed(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    Image.new("CMYK", (8, 8)).save(tmp_path / "b.jpg")
    assert open_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)
    with collected() as notices:
        for name in ("a.gif", "b.jpg"):
            check_image(tmp_path / name)
    assert notices.sentences() == [
        f"images of several frames or pages, of which the first is read: 1, in {tmp_path}/a.gif",
        f"images in CMYK, turned into RGB without a colour profile: 1, in {tmp_path}/b.jpg",
    ]


def png(depth, colour, rows, size=(4, 4)):
    """A PNG file by its specification: Pillow writes no 16-bit RGB."""

    def chunk(name, content):
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_images():
    """Format -> content of more than 8 bits a colour."""
    grey = Image.fromarray(noise(4, 4).astype(np.uint16) * 256)
    written = {}
    for name, kind in (
        ("I.png", "PNG"),
        ("I.tif", "TIFF"),
        ("I.pgm", "PPM"),
        ("I.jp2", "JPEG2000"),
    ):
        content = io.BytesIO()
        grey.save(content, kind)
        written[name] = content.getvalue()
    content = io.BytesIO()
    Image.fromarray(noise(4, 4).astype(np.float32)).save(content, "TIFF")
    written["F.tif"] = content.getvalue()
    for channels, colour in ((2, 4), (3, 2), (4, 6)):
        written[f"{channels}.png"] = png(16, colour, noise(4, 8 * channels))
    written["3.ppm"] = b"P6 4 4 65535\n" + noise(4 * 4 * 6).tobytes()
    return written


@pytest.mark.parametrize(("name", "content"), deep_images().items(), ids=deep_images().keys())
def test_more_than_eight_bits_are_refused_in_every_mode(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for read in (open_image, check_image):
        with pytest.raises(DataError, match=rf"{name} has more than 8 bits a colour: convert it"):
            read(tmp_path / name)


@pytest.mark.parametrize("size", [(60_000, 60_000), (12_000, 12_000), (1, 2**27 + 1)])
@pytest.mark.parametrize("kind", ["png", "bmp", "ppm"])
def test_memory_is_not_reserved_by_a_number_in_the_file(tmp_path, monkeypatch, size, kind):
    """Files of a hundred bytes, each of which promises as many pixels as it can."""
    content = {
        "png": png(8, 2, noise(4, 12), size),
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, *size, 1, 24, *[0] * 6),
        "ppm": b"P6 %d %d 255\n" % size,
    }[kind]
    (tmp_path / f"a.{kind}").write_bytes(content + bytes(50))
    monkeypatch.delattr("PIL.ImageFile.ImageFile.load_prepare")  # reserves the memory
    for read in (open_image, check_image):
        with checking(), pytest.raises(DataError, match=rf"{kind} says .* the 134,217,728 that"):
            read(tmp_path / f"a.{kind}")


def test_large_images_are_read_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(opener, "_LARGE", 10)
    Image.fromarray(noise(20, 30, 3)).save(tmp_path / "a.png")
    with opener._one_large, ThreadPoolExecutor() as pool:
        waiting = pool.submit(open_image, tmp_path / "a.png")
        Image.fromarray(noise(3, 3, 3)).save(tmp_path / "b.png")
        assert pool.submit(open_image, tmp_path / "b.png").result().size == (3, 3)
        assert not waiting.done()
        opener._one_large.release()
        assert waiting.result().size == (30, 20)
        opener._one_large.acquire()


def test_eight_bits_in_the_same_modes_are_read(tmp_path):
    rows = noise(4, 12)
    (tmp_path / "3.png").write_bytes(png(8, 2, rows))
    (tmp_path / "3.ppm").write_bytes(b"P6 4 4 255\n" + rows.tobytes())
    for name in ("3.png", "3.ppm"):
        assert np.array_equal(np.asarray(open_image(tmp_path / name)), rows.reshape(4, 4, 3)), name


@pytest.mark.parametrize(
    "suffix", ["png", "jpg", "bmp", "tif", "ppm", "gif", "webp", "qoi", "tga", "jp2", "pcx", "avif"]
)
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_an_image_cut_off_is_named_in_every_format(tmp_path, suffix, keep):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(noise(64, 64, 3)).save(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    with checking(), pytest.raises(DataError, match=rf"a\.{suffix} cannot be read as an image: ."):
        check_image(file)


def test_a_grey_image_has_three_equal_colours(tmp_path):
    Image.new("L", (9, 9), 7).save(tmp_path / "grey.png")
    assert (np.asarray(open_image(tmp_path / "grey.png")) == 7).all()


def test_the_hash_is_that_of_the_pixels(tmp_path):
    save_images(tmp_path / "a", 2)
    Image.open(tmp_path / "a" / "0.png").save(tmp_path / "again.bmp")
    first, second = (check_image(tmp_path / "a" / f"{number}.png") for number in range(2))
    assert first != second
    assert check_image(tmp_path / "again.bmp") == first
