"""Open one image file: upright, in RGB of 8 bits a colour, or not at all."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from hashlib import blake2b
from pathlib import Path
from threading import Lock

from PIL import Image, ImageOps

from dyt_bench.plugin.domain import DataError, reason
from dyt_bench.plugin.notices import notice
from dyt_images.bits import bits

_GROUND = "white"  # behind what is transparent: most drawings are dark
# Pillow reserves four bytes for each pixel that the header promises, and what turns the image or
# puts it on a ground takes as much again.
_MOST = 2**27  # pixels: 512 MiB
_LARGE = 2**24  # pixels from which on images are read one after another, not in many threads
_one_large = Lock()


def open_image(file: str | Path) -> Image.Image:
    """The image in RGB, turned as its EXIF data say; what is transparent is on white.

    Of several frames it is the first.

    Raises:
        DataError: the file is no image, is cut off, has more than 8 bits a colour, or more than
            134 million pixels.
    """
    with _opened(file) as image:
        return _in_rgb(ImageOps.exif_transpose(image))


def check_image(file: str | Path) -> str:
    """A hash of the pixels that `open_image` returns.

    What of the file is not in them is noticed.

    Raises:
        DataError: as `open_image` does.
    """
    with _opened(file) as image:
        frames = getattr(image, "n_frames", 1)
        rgb = _in_rgb(ImageOps.exif_transpose(image))
        for what, is_so in (
            ("images of several frames or pages, of which the first is read", frames > 1),
            (f"images with transparent parts, shown on {_GROUND}", _is_transparent(image)),
            ("images in CMYK, turned into RGB without a colour profile", image.mode == "CMYK"),
        ):
            if is_so:
                notice(what, file)
    return blake2b(repr(rgb.size).encode() + rgb.tobytes(), digest_size=16).hexdigest()


@contextmanager
def checking() -> Iterator[None]:
    """Around `check_image`, in one thread or many: what Pillow warns of as missing is an error.

    The filters of warnings belong to the process, so that threads cannot each set them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("error", "Truncated File Read", UserWarning)
        yield


@contextmanager
def _opened(file: str | Path) -> Iterator[Image.Image]:
    """The image, decoded; one sentence of what decoders raise, which have no class in common."""
    try:
        with Image.open(file) as image:
            pixels = image.width * image.height
            if pixels > _MOST:
                raise Image.DecompressionBombError
            if bits(image, file) > 8:  # Pillow would cut off further bits, not scale
                raise DataError(f"{file} has more than 8 bits a colour: convert it")
            with _one_large if pixels > _LARGE else nullcontext():
                image.load()
                yield image
    except DataError:
        raise
    except Image.DecompressionBombError:  # of Pillow's own limit, where the file is opened
        raise DataError(
            f"{file} says that it has more pixels than the {_MOST:,} that an image may have: make "
            "it smaller, or remove it"
        ) from None
    except Exception as error:
        said = reason(error)
        raise DataError(f"{file} cannot be read as an image: {said}; fix or remove it") from None


def _in_rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    visible = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", visible.size, _GROUND), visible).convert("RGB")


def _is_transparent(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    return image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
