"""Genomes read from FASTA and GenBank files; the cache keeps the tokens of large ones."""

import gzip
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from Bio import SeqIO
from Bio.SeqRecord import SeqRecord
from torch import Tensor

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.task import digest
from dyt_dna.bases import BASES, COMPLEMENT, UNKNOWN

# By the file's suffix; "fasta-pearson" is Biopython's name for FASTA with comments allowed.
FORMATS = dict.fromkeys((".fa", ".fasta", ".fna"), "fasta-pearson")
FORMATS |= dict.fromkeys((".gb", ".gbk"), "genbank")
_KEEP_FROM = 2**20  # bytes of a FASTA file whose tokens the cache keeps
_FORMAT = 1  # of derived files; raise it when their content changes

_AMBIGUOUS = "RYSWKMBDHV"  # IUPAC's letters for "one of several"
_INVALID = 255
_LETTERS = {base: BASES.index(base) for base in BASES} | {"U": BASES.index("T")}
_LETTERS |= dict.fromkeys(_AMBIGUOUS, UNKNOWN)
_TOKENS = bytes(_LETTERS.get(chr(code).upper(), _INVALID) for code in range(256))
_COMPLEMENT = torch.tensor(COMPLEMENT, dtype=torch.uint8)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stretch:
    """Consecutive bases of one strand."""

    tokens: Tensor  # (T,) uint8, places in BASES
    coding: Tensor  # (T,) bool: in an annotated coding sequence, of either strand
    name: str = ""

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, part: slice) -> "Stretch":
        return Stretch(self.tokens[part], self.coding[part], self.name)

    def reverse_complement(self) -> "Stretch":
        """The other strand, in its own reading direction."""
        return Stretch(_COMPLEMENT[self.tokens.flip(0).int()], self.coding.flip(0), self.name)


def read_sequences(file: Path) -> list[Stretch]:
    """The sequences of a FASTA or GenBank file; coding bases are known from the latter only.

    IUPAC's letters for one of several bases are read as N. The tokens of a large FASTA file are
    kept in the cache and mapped into memory: it is parsed once, and need not fit into memory.

    Raises:
        DataError: another format, no sequence, or a letter that is not a nucleotide: names the
            record and the base. Or the cache cannot be written.
    """
    if _format(file) == "genbank" or file.stat().st_size < _KEEP_FROM:
        return list(_parse(file))
    return _from_cache(file)


def tokens_of(letters: bytes, what: str) -> Tensor:
    """Letters -> (T,) uint8; ``what`` names them in errors.

    Raises:
        DataError: a letter that stands for no nucleotide.
    """
    tokens = torch.frombuffer(bytearray(letters.translate(_TOKENS)), dtype=torch.uint8)
    invalid = (tokens == _INVALID).nonzero()
    if len(invalid):
        place = int(invalid[0])
        raise DataError(
            f"{what} has {chr(letters[place])!r} at base {place + 1}, which is no nucleotide: "
            "write N for a base that is not known"
        )
    ambiguous = sum(map(letters.upper().count, _AMBIGUOUS.encode()))
    if ambiguous:
        _log.warning("%s: %d ambiguous letters (IUPAC) are read as N", what, ambiguous)
    return tokens


def _format(file: Path) -> str:
    suffix = Path(file.stem if _zipped(file) else file.name).suffix.lower()
    if suffix not in FORMATS:
        raise DataError(f"{file} is none of {', '.join(FORMATS)} by its name, with .gz or without")
    return FORMATS[suffix]


def _zipped(file: Path) -> bool:
    return file.suffix.lower() == ".gz"


def _parse(file: Path) -> Iterator[Stretch]:
    opener = gzip.open if _zipped(file) else open
    format, found = _format(file), False
    try:
        with opener(file, "rt", encoding="ascii", errors="surrogateescape") as text:
            for record in SeqIO.parse(text, format):  # type: ignore[no-untyped-call]
                if record.seq:
                    found = True
                    yield _stretch(record, file)
    except DataError:  # names the file already
        raise
    except (ValueError, OSError, EOFError) as error:  # EOFError: a gzip file cut short
        raise DataError(f"{file}: {error}") from error
    if not found:
        raise DataError(f"{file} holds no sequence: is it FASTA or GenBank, as its name says?")


def _stretch(record: SeqRecord, file: Path) -> Stretch:
    tokens = tokens_of(bytes(record.seq or b""), f"{file}: sequence {record.id!r}")
    coding = torch.zeros(1, dtype=torch.bool).expand(len(tokens))  # one byte for all
    places = [f.location for f in record.features if f.type == "CDS" and f.location is not None]
    if places:
        coding = coding.clone(memory_format=torch.contiguous_format)
    for place in places:
        for part in place.parts:
            if part.ref is None:  # not on another record
                coding[int(part.start) : int(part.end)] = True
    return Stretch(tokens, coding, str(record.id))


def _from_cache(file: Path) -> list[Stretch]:
    """As `_parse`, with the tokens kept in the cache and mapped into memory."""
    # Of large files the digest covers names and sizes only: the time shows a change.
    key = digest(_FORMAT, digest_files([file]), file.stat().st_mtime_ns)
    folder = derived(f"dna/genome-{key}", lambda path: _write(file, path))
    index: dict[str, int] = json.loads((folder / "index.json").read_text())
    tokens = torch.from_numpy(np.memmap(folder / "tokens", dtype=np.uint8, mode="c"))
    coding = torch.zeros(1, dtype=torch.bool)
    return [
        Stretch(part, coding.expand(len(part)), name)
        for name, part in zip(index, torch.split(tokens, list(index.values())), strict=True)
    ]


def _write(file: Path, folder: Path) -> None:
    """The tokens of all sequences in one file of ``folder``, their names and lengths in another."""
    folder.mkdir()
    index: dict[str, int] = {}
    with open(folder / "tokens", "wb") as tokens:
        for stretch in _parse(file):
            if stretch.name in index:
                raise DataError(f"{file}: two sequences are called {stretch.name!r}")
            index[stretch.name] = len(stretch)
            tokens.write(stretch.tokens.numpy().tobytes())
    (folder / "index.json").write_text(json.dumps(index))
