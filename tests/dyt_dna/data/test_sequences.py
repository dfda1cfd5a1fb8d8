"""What is read from FASTA and GenBank files."""

import os
import re
import shutil
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch
from Bio import bgzf

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.notices import collected
from dyt_dna import domain
from dyt_dna.bases import BASES
from dyt_dna.data import sequences
from dyt_dna.data.sequences import Stretch, read_sequences
from dyt_dna.data.splits import by_bed


def letters(tokens: torch.Tensor) -> str:
    return "".join(BASES[token] for token in tokens.tolist())


def fasta(path: Path, *texts: str) -> Path:
    path.write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(texts)))
    return path


def test_coding_bases_are_those_of_the_annotation() -> None:
    (genome,) = read_sequences(next(iter(domain.datasets["chloroplast"].files(None))))
    assert len(genome) == 154_478
    assert genome.coding[382:1444].all()  # psbA, complement(383..1444)
    assert not genome.coding[381]
    assert not genome.coding[1444]
    assert genome.coding.float().mean().item() == pytest.approx(0.513, abs=5e-4)


def test_reverse_complement() -> None:
    stretch = Stretch(
        torch.tensor([0, 1, 1, 4, 3]), torch.tensor([True, True, False, False, False])
    )
    other = stretch.reverse_complement()
    assert letters(other.tokens) == "ANGGT"
    assert other.coding.tolist() == [False, False, False, True, True]


def test_letters_are_read_as_bases(tmp_path: Path) -> None:
    (stretch,) = read_sequences(fasta(tmp_path / "a.fna", "ACGTU\nacgtu\nNRYKn"))
    assert letters(stretch.tokens) == "ACGTTACGTTNNNNN"


def test_ambiguous_letters_are_counted(tmp_path: Path) -> None:
    with collected() as notices:
        read_sequences(fasta(tmp_path / "a.fa", "ACRYn", "R"))
        read_sequences(fasta(tmp_path / "b.fa", "R"))
    assert notices.sentences() == [
        f"ambiguous letters (IUPAC), read as N: 4 in 2 files, first in {tmp_path}/a.fa"
    ]


def test_a_letter_that_is_no_nucleotide_is_named_once_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text(">a\nACGT\nJ\n")
    with pytest.raises(DataError, match=r"has 'J' at base 5.*write N") as raised:
        read_sequences(path)
    assert str(raised.value).count(str(path)) == 1


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_letters_of_another_alphabet_are_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(">a\nACGTÄ\n".encode(encoding))
    with pytest.raises(DataError, match=r"a\.fa"):
        read_sequences(path)


def test_large_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    path = fasta(tmp_path / "a.fa", "ACGTN" * 5, "TTTT")
    direct = read_sequences(path)
    monkeypatch.setattr(sequences, "_KEEP_FROM", 0)
    first = read_sequences(path)
    monkeypatch.delattr(sequences, "_parse")
    again = read_sequences(path)
    for kept in (first, again):
        assert [s.name for s in kept] == [s.name for s in direct] == ["s0", "s1"]
        assert [letters(s.tokens) for s in kept] == ["ACGTN" * 5, "TTTT"]
        assert not any(s.coding.any() for s in kept)
        assert letters(kept[1].reverse_complement().tokens) == "AAAA"


def test_tokens_belong_to_the_content_not_to_the_time_or_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(sequences, "_KEEP_FROM", 0)
    path = fasta(tmp_path / "a.fa", "ACGT")
    before = path.stat()
    read_sequences(path)
    (tmp_path / "other").mkdir()
    shutil.copy(path, tmp_path / "other" / "a.fa")
    os.utime(path, (1, 1))
    with monkeypatch.context() as patched:
        patched.delattr(sequences, "_parse")  # neither is parsed again
        for file in (path, tmp_path / "other" / "a.fa"):
            assert letters(read_sequences(file)[0].tokens) == "ACGT"
    fasta(path, "TTTT")  # of the same size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert letters(read_sequences(path)[0].tokens) == "TTTT"


