"""Genomes read from FASTA, GenBank, EMBL and 2bit files; the cache keeps large ones' tokens."""

import gzip
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from Bio import BiopythonParserWarning, SeqIO
from Bio.Seq import UndefinedSequenceError
from Bio.SeqRecord import SeqRecord
from torch import Tensor

from dyt_bench.plugin.derived import derived
from dyt_bench.plugin.domain import DataError, quoted, reason
from dyt_bench.plugin.files import digest_files
from dyt_bench.plugin.notices import notice
from dyt_bench.plugin.task import digest
from dyt_dna.bases import BASES, COMPLEMENT, UNKNOWN
from dyt_dna.data.files import ANNOTATED, FASTA, PACKED, TWO_BIT
from dyt_dna.data.two_bit import check_two_bit

# Suffix -> Biopython's name; "fasta-pearson" is FASTA with comments allowed.
FORMATS = dict.fromkeys(FASTA, "fasta-pearson") | ANNOTATED | dict.fromkeys(TWO_BIT, "twobit")
_KEEP_FROM = 2**20  # bytes of a FASTA file whose tokens the cache keeps
_FORMAT = 2  # of derived files; raise it when their content changes

_AMBIGUOUS = "RYSWKMBDHV"  # IUPAC's letters for "one of several"
_INVALID = 255
_LETTERS = {base: BASES.index(base) for base in BASES} | {"U": BASES.index("T")}
_LETTERS |= dict.fromkeys(_AMBIGUOUS, UNKNOWN)
_TOKENS = bytes(_LETTERS.get(chr(code).upper(), _INVALID) for code in range(256))
_COMPLEMENT = torch.tensor(COMPLEMENT, dtype=torch.uint8)
# What Biopython's parser warns of where bases are missing.
_MISSING = re.compile("Premature end|Expected sequence length|Truncated LOCUS line")
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


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
    """The sequences of a file; coding bases are known from GenBank and EMBL files only.

    IUPAC's letters for one of several bases are read as N. The tokens of a large FASTA file are
    kept in the cache and mapped into memory: it is parsed once, and need not fit into memory.

    Raises:
        DataError: another format, no sequence, a record that is cut off or without its bases, two
            records of one name, or a letter that is not a nucleotide: names the record and the
            base. Or the cache cannot be written.
    """
    if _format(file) in ANNOTATED.values() or file.stat().st_size < _KEEP_FROM:
        return list(_distinct(file))
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
            f"{what} has {quoted(chr(letters[place]))} at base {place + 1}, which is no "
            "nucleotide: write N for a base that is not known"
        )
    ambiguous = sum(map(letters.upper().count, _AMBIGUOUS.encode()))
    if ambiguous:
        notice("ambiguous letters (IUPAC), read as N", what.partition(": ")[0], ambiguous)
    return tokens


def _format(file: Path) -> str:
    suffix = Path(file.stem if _zipped(file) else file.name).suffix.lower()
    if suffix not in FORMATS or (_zipped(file) and suffix in TWO_BIT):
        known = ", ".join(FORMATS)
        raise DataError(f"{file} is none of {known} by its name; all but .2bit with .gz or without")
    return FORMATS[suffix]


def _zipped(file: Path) -> bool:
    return file.suffix.lower() in PACKED


def _distinct(file: Path) -> Iterator[Stretch]:
    """The sequences of a file; two of one name are an error."""
    names: set[str] = set()
    for stretch in _parse(file):
        if stretch.name in names:
            raise DataError(f"{file}: two sequences are called {quoted(stretch.name)}")
        names.add(stretch.name)
        yield stretch


def _parse(file: Path) -> Iterator[Stretch]:
    found = False
    try:
        for record in _records(file, _format(file)):
            if len(record.seq or ""):
                found = True
                yield _stretch(record, file)
            else:
                notice("records without a sequence, left out", file)
    except DataError:  # names the file already
        raise
    except Exception as error:  # of parsers, any class; EOFError: a gzip file cut short
        said = reason(error)
        raise DataError(f"{file}: {said}") from error
    if not found:
        raise DataError(f"{file} holds no sequence: is it FASTA or GenBank, as its name says?")


def _records(file: Path, format: str) -> Iterator[SeqRecord]:
    if format == "twobit":
        check_two_bit(file)
        with file.open("rb") as packed:
            yield from SeqIO.parse(packed, format)  # type: ignore[no-untyped-call]
        return
    opener = gzip.open if _zipped(file) else open
    with opener(file, "rt", encoding="ascii", errors="surrogateescape") as text:
        if format in ANNOTATED.values():
            yield from _annotated(text, format)
        else:
            _skip_comments(text, file)
            yield from SeqIO.parse(text, format)  # type: ignore[no-untyped-call]
    _check_end(file)


def _annotated(text: Any, format: str) -> list[SeqRecord]:
    """GenBank's and EMBL's records; what is missing of them Biopython only warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BiopythonParserWarning)
        records = list(SeqIO.parse(text, format))  # type: ignore[no-untyped-call]
    for said in (str(warning.message) for warning in caught):
        if _MISSING.search(said):
            after = f", after {quoted(records[-1].id)}" if records else ""
            raise ValueError(f"cut off or damaged{after}: {said.rstrip('.')}")
    return records


def _skip_comments(text: Any, file: Path) -> None:
    """Check that what lies before the first record are comments, and no bases."""
    stray = ""
    while (line := text.readline()) and not line.startswith(">"):
        if line.strip() and line[0] not in ";#":
            stray = stray or line.strip()[:40]
    if line and stray:
        raise DataError(
            f"{file}: {quoted(stray)} lies before the first line that begins with '>', and so "
            "belongs to no sequence"
        )
    text.seek(0)


def _check_end(file: Path) -> None:
    """Of bgzip's files, which may be cut between two blocks: their last block is empty."""
    if not _zipped(file):
        return
    with file.open("rb") as packed:
        is_bgzf = packed.read(16)[12:14] == b"BC"
        packed.seek(max(0, file.stat().st_size - len(_BGZF_END)))
        if is_bgzf and packed.read() != _BGZF_END:
            raise DataError(f"{file} is cut off: it does not end as bgzip's files do")


def _stretch(record: SeqRecord, file: Path) -> Stretch:
    try:
        letters = bytes(record.seq or b"")
    except UndefinedSequenceError:
        raise DataError(
            f"{file}: record {quoted(record.id)} tells its length and no bases, as records do "
            "that are built from others (CONTIG): get it with its sequence, GenBank (full)"
        ) from None
    if len(letters) != len(record.seq or b""):
        raise DataError(f"{file}: sequence {quoted(record.id)} is cut off")
    tokens = tokens_of(letters, f"{file}: sequence {quoted(record.id)}")
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
    key = digest(_FORMAT, digest_files([file]))
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
        for stretch in _distinct(file):
            index[stretch.name] = len(stretch)
            tokens.write(stretch.tokens.numpy().tobytes())
    (folder / "index.json").write_text(json.dumps(index))
