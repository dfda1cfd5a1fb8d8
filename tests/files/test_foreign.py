"""Files that others made to be hard to read: each is read whole, or named in one error.

`nox -s tests_files` fetches them: the images of Pillow's tests, the recordings of mutagen's, the
sequences of Biopython's; SciPy's recordings are installed with it. What is read is compared with
what a decoder or a count that shares no code with ours finds.
"""

import os
import re
from glob import glob
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from dyt_bench.errors import DataError
from dyt_bench.plugin.notices import collected
from dyt_dna.data.files import FASTA, GENOMES
from dyt_dna.data.sequences import read_sequences
from dyt_images.files import IMAGE_SUFFIXES
from dyt_images.opener import check_image, checking, open_image
from dyt_speech.data.audio import SAMPLE_RATE, decode
from dyt_speech.data.files import SUFFIXES

FILES = os.environ.get("DYT_BENCH_FILES", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILES, reason="nox -s tests_files fetches the files"),
    pytest.mark.filterwarnings("default"),  # of files made to be odd, their parsers warn
]
_ALIKE = 4.0  # of 255 levels, the mean difference between two JPEG decoders


def below(pattern, suffixes):
    files = map(Path, sorted(glob(os.path.join(FILES, pattern), recursive=True)))
    found = [f for f in files if f.is_file() and f.name.lower().endswith(tuple(suffixes))]
    assert found, f"{FILES} holds no {pattern}"
    return found


def outcomes(files, read):
    """Read each file; anything but a result or a DataError fails the test.

    Returns:
        the files that were read, with the result and what was noticed.
    """
    errors, results = {}, {}
    for file in files:
        try:
            with collected() as notices:
                results[file] = read(file), notices.sentences()
        except DataError as error:
            errors[file] = str(error)
    for file, said in errors.items():
        assert str(file) in said
        assert len(said) < 1_000
    noticed = sum(bool(sentences) for _, sentences in results.values())
    whole = len(results) - noticed
    print(f"{len(files)} files: {whole} read whole, {noticed} noticed, {len(errors)} named errors")
    return results


def _is_turned(file):
    with Image.open(file) as image:
        return image.getexif().get(0x0112, 1) != 1


def test_pillow_s_images():
    def read(file):
        with checking():
            check_image(file)
        return np.asarray(open_image(file))

    compared = 0
    read_images = outcomes(below("**/Tests/images/**/*", IMAGE_SUFFIXES), read)
    for file, (pixels, noticed) in read_images.items():
        if file.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp") or noticed:
            continue
        if file.suffix.lower() in (".png", ".webp") and _is_turned(file):
            continue  # torchvision turns JPEG files alone
        try:
            other = decode_image(
                torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8),
                ImageReadMode.RGB,
                apply_exif_orientation=True,
            )
        except RuntimeError:  # it reads fewer kinds than Pillow
            continue
        assert tuple(other.shape[1:]) == pixels.shape[:2], file
        difference = np.abs(other.permute(1, 2, 0).numpy().astype(int) - pixels).mean()
        assert difference < _ALIKE, (file, difference)
        compared += 1
    print(f"{compared} compared with torchvision's decoders")
    assert compared > 100


def test_mutagen_s_and_scipy_s_recordings():
    import mutagen

    suffixes = SUFFIXES - {".g722"}
    scipy_s = Path(scipy.io.__file__).parent / "tests" / "data"
    files = [*below("mutagen*/**/tests/**/*", suffixes), *below(f"{scipy_s}/*", suffixes)]
    for file, (samples, noticed) in outcomes(files, decode).items():
        try:
            promised = mutagen.File(file).info.length
        except Exception:  # it reads fewer kinds, and some of these are made to be wrong
            continue
        if not noticed:  # a second: MP3 without a length is guessed by mutagen, too
            assert len(samples) / SAMPLE_RATE >= promised - 1, file


def letters_in(file):
    """Letters of a FASTA file, counted in its text."""
    text = file.read_text(errors="replace")
    body = re.sub(r"^[>;].*$", "", text[text.find(">") :], flags=re.MULTILINE)
    return len(re.sub(r"\s", "", body))


def test_biopython_s_sequences():
    read = outcomes(below("**/Tests/**/*", GENOMES), read_sequences)
    fasta = [file for file in read if file.name.lower().endswith(FASTA)]
    for file in fasta:
        assert sum(map(len, read[file][0])) == letters_in(file), file
    for file, (stretches, _) in read.items():
        if file.suffix in (".gb", ".gbk", ".gbff"):
            loci = re.findall(r"^LOCUS .*?\b(\d+) (?:bp|aa)", file.read_text(), re.MULTILINE)
            assert sum(map(len, stretches)) == sum(map(int, loci)), file
    assert len(fasta) > 10