@pytest.mark.parametrize("blocks", [0, 2**31])
def test_2bit_reserves_no_memory_by_its_numbers(tmp_path: Path, blocks: int) -> None:
    """Two thousand million bases, or blocks, in a file of fifty bytes."""
    content = bytearray(two_bit({"chr1": "ACGT"}))
    record = content.rindex(struct.pack("<4I", 4, 0, 0, 0))
    struct.pack_into("<2I", content, record, *((4, blocks) if blocks else (2**31, 0)))
    (tmp_path / "a.2bit").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"a\.2bit: cut off"):
            read_sequences(tmp_path / "a.2bit")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_a_parser_quotes_is_cut(tmp_path: Path) -> None:
    """Biopython repeats the line that it cannot read, whatever its length."""
    (tmp_path / "a.gb").write_text(f"LOCUS       {'x' * 10**6}\n")
    with pytest.raises(DataError, match=r"a\.gb: ") as caught:
        read_sequences(tmp_path / "a.gb")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_nothing_is_kept_of_a_bad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(sequences, "_KEEP_FROM", 0)
    with pytest.raises(DataError, match="'!' at base 3"):
        read_sequences(fasta(tmp_path / "a.fa", "ACGT", "AC!T"))
    left = [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock"]
    assert [path.name for path in left] == ["derived", "dna"]


def test_two_records_of_one_name_are_refused_whatever_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    path = tmp_path / "a.fa"
    path.write_text(">c\nACGT\n>c\nTTTT\n")
    for keep_from in (2**20, 0):
        monkeypatch.setattr(sequences, "_KEEP_FROM", keep_from)
        with pytest.raises(DataError, match="two sequences are called 'c'"):
            read_sequences(path)


def test_what_lies_before_the_first_record_is_a_comment_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text("; a comment\n\n>a\nACGT\n")
    assert letters(read_sequences(path)[0].tokens) == "ACGT"
    path.write_text("ACGT\n>a\nACGT\n")
    with pytest.raises(DataError, match=r"a\.fa: 'ACGT' lies before the first line that begins"):
        read_sequences(path)


def test_records_without_a_sequence_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">a\n>b\nACGT\n>c\n")
    with collected() as notices:
        assert [s.name for s in read_sequences(tmp_path / "a.fa")] == ["b"]
    assert notices.sentences() == [f"records without a sequence, left out: 2, in {tmp_path}/a.fa"]


BASES_OF_RECORD = "".join("acgt"[(7 * i * i + i // 3) % 4] for i in range(600))


def genbank() -> str:
    """A record by NCBI's description of the format."""
    lines = [
        f"{start + 1:9d} "
        + " ".join(BASES_OF_RECORD[start + i : start + i + 10] for i in range(0, 60, 10))
        for start in range(0, 600, 60)
    ]
    return "\n".join(
        [
            "LOCUS       T1                       600 bp    DNA     linear   UNK 01-JAN-2000",
            "DEFINITION  t.",
            "ACCESSION   T1",
            "VERSION     T1.1",
            "FEATURES             Location/Qualifiers",
            "     source          1..600",
            "     CDS             1..30",
            "ORIGIN",
            *lines,
            "//\n",
        ]
    )


def embl() -> str:
    """The same by EMBL's description."""
    lines = [
        "     "
        + " ".join(BASES_OF_RECORD[start + i : start + i + 10] for i in range(0, 60, 10))
        + f"{start + 60:10d}"
        for start in range(0, 600, 60)
    ]
    return "\n".join(
        [
            "ID   T1; SV 1; linear; genomic DNA; STD; UNC; 600 BP.",
            "XX",
            "AC   T1;",
            "FH   Key             Location/Qualifiers",
            "FH",
            "FT   source          1..600",
            "FT   CDS             1..30",
            "SQ   Sequence 600 BP;",
            *lines,
            "//\n",
        ]
    )


@pytest.mark.parametrize("name", ["a.gb", "a.gbk", "a.gbff", "a.genbank", "a.embl"])
def test_annotated_records_are_read_whole_or_named(tmp_path: Path, name: str) -> None:
    text = embl() if name == "a.embl" else genbank()
    path = tmp_path / name
    path.write_text(text)
    (stretch,) = read_sequences(path)
    assert letters(stretch.tokens) == BASES_OF_RECORD.upper()
    assert stretch.coding.tolist() == [True] * 30 + [False] * 570
    bases = text.index("ORIGIN" if "ORIGIN" in text else "SQ  ")
    for keep in (len(text) // 4, bases, bases + 200, len(text) // 2, len(text) - 100):
        path.write_text(text + text[:keep])  # a whole record, and one that is cut off
        with pytest.raises(DataError, match=rf"{name}: "):
            read_sequences(path)


def test_a_record_that_is_shorter_than_it_says_is_named(tmp_path: Path) -> None:
    lines = genbank().splitlines(keepends=True)
    del lines[10]
    (tmp_path / "a.gb").write_text("".join(lines))
    with pytest.raises(DataError, match=r"cut off .*Expected sequence length 600, found 540"):
        read_sequences(tmp_path / "a.gb")


def test_a_record_without_bases_of_its_own_says_what_to_do(tmp_path: Path) -> None:
    text = genbank()
    contig = text[: text.index("ORIGIN")] + "CONTIG      join(AB000001.1:1..600)\n//\n"
    (tmp_path / "a.gb").write_text(contig)
    with pytest.raises(DataError, match=r"record 'T1\.1' tells its length and no bases, .*CONTIG"):
        read_sequences(tmp_path / "a.gb")


def two_bit(named: dict[str, str]) -> bytes:
    """UCSC's format by its description; N is a block, and lower case is a mask."""
    records = []
    for text in named.values():
        runs = [list(m.span()) for m in re.finditer("N+", text)]
        masks = [list(m.span()) for m in re.finditer("[acgt]+", text)]
        values = [len(text)]
        for blocks in (runs, masks):
            values += [len(blocks), *(a for a, _ in blocks), *(b - a for a, b in blocks)]
        codes = ["TCAG".index(letter) for letter in text.upper().replace("N", "T")]
        codes += [0] * (-len(codes) % 4)
        packed = bytes(
            a << 6 | b << 4 | c << 2 | d for a, b, c, d in zip(*[iter(codes)] * 4, strict=True)
        )
        records.append(struct.pack(f"<{len(values) + 1}I", *values, 0) + packed)
    at = 16 + sum(5 + len(name) for name in named)
    index = b""
    for name, record in zip(named, records, strict=True):
        index += bytes([len(name)]) + name.encode() + struct.pack("<I", at)
        at += len(record)
    return struct.pack("<4I", 0x1A412743, 0, len(named), 0) + index + b"".join(records)


def test_2bit_is_read_whole_or_named(tmp_path: Path) -> None:
    path, named = tmp_path / "a.2bit", {"chr1": "NNacgtACGGTN", "chr2": "TTTTC"}
    content = two_bit(named)
    path.write_bytes(content)
    read = {stretch.name: letters(stretch.tokens) for stretch in read_sequences(path)}
    assert read == {name: text.upper() for name, text in named.items()}
    for keep in range(0, len(content), 3):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match=r"a\.2bit"):
            read_sequences(path)


@pytest.mark.parametrize("suffix", [".gz", ".bgz"])
def test_packed_files_are_read_whole_or_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.fasta{suffix}"
    with bgzf.BgzfWriter(str(path), "wb") as packed:  # type: ignore[no-untyped-call]
        for number in range(3):
            packed.write(f">s{number}\n{'ACGT' * 100}\n".encode())
            packed.flush()
    assert [len(stretch) for stretch in read_sequences(path)] == [400] * 3
    content = path.read_bytes()
    second = content.index(b"\x1f\x8b", 20)
    for keep in (len(content) - 1, len(content) - 28, second, second + 30):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match=rf"a\.fasta\{suffix}"):
            read_sequences(path)


def test_two_sequences_of_one_name_cannot_be_split_by_bed(tmp_path: Path) -> None:
    found = [s for n in "ab" for s in read_sequences(fasta(tmp_path / f"{n}.fa", "ACGT"))]
    bed = tmp_path / "a.bed"
    bed.write_text("s0\t0\t2\ttrain\ns0\t2\t4\tvalid\n")
    with pytest.raises(DataError, match="two sequences are called 's0', in one file or two"):
        by_bed(found, [bed])
    assert by_bed(found[:1], [bed]).left_out == ""
    other = Stretch(found[1].tokens, found[1].coding, "s1")
    left_out = by_bed([found[0], other], [bed]).left_out
    assert left_out == "1 of 2 sequences are in no line of the BED files and are left out"


def test_a_cache_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, unwritable_cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "_KEEP_FROM", 0)
    path = fasta(tmp_path / "a.fa", "ACGT" * 5_000)
    with pytest.raises(DataError, match=unwritable_cache):
        read_sequences(path)
